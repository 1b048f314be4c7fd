"""The thirteen scores of Gopher, Table A1 (Rae et al. 2021), in three readings: our own, datatrove's and DCLM's.

The paper names the rules and their thresholds, not the details; each function here says how it reads them. All return
float64 (13,): duplicate lines, duplicate paragraphs, characters in duplicate lines, in duplicate paragraphs, top 2-,
3-, 4-grams, duplicate 5- to 10-grams.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from corpusmill.core.characters import is_space
from corpusmill.core.hashing import Int64Array, UInt64Array, hash_end, hash_more, hash_spans, hash_start, mix64
from corpusmill.core.text import Text
from corpusmill.stages.ngrams import (
    ALL_OCCURRENCES,
    COPIES,
    FIRST_TOP,
    duplicates,
    greedy_ngram_characters,
    ngram_characters,
    shared,
)

Scores = npt.NDArray[np.float64]

_RULES = 13
_SKETCHED = 8  # characters at either end of a span
_LINE_FEED = 10


def paper(text: Text) -> Scores:
    """The project's own reading: shares from 0 to 1; 0 for a text without words.

    - A line or paragraph (core/words.py: blank ones left out, outer whitespace stripped) is a duplicate when it is a
      copy of an earlier one in the document; the first is not counted. The fraction is of lines (paragraphs), the
      character fraction of the characters in lines (paragraphs). A document of one paragraph has no duplicates.
    - Top n-gram, n = 2, 3, 4: the most frequent n-gram, if it occurs at least twice; of equally frequent ones that
      which covers the most characters. The score is the share of word characters inside its occurrences.
    - Duplicate n-grams, n = 5..10: the share of word characters inside n-grams that are copies of an earlier one;
      a character counts once, however n-grams overlap.

    [CHOICE] copies only, as datatrove; DCLM counts the first occurrence too. Counting it takes out 18 instead of 6 of
        436 English main texts marked by hand, and the thresholds for Japanese were fitted to copies only.
    [CHOICE] denominators hold no whitespace, as DCLM; datatrove divides by len(text).
    [CHOICE] n-grams that occur once have no top, as DCLM; datatrove counts them.
    [DEVIATION from datatrove and DCLM] overlapping occurrences of the top n-gram count once ("contained within"), so
        that no score exceeds 1. [DEVIATION from datatrove] duplicate n-grams are the exact union, not a greedy scan
        that jumps n words on, and words are compared as words, not joined without a separator.
    """
    return _scores(text, text.words.lengths, text.word_hashes, COPIES)


def dclm(text: Text) -> Scores:
    """DCLM's `massive_web_repetition_filters` (Li et al. 2024): shares of 0 and more.

    - Lines and paragraphs are split and stripped as in `paper`. Every occurrence of one that occurs at least twice
      counts. A text of one line (paragraph) has no duplicates; a text without any scores 1: it is removed.
    - Words are those of UAX #29 that begin with a letter or digit; the denominator is their characters.
    - Top n-gram: characters of the most frequent n-gram, of equally frequent ones the longest, times its occurrences,
      overlapping or not, so that the score may exceed 1; 0 if none occurs twice.
    - Duplicate n-grams: characters of the words inside n-grams that occur at least twice, the first occurrence too.
    """
    words = text.unicode_words
    scores = _scores(text, words.lengths, words.hashes(text.points), ALL_OCCURRENCES)
    if len(text.lines) == 0:
        scores[:4] = 1
    return scores


def _scores(text: Text, word_lengths: Int64Array, word_hashes: UInt64Array, reading: int) -> Scores:
    """The scores of the readings that divide by the characters of items and words."""
    scores: Scores = _of_items_and_words(
        text.points, *text.lines, text.line_hashes, *text.paragraphs, word_lengths, word_hashes, reading
    )
    return scores


def datatrove(text: Text) -> Scores:
    """datatrove 0.10.1's GopherRepetitionFilter: shares of len(text), 0 and more.

    - Paragraphs are what runs of two or more line feeds separate in the stripped text, lines what runs of line feeds
      separate in the text as it is: a line feed at its start or end makes an empty line. Copies of an earlier one
      count; character fractions divide by len(text). An empty text scores 1: it is removed.
    - Words are those of spaCy (core/tokens.py), punctuation among them; characters are divided by len(text).
    - Top n-gram: characters of the most frequent n-gram with spaces between its words, times its occurrences,
      overlapping or not; of equally frequent ones the first, even if it occurs once.
    - Duplicate n-grams: a greedy scan (ngrams.greedy_ngram_characters) over words joined by nothing.
    """
    scores: Scores = _datatrove(text.points, *text.tokens, text.token_hashes)
    return scores


@numba.njit(cache=True, nogil=True)
def _of_items_and_words(
    points: npt.NDArray[np.uint32],
    line_starts: Int64Array,
    line_ends: Int64Array,
    line_hashes: UInt64Array,
    paragraph_starts: Int64Array,
    paragraph_ends: Int64Array,
    word_lengths: Int64Array,
    word_hashes: UInt64Array,
    reading: int,
) -> Scores:
    scores = np.zeros(_RULES, dtype=np.float64)
    _share_of_items(scores[0::2], line_hashes, line_ends - line_starts, reading)
    if len(paragraph_starts) > 1:
        hashes = hash_spans(points, paragraph_starts, paragraph_ends, 0)
        _share_of_items(scores[1::2], hashes, paragraph_ends - paragraph_starts, reading)
    if len(word_lengths):
        scores[4:] = ngram_characters(word_hashes, word_lengths, reading) / word_lengths.sum()
    return scores


@numba.njit(cache=True, nogil=True)
def _share_of_items(scores: Scores, hashes: UInt64Array, lengths: Int64Array, reading: int) -> None:
    """Writes the fraction of items into scores[0] and that of their characters into scores[1], where there are any."""
    items, characters = duplicates(hashes, lengths, reading)
    if items:
        scores[0] = items / len(hashes)
        scores[1] = characters / lengths.sum()


@numba.njit(cache=True, nogil=True)
def _datatrove(
    points: npt.NDArray[np.uint32], word_starts: Int64Array, word_ends: Int64Array, word_hashes: UInt64Array
) -> Scores:
    scores = np.zeros(_RULES, dtype=np.float64)
    n = len(points)
    if n == 0:
        scores[:4] = 1
        return scores
    stripped_start, stripped_end = 0, n
    while stripped_start < n and is_space(points[stripped_start]):
        stripped_start += 1
    while stripped_end > stripped_start and is_space(points[stripped_end - 1]):
        stripped_end -= 1
    run_starts, run_ends = _line_feeds(points)
    for which, start, end in ((0, 0, n), (1, stripped_start, stripped_end)):
        starts, ends = _between(run_starts, run_ends, start, end, which + 1)
        if len(starts) > 1:
            items, characters = _copies(points, starts, ends)
            scores[which] = items / len(starts)
            scores[which + 2] = characters / n
    scores[4:] = ngram_characters(word_hashes, word_ends - word_starts, FIRST_TOP) / n
    scores[7:] = greedy_ngram_characters(points, word_starts, word_ends, 5, 10) / n
    return scores


@numba.njit(cache=True, nogil=True)
def _copies(points: npt.NDArray[np.uint32], starts: Int64Array, ends: Int64Array) -> tuple[int, int]:
    """Spans that are copies of an earlier one: how many, and their characters.

    Most differ in length or in their first or last characters: the others alone are read and hashed as a whole.
    """
    sketches = np.empty(len(starts), dtype=np.uint64)
    for i in range(len(starts)):
        length = ends[i] - starts[i]
        state = hash_start(0)
        for j in range(min(length, _SKETCHED)):
            state = hash_more(state, points[starts[i] + j])
        other = hash_start(1)
        for j in range(min(length, _SKETCHED)):
            other = hash_more(other, points[ends[i] - 1 - j])
        sketches[i] = hash_end(state ^ mix64(other), length)
    alike = shared(sketches)
    starts, ends = starts[alike], ends[alike]
    return duplicates(hash_spans(points, starts, ends, 0), ends - starts, COPIES)


@numba.njit(cache=True, nogil=True)
def _line_feeds(points: npt.NDArray[np.uint32]) -> tuple[Int64Array, Int64Array]:
    """Starts and ends of the runs of line feeds."""
    n = len(points)
    most = 0
    for c in points:
        most += c == _LINE_FEED
    starts = np.empty(most, dtype=np.int64)
    ends = np.empty(most, dtype=np.int64)
    k = 0
    i = 0
    while most:
        while points[i] != _LINE_FEED:
            i += 1
        starts[k] = i
        while i < n and points[i] == _LINE_FEED:
            i += 1
        ends[k] = i
        most -= i - starts[k]
        k += 1
    return starts[:k], ends[:k]


@numba.njit(cache=True, nogil=True)
def _between(
    run_starts: Int64Array, run_ends: Int64Array, start: int, end: int, least: int
) -> tuple[Int64Array, Int64Array]:
    """What the runs of at least `least` line feeds separate between `start` and `end`, which lie in no run.

    Empty pieces too; at least one.
    """
    starts = np.empty(len(run_starts) + 1, dtype=np.int64)
    ends = np.empty(len(run_starts) + 1, dtype=np.int64)
    starts[0] = start
    k = 0
    for i in range(len(run_starts)):
        if run_starts[i] >= start and run_ends[i] <= end and run_ends[i] - run_starts[i] >= least:
            ends[k] = run_starts[i]
            k += 1
            starts[k] = run_ends[i]
    ends[k] = end
    return starts[: k + 1], ends[: k + 1]
