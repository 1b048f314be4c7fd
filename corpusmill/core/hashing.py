"""The few hash kernels, stable for ever. tests/core/test_hashing.py holds their vectors.

- `content_hash`: BLAKE2b-128 of the UTF-8 text; identity of a text.
- `digest`: SHA-256, for files and fingerprints.
- `hash64`: BLAKE2b-64 of bytes as an integer; keys of exchanges (few, not hot).
- `hash_spans`: 64-bit hash of code-point spans, vectorised; words, lines, n-gram atoms (hot).
- `hash_start`, `hash_more`, `hash_end`: the same hash, piece by piece, for other kernels; over bytes: keys of tables.
- `mix64`: the MurmurHash3 finaliser, a bijection on 64-bit integers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

UInt64Array = npt.NDArray[np.uint64]
Int64Array = npt.NDArray[np.int64]

_FNV_OFFSET = np.uint64(0xCBF29CE484222325)
_FNV_PRIME = np.uint64(0x100000001B3)


def content_hash(text: str) -> bytes:
    """16 bytes: BLAKE2b with a digest of 16 bytes over the UTF-8 form of `text`."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def digest(data: bytes) -> str:
    """SHA-256 of `data`, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def hash64(data: bytes) -> int:
    """First 8 bytes (little-endian, 0..2^64-1) of an 8-byte BLAKE2b of `data`."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def canonical_json(value: Mapping[str, Any] | Sequence[Any]) -> bytes:
    """JSON with sorted keys and no spaces, UTF-8: the form that is hashed. NaN is refused (ValueError)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


@numba.njit(cache=True, inline="always")
def mix64(value: np.uint64) -> np.uint64:
    """MurmurHash3's 64-bit finaliser: a bijection in which every input bit moves every output bit."""
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xFF51AFD7ED558CCD)
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xC4CEB9FE1A85EC53)
    value ^= value >> np.uint64(33)
    return value


@numba.njit(cache=True, inline="always")
def hash_start(seed: int) -> np.uint64:
    """State of `hash_spans` before the first unit of a sequence; another seed gives an independent hash."""
    return _FNV_OFFSET ^ mix64(np.uint64(seed))


@numba.njit(cache=True, inline="always")
def hash_more(state: np.uint64, unit: int) -> np.uint64:
    """The state after one more unit (byte or code point)."""
    return (state ^ np.uint64(unit)) * _FNV_PRIME


@numba.njit(cache=True, inline="always")
def hash_end(state: np.uint64, length: int) -> np.uint64:
    """The hash of a sequence of `length` units that led to `state`."""
    return mix64(state ^ np.uint64(length))


@numba.njit(cache=True, nogil=True)
def hash_spans(codepoints: npt.NDArray[np.uint32], starts: Int64Array, ends: Int64Array, seed: int = 0) -> UInt64Array:
    """Hash of codepoints[starts[i]:ends[i]] for every i.

    FNV-1a over whole code points, then `mix64` with the length. Not keyed against adversaries: code that must
    be exact compares the texts, or two seeds.

    Args:
        codepoints: uint32 (n,), UTF-32 of the text.
        starts, ends: int64 (k,), 0-based, end exclusive.
        seed: another seed gives an independent hash.

    Returns:
        uint64 (k,).
    """
    out = np.empty(len(starts), dtype=np.uint64)
    origin = hash_start(seed)
    for i in range(len(starts)):
        h = origin
        for j in range(starts[i], ends[i]):
            h = hash_more(h, codepoints[j])
        out[i] = hash_end(h, ends[i] - starts[i])
    return out
