"""The scores of Gopher's quality rules (Rae et al. 2021, A1.1) in three readings: our own, datatrove's and DCLM's.

All return float64 (9,), in this order: words, mean word length (code points), "#" a word, ellipses a word, both a word,
share of lines that start with a bullet, share of lines that end with an ellipsis, share of words that hold a letter
(Unicode category L), stop words. A text without words is divided by one word, one without lines by one line; the score
of stop words is NaN where the language has no list.
"""

from __future__ import annotations

import functools
from typing import Any, Final

import numba
import numpy as np
import numpy.typing as npt

from corpusmill.core import characters
from corpusmill.core.characters import ALPHANUMERIC, LETTER, WORD, Classes, is_space
from corpusmill.core.hashing import Int64Array, UInt64Array
from corpusmill.core.string_table import find, find_hashed
from corpusmill.core.text import Text
from corpusmill.core.words import CodePoints
from corpusmill.stages.stop_words import Forms, StopWords, occurrences

Scores = npt.NDArray[np.float64]

BULLETS: Final = "•●○◦‣⁃▪▫■□◆◇▶►・･·*-"
# Code points (hexadecimal) of datatrove's PUNCTUATION_SET; full-width "１" is among them, line feed and tab are not.
DATATROVE_PUNCTUATION: Final = """
0-8 b-1f 21-2f 3a-40 5b-60 7b-9f ab b4 bb 589 61d-61f 6d4 700-702 7f9 837 839 83d-83e 964-965 104a-104b 1362 1367-1368
166e 1735-1736 17d4-17d6 17d9-17da 1803 1809 1944-1945 1aa8-1aab 1b5a-1b5b 1b5e-1b5f 1b7d-1b7e 1c3b-1c3c 1c7e-1c7f
2013-2014 2019 201c-201e 2026 203c-203d 2047-2049 2236 2501 25ba 2e2e 2e3c 2e53-2e54 3001-3002 3008-300d 3010-3011 a4ff
a60e-a60f a6f3 a6f7 a876-a877 a8ce-a8cf a92f a9c8-a9c9 aa5d-aa5f aaf0-aaf1 abeb fe52 fe56-fe57 ff01 ff05 ff08-ff09 ff0c
ff0e ff11 ff1a-ff1b ff1f ff5e ff61 10a56-10a57 10f55-10f59 10f86-10f89 11047-11048 110be-110c1 11141-11143 111c5-111c6
111cd 111de-111df 11238-11239 1123b-1123c 112a9 1144b-1144c 115c2-115c3 115c9-115d7 11641-11642 1173c-1173e 11944 11946
11a42-11a43 11a9b-11a9c 11c41-11c42 11ef7-11ef8 11f43-11f44 16a6e-16a6f 16af5 16b37-16b38 16b44 16e98 1bc9f 1da88
"""

_SCORES = 9
_HASH, _FULL_WIDTH_HASH, _DOT, _ELLIPSIS, _SPACE = 0x23, 0xFF03, 0x2E, 0x2026, 0x20
_PAPER_BULLETS = np.array(sorted(map(ord, BULLETS)), dtype=np.uint32)
_DATATROVE_BULLETS = np.array(sorted(map(ord, "•-")), dtype=np.uint32)
_DCLM_BULLETS = np.array(sorted(map(ord, "●•*-")), dtype=np.uint32)
_NO_STOP_WORDS = StopWords(())

PAPER_FORMS: Final[Forms] = "capitals"
DATATROVE_FORMS: Final[Forms] = "exact"
DCLM_FORMS: Final[Forms] = "lowercase"


def paper(text: Text, stop_words: StopWords | None) -> Scores:
    """The project's own reading.

    Words are those of core/words.py: between whitespace, punctuation attached, where the language writes spaces;
    morphemes in Japanese. Lines are those that are not blank, without their outer whitespace.

    - hashes: "#" and "＃". Ellipses: three or more dots in a row, or one or more "…". [DEVIATION from datatrove: "……",
      the usual form in Japanese, is one] Judged one by one, as in the paper; DCLM adds them up.
    - bullets: BULLETS. [paper: "a bullet point"; datatrove: • and -]
    - ellipses at the end of a line: "..." or "…".
    - stop words: how many different ones of the list occur, as in datatrove; as they are listed, capitalised or in
      capitals, punctuation at their ends left aside ("that,").

    [DEVIATION from datatrove and DCLM] Both split off punctuation. In datatrove a punctuation mark then is a word
    without a letter, which uses up what the alphabetic rule allows.
    """
    scores: Scores = _paper(
        text.points,
        characters.table(),
        *text.words,
        text.word_hashes,
        *text.lines,
        _PAPER_BULLETS,
        *_table(stop_words),
    )
    return scores


