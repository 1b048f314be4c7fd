"""Exact substring dedup of mutated real pages, on one core, beside a suffix array of the same bytes.

    python bench/substring_speed.py --documents build/dedup_truth.parquet [--megabytes 100] [--language ja]
        [--peer PYTHON] [--json result.json]

Runs the whole step (map, visits, reduces, apply) in this process, in memory, and prints MB/s of UTF-8 text, the bytes
that go through the exchange (its own files, by round) for a byte of text, what is cut, and peak memory. Times
are CPU seconds of all threads, as the machine may be busy, of the step alone; the exchange files are written outside
of it, to be weighed. `--peer`: Python of an environment
with pydivsufsort (bench/peers/setup_pydivsufsort prints its path); it builds the suffix array of the same bytes, and
nothing else, right after.

Documents: pages of `--documents` (as bench/dedup_truth.py keeps them), again and again until there are `--megabytes`;
in every one a share of the units, `--noise`, is replaced by units of other pages, and into one in four goes a passage
of 20 to 400 units that others hold too. The same arguments give the same documents.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from corpusmill.core import documents, words
from corpusmill.core.hashing import content_hash
from corpusmill.core.verdicts import StageResult
from corpusmill.dedup.base import successors
from corpusmill.dedup.local import run_step
from corpusmill.dedup.substring import Substring, SubstringConfig
from corpusmill.pipeline import exchange

PASSAGES = 2000
DIVSUFSORT = """
import sys, time
import numpy as np
from pydivsufsort import divsufsort
data = np.fromfile(sys.argv[1], dtype=np.uint8)
started = time.process_time()
divsufsort(data)
print(time.process_time() - started)
"""


def mutated(pages: pa.Table, megabytes: float, noise: float, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Documents of `megabytes` of text in all, in random order of pages."""
    draw = np.random.default_rng(seed)
    split, joined = [], []
    for text, language in zip(pages.column("text").to_pylist(), pages.column("language").to_pylist(), strict=True):
        spaced = words.writes_spaces(language)
        split.append(np.array(text.split(" ") if spaced else list(text), dtype=object))
        joined.append(" " if spaced else "")
    kinds = [np.flatnonzero([j == kind for j in joined]) for kind in (" ", "")]
    vocabulary = [np.concatenate([split[i] for i in kind[:400]]) if len(kind) else None for kind in kinds]
    long = [[i for i in kind.tolist() if len(split[i]) > 500] for kind in kinds]
    made, number = 0.0, 0
    while made < megabytes:
        at = int(draw.integers(len(split)))
        units, kind = split[at].copy(), int(joined[at] == "")
        changed = np.flatnonzero(draw.random(len(units)) < noise)
        units[changed] = vocabulary[kind][draw.integers(len(vocabulary[kind]), size=len(changed))]
        if draw.random() < 0.25 and long[kind]:
            passage = np.random.default_rng(int(draw.integers(PASSAGES)))
            source = split[long[kind][int(passage.integers(len(long[kind])))]]
            start, length = int(passage.integers(len(source) - 400)), int(passage.integers(20, 400))
            units = np.insert(units, int(draw.integers(len(units) + 1)), source[start : start + length])
        row = pages.slice(at, 1).to_pylist()[0]
        text = joined[at].join(units)
        yield {**row, "doc_id": f"made.warc.gz:{number}", "text": text, "content_hash": content_hash(text)}
        made, number = made + len(text.encode()) / 1e6, number + 1


class Measured(Substring):
    """The step, which takes the time of its parts and writes what they send to files that are weighed."""

    def __init__(self, config: SubstringConfig) -> None:
        super().__init__(config)
        self.seconds: dict[str, float] = {}
        self.sent: dict[str, int] = {}
        self.windows: list[int] = []
        self.weighing = 0.0  # seconds

    def _timed(self, name: str, round_number: int | None, call: Callable[[], Any], shards: int = 0) -> Any:
        started = time.process_time()
        rows = call()
        ended = time.process_time()
        self.seconds[name] = self.seconds.get(name, 0.0) + ended - started
        if round_number is not None:
            partitions = max(self.partitions(following, shards) for following in successors(self, round_number))
            with tempfile.NamedTemporaryFile() as file:
                exchange.write(file.name, rows, partitions, "")
                self.sent[name] = self.sent.get(name, 0) + Path(file.name).stat().st_size
            self.weighing += time.process_time() - ended
        return rows

    def map(self, table: pa.Table, shard: int, shards: int) -> pa.Table:
        return self._timed("map", -1, lambda: super(Measured, self).map(table, shard, shards), shards)

    def reduce(self, round_number: int, rows: pa.Table, shards: int) -> pa.Table:
        call = lambda: super(Measured, self).reduce(round_number, rows, shards)  # noqa: E731
        return self._timed(f"round {round_number}", round_number, call, shards)

    def visit(self, round_number: int, rows: pa.Table, table: pa.Table, shard: int, shards: int) -> pa.Table:
        if round_number == 3:
            return super().visit(round_number, rows, table, shard, shards)  # it calls map
        call = lambda: super(Measured, self).visit(round_number, rows, table, shard, shards)  # noqa: E731
        return self._timed(f"round {round_number}", round_number, call, shards)

    def following(self, round_number: int, turn: int, reported: int) -> int:
        self.windows.append(reported)
        return super().following(round_number, turn, reported)

    def revised(self, table: pa.Table, lasting: pa.Table) -> pa.Table:
        return self._timed("revise", None, lambda: super(Measured, self).revised(table, lasting))

    def apply(self, table: pa.Table, decisions: pa.Table) -> StageResult:
        return self._timed("apply", None, lambda: super(Measured, self).apply(table, decisions))


