"""Kernels over code points for texts without spaces: character n-grams, sentences, words of a list."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from corpusmill.core.hashing import Int64Array, UInt64Array, hash_end, hash_more, hash_start, mix64
from corpusmill.core.words import CodePoints

FIRST_SIZE, LAST_SIZE = 2, 10
_FIRST_DUPLICATE_SIZE = 5  # of sizes 2, 3, 4 the most frequent n-gram is asked for, of 5..10 the repeated ones
_POINT_BITS = np.uint64(21)

_LINE_FEED = 0x0A


@numba.njit(cache=True, nogil=True)
def ngram_fractions(points: CodePoints) -> npt.NDArray[np.float64]:
    """How far character n-grams repeat, float64 (9,), entry i for n = i + 2, each 0..1; 0 for texts below n characters.

    n = 2, 3, 4: occurrences of the most frequent n-gram, of all occurrences.
    n = 5..10: different n-grams that occur at least twice, of all different ones.

    Exact: an n-gram is known by the number of the (n-1)-gram that it begins with and its last code point. Only places
    whose (n-1)-gram repeats are looked at: the others are unique at n too.
    """
    num_points = len(points)
    fractions = np.zeros(LAST_SIZE - FIRST_SIZE + 1, dtype=np.float64)
    table_size = 16
    while table_size < 2 * num_points:
        table_size *= 2
    table = np.empty(table_size, dtype=np.int64)  # open addressing: number of the n-gram in this slot, or -1
    keys = np.empty(num_points, dtype=np.uint64)  # by number of an n-gram
    count = np.empty(num_points, dtype=np.int64)
    places = np.arange(num_points)  # where repeated (n-1)-grams begin
    numbers = np.empty(num_points, dtype=np.int64)  # by index in `places`: the (n-1)-gram, afterwards the n-gram
    for i in range(num_points):
        numbers[i] = points[i]
    num_places = num_points

    for n in range(FIRST_SIZE, min(LAST_SIZE, num_points) + 1):
        size = table_size
        while size > 4 * num_places and size > 16:
            size //= 2
        mask = np.uint64(size - 1)
        table[:size] = -1
        num_grams = 0
        most = 1
        num_valid = 0  # places from which n characters follow
        for i in range(num_places):
            place = places[i]
            if place + n > num_points:
                break  # places ascend
            key = (np.uint64(numbers[i]) << _POINT_BITS) | np.uint64(points[place + n - 1])
            slot = mix64(key) & mask
            while table[slot] >= 0 and keys[table[slot]] != key:
                slot = (slot + np.uint64(1)) & mask
            gram = table[slot]
            if gram < 0:
                gram = num_grams
                table[slot] = gram
                keys[gram] = key
                count[gram] = 0
                num_grams += 1
            count[gram] += 1
            most = max(most, count[gram])
            numbers[i] = gram
            num_valid += 1
        occurrences = num_points - n + 1
        if n < _FIRST_DUPLICATE_SIZE:
            fractions[n - FIRST_SIZE] = most / occurrences
        else:
            repeated = 0
            for gram in range(num_grams):
                repeated += count[gram] > 1
            fractions[n - FIRST_SIZE] = repeated / (occurrences - num_valid + num_grams)
        num_places = 0
        for i in range(num_valid):
            if count[numbers[i]] > 1:
                places[num_places] = places[i]
                numbers[num_places] = numbers[i]
                num_places += 1
    return fractions


@numba.njit(cache=True, inline="always")
def _ends_sentence(c: int) -> bool:
    return c == 0x3002 or c == 0xFF0E or c == 0xFF01 or c == 0xFF1F or c == 0x21 or c == 0x3F  # 。．！？!?


@numba.njit(cache=True, nogil=True)
def sentences(points: CodePoints, is_space: npt.NDArray[np.bool_]) -> tuple[Int64Array, Int64Array]:
    """Starts and ends (exclusive) of sentences: at least one character that ends none, up to the first of 。．！？!?.

    That character belongs to the sentence; a line feed ends one too and belongs to none. Further characters of the kind
    ("！！") belong to no sentence. Blanks around a sentence are kept, those that are nothing else are left out.

    is_space: bool (n,), which of `points` are blanks.
    """
    starts = np.empty(len(points) // 2 + 1, dtype=np.int64)
    ends = np.empty(len(points) // 2 + 1, dtype=np.int64)
    k = 0
    start = -1
    blank = True
    for i in range(len(points) + 1):
        at_end = i == len(points)
        closed = not at_end and _ends_sentence(points[i])
        if at_end or closed or points[i] == _LINE_FEED:
            if start >= 0 and not blank:
                starts[k] = start
                ends[k] = i + closed
                k += 1
            start = -1
            blank = True
        else:
            if start < 0:
                start = i
            blank = blank and is_space[i]
    return starts[:k].copy(), ends[:k].copy()


@numba.njit(cache=True, nogil=True)
def lines_of_sentences(points: CodePoints, starts: Int64Array, ends: Int64Array) -> tuple[UInt64Array, Int64Array]:
    """Hashes and lengths of the lines that hold sentences, each its sentences put together: uint64 (k,), int64 (k,).

    starts, ends: from `sentences`.
    """
    hashes = np.empty(len(starts), dtype=np.uint64)
    lengths = np.empty(len(starts), dtype=np.int64)
    k = -1
    at = 0
    state = hash_start(0)
    for i in range(len(starts)):
        new_line = i == 0
        for j in range(at, starts[i]):
            new_line = new_line or points[j] == _LINE_FEED
        at = ends[i]
        if new_line:
            if k >= 0:
                hashes[k] = hash_end(state, lengths[k])
            k += 1
            lengths[k] = 0
            state = hash_start(0)
        for j in range(starts[i], ends[i]):
            state = hash_more(state, points[j])
        lengths[k] += ends[i] - starts[i]
    if k >= 0:
        hashes[k] = hash_end(state, lengths[k])
    return hashes[: k + 1].copy(), lengths[: k + 1].copy()


@numba.njit(cache=True, nogil=True)
def listed_characters(points: CodePoints, listed: UInt64Array, first: CodePoints, longest: int) -> int:
    """Characters inside words of a list, which are looked for from the left, the longest first, not overlapping.

    Args:
        points: uint32 (n,).
        listed: hashes (`hash_spans`) of the words, ascending.
        first: their first code points, ascending.
        longest: code points of the longest word.
    """
    found = 0
    i = 0
    while i < len(points):
        match = 0
        at = np.searchsorted(first, points[i])
        if at < len(first) and first[at] == points[i]:
            state = hash_start(0)
            for length in range(1, min(longest, len(points) - i) + 1):
                state = hash_more(state, points[i + length - 1])
                key = hash_end(state, length)
                slot = np.searchsorted(listed, key)
                if slot < len(listed) and listed[slot] == key:
                    match = length
        found += match
        i += max(1, match)
    return found


@numba.njit(cache=True, nogil=True)
def japanese_letters(points: CodePoints) -> Int64Array:
    """How many code points are hiragana, katakana, Han, commas (、，) and full stops (。．！？), int64 (5,)."""
    counts = np.zeros(5, dtype=np.int64)
    for c in points:
        if 0x3041 <= c <= 0x3096:
            counts[0] += 1
        elif 0x30A1 <= c <= 0x30FA:
            counts[1] += 1
        elif (
            (0x3400 <= c <= 0x9FFF)
            or (0xF900 <= c <= 0xFAFF)
            or c == 0x3005  # 々
            or c == 0x3007  # 〇
            or c == 0x303B  # 〻
            or (0x20000 <= c <= 0x2FFFF)
        ):
            counts[2] += 1
        elif c == 0x3001 or c == 0xFF0C:
            counts[3] += 1
        elif c == 0x3002 or c == 0xFF0E or c == 0xFF01 or c == 0xFF1F:
            counts[4] += 1
    return counts


@numba.njit(cache=True, nogil=True)
def with_ellipsis(points: CodePoints, is_space: npt.NDArray[np.bool_], starts: Int64Array, ends: Int64Array) -> int:
    """How many of the spans [starts[i], ends[i]) end with … or ・, blanks aside."""
    found = 0
    for i in range(len(starts)):
        last = ends[i] - 1
        while last >= starts[i] and is_space[last]:
            last -= 1
        found += last >= starts[i] and (points[last] == 0x2026 or points[last] == 0x30FB)
    return found
