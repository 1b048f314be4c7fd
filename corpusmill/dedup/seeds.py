"""Minimizers: the seeds by which repeated windows are found without shipping every window.

The minimizer of a window of L units is its k-mer (run of k units) of smallest hash, the first of equal ones (Roberts et
al. 2004; winnowing, Schleimer et al. 2003). Equal windows have their minimizer at the same place inside, so a window
that occurs twice has a minimizer that begins at two places of the corpus. The reverse need not hold: seeds say where to
look, windows are compared by their own keys. Neighbouring windows share minimizers: of n windows about 2n / (L - k + 2)
k-mers are minimizers.
"""

from __future__ import annotations

import numba
import numpy as np

from corpusmill.core.hashing import Int64Array, UInt64Array
from corpusmill.dedup.windows import SEED_SALT, window_hashes


def seed_length(length: int) -> int:
    """Units a seed, for windows of `length` units: a third, 16 of 50, 33 of 100."""
    return max(1, length // 3)


@numba.njit(cache=True, nogil=True)
def _first_minima(hashes: UInt64Array, width: int) -> Int64Array:
    """Position of the smallest of hashes[i : i + width], the first of equal ones, for every i; int64."""
    count = max(len(hashes) - width + 1, 0)
    out = np.empty(count, dtype=np.int64)
    waiting = np.empty(len(hashes), dtype=np.int64)  # positions of ascending hashes: candidates for coming windows
    head, tail = 0, 0
    for i in range(len(hashes)):
        while tail > head and hashes[waiting[tail - 1]] > hashes[i]:
            tail -= 1
        waiting[tail] = i
        tail += 1
        start = i - width + 1
        if start >= 0:
            if waiting[head] < start:
                head += 1
            out[start] = waiting[head]
    return out


def minimizers(units: UInt64Array, length: int, salt: int) -> tuple[UInt64Array, Int64Array]:
    """Seeds of the windows units[i : i + length].

    Args:
        units: uint64 (n,), hashes of the units.
        length: units a window, at least 1.
        salt: seeds of different salts do not meet.

    Returns:
        Hashes of all seeds of the text, uint64 (n - k + 1,); the number of the minimizer of every window, int64
        (n - length + 1,), ascending.
    """
    k = seed_length(length)
    hashes = window_hashes(units, k, SEED_SALT + salt)
    return hashes, _first_minima(hashes, length - k + 1)
