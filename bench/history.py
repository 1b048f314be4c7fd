"""Two snapshots, the second against the history of the first: what it costs, and whether all at once gives the same.

    python bench/history.py [--documents 10000] [--json result.json]

Documents of random words, as many in either snapshot; of the second, some are copies of the first: of the address, of
the text, of the text with a few words changed, or of a passage. Dates of the first come first and `keep` is `first`, so
that one run over both prefers it as the history does. In this process, one core.

For each step: core-milliseconds (CPU time) a document to run it over the first snapshot, to commit its history, to run
it over the second alone and against the history; bytes of history a document; what goes from the second snapshot, and
how many documents of it fare otherwise when both are run at once. Exit code 1 when some do (with `minhash` it may
happen where documents of the first snapshot are similar and share no bucket: then the history keeps both).
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from side_by_side import machine, table

from corpusmill.core import documents
from corpusmill.core.hashing import content_hash
from corpusmill.dedup import history
from corpusmill.dedup.base import CorpusStep
from corpusmill.dedup.exact import ExactDedup
from corpusmill.dedup.history import NO_PAST, Past
from corpusmill.dedup.keyed import KeyedDedupConfig
from corpusmill.dedup.local import commit_history, outcomes, run_step
from corpusmill.dedup.minhash import MinHash, MinHashConfig
from corpusmill.dedup.substring import Substring, SubstringConfig
from corpusmill.dedup.url import UrlDedup

SHARES = {"url": 0.05, "text": 0.1, "near": 0.15, "passage": 0.1}  # of the second snapshot
STEPS: dict[str, Callable[[Past], CorpusStep[Any]]] = {
    "url_dedup": lambda past: UrlDedup(KeyedDedupConfig(keep="first"), past),
    "exact_dedup": lambda past: ExactDedup(KeyedDedupConfig(keep="first"), past),
    "minhash": lambda past: MinHash(MinHashConfig(keep="first"), past),
    "substring": lambda past: Substring(SubstringConfig(passes=1), past),
}
SHARDS = 4


def text_of(chooser: random.Random, vocabulary: list[str], weights: list[float]) -> list[str]:
    return chooser.choices(vocabulary, cum_weights=weights, k=chooser.randint(150, 900))


def snapshots(number: int) -> tuple[list[pa.Table], list[pa.Table]]:
    """Shards of both snapshots."""
    chooser = random.Random(7)
    vocabulary = [f"{chooser.randrange(36**4):x}" for _ in range(50_000)]
    weights, total = [], 0.0
    for rank in range(len(vocabulary)):
        total += 1 / (rank + 10)
        weights.append(total)
    first = [text_of(chooser, vocabulary, weights) for _ in range(number)]
    second, urls = [], []
    for n in range(number):
        kind, drawn = "", chooser.random()
        for name, share in SHARES.items():
            kind = kind or (name if drawn < share else "")
            drawn -= share
        old = chooser.randrange(number)
        words = text_of(chooser, vocabulary, weights)
        if kind == "text":
            words = first[old]
        elif kind == "near":
            words = [w if chooser.random() > 0.01 else "edited" for w in first[old]]
        elif kind == "passage":
            at = chooser.randrange(len(words))
            words = [*words[:at], *first[old][:120], *words[at:]]
        second.append(words)
        urls.append(f"https://site.example/{0 if kind == 'url' else 1}/{old if kind == 'url' else n}")
    return (
        _shards(first, [f"https://site.example/0/{n}" for n in range(number)], "a"),
        _shards(second, urls, "b"),
    )


def _shards(texts: list[list[str]], urls: list[str], crawl: str) -> list[pa.Table]:
    date = datetime(2026, 1 if crawl == "a" else 2, 1, tzinfo=UTC)
    rows = [
        {
            "doc_id": f"{crawl}.warc.gz:{n:08}", "url": urls[n], "domain": "site.example",
            "warc_file": f"{crawl}.warc.gz", "warc_offset": n, "warc_length": 1, "crawl": crawl,
            "fetched_at": date + timedelta(seconds=n), "charset": "utf-8", "text": " ".join(words),
            "content_hash": content_hash(" ".join(words)), "language": "en", "language_score": 1.0,
        }
        for n, words in enumerate(texts)
    ]  # fmt: skip
    return [documents.table_of(rows[i::SHARDS], documents.DOCUMENT_WITH_LANGUAGE) for i in range(SHARDS)]


def commit(step: CorpusStep[Any], tables: list[pa.Table], results: list[Any], folder: str) -> tuple[float, int]:
    """Commits the history as the pipeline does, `map`'s rows at hand; seconds and bytes."""
    done = outcomes(step, tables, results)
    started = time.process_time()
    manifest = commit_history(step, done, folder, "a")
    seconds = time.process_time() - started
    return seconds, sum(entry.bytes for entries in manifest.tables.values() for entry in entries)


def timed(step: CorpusStep[Any], tables: list[pa.Table]) -> tuple[list[Any], float]:
    started = time.process_time()
    results = run_step(step, tables)
    return results, time.process_time() - started


def fates(results: list[Any]) -> dict[str, Any]:
    """What became of every document that did not stay as it was: its twin, or what is left of its text."""
    found: dict[str, Any] = {}
    for result in results:
        cut = set(result.spans.column("doc_id").to_pylist())
        found |= {r["doc_id"]: r["twin"] for r in result.removed.to_pylist()}
        found |= {r["doc_id"]: r["text"] for r in result.kept.to_pylist() if r["doc_id"] in cut}
    return found


def measure(make: Callable[[Past], CorpusStep[Any]], first: list[pa.Table], second: list[pa.Table]) -> dict[str, Any]:
    """One row of the result, and the kept tables of both snapshots for the next step."""
    number = sum(t.num_rows for t in first)
    others = sum(t.num_rows for t in second)
    step = make(NO_PAST)
    with tempfile.TemporaryDirectory() as folder:
        results, seconds = timed(step, first)
        committed, size = commit(step, first, results, folder)
        past = history.named([folder], step)
        against, against_seconds = timed(make(past), second)
    alone_seconds = timed(step, second)[1]
    together = fates(run_step(step, first + second))
    incremental = fates(against)
    ids = {doc_id for t in second for doc_id in t.column("doc_id").to_pylist()}
    differ = sum(together.get(doc_id) != incremental.get(doc_id) for doc_id in ids)
    return {
        "step": step.name,
        "run_ms": 1000 * seconds / number,
        "commit_ms": 1000 * committed / number,
        "alone_ms": 1000 * alone_seconds / others,
        "against_ms": 1000 * against_seconds / others,
        "history_bytes": size / number,
        "changed": len(incremental),
        "differ": differ,
        "kept": ([r.kept for r in results], [r.kept for r in against]),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=10_000, help="of each snapshot")
    parser.add_argument("--json", default="", help="where to write the figures")
    arguments = parser.parse_args()
    for make in STEPS.values():  # kernels are compiled or loaded
        few = snapshots(100)
        measure(make, *few)
    tables = snapshots(arguments.documents)
    rows = []
    for make in STEPS.values():
        found = measure(make, *tables)
        tables = found.pop("kept")
        rows.append(found)
    print(f"{arguments.documents} documents in either snapshot\n")
    print(table([*rows[0]], [[f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    return 1 if any(row["differ"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
