"""Cuts that take whole lines out of a text, for the stages that correct texts line by line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter

import numba
import numpy as np
import numpy.typing as npt

from corpusmill.core import documents
from corpusmill.core.documents import Cut
from corpusmill.core.hashing import Int64Array
from corpusmill.core.words import CodePoints, Spans

_LINE_FEED = 10


def all_lines(points: CodePoints) -> Spans:
    """What line feeds separate, blank lines too, without the line feeds: as many as there are line feeds, and one."""
    newlines = np.flatnonzero(points == ord("\n"))
    return Spans(np.concatenate([[0], newlines + 1]), np.concatenate([newlines, [len(points)]]))


def whole_lines(lines: Spans, gone: Mapping[int, str]) -> list[Cut]:
    """Cuts of the lines `gone` (number among `lines`, from `all_lines` -> rule), ascending.

    A line goes with the newline after it, or with the one before it where no line that stays follows.
    """
    last_kept = len(lines) - 1
    while last_kept in gone:
        last_kept -= 1
    cuts = []
    for number in sorted(gone):
        start, end = int(lines.starts[number]), int(lines.ends[number])
        follows = number < last_kept
        cuts.append(Cut(gone[number], start if follows else max(0, start - 1), end + 1 if follows else end))
    return cuts


@numba.njit(cache=True, nogil=True)
def lines_and_whitespace(
    points: CodePoints,
    starts: Int64Array,
    ends: Int64Array,
    gone: npt.NDArray[np.uint8],
    of_blank: int,
    of_whitespace: int,
    long_line: int,
) -> tuple[Int64Array, Int64Array, npt.NDArray[np.uint8], int]:
    """Cuts of whole lines, as `whole_lines` makes them, and of the whitespace around the lines that stay.

    Args:
        points: uint32 (n,), UTF-32 of the text.
        starts, ends: int64 (k,), its lines that are not blank, without the whitespace around them.
        gone: uint8 (k,), the rule under which each of these lines goes, 0 if it stays.
        of_blank: the rule under which blank lines go; 0: they stay, and whitespace in them is cut.
        of_whitespace: the rule under which whitespace is cut.
        long_line: a line of at least so many code points, whitespace around it included, is long.

    Returns:
        Starts and ends of the cuts, int64 (m,), ascending, disjoint, none empty; their rules, uint8 (m,); the number of
        long lines, blank ones too.
    """
    n, num_lines = len(points), len(starts)
    most = n - (ends - starts).sum() + 1  # line feeds lie between lines alone
    every = np.empty((most, 4), dtype=np.int64)  # of every line: start, start and end without whitespace, end
    rules = np.full(most, of_blank, dtype=np.uint8)
    k = 0
    line = 0  # start
    inner_start, inner_end = -1, -1
    rule = of_blank
    at = 0
    for i in range(num_lines + 1):
        for j in range(at, starts[i] if i < num_lines else n):
            if points[j] == _LINE_FEED:
                every[k] = (line, inner_start if inner_start >= 0 else j, inner_end if inner_start >= 0 else j, j)
                rules[k] = rule
                k += 1
                line, inner_start, rule = j + 1, -1, of_blank
        if i < num_lines:
            inner_start, inner_end, rule, at = starts[i], ends[i], gone[i], ends[i]
    every[k] = (line, inner_start if inner_start >= 0 else n, inner_end if inner_start >= 0 else n, n)
    rules[k] = rule
    k += 1
    last_kept = k - 1
    while last_kept >= 0 and rules[last_kept]:
        last_kept -= 1
    cut_starts = np.empty(2 * k, dtype=np.int64)
    cut_ends = np.empty(2 * k, dtype=np.int64)
    cut_rules = np.empty(2 * k, dtype=np.uint8)
    cuts = 0
    num_long = 0
    for i in range(k):
        start, inner_start, inner_end, end = every[i]
        num_long += end - start >= long_line
        if rules[i]:
            start, inner_start = (start, end + 1) if i < last_kept else (max(0, start - 1), end)
            inner_end = end
        for a, b in ((start, inner_start), (inner_end, end)):
            if a < b:
                cut_starts[cuts], cut_ends[cuts] = a, b
                cut_rules[cuts] = rules[i] if rules[i] else of_whitespace
                cuts += 1
    return cut_starts[:cuts].copy(), cut_ends[:cuts].copy(), cut_rules[:cuts].copy(), num_long


def in_order(cuts: Sequence[Cut]) -> list[Cut]:
    """`cuts`, ascending, those of nothing left out."""
    return sorted((cut for cut in cuts if cut.start < cut.end), key=attrgetter("start", "end"))


def stripped(text: str, cuts: Sequence[Cut], rule: str) -> list[Cut]:
    """`cuts` (ascending, disjoint) and, under `rule`, cuts of the whitespace that would begin or end the text."""
    kept = documents.without_spans(text, ((cut.start, cut.end) for cut in cuts))
    head = len(kept) - len(kept.lstrip())
    tail = len(kept) - len(kept.rstrip()) if head < len(kept) else 0
    if not head and not tail:
        return list(cuts)
    edges = []
    position = 0  # in what is kept
    start = 0
    for cut_start, cut_end in (*((cut.start, cut.end) for cut in cuts), (len(text), len(text))):
        piece = cut_start - start
        before = min(piece, max(0, head - position))
        after = min(piece, max(0, position + piece - (len(kept) - tail)))
        edges += [Cut(rule, start, start + before), Cut(rule, cut_start - after, cut_start)]
        position += piece
        start = cut_end
    return in_order([*cuts, *edges])
