"""MinHash signatures and the keys of their bands; the S-curve that says which pairs the bands find.

Broder 1997 for the estimate, Indyk and Motwani 1998 for the bands. Deterministic for ever: permutation i of seed s is
the same whatever the number of bands and rows; tests/dedup/test_signatures.py holds vectors.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import numpy.typing as npt

from corpusmill.core.hashing import Int64Array, UInt64Array, hash64, mix64
from corpusmill.core.normalise import Folds, hash_words_of_utf8

UInt32Array = npt.NDArray[np.uint32]

_PRIME = np.uint64(0x100000001B3)
_LARGEST = np.uint32(0xFFFFFFFF)
_HALF = np.uint64(32)


def lsh_probability(similarity: float, bands: int, rows: int) -> float:
    """Probability that documents of Jaccard `similarity` (0..1) agree in some band: 1 - (1 - s^rows)^bands."""
    agree = similarity**rows
    return 1.0 if agree == 1.0 else -math.expm1(bands * math.log1p(-agree))


def permutations(number: int, seed: int) -> tuple[UInt32Array, UInt32Array]:
    """Multipliers (odd) and increments of `number` affine maps modulo 2^32, uint32 (number,) each."""
    names = [f"corpusmill.minhash/{seed}/{i}" for i in range(number)]
    multipliers = [hash64(f"{name}/multiplier".encode()) >> 32 | 1 for name in names]
    increments = [hash64(f"{name}/increment".encode()) >> 32 for name in names]
    return np.array(multipliers, dtype=np.uint32), np.array(increments, dtype=np.uint32)


@numba.njit(cache=True, nogil=True)
def shingles(words: UInt64Array, ngram: int) -> UInt64Array:
    """Hash of every run of `ngram` words, in order, repeats included; of all the words together when there are fewer.

    Args:
        words: uint64 (k,), hashes of words.
        ngram: at least 1.

    Returns:
        uint64 (max(k - ngram + 1, 1),), or (0,) when k = 0.
    """
    width = min(ngram, len(words))
    out = np.empty(0 if width == 0 else len(words) - width + 1, dtype=np.uint64)
    for i in range(len(out)):
        h = np.uint64(width)
        for j in range(i, i + width):
            h = (h ^ words[j]) * _PRIME
        out[i] = mix64(h)
    return out


@numba.njit(cache=True, inline="always")
def _image(multiplier: np.uint32, increment: np.uint32, x: np.uint32) -> np.uint32:
    return np.uint32(np.uint32(multiplier * x) + increment)


@numba.njit(cache=True, nogil=True)
def signature(shingle_hashes: UInt64Array, multipliers: UInt32Array, increments: UInt32Array) -> UInt32Array:
    """Smallest image of the shingles' high halves under every affine map modulo 2^32, uint32 (len(multipliers),).

    The share of equal values estimates the Jaccard similarity of the sets (standard error sqrt(J (1 - J) / k)). A map
    with an odd multiplier is a bijection, so values are equal where the same half is smallest; and the halves are those
    of mixed hashes, so which shingle is smallest does not depend on which of the sets it is in. What the family of maps
    decides is only how often one shingle is smallest under two of them, once in about n for a union of n
    (docs/decisions/0021-signatures-of-32-bits.md).

    Eight shingles meet all maps at a time: their images need no memory, and the loop over the maps is one of vector
    instructions, of which processors have those for products of 32 bits.
    """
    out = np.full(len(multipliers), _LARGEST, dtype=np.uint32)
    in_eights = len(shingle_hashes) & ~7
    for s in range(0, in_eights, 8):
        x0, x1 = np.uint32(shingle_hashes[s] >> _HALF), np.uint32(shingle_hashes[s + 1] >> _HALF)
        x2, x3 = np.uint32(shingle_hashes[s + 2] >> _HALF), np.uint32(shingle_hashes[s + 3] >> _HALF)
        x4, x5 = np.uint32(shingle_hashes[s + 4] >> _HALF), np.uint32(shingle_hashes[s + 5] >> _HALF)
        x6, x7 = np.uint32(shingle_hashes[s + 6] >> _HALF), np.uint32(shingle_hashes[s + 7] >> _HALF)
        for i in range(len(multipliers)):
            a, b = multipliers[i], increments[i]
            low = min(min(_image(a, b, x0), _image(a, b, x1)), min(_image(a, b, x2), _image(a, b, x3)))
            high = min(min(_image(a, b, x4), _image(a, b, x5)), min(_image(a, b, x6), _image(a, b, x7)))
            out[i] = min(out[i], min(low, high))
    for s in range(in_eights, len(shingle_hashes)):
        x = np.uint32(shingle_hashes[s] >> _HALF)
        for i in range(len(multipliers)):
            out[i] = min(out[i], _image(multipliers[i], increments[i], x))
    return out


@numba.njit(cache=True, nogil=True)
def band_keys(values: UInt32Array, bands: int, rows: int) -> tuple[UInt64Array, UInt64Array]:
    """128-bit keys (high, low) of the bands of a signature of bands * rows values, uint64 (bands,) each.

    The number of the band is part of its key: equal values in different bands do not meet.
    """
    high = np.empty(bands, dtype=np.uint64)
    low = np.empty(bands, dtype=np.uint64)
    for band in range(bands):
        h = mix64(np.uint64(2 * band + 1))
        k = mix64(np.uint64(2 * band + 2))
        for i in range(band * rows, (band + 1) * rows):
            value = np.uint64(values[i])
            h = mix64(h ^ value)
            k = mix64((k + value) * _PRIME)
        high[band], low[band] = h, k
    return high, low


@numba.njit(cache=True, nogil=True)
def band_keys_of_texts(
    data: npt.NDArray[np.uint8],
    offsets: Int64Array,
    rows_of: Int64Array,
    folds: Folds,
    ngram: int,
    multipliers: UInt32Array,
    increments: UInt32Array,
    bands: int,
    rows: int,
) -> tuple[npt.NDArray[np.bool_], UInt64Array, UInt64Array]:
    """Band keys of texts in languages that write spaces, straight from an Arrow column.

    Args:
        data, offsets: uint8 and int64 (n + 1,): text i is data[offsets[i] : offsets[i + 1]], valid UTF-8.
        rows_of: int64 (k,), the texts to take.
        folds: normalise.folds().
        ngram, multipliers, increments, bands, rows: as for `shingles`, `signature` and `band_keys`.

    Returns:
        Which texts have a word, bool (k,); keys (high, low), uint64 (k, bands) each, of no meaning where there is none.
    """
    longest = 0
    for row in rows_of:
        longest = max(longest, offsets[row + 1] - offsets[row])
    words = np.empty(longest // 2 + 1, dtype=np.uint64)
    has_words = np.zeros(len(rows_of), dtype=np.bool_)
    high = np.empty((len(rows_of), bands), dtype=np.uint64)
    low = np.empty((len(rows_of), bands), dtype=np.uint64)
    for k in range(len(rows_of)):
        row = rows_of[k]
        num_words = hash_words_of_utf8(data, offsets[row], offsets[row + 1], folds, words)
        if num_words == 0:
            continue
        has_words[k] = True
        values = signature(shingles(words[:num_words], ngram), multipliers, increments)
        high[k], low[k] = band_keys(values, bands, rows)
    return has_words, high, low
