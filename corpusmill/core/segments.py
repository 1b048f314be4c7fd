"""Kernels that cut a text into words between whitespace, lines, paragraphs, sentences, in one pass over code points.

core/words.py says what they are; offsets are code points (0-based, end exclusive, int64, ascending).
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from corpusmill.core.characters import is_space
from corpusmill.core.hashing import Int64Array, UInt64Array, hash_end, hash_more, hash_start

CodePoints = npt.NDArray[np.uint32]

_LINE_FEED = 10
_FINAL = np.isin(np.arange(0x80), [_LINE_FEED, *map(ord, ".!?")])  # by a table: comparisons would be branches
_FIRST_UNSPACED = 0x2E80  # Chinese and Japanese begin here


class Segments(NamedTuple):
    """Starts and ends, int64 (k,), of words, lines and paragraphs; hashes, uint64 (k,), of words and lines.

    The hash of a word is that of `hash_spans`; that of a line is made of its words' and its whitespace's.
    """

    word_starts: Int64Array
    word_ends: Int64Array
    word_hashes: UInt64Array
    line_starts: Int64Array
    line_ends: Int64Array
    line_hashes: UInt64Array
    paragraph_starts: Int64Array
    paragraph_ends: Int64Array


@numba.njit(cache=True, nogil=True)
def segments(points: CodePoints) -> Segments:
    """Words: maximal runs of non-whitespace. Lines: between line feeds. Paragraphs: between two or more line feeds.

    Lines and paragraphs that are blank are left out, the others stripped of outer whitespace.
    """
    n = len(points)
    word_starts = np.empty(n // 2 + 1, dtype=np.int64)
    word_ends = np.empty(n // 2 + 1, dtype=np.int64)
    word_hashes = np.empty(n // 2 + 1, dtype=np.uint64)
    most_lines = 1
    for c in points:
        most_lines += c == _LINE_FEED
    line_starts = np.empty(most_lines, dtype=np.int64)
    line_ends = np.empty(most_lines, dtype=np.int64)
    line_hashes = np.empty(most_lines, dtype=np.uint64)
    paragraph_starts = np.empty(most_lines, dtype=np.int64)
    paragraph_ends = np.empty(most_lines, dtype=np.int64)
    words = lines = paragraphs = 0
    origin = hash_start(0)
    line = stripped = origin  # hash of the line so far, and up to its last word
    line_start = paragraph_start = -1  # -1: none is open
    end = 0  # of the last word
    i = 0
    while i < n:
        c = points[i]
        if is_space(c):
            line = hash_more(line, c)
            if c == _LINE_FEED:
                if line_start >= 0:
                    line_starts[lines], line_ends[lines] = line_start, end
                    line_hashes[lines] = hash_end(stripped, end - line_start)
                    lines += 1
                    line_start = -1
                if paragraph_start >= 0 and i + 1 < n and points[i + 1] == _LINE_FEED:
                    paragraph_starts[paragraphs], paragraph_ends[paragraphs] = paragraph_start, end
                    paragraphs += 1
                    paragraph_start = -1
            i += 1
            continue
        start = i
        if line_start < 0:
            line_start = i
            line = origin
            if paragraph_start < 0:
                paragraph_start = i
        word = origin
        while True:
            word = hash_more(word, c)
            i += 1
            if i == n:
                break
            c = points[i]
            if is_space(c):
                break
        word = hash_end(word, i - start)
        word_starts[words], word_ends[words], word_hashes[words] = start, i, word
        words += 1
        end = i
        line = stripped = hash_more(line, int(word))
    if line_start >= 0:
        line_starts[lines], line_ends[lines] = line_start, end
        line_hashes[lines] = hash_end(stripped, end - line_start)
        lines += 1
    if paragraph_start >= 0:
        paragraph_starts[paragraphs], paragraph_ends[paragraphs] = paragraph_start, end
        paragraphs += 1
    return Segments(
        word_starts[:words].copy(),
        word_ends[:words].copy(),
        word_hashes[:words].copy(),
        line_starts[:lines].copy(),
        line_ends[:lines].copy(),
        line_hashes[:lines].copy(),
        paragraph_starts[:paragraphs].copy(),
        paragraph_ends[:paragraphs].copy(),
    )


@numba.njit(cache=True, inline="always")
def _is_final(c: int) -> bool:
    if c < 0x80:
        return bool(_FINAL[c])
    if c < ord("。"):
        return False
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
