"""An exact index of the n-grams of evaluation texts, and the look-up of a document's n-grams in it.

Units. A text is a sequence of units: words (runs between whitespace) of scripts that write spaces, single letters of
those that do not (kana, Han, Thai ...), both in the normalised form of core/normalise.py: lower case, no accents,
punctuation or symbols. Units come from the script, not from a language label, so that the same passage has the same
units in an evaluation file and in a page that is taken for another language.

N-grams. A window begins at a unit and ends where it holds n words, or `characters` letters, or a mixture that is as
much: every word counts 1/n, every letter 1/characters, and the window ends when the sum reaches 1. What a window is
depends on nothing but the units in it. An item too short for one window is a window as a whole.

Exactness. A window of a document is found by a 64-bit hash and then compared code point by code point with the item:
there are no false hits, and equal windows have equal hashes, so none is missed.

Memory. For a unit of the items 36 bytes and 4 a normalised character, for an n-gram 18 to 36: about 90 bytes an n-gram
where items have 60 words (bench/privacy_and_contamination.py).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from corpusmill.core import normalise
from corpusmill.core.characters import SPACE, Classes
from corpusmill.core.hashing import Int64Array, UInt64Array, hash_end, hash_more, hash_start, mix64
from corpusmill.core.text import Text
from corpusmill.core.words import UNSPACED_SCRIPTS, CodePoints

Int32Array = npt.NDArray[np.int32]
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that its powers never vanish mod 2^64
_TAG = np.uint64(0xFFFFFFFF00000000)
_ENTRY = np.uint64(0xFFFFFFFF)


_Index = int | np.int64
# A table of windows: entries, next equal windows, filter, ends of the windows (all of _table).
_Windows = tuple[UInt64Array, Int32Array, npt.NDArray[np.uint8], Int64Array]


class Units(NamedTuple):
    """The k units of a text.

    starts, ends: int64 (k,), code points of the text, 0-based, ends exclusive, ascending, disjoint.
    points: uint32, the normalised code points of all units one after another.
    at: int64 (k + 1,), where those of unit i begin in `points`.
    letters: bool (k,), whether the unit is a letter of a script without spaces.
    """

    starts: Int64Array
    ends: Int64Array
    points: CodePoints
    at: Int64Array
    letters: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.starts)


def units(text: Text) -> Units:
    """The units of `text`."""
    folded, at = normalise.fold(text.points)
    return Units(*_units(text.classes, _unspaced()[text.points], normalise.are_marks(text.points), folded, at))


@functools.cache
def _unspaced() -> npt.NDArray[np.bool_]:
    table = np.zeros(0x110000, dtype=np.bool_)
    for match in re.finditer(f"[{UNSPACED_SCRIPTS}]+", "".join(map(chr, range(0x40000)))):
        table[match.start() : match.end()] = True
    return table


@numba.njit(cache=True, nogil=True)
def _units(
    classes: Classes,
    unspaced: npt.NDArray[np.bool_],
    marks: npt.NDArray[np.bool_],
    folded: CodePoints,
    at: Int64Array,
) -> tuple[Int64Array, Int64Array, CodePoints, Int64Array, npt.NDArray[np.bool_]]:
    n = len(classes)
    starts, ends, begins = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n + 1, np.int64)
    letters = np.empty(n, np.bool_)
    k = 0
    inside = False  # of a word, to which the next letter would belong
    for i in range(n):
        if classes[i] & SPACE:
            inside = False
        if at[i + 1] == at[i]:
            continue  # nothing left of it
        if k > 0 and marks[i] and ends[k - 1] == i:
            ends[k - 1] = i + 1  # a mark belongs to what stands before it
        elif unspaced[i]:
            starts[k], ends[k], begins[k], letters[k] = i, i + 1, at[i], True
            k += 1
            inside = False
        elif inside:
            ends[k - 1] = i + 1
        else:
            starts[k], ends[k], begins[k], letters[k] = i, i + 1, at[i], False
            k += 1
            inside = True
    begins[k] = at[n]
    return starts[:k].copy(), ends[:k].copy(), folded, begins[: k + 1].copy(), letters[:k].copy()


class Hits(NamedTuple):
    """The h windows of a document that stand in the index, in order of their starts.

    starts, ends: int64 (h,), units of the document, ends exclusive.
    found: int64 (h,), unit of the index where an equal window begins: the first one for n-grams, any for short items.
    """

    starts: Int64Array
    ends: Int64Array
    found: Int64Array

    def __len__(self) -> int:
        return len(self.starts)


class EvaluationIndex:
    """The windows of all items. Built once from their texts; immutable afterwards.

    Args:
        texts: the items.
        ngram, characters: words, or letters of scripts without spaces, in a window.
        min_words: items shorter than a window are windows if they hold as much as so many words; at most `ngram`.
        max_items: n-grams that occur in more items are left out; None: none is.
    """

    def __init__(
        self, texts: Iterable[Text], *, ngram: int, characters: int, min_words: int, max_items: int | None = None
    ) -> None:
        self._weights = characters, ngram  # of a word, of a letter: a window is full at their product
        self._full, self._least = ngram * characters, min_words * characters
        self._powers = _powers(max(ngram, characters) + 1)
        parts = [units(text) for text in texts]
        counts = np.array([len(part) for part in parts], dtype=np.int64)
        self._first = np.concatenate([[0], np.cumsum(counts)])  # the unit where item i begins
        self._item = np.repeat(np.arange(len(parts), dtype=np.int32), counts)
        begins = np.cumsum([0, *(len(part.points) for part in parts)])
        ats = [part.at[:-1] + begin for part, begin in zip(parts, begins[:-1], strict=True)]
        self._at = np.concatenate([*ats, begins[-1:]]).astype(np.int64)
        self._points = np.concatenate([np.empty(0, np.uint32), *(part.points for part in parts)])
        letters = np.concatenate([np.empty(0, np.bool_), *(part.letters for part in parts)])
        self._ends = _window_ends(letters, self._first, *self._weights, self._full)
        self._heads = self._of_short_items(_window_ends(letters, self._first, *self._weights, self._least))
        prefix = _prefix_hashes(self._points, self._at)
        self._grams = _table(prefix, self._ends, self._points, self._at, self._powers)
        self._shorts = _table(prefix, self._heads, self._points, self._at, self._powers)
        if max_items is not None:
            _leave_out(self._grams[0], self._grams[1], self._ends, self._item, max_items)

    def _of_short_items(self, ends: Int64Array) -> Int64Array:
        """`ends` of the windows at the starts of items that are too short for an n-gram; -1 everywhere else."""
        starts = self._first[:-1][np.diff(self._first) > 0]
        starts = starts[self._ends[starts] < 0]
        of_short = np.full_like(ends, -1)
        of_short[starts] = ends[starts]
        return of_short

    @property
    def nbytes(self) -> int:
        """Bytes of the index."""
        arrays = [self._first, self._item, self._at, self._points, self._ends, self._heads, *self._grams, *self._shorts]
        return sum(array.nbytes for array in arrays)

    def hits(self, of: Units) -> Hits:
        """The windows of a document that stand in the index."""
        whole = np.array([0, len(of)], dtype=np.int64)
        return Hits(
            *_look_up(
                (of.points, of.at),
                _prefix_hashes(of.points, of.at),
                _window_ends(of.letters, whole, *self._weights, self._full),
                _window_ends(of.letters, whole, *self._weights, self._least),
                (self._points, self._at),
                (*self._grams, self._ends),
                (*self._shorts, self._heads),
                self._first[1:],
                self._item,
                self._powers,
            )
        )

    def items(self, found: int, limit: int) -> list[int]:
        """Numbers of the items that hold the n-gram at unit `found`, or the short item there; at most `limit`."""
        numbers: list[int] = []
        while found >= 0 and len(numbers) < limit:
            if not numbers or numbers[-1] != self._item[found]:
                numbers.append(int(self._item[found]))
            found = int(self._grams[1][found]) if self._ends[found] >= 0 else -1
        return numbers


def _powers(number: int) -> UInt64Array:
    """base^0 ... base^(number - 1) mod 2^64."""
    return np.cumprod(np.concatenate([np.ones(1, np.uint64), np.full(number - 1, _BASE)]), dtype=np.uint64)


@numba.njit(cache=True, nogil=True)
def _window_ends(letters: npt.NDArray[np.bool_], first: Int64Array, word: int, letter: int, limit: int) -> Int64Array:
    """Where the window that begins at each unit ends (exclusive), -1 where its item ends before it is full.

    Args:
        letters: bool (k,), of all items one after another.
        first: int64 (items + 1,), unit where each item begins.
        word, letter: weights of the units.
        limit: the weight of a full window.
    """
    ends = np.full(len(letters), -1, dtype=np.int64)
    for i in range(len(first) - 1):
        end, weight = first[i], 0
        for u in range(first[i], first[i + 1]):
            while weight < limit and end < first[i + 1]:
                weight += letter if letters[end] else word
                end += 1
            if weight < limit:
                break
            ends[u] = end
            weight -= letter if letters[u] else word
    return ends


@numba.njit(cache=True, nogil=True)
def _prefix_hashes(points: CodePoints, at: Int64Array) -> UInt64Array:
    """Polynomial hashes of the first 0, 1, ... k units, uint64 (k + 1,), from which those of all windows follow."""
    k = len(at) - 1
    prefix = np.zeros(k + 1, dtype=np.uint64)
    for i in range(k):
        state = hash_start(0)
        for j in range(at[i], at[i + 1]):
            state = hash_more(state, points[j])
        prefix[i + 1] = prefix[i] * _BASE + hash_end(state, at[i + 1] - at[i])
    return prefix


@numba.njit(cache=True, inline="always")
def _window_hash(prefix: UInt64Array, powers: UInt64Array, start: int, end: int) -> np.uint64:
    return mix64(prefix[end] - prefix[start] * powers[end - start])


@numba.njit(cache=True, nogil=True)
def _same(
    points: CodePoints,
    at: Int64Array,
    start: _Index,
    end: _Index,
    others: CodePoints,
    other_at: Int64Array,
    u: _Index,
    v: _Index,
) -> bool:
    """Whether units [start, end) of one text are units [u, v) of the other."""
    if end - start != v - u or at[end] - at[start] != other_at[v] - other_at[u]:
        return False
    for i in range(end - start):
        if at[start + i] - at[start] != other_at[u + i] - other_at[u]:
            return False
    length = at[end] - at[start]
    return np.array_equal(points[at[start] : at[start] + length], others[other_at[u] : other_at[u] + length])


@numba.njit(cache=True, nogil=True)
def _table(
    prefix: UInt64Array, ends: Int64Array, points: CodePoints, at: Int64Array, powers: UInt64Array
) -> tuple[UInt64Array, Int32Array, npt.NDArray[np.uint8]]:
    """The windows [u, ends[u]) by hash: open addressing, a filter, and the next unit where an equal window begins.

    An entry is 32 bits of the hash above u + 1; 0 is an empty slot. Of equal windows the first is in the table. The
    filter has 8 bits for every slot, one set for each window: most windows of a document end there, in the cache.
    """
    size = 16
    while size < 2 * np.sum(ends >= 0):
        size *= 2
    table = np.zeros(size, dtype=np.uint64)
    seen = np.zeros(size, dtype=np.uint8)
    following = np.full(len(ends), -1, dtype=np.int32)
    mask = np.uint64(size - 1)
    for u in range(len(ends) - 1, -1, -1):
        if ends[u] < 0:
            continue
        value = _window_hash(prefix, powers, u, ends[u])
        slot = value & mask
        while table[slot] != 0:
            v = np.int64(table[slot] & _ENTRY) - 1
            if (table[slot] ^ value) & _TAG == 0 and _same(points, at, u, ends[u], points, at, v, ends[v]):
                following[u] = v
                break
            slot = (slot + np.uint64(1)) & mask
        table[slot] = (value & _TAG) | np.uint64(u + 1)
        seen[_filter_byte(value) & mask] |= _filter_bit(value)
    return table, following, seen


@numba.njit(cache=True, inline="always")
def _filter_byte(value: np.uint64) -> np.uint64:
    return value >> np.uint64(24)


@numba.njit(cache=True, inline="always")
def _filter_bit(value: np.uint64) -> np.uint8:
    return np.uint8(1) << np.uint8(value >> np.uint64(61))


@numba.njit(cache=True, nogil=True)
def _leave_out(table: UInt64Array, following: Int32Array, ends: Int64Array, item: Int32Array, max_items: int) -> None:
    """Makes windows that occur in more than `max_items` items equal to none."""
    for entry in table:
        first = np.int64(entry & _ENTRY) - 1
        items, u = 0, first
        last = -1
        while u >= 0:
            items += item[u] != last
            last = item[u]
            u = following[u]
        u = first
        while u >= 0 and items > max_items:
            ends[u] = -1
            u = following[u]


@numba.njit(cache=True, nogil=True)
def _find(
    value: np.uint64,
    points: CodePoints,
    at: Int64Array,
    start: _Index,
    end: _Index,
    others: CodePoints,
    other_at: Int64Array,
    table: UInt64Array,
    ends: Int64Array,
) -> np.int64:
    """The first unit of the index where a window equal to [start, end) of the document begins, or -1."""
    mask = np.uint64(len(table) - 1)
    slot = value & mask
    while table[slot] != 0:
        if (table[slot] ^ value) & _TAG == 0:
            u = np.int64(table[slot] & _ENTRY) - 1
            if ends[u] >= 0 and _same(points, at, start, end, others, other_at, u, ends[u]):
                return u
        slot = (slot + np.uint64(1)) & mask
    return np.int64(-1)


@numba.njit(cache=True, nogil=True)
def _look_up(
    document: tuple[CodePoints, Int64Array],
    prefix: UInt64Array,
    ends: Int64Array,
    heads: Int64Array,
    index: tuple[CodePoints, Int64Array],
    grams: _Windows,
    shorts: _Windows,
    item_ends: Int64Array,
    item: Int32Array,
    powers: UInt64Array,
) -> tuple[Int64Array, Int64Array, Int64Array]:
    points, at = document
    others, other_at = index
    gram_table, _, gram_filter, gram_ends = grams
    short_table, next_short, short_filter, short_ends = shorts
    gram_mask, short_mask = np.uint64(len(gram_table) - 1), np.uint64(len(short_table) - 1)
    k = len(ends)
    hits = np.empty((3, 16), dtype=np.int64)
    h = 0
    for i in range(k):
        if ends[i] >= 0:
            value = _window_hash(prefix, powers, i, ends[i])
            if gram_filter[_filter_byte(value) & gram_mask] & _filter_bit(value):
                found = _find(value, points, at, i, ends[i], others, other_at, gram_table, gram_ends)
                if found >= 0:
                    h, hits = _with_hit(hits, h, i, ends[i], found)
        if heads[i] >= 0:
            value = _window_hash(prefix, powers, i, heads[i])
            if short_filter[_filter_byte(value) & short_mask] & _filter_bit(value):
                v = _find(value, points, at, i, heads[i], others, other_at, short_table, short_ends)
                while v >= 0:
                    end = i + item_ends[item[v]] - v
                    if end <= k and _same(points, at, i, end, others, other_at, v, item_ends[item[v]]):
                        h, hits = _with_hit(hits, h, i, end, v)
                    v = np.int64(next_short[v])
    return hits[0, :h].copy(), hits[1, :h].copy(), hits[2, :h].copy()


@numba.njit(cache=True, nogil=True)
def _with_hit(
    hits: npt.NDArray[np.int64], h: int, start: _Index, end: _Index, found: _Index
) -> tuple[int, npt.NDArray[np.int64]]:
    if h == hits.shape[1]:
        longer = np.empty((3, 2 * h), dtype=np.int64)
        longer[:, :h] = hits
        hits = longer
    hits[0, h], hits[1, h], hits[2, h] = start, end, found
    return h + 1, hits
