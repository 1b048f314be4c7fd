"""Exact substring dedup of what breaks naive methods: time, memory and bytes exchanged, with the result checked.

    python bench/substring_extremes.py [--copies 1000000] [--megabytes 50] [CASE ...]

Each case is run in a process of its own, on one core. Memory is the peak of that process above what it held with the
documents alone; a cluster holds one shard or one partition at a time, here all of them are.

- run: one document, one word a million times.
- page: one page of `--megabytes`, words drawn from ten thousand, beside a copy of its middle.
- constant_page: one page of `--megabytes` of one word; beside it a document that has the word 60 times among others.
- identical: 100,000 copies of one long document, nothing else.
- copies: `--copies` of one document of 60 words among 10,000 unique ones.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import resource
import sys
import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from corpusmill.core import documents
from corpusmill.dedup.local import run_step
from corpusmill.dedup.substring import Substring, SubstringConfig

Case = tuple[list[pa.Table], Callable[[dict[str, str]], bool]]  # shards; whether the texts that are left are right


def shard(first: int, texts: list[str]) -> pa.Table:
    """A table of English documents."""
    row = {
        "doc_id": "", "url": "", "domain": "", "warc_file": "", "warc_offset": 0, "warc_length": 0, "crawl": "",
        "charset": "", "text": "", "content_hash": bytes(16), "language": "en", "language_score": 1.0,
    }  # fmt: skip
    table = documents.table_of([row], documents.DOCUMENT_WITH_LANGUAGE).take(pa.array([0] * len(texts)))
    ids = pa.array([f"made.warc.gz:{first + i}" for i in range(len(texts))], pa.string())
    table = table.set_column(0, table.schema.field(0), ids)
    at = table.schema.get_field_index("text")
    return table.set_column(at, table.schema.field(at), pa.array(texts, pa.large_string()))


def run(options: argparse.Namespace) -> Case:
    return [shard(0, ["again " * 1_000_000])], lambda left: left == {}


def words(number: int, seed: int) -> list[str]:
    chooser = np.random.default_rng(seed)
    return [f"w{i}" for i in chooser.integers(10_000, size=number).tolist()]


def page(options: argparse.Namespace) -> Case:
    units = words(int(options.megabytes * 1e6 / 5.9), 0)
    middle = units[1000:-1000]
    tables = [shard(0, [" ".join(units)]), shard(1, [" ".join(["before", *middle, "after", *words(100, 1)])])]
    expected = {
        "made.warc.gz:0": " ".join([*units[:1000], *units[-1000:]]),
        "made.warc.gz:1": " ".join(["before", "after", *words(100, 1)]),
    }
    return tables, lambda left: left == expected


def constant_page(options: argparse.Namespace) -> Case:
    other = " ".join([*words(100, 1), *["again"] * 60, *words(100, 2)])
    tables = [shard(0, ["again " * int(options.megabytes * 1e6 / 6)]), shard(1, [other])]
    return tables, lambda left: left == {"made.warc.gz:1": " ".join([*words(100, 1), *words(100, 2)])}


def identical(options: argparse.Namespace) -> Case:
    text = " ".join(words(1000, 0))
    return [shard(n * 12_500, [text] * 12_500) for n in range(8)], lambda left: left == {}


def copies(options: argparse.Namespace) -> Case:
    text = " ".join(words(60, 0))
    unique = [" ".join([f"u{i}", *words(60, i + 1)]) for i in range(10_000)]
    texts = [text] * options.copies + unique
    random.Random(0).shuffle(texts)
    size = -(-len(texts) // 32)
    tables = [shard(start, texts[start : start + size]) for start in range(0, len(texts), size)]
    return tables, lambda left: sorted(left.values()) == sorted(unique)


CASES = {case.__name__: case for case in (run, page, constant_page, identical, copies)}


class Counting(Substring):
    """The step, which counts what it sends."""

    sent = 0

    def _counted(self, rows: pa.Table) -> pa.Table:
        self.sent += rows.nbytes
        return rows

    def map(self, table: pa.Table, shard: int, shards: int) -> pa.Table:
        return self._counted(super().map(table, shard, shards))

    def reduce(self, round_number: int, rows: pa.Table, shards: int) -> pa.Table:
        return self._counted(super().reduce(round_number, rows, shards))

    def visit(self, round_number: int, rows: pa.Table, table: pa.Table, shard: int, shards: int) -> pa.Table:
        return self._counted(super().visit(round_number, rows, table, shard, shards))


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(name: str, options: argparse.Namespace) -> None:
    step = Counting(SubstringConfig(passes=options.passes))
    run_step(step, [shard(0, [" ".join(words(100, 0) * 2)])])  # compiles or loads the kernels
    step.sent = 0
    tables, right = CASES[name](options)
    size = sum(table.column("text").nbytes for table in tables)
    before = peak()
    started = time.process_time()
    results = run_step(step, tables)
    seconds = time.process_time() - started
    above = peak() - before
    kept = [result.kept.select(["doc_id", "text"]).to_pydict() for result in results]
    left = {i: text for one in kept for i, text in zip(one["doc_id"], one["text"], strict=True)}
    verdict = "right" if right(left) else "WRONG"
    print(f"{name:<14}{sum(t.num_rows for t in tables):>9} documents {size / 1e6:>6.0f} MB {seconds:>6.1f} s", end="")
    print(
        f"{size / seconds / 1e6:>6.0f} MB/s  memory +{above >> 10} MiB  exchanged {step.sent / 1e6:.1f} MB  {verdict}"
    )
    if verdict != "right":
        sys.exit(1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=list(CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--copies", type=int, default=1_000_000)
    parser.add_argument("--megabytes", type=float, default=50)
    parser.add_argument("--passes", type=int, default=2)
    options = parser.parse_args()
    wrong = 0
    for name in options.cases:
        process = multiprocessing.get_context("spawn").Process(target=measure, args=(name, options))
        process.start()
        process.join()
        wrong += process.exitcode != 0
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