def measure(config: SubstringConfig, tables: list[pa.Table]) -> dict[str, Any]:
    """Seconds by part, bytes exchanged by round and cuts."""
    step = Measured(config)
    started = time.process_time()
    results = run_step(step, tables)
    total = time.process_time() - started - step.weighing
    spans = [text for result in results for text in result.spans.column("text").to_pylist()]
    return {
        "total_seconds": total,
        "seconds": step.seconds | {"grouping": total - sum(step.seconds.values())},
        "exchanged_bytes": step.sent,
        "windows_of_passes": step.windows,
        "spans": len(spans),
        "characters_cut": sum(map(len, spans)),
        "removed": sum(result.removed.num_rows for result in results),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=Path, required=True, help="Parquet file of bench/dedup_truth.py")
    parser.add_argument("--megabytes", type=float, default=100, help="UTF-8 bytes of text / 10^6")
    parser.add_argument("--noise", type=float, default=0.1, help="share of the units that are replaced")
    parser.add_argument("--language", help="only pages of this language")
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--keep", choices=["none", "first"], default="none")
    parser.add_argument("--passes", type=int, default=1)
    parser.add_argument("--peer", type=Path, help="Python of an environment with pydivsufsort")
    parser.add_argument("--json", type=Path, help="file for the results")
    options = parser.parse_args()
    pages = pq.read_table(options.documents)
    if options.language:
        pages = pages.filter(pa.compute.equal(pages.column("language"), options.language))
    rows = list(mutated(pages, options.megabytes, options.noise))
    tables = [documents.table_of(rows[i :: options.shards], pages.schema) for i in range(options.shards)]
    del rows
    config = SubstringConfig(keep=options.keep, passes=options.passes)
    measure(config, [table.slice(0, 40) for table in tables])  # compiles the kernels
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = measure(config, tables)
    size = sum(table.column("text").nbytes for table in tables) / 1e6
    found |= {
        "megabytes": size,
        "documents": sum(table.num_rows for table in tables),
        "languages": Counter(code for t in tables for code in t.column("language").to_pylist()).most_common(4),
        "characters": sum(map(documents.characters_in, tables)),
        "memory_before_bytes": before << 10,
        "memory_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
    }
    total = found["total_seconds"]
    print(f"{found['documents']} documents, {size:.1f} MB of text, languages {found['languages']}")
    print(f"the whole step: {total:.2f} s, {size / total:.1f} MB/s", end="; ")
    print(", ".join(f"{name} {value:.2f}" for name, value in found["seconds"].items()))
    shipped = {name: value / size / 1e6 for name, value in found["exchanged_bytes"].items()}
    print(f"exchanged for a byte of text: {sum(shipped.values()):.3f}", end="; ")
    print(", ".join(f"{name} {value:.3f}" for name, value in shipped.items()))
    print(f"windows cut in each pass: {found['windows_of_passes']}")
    print(f"cut: {found['characters_cut'] / found['characters']:.1%} in {found['spans']} passages", end=", ")
    print(f"{found['removed']} documents removed")
    print(f"peak memory {found['memory_peak_bytes'] >> 20} MiB, {before >> 10} MiB of it with the documents alone")
    if options.peer:
        with tempfile.NamedTemporaryFile() as file:
            for table in tables:
                data, offsets = documents.utf8(table.column("text").combine_chunks())
                data[offsets[0] : offsets[-1]].tofile(file)
            file.flush()
            peer = subprocess.run([options.peer, "-c", DIVSUFSORT, file.name], check=True, capture_output=True)
        found["divsufsort_seconds"] = float(peer.stdout)
        print(
            f"divsufsort alone: {found['divsufsort_seconds']:.2f} s, {size / found['divsufsort_seconds']:.1f} MB/s",
            end="; ",
        )
        print(f"ours takes {total / found['divsufsort_seconds']:.2f} of its time")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