def datatrove(text: Text, stop_words: StopWords | None) -> Scores:
    """datatrove 0.10.1's GopherQualityFilter.

    Words are those of spaCy (core/tokens.py), punctuation among them; all are counted where a score is "a word" or a
    share of words.

    - words and their mean length: of those that hold a character outside DATATROVE_PUNCTUATION; no mean without any.
    - ellipses: "..." without overlaps, and "…".
    - lines: str.splitlines(), blank ones too. Bullets: • and -.
    - stop words: how many different ones of the list occur, exactly as they are listed.
    """
    listed = stop_words or _NO_STOP_WORDS
    scores: Scores = _datatrove(
        text.points,
        characters.table(),
        _punctuation(),
        *text.tokens,
        text.token_hashes,
        _DATATROVE_BULLETS,
        listed.table.keys,
        listed.table.numbers,
        listed.num_words,
    )
    return scores


def dclm(text: Text, stop_words: StopWords | None) -> Scores:
    """DCLM's page_length, word_length, symbol_ratio, bullet_count, ellipsis_count, alphabetic and stop word filters.

    Words are those of str.split() in any language, punctuation attached.

    - words: those of fastText's tokenizer (between ASCII whitespace or NUL) that begin with a letter or digit.
    - symbols: "#", "...", ". . ." and "…", without overlaps.
    - lines: as in `paper`. Bullets: ● • * -. Ellipses at the end: "...", ". . .", "…".
    - stop words: how many words of the text are in the list when lowercased, code point by code point.
    """
    points = text.points
    starts, ends = text.spaced_words
    scores: Scores = _dclm(
        points,
        characters.table(),
        characters.lowercase(points),
        starts,
        ends,
        *text.lines,
        _DCLM_BULLETS,
        *_table(stop_words),
    )
    return scores


def _table(stop_words: StopWords | None) -> tuple[Any, ...]:
    """What kernels take of a list of stop words."""
    listed = stop_words or _NO_STOP_WORDS
    table = listed.table
    return table.keys, table.numbers, table.longest, listed.num_words, listed.num_forms


@numba.njit(cache=True, inline="always")
def _contains(sorted_points: CodePoints, c: int) -> bool:
    at = np.searchsorted(sorted_points, c)
    return bool(at < len(sorted_points) and sorted_points[at] == c)


@numba.njit(cache=True, nogil=True)
def _with_letter(points: CodePoints, classes: Classes, starts: Int64Array, ends: Int64Array) -> int:
    """How many items hold a letter."""
    held = 0
    for i in range(len(starts)):
        for j in range(starts[i], ends[i]):
            if classes[points[j]] & LETTER:
                held += 1
                break
    return held


@numba.njit(cache=True, inline="always")
def _ends_in_dots(points: CodePoints, start: int, end: int, step: int) -> bool:
    """Whether points[start:end] ends in three dots, `step` apart: "..." (1) or ". . ." (2, spaces between)."""
    if end - start < 2 * step + 1 or points[end - 1] != _DOT:
        return False
    if points[end - 1 - step] != _DOT or points[end - 1 - 2 * step] != _DOT:
        return False
    return step == 1 or (points[end - 2] == _SPACE and points[end - 4] == _SPACE)


