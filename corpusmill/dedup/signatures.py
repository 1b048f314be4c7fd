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

_PRIME = np.uint64(0x100000001B3)
_LARGEST = np.uint64(0xFFFFFFFFFFFFFFFF)


def lsh_probability(similarity: float, bands: int, rows: int) -> float:
    """Probability that documents of Jaccard `similarity` (0..1) agree in some band: 1 - (1 - s^rows)^bands."""
    agree = similarity**rows
    return 1.0 if agree == 1.0 else -math.expm1(bands * math.log1p(-agree))


def permutations(number: int, seed: int) -> tuple[UInt64Array, UInt64Array]:
    """Multipliers (odd) and increments of `number` affine maps modulo 2^64, uint64 (number,) each."""
    names = [f"corpusmill.minhash/{seed}/{i}" for i in range(number)]
    multipliers = np.array([hash64(f"{name}/multiplier".encode()) | 1 for name in names], dtype=np.uint64)
    increments = np.array([hash64(f"{name}/increment".encode()) for name in names], dtype=np.uint64)
    return multipliers, increments


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


@numba.njit(cache=True, nogil=True)
def signature(shingle_hashes: UInt64Array, multipliers: UInt64Array, increments: UInt64Array) -> UInt64Array:
    """Smallest image of the shingles under every affine map modulo 2^64, uint64 (len(multipliers),).

    The shingles are mixed hashes, so the high bits of a * x + b, which decide the minimum, are uniform; the share of
    equal values estimates the Jaccard similarity of the sets (standard error sqrt(J (1 - J) / k)).
    """
    out = np.full(len(multipliers), _LARGEST, dtype=np.uint64)
    for x in shingle_hashes:
        for i in range(len(multipliers)):
            image = multipliers[i] * x + increments[i]
            if image < out[i]:
                out[i] = image
    return out


@numba.njit(cache=True, nogil=True)
def band_keys(values: UInt64Array, bands: int, rows: int) -> tuple[UInt64Array, UInt64Array]:
    """128-bit keys (high, low) of the bands of a signature of bands * rows values, uint64 (bands,) each.

    The number of the band is part of its key: equal values in different bands do not meet.
    """
    high = np.empty(bands, dtype=np.uint64)
    low = np.empty(bands, dtype=np.uint64)
    for band in range(bands):
        h = mix64(np.uint64(2 * band + 1))
        k = mix64(np.uint64(2 * band + 2))
        for i in range(band * rows, (band + 1) * rows):
            h = mix64(h ^ values[i])
            k = mix64((k + values[i]) * _PRIME)
        high[band], low[band] = h, k
    return high, low


@numba.njit(cache=True, nogil=True)
def band_keys_of_texts(
    data: npt.NDArray[np.uint8],
    offsets: Int64Array,
    rows_of: Int64Array,
    folds: Folds,
    ngram: int,
    multipliers: UInt64Array,
    increments: UInt64Array,
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
