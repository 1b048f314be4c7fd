"""128-bit keys of windows of units, and the ranges that marked windows cover: kernels of exact substring dedup.

A window's key is two polynomial hashes modulo the prime 2^61 - 1, each a difference of two hashes of prefixes (Karp and
Rabin 1987). For two different windows of L units and random bases the chance of equal keys is at most (L / 2^61)^2
(Schwartz-Zippel): 2e-33 at L = 100, so that n = 1e13 windows hold a wrong pair with a chance of at most 1e-7.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from corpusmill.core.hashing import Int64Array, UInt64Array, mix64

PRIME = np.uint64((1 << 61) - 1)
# Any two numbers below 2^61 - 1 would do: the first 61 bits of the fractional parts of sqrt(2) and sqrt(3).
BASE_HIGH = np.uint64(0x6A09E667F3BCC908 >> 3)
BASE_LOW = np.uint64(0xBB67AE8584CAA73B >> 3)


def _upper_half(context: Any, a: Any, b: Any) -> Any:
    """The upper 64 of the 128 bits of a * b, for uint64: one instruction, which numba has no name for."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(argument, wide) for argument in arguments))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), generate


_multiply_high: Any = intrinsic(_upper_half)


@numba.njit(cache=True, inline="always")
def reduced(x: np.uint64) -> np.uint64:
    """`x` (any uint64) modulo 2^61 - 1."""
    x = (x & PRIME) + (x >> np.uint64(61))
    return x - PRIME if x >= PRIME else x


@numba.njit(cache=True, inline="always")
def multiply_modulo(a: np.uint64, b: np.uint64) -> np.uint64:
    """a * b modulo 2^61 - 1, for a, b below it: 2^61 is 1, so the bits above the lower 61 are added to them."""
    low = a * b
    high: np.uint64 = _multiply_high(a, b)
    x = (low & PRIME) + ((low >> np.uint64(61)) | (high << np.uint64(3)))
    return x - PRIME if x >= PRIME else x


@numba.njit(cache=True, inline="always")
def subtract_modulo(a: np.uint64, b: np.uint64) -> np.uint64:
    """a - b modulo 2^61 - 1, for a, b below it."""
    return a - b if a >= b else a + PRIME - b


@numba.njit(cache=True, nogil=True)
def powers(base: np.uint64, count: int) -> UInt64Array:
    """base ** i modulo 2^61 - 1 for i < count, uint64 (count,)."""
    out = np.empty(count, dtype=np.uint64)
    power = np.uint64(1)
    for i in range(count):
        out[i] = power
        power = multiply_modulo(power, base)
    return out


@numba.njit(cache=True, nogil=True)
def hash_prefixes(units: UInt64Array, base: np.uint64, out: UInt64Array) -> None:
    """out[i] = sum of units[j] * base^(i - 1 - j) over j < i, modulo 2^61 - 1; `out` has at least len(units) + 1."""
    h = np.uint64(0)
    out[0] = h
    for i in range(len(units)):
        h = multiply_modulo(h, base) + reduced(units[i])
        h = h - PRIME if h >= PRIME else h
        out[i + 1] = h


@numba.njit(cache=True, inline="always")
def window_hash(prefixes: UInt64Array, powers: UInt64Array, start: int, length: int) -> np.uint64:
    """Polynomial hash of the `length` units from `start` on, below 2^61 - 1. `powers`: at least length + 1 of them."""
    return subtract_modulo(prefixes[start + length], multiply_modulo(prefixes[start], powers[length]))


@numba.njit(cache=True, inline="always")
def salted(polynomial: np.uint64, salt: int) -> np.uint64:
    """A polynomial hash mixed to 64 bits; those of different salts do not meet."""
    return mix64(polynomial ^ mix64(np.uint64(salt)))


@numba.njit(cache=True, nogil=True)
def window_keys(units: UInt64Array, length: int, salt: int) -> tuple[UInt64Array, UInt64Array]:
    """Keys (high, low) of the windows units[i : i + length], uint64 (max(k - length + 1, 0),) each.

    Args:
        units: uint64 (k,), hashes of the units.
        length: units a window, at least 1.
        salt: windows of different salts do not meet.
    """
    high = np.empty(max(len(units) - length + 1, 0), dtype=np.uint64)
    low = np.empty_like(high)
    prefixes = np.empty(len(units) + 1, dtype=np.uint64)
    for out, base, half in ((high, BASE_HIGH, 0), (low, BASE_LOW, 1)):
        hash_prefixes(units, base, prefixes)
        of_base = powers(base, length + 1)
        for i in range(len(out)):
            out[i] = salted(window_hash(prefixes, of_base, i, length), 2 * salt + half)
    return high, low


@numba.njit(cache=True, nogil=True)
def covered(
    documents: Int64Array, starts: Int64Array, lengths: Int64Array
) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Union of the ranges [starts[i], starts[i] + lengths[i]) in every document.

    Args:
        documents, starts, lengths: int64 (k,), in ascending order of documents, then starts.

    Returns:
        Document, start and end of the maximal ranges, int64 each, in the same order.
    """
    out_documents = np.empty(len(starts), dtype=np.int64)
    out_starts = np.empty(len(starts), dtype=np.int64)
    out_ends = np.empty(len(starts), dtype=np.int64)
    k = -1
    for i in range(len(starts)):
        end = starts[i] + lengths[i]
        if k >= 0 and documents[i] == out_documents[k] and starts[i] <= out_ends[k]:
            out_ends[k] = max(out_ends[k], end)
        else:
            k += 1
            out_documents[k], out_starts[k], out_ends[k] = documents[i], starts[i], end
    return out_documents[: k + 1].copy(), out_starts[: k + 1].copy(), out_ends[: k + 1].copy()