@numba.njit(cache=True, nogil=True)
def _paper(
    points: CodePoints,
    classes: Classes,
    word_starts: Int64Array,
    word_ends: Int64Array,
    word_hashes: UInt64Array,
    line_starts: Int64Array,
    line_ends: Int64Array,
    bullets: CodePoints,
    stop_keys: UInt64Array,
    stop_numbers: npt.NDArray[np.int32],
    longest_stop: int,
    num_stops: int,
    num_forms: int,
) -> Scores:
    n = len(points)
    hashes = 0
    ellipses = 0
    i = 0
    while i < n:
        c = points[i]
        i += 1
        if c in (_HASH, _FULL_WIDTH_HASH):
            hashes += 1
        elif c in (_DOT, _ELLIPSIS):
            run = i - 1
            while i < n and points[i] == c:
                i += 1
            ellipses += c == _ELLIPSIS or i - run >= 3

    bulleted = 0
    elliptic = 0
    for i in range(len(line_starts)):
        bulleted += _contains(bullets, points[line_starts[i]])
        elliptic += points[line_ends[i] - 1] == _ELLIPSIS or _ends_in_dots(points, line_starts[i], line_ends[i], 1)

    stop_words = np.nan
    if num_stops:
        seen = np.zeros(num_stops, dtype=np.bool_)
        num_seen = 0
        for i in range(len(word_starts)):
            start, end = word_starts[i], word_ends[i]
            while start < end and not classes[points[start]] & WORD:
                start += 1
            while start < end and not classes[points[end - 1]] & WORD:
                end -= 1
            if end - start == word_ends[i] - word_starts[i]:
                at = find_hashed(stop_keys, stop_numbers, word_hashes[i])
            else:
                at = find(stop_keys, stop_numbers, longest_stop, points, start, end)
            if at >= 0 and not seen[at // num_forms]:
                seen[at // num_forms] = True
                num_seen += 1
                if num_seen == num_stops:  # most texts hold them all soon
                    break
        stop_words = float(num_seen)

    return _scores(
        len(word_starts),
        (word_ends - word_starts).sum() / max(1, len(word_starts)),
        hashes,
        ellipses,
        bulleted,
        elliptic,
        max(1, len(line_starts)),
        _with_letter(points, classes, word_starts, word_ends),
        max(1, len(word_starts)),
        stop_words,
    )


@numba.njit(cache=True, nogil=True)
def _scores(
    words: int,
    mean_length: float,
    hashes: int,
    ellipses: int,
    bulleted: int,
    elliptic: int,
    num_lines: int,
    with_letter: int,
    num_words: int,
    stop_words: float,
) -> Scores:
    scores = np.empty(_SCORES, dtype=np.float64)
    scores[0] = words
    scores[1] = mean_length
    scores[2] = hashes / num_words
    scores[3] = ellipses / num_words
    scores[4] = (hashes + ellipses) / num_words
    scores[5] = bulleted / num_lines
    scores[6] = elliptic / num_lines
    scores[7] = with_letter / num_words
    scores[8] = stop_words
    return scores


@functools.cache
def _punctuation() -> Classes:
    """1 for the code points of DATATROVE_PUNCTUATION, uint8 (0x110000,)."""
    table = np.zeros(0x110000, dtype=np.uint8)
    for part in DATATROVE_PUNCTUATION.split():
        first, _, last = part.partition("-")
        table[int(first, 16) : int(last or first, 16) + 1] = 1
    return table


@numba.njit(cache=True, inline="always")
def _breaks_line(c: int) -> bool:
    """Whether str.splitlines() ends a line at `c`."""
    if 0x1E < c < 0x85:
        return False
    return (10 <= c <= 13) or (0x1C <= c <= 0x1E) or c == 0x85 or c == 0x2028 or c == 0x2029


@numba.njit(cache=True, nogil=True)
def _symbols(points: CodePoints) -> tuple[int, int]:
    """How many "#" there are, and how many "…" and "...", these without overlaps."""
    hashes = 0
    ellipses = 0
    three_dots = 0
    for c in points:  # without branches: several characters at a time
        hashes += c == _HASH
        ellipses += c == _ELLIPSIS
    for i in range(len(points) - 2):
        three_dots += (points[i] == _DOT) & (points[i + 1] == _DOT) & (points[i + 2] == _DOT)
    if three_dots:
        run = 0
        for c in points:
            run = run + 1 if c == _DOT else 0
            if run == 3:
                ellipses += 1
                run = 0
    return hashes, ellipses


@numba.njit(cache=True, nogil=True)
def _datatrove(
    points: CodePoints,
    classes: Classes,
    punctuation: Classes,
    word_starts: Int64Array,
    word_ends: Int64Array,
    word_hashes: UInt64Array,
    bullets: CodePoints,
    stop_keys: UInt64Array,
    stop_numbers: npt.NDArray[np.int32],
    num_stops: int,
) -> Scores:
    n = len(points)
    hashes, ellipses = _symbols(points)
    words = 0
    characters_in_words = 0
    with_letter = 0
    for i in range(len(word_starts)):
        start, end = word_starts[i], word_ends[i]
        counted = lettered = False
        while start < end and not (counted and lettered):
            c = points[start]
            counted |= not punctuation[c]
            lettered |= classes[c] & LETTER != 0
            start += 1
        if counted:
            words += 1
            characters_in_words += end - word_starts[i]
        with_letter += lettered

    num_lines = 0
    bulleted = 0
    elliptic = 0
    i = 0
    while i < n:
        start = i
        while i < n and not _breaks_line(points[i]):
            i += 1
        end = i
        i += 2 if i + 1 < n and points[i] == 13 and points[i + 1] == 10 else 1
        while start < end and is_space(points[start]):
            start += 1
        while start < end and is_space(points[end - 1]):
            end -= 1
        num_lines += 1
        if start < end:
            bulleted += _contains(bullets, points[start])
            elliptic += points[end - 1] == _ELLIPSIS or _ends_in_dots(points, start, end, 1)

    stop_words = np.nan
    if num_stops:
        seen = np.zeros(num_stops, dtype=np.bool_)
        num_seen = 0
        for hashed in word_hashes:
            at = find_hashed(stop_keys, stop_numbers, hashed)
            if at >= 0 and not seen[at]:
                seen[at] = True
                num_seen += 1
                if num_seen == num_stops:  # most texts hold them all soon
                    break
        stop_words = float(num_seen)

    return _scores(
        words,
        characters_in_words / words if words else np.nan,
        hashes,
        ellipses,
        bulleted,
        elliptic,
        max(1, num_lines),
        with_letter,
        max(1, len(word_starts)),
        stop_words,
    )


@numba.njit(cache=True, nogil=True)
def _dclm(
    points: CodePoints,
    classes: Classes,
    lowercase: CodePoints,
    word_starts: Int64Array,
    word_ends: Int64Array,
    line_starts: Int64Array,
    line_ends: Int64Array,
    bullets: CodePoints,
    stop_keys: UInt64Array,
    stop_numbers: npt.NDArray[np.int32],
    longest_stop: int,
    num_stops: int,
    num_forms: int,
) -> Scores:
    n = len(points)
    hashes = 0
    ellipses = 0
    words = 0
    run = 0
    spaced_from = 0  # ". . ." may begin here: it does not overlap the one before
    between = True
    for i in range(n):
        c = points[i]
        if c == _SPACE or 9 <= c <= 13 or c == 0:
            between = True
            run = 0
            continue
        if between:
            words += classes[c] & ALPHANUMERIC != 0
            between = False
        if c == _DOT:
            run += 1
            if run == 3:
                ellipses += 1
                run = 0
            if i - 4 >= spaced_from and _ends_in_dots(points, i - 4, i + 1, 2):
                ellipses += 1
                spaced_from = i + 1
            continue
        run = 0
        hashes += c == _HASH
        ellipses += c == _ELLIPSIS

    bulleted = 0
    elliptic = 0
    for i in range(len(line_starts)):
        start, end = line_starts[i], line_ends[i]
        bulleted += _contains(bullets, points[start])
        elliptic += (
            points[end - 1] == _ELLIPSIS or _ends_in_dots(points, start, end, 1) or _ends_in_dots(points, start, end, 2)
        )

    stop_words = np.nan
    if num_stops:
        found = occurrences(
            lowercase, word_starts, word_ends, stop_keys, stop_numbers, longest_stop, num_stops, num_forms
        )
        stop_words = float(found.sum())

    return _scores(
        words,
        (word_ends - word_starts).sum() / max(1, len(word_starts)),
        hashes,
        ellipses,
        bulleted,
        elliptic,
        max(1, len(line_starts)),
        _with_letter(points, classes, word_starts, word_ends),
        max(1, len(word_starts)),
        stop_words,
    )
