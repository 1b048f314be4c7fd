"""Statistics that a shuffle must not fail; for the tests, and bench/permutation.py on larger samples.

Every score is approximately standard normal for a random permutation. `threshold` is Bonferroni's: with it a random
permutation fails any of `tests` tests with a probability of at most ALARM. Keys are fixed, so a test either always
passes or never does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]
ALARM = 1e-6
MODULI = range(2, 1025)
LAGS = range(1, 17)


def threshold(tests: int) -> float:
    """The largest absolute score that passes, of so many."""
    return NormalDist().inv_cdf(1 - ALARM / (2 * tests))


def residue_scores(images: Int64Array, n: int, moduli: Iterable[int] = MODULI) -> list[float]:
    """Of each modulus: chi-square of the images' residues, made normal (Wilson & Hilferty, 1931), both tails.

    Images are drawn without replacement from [0, n), so residues scatter less: by (n - images) / (n - 1).
    """
    drawn = len(images)
    scores = []
    for modulus in moduli:
        share = (n + modulus - 1 - np.arange(modulus)) // modulus / n  # of each residue in [0, n)
        counts = np.bincount(images % modulus, minlength=modulus)
        statistic = ((counts - drawn * share) ** 2 / (drawn * share)).sum() * (n - 1) / (n - drawn)
        variance = 2 / (9 * (modulus - 1))
        scores.append(((statistic / (modulus - 1)) ** (1 / 3) - (1 - variance)) / math.sqrt(variance))
    return scores


def serial_scores(images: Int64Array, n: int, lags: Iterable[int] = LAGS) -> list[float]:
    """Of each lag: correlation of the images of consecutive indices, and of their differences modulo n."""
    differences = (np.roll(images, -1)[:-1] - images[:-1]) % n
    scores = []
    for series in (images, differences):
        uniform = series / n - 0.5
        for lag in lags:
            scores.append(12 * np.dot(uniform[:-lag], uniform[lag:]) / math.sqrt(len(uniform) - lag))
    return scores


def distinct_residues(images: Int64Array, modulus: int, stretch: int = 1024) -> float:
    """Mean number of residues on which so many neighbours fall."""
    stretches = images[: len(images) // stretch * stretch].reshape(-1, stretch) % modulus
    return float(np.mean([len(np.unique(s)) for s in stretches]))


def weak_feistel(indices: Int64Array, n: int, rounds: int = 8) -> Int64Array:
    """What must be rejected: a balanced Feistel network, cycle-walked, whose round function is x * odd + constant.

    Low bits of the product depend on low bits of x only, whatever the number of rounds.
    """
    half = max(1, -(-(n - 1).bit_length() // 2))
    mask = np.int64((1 << half) - 1)
    out = np.array(indices)
    todo = np.arange(len(out))
    while len(todo):
        left, right = out[todo] >> half, out[todo] & mask
        for number in range(rounds):
            left, right = right, left ^ ((right * np.int64(0x9E3779B1) + np.int64(number * 0x85EBCA77)) & mask)
        out[todo] = left << half | right
        todo = todo[out[todo] >= n]
    return out


def worst(scores: Iterable[float]) -> float:
    """The largest absolute score."""
    return max(abs(score) for score in scores)


Shuffle = Callable[[Int64Array], Int64Array]
