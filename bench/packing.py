"""Packing methods on the same documents: padding, documents cut, seconds, memory.

    python bench/packing.py [--documents RUN/tokens/documents.parquet] [--lengths 512 2048 8192]
    python bench/packing.py --synthetic 1000000

Documents are those of a run, or lengths drawn from a lognormal distribution (median 500 tokens, sigma 1.2; seeded).
Each packing is made in a process of its own. Memory is what it needs besides the lengths (8 bytes a document): peak
while it is made, and what it holds. Sequences/s: through `segments`, 1,024 random ones at once.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
from side_by_side import table

from corpusmill.tokenize.packing import Packing, PackingMethod, make_packing

METHODS: tuple[PackingMethod, ...] = ("concatenate", "best_fit")
BLOCK_SEQUENCES = 65_536


def document_lengths(options: argparse.Namespace) -> np.ndarray:
    if options.documents:
        return pq.read_table(options.documents, columns=["num_tokens"]).column("num_tokens").to_numpy()
    chance = np.random.default_rng(0)
    return np.maximum(2, chance.lognormal(np.log(500), 1.2, options.synthetic)).astype(np.int64)


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def held_bytes(packing: Packing, lengths: np.ndarray) -> int:
    """Of all arrays in the attributes but the lengths."""
    return sum(v.nbytes for v in vars(packing).values() if isinstance(v, np.ndarray) and v is not lengths)


def measure(options: argparse.Namespace, method: PackingMethod, length: int) -> dict[str, float]:
    make_packing(method, np.array([3, 40]), 16, 2)  # compiles
    lengths = document_lengths(options)
    before = peak_bytes()
    begin = time.process_time()
    packing = make_packing(method, lengths, length, BLOCK_SEQUENCES)
    seconds = time.process_time() - begin
    peak = peak_bytes() - before
    asked = np.random.default_rng(1).integers(0, packing.num_sequences, 1024)
    packing.segments(asked)
    begin = time.process_time()
    for _ in range(20):
        packing.segments(asked)
    rate = 20 * 1024 / (time.process_time() - begin)
    slots = packing.num_sequences * (length + 1)
    return {
        "documents": len(lengths),
        "sequences": packing.num_sequences,
        "pad": packing.pad_tokens / slots,
        "cut": packing.num_cut / len(lengths),
        "long": float((lengths > length + 1).mean()),
        "seconds": seconds,
        "peak": peak / 1e6,
        "held": held_bytes(packing, lengths) / len(lengths),
        "rate": rate,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", help="documents.parquet of a run")
    parser.add_argument("--synthetic", type=int, default=1_000_000, help="documents, where no run is named")
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 2048, 8192], help="sequence lengths")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)  # method and length: measured in this process
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options, options.one[0], int(options.one[1]))))
        return
    rows = []
    for length in options.lengths:
        for method in METHODS:
            line = [sys.executable, *sys.argv, "--one", method, str(length)]
            found = json.loads(subprocess.run(line, check=True, capture_output=True, text=True).stdout)
            rows.append(
                [
                    method,
                    f"{length:,}",
                    f"{found['sequences']:,}",
                    f"{found['pad']:.3%}",
                    f"{found['cut']:.1%}",
                    f"{found['long']:.1%}",
                    f"{found['seconds']:.2f}",
                    f"{found['peak']:.0f}",
                    f"{found['held']:.1f}",
                    f"{found['rate']:,.0f}",
                ]
            )
    heads = [
        "method",
        "L",
        "sequences",
        "padding",
        "documents cut",
        "longer than L+1",
        "s",
        "peak MB",
        "held, B a document",
    ]
    print(f"{found['documents']:,} documents, blocks of {BLOCK_SEQUENCES:,} sequences\n")
    print(table([*heads, "sequences/s"], rows))


if __name__ == "__main__":
    main()
