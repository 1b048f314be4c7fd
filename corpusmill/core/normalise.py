"""The normalised words and letters of a text, with their places in the original: what texts are compared by.

Normalisation of RefinedWeb s3.3, G.3.1, code point by code point, so that it can be undone: lower case, NFD, without
accents and punctuation; runs of whitespace only separate.

- Punctuation is general category P; symbols (S: $ + © emoji) and control and format characters (Cc, Cf: zero-width
  space, soft hyphen) go with it, as in the implementations of the field.
- [DEVIATION] Accents are the marks of the blocks Combining Diacritical Marks (with Extended, Supplement, for Symbols,
  Half Marks) and variation selectors, not all of category Mn: that would turn Japanese が into か and drop the vowels
  of Hindi.
- [DEVIATION] Marks that stay keep the order of the text (NFD would sort them); letters are lowered one by one (no
  final sigma).

A word is one of core/words.py with something left after normalisation. A letter is a code point with something left,
together with the marks that follow it.
"""

from __future__ import annotations

import functools
import unicodedata
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from corpusmill.core.characters import is_space
from corpusmill.core.hashing import Int64Array, UInt64Array, hash_end, hash_more, hash_spans, hash_start
from corpusmill.core.words import CodePoints, codepoints, words

_ACCENTS = (
    (0x0300, 0x036F),
    (0x1AB0, 0x1AFF),
    (0x1DC0, 0x1DFF),
    (0x20D0, 0x20FF),
    (0xFE00, 0xFE0F),  # variation selectors
    (0xFE20, 0xFE2F),
    (0xE0100, 0xE01EF),  # variation selectors supplement
)
_CODE_POINTS = 0x110000
# Planes 3 to 13 and 15, 16 hold ideographs, unassigned and private code points only: each stays what it is.
_PLANES_WITH_FOLDS = (range(0x30000), range(0xE0000, 0xE1000))


class Units(NamedTuple):
    """k normalised units (words or letters) of a text.

    starts, ends: int64 (k,), code points of the ORIGINAL text, 0-based, ends exclusive, ascending, disjoint.
    hashes: uint64 (k,), hash of the normalised form: equal for equal forms.
    """

    starts: Int64Array
    ends: Int64Array
    hashes: UInt64Array

    def __len__(self) -> int:
        return len(self.starts)


def normalised_words(text: str, language: str) -> Units:
    """Words of `text` in their normalised form (`language`: ISO 639-1 code, "" if unknown)."""
    spans = words(text, language)
    return _units(codepoints(text), spans.starts, spans.ends)


class Folds(NamedTuple):
    """The normalised form of every code point, as kernels read it.

    one: uint32 (0x110000,), the form where it is one code point, 0 where nothing is left, MANY where there are several:
        then they are codes[offsets[c] : offsets[c] + counts[c]].
    marks: bool (0x110000,), what belongs to the letter before it.
    """

    one: CodePoints
    counts: npt.NDArray[np.uint8]
    offsets: Int64Array
    codes: CodePoints
    marks: npt.NDArray[np.bool_]


MANY = np.uint32(0xFFFFFFFF)


@functools.cache
def folds() -> Folds:
    """The table of forms, made once in a process."""
    counts, (offsets, codes), marks = _fold_table()
    one = np.full(_CODE_POINTS, MANY, dtype=np.uint32)
    one[counts == 0] = 0
    single = counts == 1
    one[single] = codes[offsets[single]]
    one[0] = 0  # the control character NUL; nothing is left of it anyway
    return Folds(one, counts, offsets, codes, marks)


@numba.njit(cache=True, inline="always")
def _decode(data: npt.NDArray[np.uint8], i: int) -> tuple[np.uint32, int]:
    """The code point that begins at byte `i` of valid UTF-8, and where the next one does."""
    c = np.uint32(data[i])
    if c < 0x80:
        return c, i + 1
    if c < 0xE0:
        return np.uint32((c & 0x1F) << 6 | (data[i + 1] & 0x3F)), i + 2
    if c < 0xF0:
        return np.uint32((c & 0x0F) << 12 | (np.uint32(data[i + 1]) & 0x3F) << 6 | (data[i + 2] & 0x3F)), i + 3
    high = (c & 0x07) << 18 | (np.uint32(data[i + 1]) & 0x3F) << 12
    return np.uint32(high | (np.uint32(data[i + 2]) & 0x3F) << 6 | (data[i + 3] & 0x3F)), i + 4


