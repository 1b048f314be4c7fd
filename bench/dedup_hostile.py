"""MinHash and Substring on corpora that bring such steps down: memory, time, and whether the result is right.

    python bench/dedup_hostile.py [--cases copies one_text page constant] [--steps minhash substring] [--scale 1.0]

- `copies`: a document of 80 words with a million copies, among 20,000 documents of bench/scale_corpus.py's kind;
- `one_text`: 300,000 documents, all the same;
- `page`: one page of 50 MB (8 million random words), its copy, a near-duplicate of it (one word of 1,000 exchanged),
  and 5,000 other documents;
- `constant`: a page of 50 MB that is one word again and again, another one of half the length, and 5,000 others.

Each step runs by the engine over the corpus by itself. Expected of `minhash`: one copy of every text stays, and the
larger of the two pages of every pair that is similar; of `substring`: a text that is there twice is gone, as is a page
that repeats itself; other documents, which neither repeat one another nor themselves, are left as they are. --scale
makes everything smaller. Printed: seconds, bytes exchanged a document, the largest resident memory of any process
(target: 3 GiB), what was expected and found. Exit code 1 when a result is wrong or the memory is above the target.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from dedup_scale import MEMORY_TARGET_BYTES, STEPS, Watch
from dedup_truth import sample
from scale_corpus import (
    ORIGINAL,
    SHARD_DOCUMENTS,
    Corpus,
    MeasuredRefinery,
    document_table,
    prepare,
    rows,
    warc_file,
)
from side_by_side import CACHE, DATA, machine, table

from corpusmill.core import documents
from corpusmill.core.hashing import Int64Array
from corpusmill.dedup.local import run_step
from corpusmill.dedup.substring import Substring, SubstringConfig
from corpusmill.pipeline.chain import Chain
from corpusmill.pipeline.engine import Engine
from corpusmill.pipeline.events import EventLog
from corpusmill.pipeline.progress import Reporter

PAGE_WORDS = 8_000_000
COPIES, ONE_TEXT, OTHERS = 1_000_000, 300_000, 20_000


@dataclass(frozen=True)
class Case:
    """A corpus, and how many of its documents each step must keep.

    texts: a shard's texts by its number. hostile: documents that the case is about; they come first.
    """

    texts: Callable[[int], list[str]]
    shards: int
    hostile: int
    kept: dict[str, int]

    def table(self, shard: int) -> pa.Table:
        """The documents of a shard."""
        return document_table(warc_file(shard), pa.array(self.texts(shard), pa.large_string()))


def one_text() -> str:
    """A text of 80 words, none of them twice in a row of five."""
    return " ".join(f"word{i * 37 % 211}" for i in range(80))


def many(texts: Callable[[Int64Array], list[str]], count: int) -> tuple[Callable[[int], list[str]], int]:
    """The shards of `count` documents of which `texts` gives those of some numbers."""

    def of_shard(shard: int) -> list[str]:
        return texts(np.arange(shard * SHARD_DOCUMENTS, min((shard + 1) * SHARD_DOCUMENTS, count)))

    return of_shard, -(-count // SHARD_DOCUMENTS)


def pages(first: list[str], others: list[str]) -> tuple[Callable[[int], list[str]], int]:
    """A shard with each of the pages, and one with the others."""
    return (lambda shard: [first[shard]] if shard < len(first) else others), len(first) + 1


def originals(corpus: Corpus, count: int) -> list[str]:
    """Texts of documents that have nothing to do with one another and do not repeat themselves."""
    texts = corpus.texts(np.flatnonzero(corpus.kinds == ORIGINAL))
    (result,) = run_step(Substring(SubstringConfig()), [document_table(warc_file(0), texts)])
    gone = {documents.split_doc_id(i)[1] for t in (result.removed, result.spans) for i in t["doc_id"].to_pylist()}
    return [text for i, text in enumerate(texts.to_pylist()) if 30_000 * i not in gone][:count]


def case(name: str, crawl: Path, scale: float) -> Case:
    """The corpus `name`."""
    copies, identical, words = (int(scale * n) for n in (COPIES, ONE_TEXT, PAGE_WORDS))
    if name == "one_text":
        texts, shards = many(lambda numbers: [one_text()] * len(numbers), identical)
        return Case(texts, shards, identical, {"minhash": 1, "substring": 0})
    others = originals(Corpus(crawl, 2 * OTHERS), OTHERS if name == "copies" else SHARD_DOCUMENTS)
    if name == "copies":
        texts, shards = many(
            lambda numbers: [one_text() if n < copies else others[n - copies] for n in numbers.tolist()],
            copies + len(others),
        )
        return Case(texts, shards, copies, {"minhash": 1 + len(others), "substring": len(others)})
    if name == "constant":
        first = [" ".join(["again"] * words), " ".join(["again"] * (words // 2))]
        texts, shards = pages(first, others)
        return Case(texts, shards, len(first), {"minhash": 1 + len(others), "substring": len(others)})
    chance = random.Random(1)
    page = [f"{chance.getrandbits(20):x}" for _ in range(words)]
    near = ["exchanged" if i % 1000 == 500 else word for i, word in enumerate(page)]
    texts, shards = pages([" ".join(page), " ".join(page), " ".join(near)], others)
    return Case(texts, shards, 3, {"minhash": 1 + len(others), "substring": len(others)})


def touched_others(chain: Chain, step: str, made: Case) -> int:
    """Documents beside the hostile ones that `step` removed or cut."""
    ids: set[str] = set()
    for kind in ("removed", "spans"):
        ids.update(rows(chain, step, kind, ["doc_id"])["doc_id"].to_pylist())
    left = made.hostile
    for shard in range(made.shards):
        count = min(left, len(made.texts(shard)))
        ids.difference_update(f"{warc_file(shard)}:{30_000 * i}" for i in range(count))
        left -= count
    return len(ids)


def compare(options: argparse.Namespace, work: Path) -> int:
    """All cases; the exit code."""
    lines: list[list[str]] = []
    wrong = 0
    for name in options.cases:
        made = case(name, options.documents, options.scale)
        for step in options.steps:
            # Each in an engine of its own, as a worker's largest memory is that of its life.
            with Watch() as watch, Engine(Reporter(quiet=True), options.workers) as engine:
                chain = prepare(work / name, made.table, made.shards, {step: {}})
                refinery = MeasuredRefinery(chain, engine, EventLog(chain.run))
                index = chain.index(step)
                started = time.perf_counter()
                refinery.run(index, index + 1)
                seconds = time.perf_counter() - started
                peak = watch.peak_bytes(own=False)  # this one made the corpus
            manifests = [chain.committed(index, shard) for shard in chain.shards]
            counts = [manifest.counts for manifest in manifests if manifest is not None]
            entered, kept = sum(c.into.documents for c in counts), sum(c.kept.documents for c in counts)
            exchanged = sum(refinery.exchanged[step].values()) / entered
            touched = touched_others(chain, step, made)
            right = kept == made.kept[step] and touched == 0
            wrong += not right or peak >= MEMORY_TARGET_BYTES
            figures = [f"{entered:,}", f"{seconds:.1f}", f"{exchanged:,.0f}", f"{peak / (1 << 30):.2f}"]
            found = f"{kept:,} kept ({made.kept[step]:,} expected), {touched} others touched"
            lines.append([name, step, *figures, found])
            print(f"{name}, {step}: {found}", file=sys.stderr)
            shutil.rmtree(work / name)
    header = ["case", "step", "documents", "s", "bytes exchanged a document", "GiB of the largest process", "found"]
    print(table(header, lines, text_columns=2))
    return int(wrong > 0)


def main() -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ("copies", "one_text", "page", "constant")
    parser.add_argument("--cases", nargs="+", choices=names, default=list(names))
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--crawl", type=Path, default=DATA, help="folder of real pages")
    parser.add_argument("--documents", type=Path, default=CACHE / "dedup_truth.parquet", help="their extracted texts")
    options = parser.parse_args()
    sample(options.crawl, options.documents)
    print(f"{machine()}\n")
    with tempfile.TemporaryDirectory(prefix="dedup-hostile-") as work:
        return compare(options, Path(work))


if __name__ == "__main__":
    sys.exit(main())
