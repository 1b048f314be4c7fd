"""Kernels that cut a text into words between whitespace, lines, paragraphs, sentences, in one pass over code points.

core/words.py says what they are; offsets are code points (0-based, end exclusive, int64, ascending).
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from corpusmill.core.characters import is_space
from corpusmill.core.hashing import Int64Array, UInt64Array, hash_end, hash_more, hash_start

CodePoints = npt.NDArray[np.uint32]

_LINE_FEED = 10
_FIRST_UNSPACED = 0x2E80  # Chinese and Japanese begin here


@numba.njit(cache=True, nogil=True)
def whitespace_words(points: CodePoints) -> tuple[Int64Array, Int64Array, UInt64Array]:
    """Maximal runs of non-whitespace: starts and ends, int64 (k,), and hashes as of `hash_spans`, uint64 (k,)."""
    n = len(points)
    starts = np.empty(n // 2 + 1, dtype=np.int64)
    ends = np.empty(n // 2 + 1, dtype=np.int64)
    hashes = np.empty(n // 2 + 1, dtype=np.uint64)
    origin = hash_start(0)
    k = 0
    i = 0
    while i < n:
        while i < n and is_space(points[i]):
            i += 1
        if i == n:
            break
        starts[k] = i
        state = origin
        while i < n and not is_space(points[i]):
            state = hash_more(state, points[i])
            i += 1
        ends[k] = i
        hashes[k] = hash_end(state, i - starts[k])
        k += 1
    return starts[:k].copy(), ends[:k].copy(), hashes[:k].copy()


@numba.njit(cache=True, nogil=True)
def lines(points: CodePoints) -> tuple[Int64Array, Int64Array, UInt64Array]:
    """Lines that are not blank, without outer whitespace: starts, ends, int64 (k,), hashes as of `hash_spans`."""
    n = len(points)
    most = 1
    for c in points:
        most += c == _LINE_FEED
    starts = np.empty(most, dtype=np.int64)
    ends = np.empty(most, dtype=np.int64)
    hashes = np.empty(most, dtype=np.uint64)
    origin = hash_start(0)
    k = 0
    i = 0
    while i < n:
        while i < n and is_space(points[i]):
            i += 1
        if i == n:
            break
        starts[k] = i
        state = stripped = origin  # `stripped`: at the last code point that is no whitespace
        end = i
        while i < n and points[i] != _LINE_FEED:
            state = hash_more(state, points[i])
            if not is_space(points[i]):
                stripped = state
                end = i + 1
            i += 1
        ends[k] = end
        hashes[k] = hash_end(stripped, end - starts[k])
        k += 1
    return starts[:k].copy(), ends[:k].copy(), hashes[:k].copy()


@numba.njit(cache=True, nogil=True)
def paragraphs(points: CodePoints) -> tuple[Int64Array, Int64Array]:
    """Runs between two or more line feeds, without outer whitespace; blank ones are left out: starts, ends (k,)."""
    n = len(points)
    most = 1
    for i in range(1, n):
        most += points[i] == _LINE_FEED and points[i - 1] == _LINE_FEED
    starts = np.empty(most, dtype=np.int64)
    ends = np.empty(most, dtype=np.int64)
    k = 0
    i = 0
    while i < n:
        while i < n and is_space(points[i]):
            i += 1
        if i == n:
            break
        start = i
        stop = i
        while stop < n and not (points[stop] == _LINE_FEED and stop + 1 < n and points[stop + 1] == _LINE_FEED):
            stop += 1
        i = stop
        while is_space(points[stop - 1]):
            stop -= 1
        starts[k], ends[k] = start, stop
        k += 1
    return starts[:k].copy(), ends[:k].copy()


@numba.njit(cache=True, inline="always")
def _is_final(c: int) -> bool:
    if ord("?") < c < ord("。"):  # most letters
        return False
    if c < 0x80:
        return c == _LINE_FEED or c == ord(".") or c == ord("!") or c == ord("?")
    return c == ord("。") or c == ord("．") or c == ord("！") or c == ord("？")


@numba.njit(cache=True, inline="always")
def _closes(c: int) -> bool:
    if c < 0x80:
        return c == ord(")") or c == ord('"') or c == ord("'")
    return c == ord("」") or c == ord("』") or c == ord("）") or c == ord("”") or c == ord("’")


@numba.njit(cache=True, nogil=True)
def _sentence_end(points: CodePoints, i: int, stop: int) -> int:
    """Where the sentence that begins at `i` ends, `stop` at the latest."""
    while i < stop:
        while i < stop and not _is_final(points[i]):
            i += 1
        certain = False
        while i < stop and _is_final(points[i]):
            certain |= points[i] == _LINE_FEED or points[i] >= 0x80
            i += 1
        while i < stop and _closes(points[i]):
            i += 1
        # A full stop before a letter or comma is one of "3.5", "example.org" or "e.g.,"; not in a text without spaces.
        if certain or i == stop or is_space(points[i]) or points[i] >= _FIRST_UNSPACED:
            return i
    return i


@numba.njit(cache=True, nogil=True)
def sentences(points: CodePoints) -> tuple[Int64Array, Int64Array]:
    """Runs up to sentence-final punctuation or line feeds, closing quotes and brackets with them: starts, ends (k,)."""
    n = len(points)
    starts = np.empty(n, dtype=np.int64)
    ends = np.empty(n, dtype=np.int64)
    k = 0
    i = 0
    while i < n:
        start = i
        stop = i = _sentence_end(points, i, n)
        while start < stop and is_space(points[start]):
            start += 1
        while stop > start and is_space(points[stop - 1]):
            stop -= 1
        if start < stop:
            starts[k], ends[k] = start, stop
            k += 1
    return starts[:k].copy(), ends[:k].copy()


@numba.njit(cache=True, nogil=True)
def count_sentences(points: CodePoints, start: int, stop: int) -> int:
    """How many sentences points[start:stop] has by itself."""
    count = 0
    while start < stop:
        while start < stop and is_space(points[start]):
            start += 1
        count += start < stop
        start = _sentence_end(points, start, stop)
    return count
