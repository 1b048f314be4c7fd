"""Kernels for repeated n-grams over word hashes and word lengths; no strings are made.

An n-gram is known by a 64-bit hash of its n word hashes in order, so "a bc" and "ab c" are different. Two n-grams of
one document that differ are taken for one with a chance of about k^2 / 2^65 (k words: 10^-13 for 2,000 words).
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from corpusmill.core.hashing import Int64Array, UInt64Array, mix64

_FIRST_SIZE, _FIRST_DUPLICATE_SIZE, _LAST_SIZE = 2, 5, 10  # top n-grams: 2, 3, 4; duplicate n-grams: 5..10
_STEP = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: makes the hash of a gram depend on the order of its words


@numba.njit(cache=True, nogil=True)
def ngram_characters(hashes: UInt64Array, lengths: Int64Array) -> Int64Array:
    """Characters that repeated n-grams cover, for n = 2..10. Every character counts once, however n-grams overlap.

    n = 2, 3, 4: characters inside the occurrences of the most frequent n-gram, 0 if none occurs twice; of several
    equally frequent ones, that which covers the most characters.
    n = 5..10: characters inside n-grams that occurred before in the document (the first occurrence is not counted).

    Args:
        hashes: uint64 (k,), one a word.
        lengths: int64 (k,), code points of each word.

    Returns:
        int64 (9,), code points, entry i for n = i + 2; each between 0 and lengths.sum().
    """
    num_words = len(hashes)
    covered = np.zeros(_LAST_SIZE - _FIRST_SIZE + 1, dtype=np.int64)
    before = np.zeros(num_words + 1, dtype=np.int64)  # characters in the words before word i
    for i in range(num_words):
        before[i + 1] = before[i] + lengths[i]

    table_size = 16
    while table_size < 2 * num_words:
        table_size *= 2
    mask = np.uint64(table_size - 1)
    table = np.empty(table_size, dtype=np.int64)  # open addressing: where the n-gram of this slot first began, or -1
    grams = hashes.copy()  # grams[i]: hash of the n words from word i on
    count = np.empty(num_words, dtype=np.int64)  # by first occurrence
    inside = np.empty(num_words, dtype=np.int64)  # characters covered, by first occurrence
    end = np.empty(num_words, dtype=np.int64)  # word after the last occurrence, by first occurrence

    for n in range(_FIRST_SIZE, min(_LAST_SIZE, num_words) + 1):
        table[:] = -1
        frontier = 0  # word after the last one that a repeated n-gram covers
        for i in range(num_words - n + 1):
            gram = mix64((grams[i] + _STEP) ^ hashes[i + n - 1])
            grams[i] = gram
            slot = gram & mask
            while table[slot] >= 0 and grams[table[slot]] != gram:
                slot = (slot + np.uint64(1)) & mask
            first = table[slot]
            if first < 0:
                table[slot] = i
                count[i] = 1
                inside[i] = before[i + n] - before[i]
                end[i] = i + n
            elif n < _FIRST_DUPLICATE_SIZE:
                count[first] += 1
                inside[first] += before[i + n] - before[max(i, end[first])]
                end[first] = i + n
            else:
                covered[n - _FIRST_SIZE] += before[i + n] - before[max(i, frontier)]
                frontier = i + n
        if n < _FIRST_DUPLICATE_SIZE:
            covered[n - _FIRST_SIZE] = _most_frequent(table, count, inside)
    return covered


@numba.njit(cache=True, nogil=True)
def _most_frequent(table: Int64Array, count: Int64Array, inside: Int64Array) -> int:
    most = 1
    characters = 0
    for first in table:
        if first < 0 or count[first] < 2:
            continue
        if count[first] > most or (count[first] == most and inside[first] > characters):
            most = count[first]
            characters = inside[first]
    return characters


def duplicates(hashes: UInt64Array, lengths: Int64Array) -> tuple[int, int]:
    """Items (lines, paragraphs) that are copies of an earlier one: how many, and their characters.

    Args:
        hashes: uint64 (k,), one an item.
        lengths: int64 (k,), code points of each item.
    """
    first: npt.NDArray[np.intp] = np.unique(hashes, return_index=True)[1]
    return len(hashes) - len(first), int(lengths.sum() - lengths[first].sum())
