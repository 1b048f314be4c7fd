"""From the units that are cut out of a text to the code points that go with them."""

from __future__ import annotations

import numba
import numpy as np

from corpusmill.core.characters import is_space
from corpusmill.core.hashing import Int64Array
from corpusmill.core.words import CodePoints, Spans

_LINE_FEED = 10


@numba.njit(cache=True, nogil=True)
def _breaks(points: CodePoints, start: int, end: int) -> int:
    """Line breaks in points[start:end]."""
    count = 0
    for i in range(start, end):
        count += points[i] == _LINE_FEED
    return count


@numba.njit(cache=True, nogil=True)
def _with_whitespace(points: CodePoints, start: int, end: int) -> tuple[int, int]:
    """The span with the weaker of the breaks around it; with both at the start or end of the text."""
    left, right = start, end
    while left > 0 and is_space(points[left - 1]):
        left -= 1
    while right < len(points) and is_space(points[right]):
        right += 1
    if left == 0 or right == len(points):
        return left, right
    lines_before, lines_after = _breaks(points, left, start), _breaks(points, end, right)
    if lines_after == lines_before:
        return (left, end) if right - end > start - left else (start, right)
    return (left, end) if lines_after > lines_before else (start, right)


@numba.njit(cache=True, nogil=True)
def _cut_spans(
    points: CodePoints, unit_starts: Int64Array, unit_ends: Int64Array, first: Int64Array, last: Int64Array
) -> tuple[Int64Array, Int64Array]:
    starts = np.empty(len(first), dtype=np.int64)
    ends = np.empty(len(first), dtype=np.int64)
    count = 0
    for i in range(len(first)):
        start, end = unit_starts[first[i]], unit_ends[last[i] - 1]
        while start < end and is_space(points[start]):  # tokens begin with spaces, or are such
            start += 1
        while start < end and is_space(points[end - 1]):
            end -= 1
        if start < end:
            starts[count], ends[count] = _with_whitespace(points, start, end)
            count += 1
    return starts[:count], ends[:count]


def cut_spans(points: CodePoints, units: Spans, first: Int64Array, last: Int64Array) -> list[tuple[int, int]]:
    """Spans (start, end) to cut, ascending and disjoint; none for units that are whitespace, or less than a character.

    Args:
        points: the text.
        units: the places of its units.
        first, last: int64 (k,), ranges [first[i], last[i]) of units, ascending, disjoint, not next to one another.
    """
    starts, ends = _cut_spans(points, units.starts, units.ends, first, last)
    return list(zip(starts.tolist(), ends.tolist(), strict=True))
