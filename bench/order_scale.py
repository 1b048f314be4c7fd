"""Orders of 1e6, 1e7 and 1e8 sequences over synthetic documents: what making, asking and proving them costs.

    python bench/order_scale.py [--sequences 1000000 10000000 100000000] [--full 1000000] [--folder DIR]

Documents have lognormal lengths (--mean-tokens, 2,048 tokens a sequence), of two sources that are blended 9 to 1.
Everything but the token bytes is real: documents.parquet, the index for look-ups, the table. Token files are sparse
(zeros, no room on the disk), so the two figures that need tokens come from the sizes of --full, whose files are random
ids: building with step roots, verify --full, and the loader.

Printed for each size:
  permutation   sequences a second, one core                                             target 3M
  table         rows a second derived and written, one core; bytes a sequence            target 1M
  show          one random step, all its sequences, as the command prints it (300 characters a segment), with all its
                text (--json), and one sequence: time of the call on a fresh Order, the files dropped from the page
                cache before; the median and largest of --tries                          target 50 ms
  find          steps of a document by its URL, likewise                                 target 100 ms
  memory        peak of the process
and for the sizes of --full:
  verify        MB of tokens a second: rule = table = token bytes of all steps           target 100
  loader        tokens a second, warm, steps in sequence; of a rank of 1                 target 100M

Python's start and imports are not in the figures. Exit code 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from side_by_side import machine, table
from synthetic_tokens import write_tokens

from corpusmill.audit.trace import find_documents, show_step
from corpusmill.core import storage
from corpusmill.tokenize import lookup
from corpusmill.tokenize.derivation import Derivation
from corpusmill.tokenize.order import (
    OrderSummary,
    TableFile,
    begin_order,
    build_order,
    parts_of,
    table_writer,
)
from corpusmill.tokenize.order_config import OrderConfig
from corpusmill.tokenize.permutation import Permutation
from corpusmill.tokenize.reader import Order
from corpusmill.tokenize.rule import Rule
from corpusmill.tokenize.store import DocumentIndex
from corpusmill.tokenize.verify import verify_order

LENGTH = 2048
BLEND = {"en": 9, "ja": 1}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, nargs="*", default=[10**6, 10**7, 10**8])
    parser.add_argument("--full", type=int, nargs="*", default=[10**6], help="sizes that get random token ids")
    parser.add_argument("--mean-tokens", type=float, default=1500)
    parser.add_argument("--batch", type=int, default=1024, help="sequences of a step")
    parser.add_argument("--tries", type=int, default=21)
    parser.add_argument("--folder", type=Path, help="where the files go; they are deleted afterwards")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    print(f"{machine()}; sequences of {LENGTH} tokens, steps of {args.batch}\n")
    missed: list[str] = []
    results: dict[str, Any] = {}
    for size in args.sequences:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            results[f"{size:,}"] = measure(Path(folder), size, args, size in args.full, missed)
            print(f"{size:,} done", file=sys.stderr, flush=True)
    names = list(dict.fromkeys(name for result in results.values() for name in result))
    rows = [[name, *(result.get(name, "") for result in results.values())] for name in names]
    print(table(["", *(f"{size} sequences" for size in results)], rows))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))
    for line in missed:
        print(f"MISSED: {line}")
    return 1 if missed else 0


def measure(run: Path, size: int, args: argparse.Namespace, full: bool, missed: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}

    def note(name: str, value: float, form: str, low: float | None = None, high: float | None = None) -> None:
        found[name] = form.format(value)
        if (low is not None and value < low) or (high is not None and value > high):
            missed.append(f"{size:,} sequences, {name}: {found[name]}")

    # The blend takes nine of ten sequences from the larger source, and stops when one of them was read once.
    documents = round(size * LENGTH / args.mean_tokens * 1.03)
    start = time.perf_counter()
    manifest = write_tokens(run, documents, args.mean_tokens, sparse=not full)
    found["documents"] = f"{manifest.documents:,}"
    found["documents written in"] = f"{time.perf_counter() - start:.0f} s"
    n = int(size * 0.9)
    permutation, indices = Permutation(n, bytes(range(16))), np.arange(min(n, 1 << 22))
    permutation.forward(indices[:1000])
    seconds = cpu(lambda: permutation.forward(indices))
    note("permutation, sequences/s", len(indices) / seconds, "{:,.0f}", low=3e6)

    tokens, order = str(run / "tokens"), str(run / "order")
    config = OrderConfig.model_validate(
        {"key": "scale", "batch_size": args.batch, "phases": [{"steps": size // args.batch, "sources": BLEND}]}
    )
    if full:
        seconds = cpu(lambda: build_order(tokens, order, config))
        summary = OrderSummary.model_validate_json(Path(order, "order.json").read_bytes())
        read = summary.sequences * LENGTH * 2 / 1e6
        note("built with roots, MB of tokens/s", read / seconds, "{:,.0f}")
        shutil.rmtree(order)
    rows, seconds, written = write_table(tokens, order, config)
    note("table, rows/s derived and written", rows / seconds, "{:,.0f}", low=1e6)
    note("table, s of CPU in all", seconds, "{:,.0f}")
    note("table, bytes a sequence", written / (size // args.batch * args.batch), "{:.1f}")
    seconds = cpu(lambda: lookup.build(tokens))
    note("index of documents, s of CPU", seconds, "{:,.0f}")
    note("index of documents, bytes a document", folder_bytes(run / "tokens/index") / documents, "{:.0f}")

    chance = np.random.default_rng(0)
    steps = chance.integers(0, size // args.batch, args.tries).tolist()
    show_step(str(run), 0, 0)  # libraries and kernels
    calls = [lambda s=s: show_step(str(run), s, None, 300) for s in steps]
    latencies(run, "show of a step, ms cold", calls, note, 50)
    calls = [lambda s=s: show_step(str(run), s) for s in steps]
    latencies(run, "show of a step with all its text, ms cold", calls, note, None)
    calls = [lambda s=s: show_step(str(run), s, s % args.batch) for s in steps]
    latencies(run, "show of a slot, ms cold", calls, note, 50)
    names = pq.ParquetFile(run / "tokens/documents.parquet")
    urls = []
    for group in chance.integers(0, names.num_row_groups, args.tries).tolist():
        urls.append(names.read_row_group(group, ["url"]).column("url")[7].as_py())
    find_documents(str(run), url=urls[0])
    calls = [lambda u=u: find_documents(str(run), url=u) for u in urls]
    latencies(run, "find, ms cold", calls, note, 100)

    if full:
        shutil.rmtree(order)
        build_order(tokens, order, config)
        note("verify --full, MB of tokens/s", verified(run) / 1e6, "{:,.0f}", low=100)
        note("loader, tokens/s warm", loaded(run), "{:,.0f}", low=1e8)
    note("peak memory, MiB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "{:,.0f}")
    return found


def cpu(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def write_table(tokens: str, order: str, config: OrderConfig) -> tuple[int, float, int]:
    """Derives and writes the whole table without reading a token; (rows, seconds of CPU, bytes)."""
    start = time.process_time()
    rule = begin_order(tokens, order, config)
    derivation = Derivation(rule, DocumentIndex.load(tokens, rule.shards))
    rows, files = 0, []
    for part in parts_of(rule, config.file_sequences):
        count = 0
        path = storage.join(order, part.path)
        with storage.open_write(path) as file, table_writer(file) as writer:
            for first in range(part.first_step, part.first_step + part.steps, part.group_steps):
                chunk = derivation.rows(first, min(first + part.group_steps, part.first_step + part.steps))
                writer.write_table(chunk, row_group_size=chunk.num_rows)
                count += chunk.num_rows
        rows += count
        files.append(
            TableFile(
                path=part.path,
                bytes=storage.size_bytes(path),
                sha256="",
                rows=count,
                first_step=part.first_step,
                steps=part.steps,
                phase=part.phase,
                group_steps=part.group_steps,
            )
        )
    seconds = time.process_time() - start
    write_summary(order, rule, files)
    return rows, seconds, sum(f.bytes for f in files)


def write_summary(order: str, rule: Rule, files: list[TableFile]) -> None:
    """order.json with the table's files; roots, which need tokens, are left out."""
    rule_path = storage.join(order, "rule.json")
    summary = OrderSummary(
        order_root="",
        rule_sha256=storage.sha256_file(rule_path),
        chain_head="",
        documents_root="",
        steps=rule.steps,
        sequences=rule.sequences,
        rows=sum(f.rows for f in files),
        document_tokens=0,
        pad_tokens=0,
        unused_sequences={},
        table=tuple(files),
        roots=files[0],
    )
    storage.write_text(storage.join(order, "order.json"), summary.model_dump_json())