@numba.njit(cache=True, inline="always")
def _hash_form(state: np.uint64, length: int, c: int, folds: Folds) -> tuple[np.uint64, int]:
    """State and length of a unit's hash after the normalised form of one more code point."""
    form = folds.one[c]
    if form == MANY:
        for at in range(folds.offsets[c], folds.offsets[c] + folds.counts[c]):
            state = hash_more(state, folds.codes[at])
        return state, length + folds.counts[c]
    if form:
        return hash_more(state, int(form)), length + 1
    return state, length


@numba.njit(cache=True, nogil=True)
def hash_words_of_utf8(data: npt.NDArray[np.uint8], begin: int, end: int, folds: Folds, out: UInt64Array) -> int:
    """`normalised_words(text, language).hashes` of a text in a language that writes spaces, straight from its UTF-8.

    Args:
        data: uint8; the text is data[begin:end], valid UTF-8.
        folds: see `folds()`.
        out: uint64, at least (end - begin) // 2 + 1 long; the hashes are written to its beginning.

    Returns:
        The number of words.
    """
    words = 0
    length = 0
    state = hash_start(0)
    i = begin
    while i < end:
        c, i = _decode(data, i)
        if is_space(int(c)):
            if length:
                out[words] = hash_end(state, length)
                words += 1
                length = 0
                state = hash_start(0)
        else:
            state, length = _hash_form(state, length, int(c), folds)
    if length:
        out[words] = hash_end(state, length)
        words += 1
    return words


@numba.njit(cache=True, nogil=True)
def hash_letters_of_utf8(data: npt.NDArray[np.uint8], begin: int, end: int, folds: Folds, out: UInt64Array) -> int:
    """`normalised_letters(text).hashes`, straight from UTF-8; as `hash_words_of_utf8`, but `out` has end - begin."""
    letters = 0
    length = 0
    state = hash_start(0)
    i = begin
    while i < end:
        c, i = _decode(data, i)
        if folds.marks[c]:
            if length:
                state, length = _hash_form(state, length, int(c), folds)
            continue
        if length:
            out[letters] = hash_end(state, length)
            letters += 1
        state, length = _hash_form(hash_start(0), 0, int(c), folds)
    if length:
        out[letters] = hash_end(state, length)
        letters += 1
    return letters


@numba.njit(cache=True, nogil=True)
def hash_units_of_utf8(
    data: npt.NDArray[np.uint8], offsets: Int64Array, spaced: npt.NDArray[np.bool_], folds: Folds
) -> tuple[UInt64Array, Int64Array]:
    """Hashes of the units of many texts: words where `spaced`, letters elsewhere.

    Args:
        data, offsets: uint8, int64 (n + 1,): text i is data[offsets[i] : offsets[i + 1]], valid UTF-8.
        spaced: bool (n,).
        folds: see `folds()`.

    Returns:
        uint64 (k,), int64 (n + 1,): the hashes of text i are hashes[ends[i] : ends[i + 1]].
    """
    # No text has more units than bytes; pages of it that are never written to cost no memory.
    hashes = np.empty(offsets[-1] - offsets[0] + len(spaced) + 1, dtype=np.uint64)
    ends = np.zeros(len(spaced) + 1, dtype=np.int64)
    for i in range(len(spaced)):
        out = hashes[ends[i] :]
        if spaced[i]:
            found = hash_words_of_utf8(data, offsets[i], offsets[i + 1], folds, out)
        else:
            found = hash_letters_of_utf8(data, offsets[i], offsets[i + 1], folds, out)
        ends[i + 1] = ends[i] + found
    return hashes[: ends[-1]], ends


@numba.njit(cache=True, nogil=True)
def place_units(points: CodePoints, spaced: bool, folds: Folds) -> tuple[Int64Array, Int64Array]:
    """Starts and ends of the words (where `spaced`) or letters of a text, as `Units` has them, without their hashes."""
    starts = np.empty(len(points), dtype=np.int64)
    ends = np.empty(len(points), dtype=np.int64)
    units = 0
    open_unit = False  # with something left after normalisation
    for i in range(len(points)):
        if is_space(points[i]) if spaced else not folds.marks[points[i]]:
            if open_unit:
                ends[units] = i
                units += 1
            open_unit = False
        if open_unit or (not spaced and folds.marks[points[i]]):
            continue
        # Where a word begins: at the first of its code points, though nothing is left of that.
        if not spaced or i == 0 or is_space(points[i - 1]):
            starts[units] = i
        open_unit = folds.counts[points[i]] > 0
    if open_unit:
        ends[units] = len(points)
        units += 1
    return starts[:units].copy(), ends[:units].copy()


