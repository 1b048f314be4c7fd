"""The shuffle of an order: statistics on large samples, and indices per second on one core.

    python bench/permutation.py [--keys 8] [--sample 4194304]

Residues: chi-square of the images of consecutive indices modulo 2..1024. Serial: correlation of images, and of their
differences modulo n, at lags 1..16 and at powers of two. Printed is the largest score (a standard normal of a random
shuffle) over all keys, beside the largest that passes (Bonferroni, one false alarm in a million). Beside it the same
of NumPy's Generator.permutation, and of shuffles that must fail: a Feistel network of 8 weak rounds, ours with 2
rounds, an affine map. Exit code 1 if one of ours fails or one of those passes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests" / "tokenize"))

from shuffle_statistics import (
    LAGS,
    MODULI,
    Shuffle,
    distinct_residues,
    residue_scores,
    serial_scores,
    threshold,
    weak_feistel,
    worst,
)
from side_by_side import table

from corpusmill.tokenize.permutation import Permutation, WindowPermutation, permutation_key

SIZES = (2**20 - 1, 2**28 - 12_345, 400_000_000)
POWERS = [2**k for k in range(5, 16)]


def ours(n: int, seed: int, rounds: int = 8) -> Shuffle:
    return Permutation(n, permutation_key(str(seed), 0, "crawl", 0), rounds).forward


def of_numpy(n: int, seed: int) -> Shuffle:
    images = np.random.default_rng(seed).permutation(n)
    return lambda indices: images[indices]


SHUFFLES: dict[str, tuple[Callable[[int, int], Shuffle], bool]] = {
    "Feistel, SipHash, 8 rounds": (ours, True),
    "numpy Generator.permutation": (of_numpy, True),
    "Feistel, 8 weak rounds": (lambda n, seed: lambda i: weak_feistel((i + seed) % n, n), False),
    "Feistel, SipHash, 2 rounds": (lambda n, seed: ours(n, seed, 2), False),
    "affine, i * 1,000,003 mod n": (lambda n, seed: lambda i: (i * 1_000_003 + seed) % n, False),
}


def statistics(keys: int, sample: int) -> bool:
    limit = threshold(keys * len(SIZES) * (len(MODULI) + 2 * (len(LAGS) + len(POWERS))))
    rows = []
    right = True
    for name, (make, must_pass) in SHUFFLES.items():
        for n in SIZES:
            residues = serial = 0.0
            distinct = 1024.0
            for seed in range(keys if n < 1 << 28 or make is not of_numpy else 1):
                shuffle = make(n, seed)
                count = min(n, sample)
                images = shuffle((seed * 7_654_321) % (n - count + 1) + np.arange(count))
                residues = max(residues, worst(residue_scores(images[: min(count, n // 4)], n)))
                serial = max(serial, worst(serial_scores(images, n, [*LAGS, *POWERS])))
                distinct = min(distinct, distinct_residues(images, 16))
            passes = residues < limit and serial < limit
            right &= passes == must_pass
            rows.append(
                [name, f"{n:,}", f"{residues:.1f}", f"{serial:.1f}", f"{distinct:.1f}", "yes" if passes else "no"]
            )
    heads = ["shuffle", "n", "residues", "serial", "residues mod 16 of 1,024 neighbours", "passes"]
    print(f"{keys} keys, {sample:,} consecutive indices each; a score passes below {limit:.2f}\n")
    print(table(heads, rows))
    return right


def speed() -> None:
    indices = np.arange(1_000_000)
    key = bytes(range(16))
    rows = []
    for n in (2**20 - 1, 2**28 - 12_345, 400_000_000, 10**12):
        windows = WindowPermutation(n, key, 256, 64)
        permutation = Permutation(n, key)
        rates = []
        for function in (permutation.forward, permutation.inverse, windows.forward, windows.inverse):
            function(indices[:10])
            seconds = []
            for _ in range(5):
                begin = time.process_time()
                function(indices)
                seconds.append(time.process_time() - begin)
            rates.append(f"{1 / min(seconds):.1f}")
        rows.append([f"{n:,}", *rates])
    begin = time.process_time()
    np.random.default_rng(0).permutation(100_000_000)
    whole = 100 / (time.process_time() - begin)
    heads = ["n", "global, forward", "inverse", "window of 64 chunks of 256, forward", "inverse"]
    print("\nMillion indices a second, one core, the best of five\n")
    print(table(heads, rows))
    print(f"\nnumpy Generator.permutation(100,000,000): {whole:.1f}, all at once, 8 bytes an index in memory")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=8)
    parser.add_argument("--sample", type=int, default=1 << 22)
    options = parser.parse_args()
    right = statistics(options.keys, options.sample)
    speed()
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    main()
