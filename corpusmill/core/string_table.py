"""A few strings as a hash table that kernels look code points up in: stop words, special cases, units."""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
import numpy.typing as npt

from corpusmill.core.hashing import Int64Array, UInt64Array, hash_end, hash_more, hash_spans, hash_start


class StringTable:
    """Strings and their numbers, 0-based in the order given; of equal ones the last counts.

    keys, numbers: open addressing by the lowest bits of the hash: uint64 (m,) hashes as of `hash_spans` and int32 (m,)
        numbers of the strings, -1 where a slot is empty; m is a power of two.
    longest: code points of the longest string.
    """

    def __init__(self, strings: Sequence[str]) -> None:
        points = np.frombuffer("".join(strings).encode("utf-32-le", "surrogatepass"), dtype="<u4")
        ends: Int64Array = np.cumsum([0, *map(len, strings)], dtype=np.int64)
        size = 2
        while size < 4 * len(strings):
            size *= 2
        self.keys: UInt64Array = np.zeros(size, dtype=np.uint64)
        self.numbers: npt.NDArray[np.int32] = np.full(size, -1, dtype=np.int32)
        for number, hashed in enumerate(hash_spans(points, ends[:-1], ends[1:], 0).tolist()):
            slot = hashed % size
            while self.numbers[slot] >= 0 and self.keys[slot] != hashed:
                slot = (slot + 1) % size
            self.keys[slot], self.numbers[slot] = hashed, number
        self.longest = max(map(len, strings), default=0)


@numba.njit(cache=True, inline="always")
def find_hashed(keys: UInt64Array, numbers: npt.NDArray[np.int32], hashed: np.uint64) -> int:
    """Number of the string of a StringTable that has this hash, -1 if none has."""
    mask = np.uint64(len(keys) - 1)
    slot = hashed & mask
    while numbers[slot] >= 0 and keys[slot] != hashed:
        slot = (slot + np.uint64(1)) & mask
    return int(numbers[slot])


@numba.njit(cache=True, inline="always")
def find(
    keys: UInt64Array,
    numbers: npt.NDArray[np.int32],
    longest: int,
    points: npt.NDArray[np.uint32],
    start: int,
    end: int,
) -> int:
    """Number of the string of a StringTable that points[start:end] is, -1 if it is none."""
    if end - start > longest:
        return -1
    state = hash_start(0)
    for i in range(start, end):
        state = hash_more(state, points[i])
    return find_hashed(keys, numbers, hash_end(state, end - start))
