"""128-bit keys of all windows of L units, and the ranges that marked windows cover: kernels of exact substring dedup.

A window's key is two polynomial hashes modulo the prime 2^61 - 1, each rolled along the document in O(1) a window. For
two different windows of L units and random bases the chance of equal keys is at most (L / 2^61)^2 (Schwartz-Zippel):
2e-33 at L = 100, so that n = 1e13 windows hold a wrong pair with a chance of at most 1e-7.
"""

from __future__ import annotations

import numba
import numpy as np

from corpusmill.core.hashing import Int64Array, UInt64Array, mix64

_P = np.uint64((1 << 61) - 1)
_LOW_32 = np.uint64(0xFFFFFFFF)
_LOW_29 = np.uint64(0x1FFFFFFF)
# Any two numbers below 2^61 - 1 would do: the first 61 bits of the fractional parts of sqrt(2) and sqrt(3).
_BASE_HIGH = np.uint64(0x6A09E667F3BCC908 >> 3)
_BASE_LOW = np.uint64(0xBB67AE8584CAA73B >> 3)


@numba.njit(cache=True, inline="always")
def _reduced(x: np.uint64) -> np.uint64:
    """`x` (any uint64) modulo 2^61 - 1."""
    x = (x & _P) + (x >> np.uint64(61))
    return x - _P if x >= _P else x


@numba.njit(cache=True)
def multiply_modulo(a: np.uint64, b: np.uint64) -> np.uint64:
    """a * b modulo 2^61 - 1, for a, b below it, without 128-bit integers."""
    a_high, a_low = a >> np.uint64(32), a & _LOW_32  # 29 and 32 bits
    b_high, b_low = b >> np.uint64(32), b & _LOW_32
    middle = a_high * b_low + a_low * b_high  # below 2^62
    # 2^64 = 8 and 2^61 = 1 modulo 2^61 - 1; middle * 2^32 = (middle >> 29) * 2^61 + (middle & (2^29 - 1)) * 2^32
    total = (
        _reduced(a_high * b_high << np.uint64(3))
        + _reduced(a_low * b_low)
        + (middle >> np.uint64(29))
        + ((middle & _LOW_29) << np.uint64(32))
    )
    return _reduced(total)


@numba.njit(cache=True, nogil=True)
def _rolled(units: UInt64Array, length: int, base: np.uint64) -> UInt64Array:
    """Polynomial hash of every window of `length` units, uint64 (max(k - length + 1, 0),), below 2^61 - 1."""
    out = np.empty(max(len(units) - length + 1, 0), dtype=np.uint64)
    power = np.uint64(1)  # base ** length
    for _ in range(length):
        power = multiply_modulo(power, base)
    h = np.uint64(0)
    for i in range(len(units)):
        h = _reduced(multiply_modulo(h, base) + _reduced(units[i]))
        if i >= length:
            h = _reduced(h + _P - multiply_modulo(_reduced(units[i - length]), power))
        if i >= length - 1:
            out[i - length + 1] = h
    return out


@numba.njit(cache=True, nogil=True)
def _mixed(hashes: UInt64Array, salt: int) -> UInt64Array:
    out = np.empty_like(hashes)
    for i in range(len(hashes)):
        out[i] = mix64(hashes[i] ^ mix64(np.uint64(salt)))
    return out


SEED_SALT = 1 << 32  # above the salts of windows: a seed's hash is no half of a window's key


def window_hashes(units: UInt64Array, length: int, salt: int) -> UInt64Array:
    """64-bit hashes of the windows units[i : i + length], uint64 (max(k - length + 1, 0),); see `window_keys`."""
    return _mixed(_rolled(units, length, _BASE_HIGH), 2 * salt)


def window_keys(units: UInt64Array, length: int, salt: int) -> tuple[UInt64Array, UInt64Array]:
    """Keys (high, low) of the windows units[i : i + length], uint64 (max(k - length + 1, 0),) each.

    Args:
        units: uint64 (k,), hashes of the units.
        length: units a window, at least 1.
        salt: windows of different salts do not meet.
    """
    return window_hashes(units, length, salt), _mixed(_rolled(units, length, _BASE_LOW), 2 * salt + 1)


def covered(positions: Int64Array, length: int) -> tuple[Int64Array, Int64Array]:
    """Union of [i, i + length) over `positions` (int64, ascending): starts and ends of its maximal runs."""
    if len(positions) == 0:
        return positions, positions
    gaps = np.flatnonzero(np.diff(positions) > length)
    starts = positions[np.append(0, gaps + 1)]
    ends = positions[np.append(gaps, len(positions) - 1)] + length
    return starts, ends