def normalised_letters(text: str) -> Units:
    """Letters and digits of `text`, one by one, in their normalised form."""
    points = codepoints(text)
    counts, *_ = _fold_table()
    no_mark = np.flatnonzero(~are_marks(points))
    ends = np.append(no_mark[1:], len(points))
    is_letter = counts[points[no_mark]] > 0
    return _units(points, no_mark[is_letter], ends[is_letter])


def normalised_texts(text: str, language: str | None) -> list[str]:
    """The normalised form of every word of `text`, or, with language None, of every letter.

    Equal to the hashes of `normalised_words` and `normalised_letters`, one by one.
    """
    units = normalised_letters(text) if language is None else normalised_words(text, language)
    folded, at = fold(codepoints(text))
    data = folded.tobytes()
    return [
        data[4 * a : 4 * b].decode("utf-32-le")
        for a, b in zip(at[units.starts].tolist(), at[units.ends].tolist(), strict=True)
    ]


def _units(points: CodePoints, starts: Int64Array, ends: Int64Array) -> Units:
    """The spans that are not empty after normalisation, hashed."""
    folded, at = fold(points)
    begin, end = at[starts], at[ends]
    left = end > begin
    return Units(starts[left], ends[left], hash_spans(folded, begin[left], end[left]))


def fold(points: CodePoints) -> tuple[CodePoints, Int64Array]:
    """The normalised code points, uint32 (m,), and where those of each original one begin, int64 (len(points) + 1,).

    Whitespace is gone like punctuation: words are told apart by their places in the original.
    """
    counts, (offsets, codes), _ = _fold_table()
    folded: tuple[CodePoints, Int64Array] = _fold(points, counts, offsets, codes)
    return folded


@numba.njit(cache=True, nogil=True)
def _fold(
    points: CodePoints, counts: npt.NDArray[np.uint8], offsets: Int64Array, codes: CodePoints
) -> tuple[CodePoints, Int64Array]:
    at = np.empty(len(points) + 1, dtype=np.int64)
    end = 0
    for i in range(len(points)):
        at[i] = end
        end += counts[points[i]]
    at[len(points)] = end
    folded = np.empty(end, dtype=np.uint32)
    for i in range(len(points)):
        for j in range(at[i + 1] - at[i]):
            folded[at[i] + j] = codes[offsets[points[i]] + j]
    return folded, at


def are_marks(points: CodePoints) -> npt.NDArray[np.bool_]:
    """Which code points are marks, that belong to what stands before them, bool (len(points),)."""
    marks: npt.NDArray[np.bool_] = _fold_table()[2][points]
    return marks


@functools.cache
def _fold_table() -> tuple[npt.NDArray[np.uint8], tuple[Int64Array, CodePoints], npt.NDArray[np.bool_]]:
    """For every code point: length of its normalised form; (where it begins, all forms); whether it is a mark."""
    counts = np.ones(_CODE_POINTS, dtype=np.uint8)
    marks = np.zeros(_CODE_POINTS, dtype=np.bool_)
    forms: dict[int, tuple[int, ...]] = {}
    for plane in _PLANES_WITH_FOLDS:
        for c in plane:
            marks[c] = unicodedata.category(chr(c))[0] == "M"
            form = tuple(ord(d) for d in unicodedata.normalize("NFD", chr(c).lower()) if _stays(d))
            if form != (c,):
                forms[c] = form
                counts[c] = len(form)
    offsets = np.zeros(_CODE_POINTS, dtype=np.int64)
    np.cumsum(counts[:-1], out=offsets[1:])
    codes = np.repeat(np.arange(_CODE_POINTS, dtype=np.uint32), counts)
    for c, form in forms.items():
        codes[offsets[c] : offsets[c] + len(form)] = form
    return counts, (offsets, codes), marks


def _stays(c: str) -> bool:
    category = unicodedata.category(c)
    if category[0] in "PSZ" or category in ("Cc", "Cf"):
        return False
    return not any(first <= ord(c) <= last for first, last in _ACCENTS)