def latencies(
    run: Path, name: str, calls: list[Callable[[], object]], note: Callable[..., None], target_ms: float | None
) -> None:
    seen = []
    for call in calls:
        drop_cached(run)
        start = time.perf_counter()
        call()
        seen.append((time.perf_counter() - start) * 1000)
    note(f"{name}, median", statistics.median(seen), "{:.0f}", high=target_ms)
    note(f"{name}, largest", max(seen), "{:.0f}")


def drop_cached(run: Path) -> None:
    """Takes the files of the run out of the page cache."""
    for path in [*run.glob("tokens/*"), *run.glob("tokens/index/*"), *run.glob("order/*")]:
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def verified(run: Path) -> float:
    """Bytes of tokens a second of CPU."""
    seconds = cpu(lambda: check(run))
    order = Order.open(str(run))
    return order.tokens_before(order.steps) * order.store.dtype.itemsize / seconds


def check(run: Path) -> None:
    wrong = [c for c in verify_order(str(run), "full") if not c.ok]
    if wrong:
        raise SystemExit(f"verify: {wrong}")


def loaded(run: Path) -> float:
    """Tokens a second of CPU, of steps in sequence whose files are in the page cache."""
    order = Order.open(str(run))
    steps = range(min(order.steps, 100))
    for step in steps:
        order.step(step)
    start = time.process_time()
    for step in steps:
        order.step(step)
    seconds = time.process_time() - start
    return order.tokens_before(len(steps)) / seconds


if __name__ == "__main__":
    sys.exit(main())
