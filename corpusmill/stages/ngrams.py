"""Kernels for repeated n-grams and repeated items over hashes and lengths; no strings are made.

Only an n-gram whose two (n-1)-grams both occur more than once can occur more than once itself, so every n looks at the
positions that the one before left over: in running text a few in a hundred. A pair of words is known by a 64-bit hash
of its words' hashes in order, so "a bc" and "ab c" are different; longer n-grams by the pair of their parts. Two
n-grams of one document that differ are taken for one with a chance of about k^2 / 2^65 (k words: 10^-13 for 2,000).
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from corpusmill.core.hashing import Int64Array, UInt64Array, mix64

# How repeated n-grams are counted; see `ngram_characters`.
COPIES, ALL_OCCURRENCES, FIRST_TOP = 0, 1, 2

_FIRST_SIZE, _FIRST_DUPLICATE_SIZE, _LAST_SIZE = 2, 5, 10  # top n-grams: 2, 3, 4; duplicate n-grams: 5..10
_STEP = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: makes the hash of a gram depend on the order of its words
_BASE = np.uint64(0xD1342543DE82EF95)  # of the polynomial hash of joined words: odd
_PROBE = 16  # characters: most n-grams of five words have more


@numba.njit(cache=True, inline="always")
def _table_size(items: int) -> int:
    size = 16
    while size < 2 * items:
        size *= 2
    return size


@numba.njit(cache=True, nogil=True)
def _not_alone(hashes: UInt64Array, at: npt.NDArray[np.int32]) -> int:
    """Writes the positions of all hashes that occur twice or more, and of a few others, into `at`: how many, ascending.

    By their lowest bits alone and without branches, which nobody could foresee: the few others are looked at again.
    """
    size = _table_size(16 * len(hashes))
    mask = np.uint64(size - 1)
    times = np.zeros(size, dtype=np.uint8)  # a bit for each time
    for hashed in hashes:
        slot = hashed & mask
        times[slot] = times[slot] << 1 | 1
    found = 0
    for i in range(len(hashes)):
        at[found] = i
        found += times[hashes[i] & mask] != 1
    return found


@numba.njit(cache=True, nogil=True)
def ngram_characters(hashes: UInt64Array, lengths: Int64Array, reading: int = COPIES) -> Int64Array:
    """Characters that repeated n-grams cover, for n = 2..10.

    reading:
        COPIES: every character counts once, however n-grams overlap. n = 2, 3, 4: characters inside the occurrences of
            the most frequent n-gram, 0 if none occurs twice; of several equally frequent ones, that which covers the
            most. n = 5..10: characters inside n-grams that occurred before (the first occurrence is not counted).
        ALL_OCCURRENCES: n = 2, 3, 4: occurrences of the most frequent n-gram times its characters, 0 if none occurs
            twice; of several equally frequent ones, the longest. n = 5..10: characters inside n-grams that occur at
            least twice, the first occurrence too, every character once.
        FIRST_TOP: n = 2, 3, 4: occurrences of the most frequent n-gram times its characters with one more between two
            words, even if it occurs once; of several equally frequent ones, the first. n = 5..10: 0.

    Args:
        hashes: uint64 (k,), one a word.
        lengths: int64 (k,), code points of each word.

    Returns:
        int64 (9,), code points, entry i for n = i + 2.
    """
    num_words = len(hashes)
    covered = np.zeros(_LAST_SIZE - _FIRST_SIZE + 1, dtype=np.int64)
    last_size = min(num_words, _LAST_SIZE if reading != FIRST_TOP else _FIRST_DUPLICATE_SIZE - 1)
    if last_size < _FIRST_SIZE:
        return covered
    before = np.zeros(num_words + 1, dtype=np.int64)  # characters in the words before word i
    for i in range(num_words):
        before[i + 1] = before[i] + lengths[i]
    if reading == FIRST_TOP:
        for n in range(_FIRST_SIZE, last_size + 1):
            covered[n - _FIRST_SIZE] = before[n] + n - 1

    slots = np.empty(2 * _table_size(num_words), dtype=np.int32)  # open addressing: index of the n-gram in `at`, or -1
    first = np.full(num_words + 1, -1, dtype=np.int32)  # first occurrence of the n-gram at i; -1: occurs once, or none
    count = np.empty(num_words, dtype=np.int32)  # by first occurrence
    inside = np.empty(num_words, dtype=np.int64)  # characters covered, by first occurrence
    end = np.empty(num_words, dtype=np.int32)  # word after the last occurrence, by first occurrence
    at = np.empty(num_words, dtype=np.int32)  # positions of n-grams that may occur twice, ascending
    grams = np.empty(num_words, dtype=np.uint64)  # the n-grams at these positions
    pairs = np.empty(num_words - 1, dtype=np.uint64)
    for i in range(num_words - 1):
        pairs[i] = mix64((hashes[i] + _STEP) ^ hashes[i + 1])
    num_open = _not_alone(pairs, at)
    for j in range(num_open):
        grams[j] = pairs[at[j]]

    for n in range(_FIRST_SIZE, last_size + 1):
        if n > _FIRST_SIZE:
            still = 0
            for j in range(num_open):
                i = at[j]
                if first[i + 1] >= 0:
                    at[still] = i
                    grams[still] = (np.uint64(first[i]) << np.uint64(32)) | np.uint64(first[i + 1])
                    still += 1
                else:
                    first[i] = -1
            num_open = still
        size = 2 * _table_size(num_open)
        mask = np.uint64(size - 1)
        slots[:size] = -1
        for j in range(num_open):
            i, gram = at[j], grams[j]
            slot = (gram if n == _FIRST_SIZE else mix64(gram)) & mask
            while slots[slot] >= 0 and grams[slots[slot]] != gram:
                slot = (slot + np.uint64(1)) & mask
            if slots[slot] < 0:
                slots[slot] = j
                first[i] = i
                count[i] = 1
            else:
                f = at[slots[slot]]
                first[i] = f
                count[f] += 1
        still = 0
        for j in range(num_open):
            i = at[j]
            if count[first[i]] > 1:
                at[still] = i
                still += 1
            else:
                first[i] = -1
        num_open = still
        if num_open == 0:
            break
        if n < _FIRST_DUPLICATE_SIZE:
            covered[n - _FIRST_SIZE] = _top(n, at[:num_open], first, count, inside, end, before, reading)
        else:
            frontier = 0  # word after the last one that a counted n-gram covers
            for j in range(num_open):
                i = at[j]
                if reading == ALL_OCCURRENCES or first[i] != i:
                    covered[n - _FIRST_SIZE] += before[i + n] - before[max(i, frontier)]
                    frontier = i + n
    return covered


@numba.njit(cache=True, nogil=True)
def _top(
    n: int,
    at: npt.NDArray[np.int32],
    first: npt.NDArray[np.int32],
    count: npt.NDArray[np.int32],
    inside: Int64Array,
    end: npt.NDArray[np.int32],
    before: Int64Array,
    reading: int,
) -> int:
    """Characters of the most frequent n-gram; `at`: where the n-grams are that occur twice or more."""
    for i in at:
        f = first[i]
        if i == f:
            inside[f] = before[i + n] - before[i]
        elif reading == COPIES:
            inside[f] += before[i + n] - before[max(i, end[f])]
        end[f] = i + n
    most = 1
    characters = 0
    for f in at:
        if first[f] == f and (
            count[f] > most or (count[f] == most and reading != FIRST_TOP and inside[f] > characters)
        ):
            most = count[f]
            characters = inside[f]
        # equally frequent ones come in the order of their first occurrence: the first stays
    if reading == COPIES:
        return characters
    return most * (characters + (n - 1 if reading == FIRST_TOP else 0))


@numba.njit(cache=True, nogil=True)
def greedy_ngram_characters(
    points: npt.NDArray[np.uint32], starts: Int64Array, ends: Int64Array, smallest: int, largest: int
) -> Int64Array:
    """Characters in n-grams that a greedy scan finds to be copies, for n = smallest..largest.

    The scan goes from word to word; at an n-gram it has met before it counts its characters and goes n words on.
    N-grams are compared as their words joined by nothing: "a bc" is "ab c".

    Args:
        points: uint32 (n,), UTF-32 of the text.
        starts, ends: int64 (k,), the words.
        smallest, largest: 2..255.

    Returns:
        int64 (largest - smallest + 1,), code points.
    """
    num_words = len(starts)
    covered = np.zeros(largest - smallest + 1, dtype=np.int64)
    before = np.zeros(num_words + 1, dtype=np.int64)  # characters in the words before word i
    longest = _PROBE  # characters of the longest n-gram
    for i in range(num_words):
        before[i + 1] = before[i] + ends[i] - starts[i]
        longest = max(longest, before[i + 1] - before[max(0, i + 1 - largest)])
    num_characters = before[num_words]
    joined = np.empty(num_characters + 1, dtype=np.uint64)  # polynomial hashes of the first characters of all words
    state = np.uint64(0)
    joined[0] = state
    num_joined = 0
    for i in range(num_words):
        for j in range(starts[i], ends[i]):
            state = state * _BASE + np.uint64(points[j])
            num_joined += 1
            joined[num_joined] = state
    powers = np.empty(longest + 1, dtype=np.uint64)
    powers[0] = 1
    for i in range(longest):
        powers[i + 1] = powers[i] * _BASE

    # A word with other next characters than any other word begins no repeated n-gram of so many characters or more.
    num_probes = 0
    while num_probes < num_words and before[num_probes] + _PROBE <= num_characters:
        num_probes += 1
    probes = np.empty(num_probes, dtype=np.uint64)
    for i in range(num_probes):
        probes[i] = mix64(joined[before[i] + _PROBE] - joined[before[i]] * powers[_PROBE])
    at = np.empty(num_words, dtype=np.int32)  # where n-grams begin that may occur twice
    looked_to = np.full(num_words, _PROBE, dtype=np.int32)  # only n-grams of fewer characters may occur twice
    for i in at[: _not_alone(probes, at)]:
        looked_to[i] = num_characters + 1
    num_open = 0
    for i in range(num_words - smallest + 1):
        at[num_open] = i
        num_open += before[i + smallest] - before[i] < looked_to[i]
    size = _table_size(num_open)
    mask = np.uint64(size - 1)
    sizes = np.zeros(size, dtype=np.uint8)  # n of the n-gram in a slot: those of smaller n are as good as none
    keys = np.empty(size, dtype=np.uint64)
    for n in range(smallest, min(largest, num_words) + 1):
        next_word = 0
        still = 0
        for j in range(num_open):
            i = at[j]
            if i > num_words - n:
                break
            characters = before[i + n] - before[i]
            at[still] = i
            still += characters < looked_to[i]
            if i < next_word or characters >= looked_to[i]:
                continue
            gram = mix64(joined[before[i + n]] - joined[before[i]] * powers[characters] + np.uint64(characters) * _STEP)
            slot = gram & mask
            while sizes[slot] == n and keys[slot] != gram:
                slot = (slot + np.uint64(1)) & mask
            if sizes[slot] == n:
                covered[n - smallest] += characters
                next_word = i + n
            else:
                sizes[slot], keys[slot] = n, gram
        num_open = still
    return covered


@numba.njit(cache=True, nogil=True)
def duplicates(hashes: UInt64Array, lengths: Int64Array, reading: int = COPIES) -> tuple[int, int]:
    """Items (lines, paragraphs) that are repeated: how many, and their characters.

    reading: COPIES: those that are copies of an earlier one; ALL_OCCURRENCES: those that occur twice or more.

    Args:
        hashes: uint64 (k,), one an item.
        lengths: int64 (k,), code points of each item.
    """
    size = _table_size(len(hashes))
    mask = np.uint64(size - 1)
    slots = np.full(size, -1, dtype=np.int32)
    repeated = np.zeros(len(hashes), dtype=np.bool_)  # by first occurrence
    items = 0
    characters = 0
    for i in range(len(hashes)):
        slot = hashes[i] & mask
        while slots[slot] >= 0 and hashes[slots[slot]] != hashes[i]:
            slot = (slot + np.uint64(1)) & mask
        first = slots[slot]
        if first < 0:
            slots[slot] = i
            continue
        if reading == ALL_OCCURRENCES and not repeated[first]:
            repeated[first] = True
            items += 1
            characters += lengths[first]
        items += 1
        characters += lengths[i]
    return items, characters


@numba.njit(cache=True, nogil=True)
def shared(hashes: UInt64Array) -> npt.NDArray[np.bool_]:
    """Which hashes (uint64 (k,)) occur twice or more, bool (k,)."""
    size = _table_size(len(hashes))
    mask = np.uint64(size - 1)
    slots = np.full(size, -1, dtype=np.int32)
    found = np.zeros(len(hashes), dtype=np.bool_)
    for i in range(len(hashes)):
        slot = hashes[i] & mask
        while slots[slot] >= 0 and hashes[slots[slot]] != hashes[i]:
            slot = (slot + np.uint64(1)) & mask
        if slots[slot] < 0:
            slots[slot] = i
        else:
            found[i] = found[slots[slot]] = True
    return found
