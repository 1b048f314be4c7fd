"""MinHash and Substring over 10 thousand, 100 thousand and 1 million documents: time, exchange, memory; peers; a crawl.

    python bench/dedup_scale.py [--sizes 10000 100000 1000000] [--workers 2] [--json result.json] [--project]
    bench/peers/setup; bench/peers/setup_rensa             # once; each prints a PYTHON
    python bench/dedup_scale.py --sizes 10000 --datatrove-python PYTHON --rensa-python PYTHON

Documents: those of bench/scale_corpus.py, written shard by shard as the output of the language stage of a run; the
real pages behind them are extracted from --crawl once (minutes) and kept in --documents, which bench/dedup_truth.py
reads too. The steps are run by the engine as `corpusmill run` does it: Ray tasks, the exchange on disk, results
committed. `substring` gets what `minhash` left.

Printed for each size and step: documents per second by the clock, and core-milliseconds a document (CPU time of all
processes together, which other load on the machine changes less); both as multiples of the size before, a target 1.25
at 1 million; bytes exchanged a document; the largest resident memory of any process, a target 3 GiB. A thousand
documents go first, so that every worker has its libraries and kernels. Found is compared with what was planted:
documents that went for one below `min_similarity` (all made otherwise and some others; must be 0), copies of which more
than one stayed (must be 0), near-duplicates that share the cluster of their original beside what the S-curve expects at
the exact Jaccard similarities of a sample (must be within four standard errors), and documents that hold a passage
which another one holds and were not cut (must be 0).

--datatrove-python, --rensa-python: the same documents, the same number of permutations and words a shingle, one core,
nothing else at the same time. Signatures: texts in memory to signatures in memory, the best of three. Stages: from
Parquet to Parquet, with all that is written between.

--project: what one snapshot of Common Crawl would take, by the largest size; docs/scale.md says what is assumed.
Exit code 1 when something is found wrongly or a target is missed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import scale_corpus
from dedup_beside_peers import beside_peers
from dedup_projection import project
from dedup_truth import sample
from kill_run import descendants
from scale_corpus import Corpus, MeasuredRefinery, dump, prepare
from side_by_side import CACHE, DATA, machine, table

from corpusmill.core import documents
from corpusmill.core.normalise import normalised_words
from corpusmill.dedup import signatures
from corpusmill.dedup.minhash import MinHashConfig
from corpusmill.pipeline.chain import Chain
from corpusmill.pipeline.engine import Engine
from corpusmill.pipeline.events import EventLog
from corpusmill.pipeline.progress import Reporter

STEPS = ("minhash", "substring")
WARM_UP_DOCUMENTS = 1_000
GROWTH_TARGET = 1.25  # cost a document, against the size before
MEMORY_TARGET_BYTES = 3 << 30
SAMPLE_SECONDS = 0.1
SAMPLE_PAIRS = 1_000


class Watch:
    """CPU seconds and the largest resident memory of this process and all below it, sampled while it is open."""

    def __init__(self) -> None:
        self._cpu: dict[tuple[int, str], float] = {}  # by process, at the last look
        self._peak: dict[tuple[int, str], int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self._look()

    def _look(self) -> None:
        for pid, started in [(os.getpid(), ""), *((p.pid, p.started) for p in descendants(os.getpid()))]:
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                status = Path(f"/proc/{pid}/status").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            self._cpu[pid, started] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            peak = next((line for line in status.splitlines() if line.startswith("VmHWM")), None)
            if peak:  # none when it is about to end
                self._peak[pid, started] = int(peak.split()[1]) << 10

    def cpu_seconds(self) -> float:
        """CPU seconds so far, of processes that have ended too."""
        self._look()
        return sum(self._cpu.values())

    def peak_bytes(self, *, own: bool = True) -> int:
        """Largest resident memory of one process so far; `own`: this one counts too."""
        self._look()
        return max(size for (pid, _), size in self._peak.items() if own or pid != os.getpid())


@dataclass(frozen=True)
class Measured:
    """One step over one corpus. exchanged_bytes: by turn."""

    size: int
    step: str
    documents_in: int
    removed: int
    seconds: float
    cpu_seconds: float
    exchanged_bytes: dict[str, int]
    peak_bytes: int

    @property
    def core_milliseconds(self) -> float:
        """CPU time a document that entered the step."""
        return 1000 * self.cpu_seconds / self.documents_in

    @property
    def milliseconds(self) -> float:
        """Time by the clock, a document that entered the step."""
        return 1000 * self.seconds / self.documents_in


def measure(
    corpus: Corpus, run: Path, engine: Engine, watch: Watch, partitions: int | None
) -> tuple[Chain, list[Measured]]:
    """Runs the steps over `corpus`."""
    chain = prepare(run, corpus.shard, corpus.shards, {name: {"partitions": partitions} for name in STEPS})
    events = EventLog(chain.run)
    refinery = MeasuredRefinery(chain, engine, events)
    found = []
    for name in STEPS:
        started, cpu = time.perf_counter(), watch.cpu_seconds()
        index = chain.index(name)
        refinery.run(index, index + 1)
        seconds, cpu = time.perf_counter() - started, watch.cpu_seconds() - cpu
        manifests = [chain.committed(index, shard) for shard in chain.shards]
        counts = [manifest.counts for manifest in manifests if manifest is not None]
        entered = sum(c.into.documents for c in counts)
        removed = entered - sum(c.kept.documents for c in counts)
        exchanged = refinery.exchanged[name]
        found.append(Measured(corpus.size, name, entered, removed, seconds, cpu, exchanged, watch.peak_bytes()))
    events.close()
    return chain, found


def numbers(doc_ids: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Numbers of documents in their corpus, int64 (k,); -1 for null."""
    found = []
    for doc_id in doc_ids.to_pylist():
        name, offset = documents.split_doc_id(doc_id)
        found.append(int(name[-13:-8]) * scale_corpus.SHARD_DOCUMENTS + offset // 30_000)
    return np.array(found, dtype=np.int64)


def similarities(corpus: Corpus, a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> list[float]:
    """Exact Jaccard similarities of the shingle sets of pairs of documents."""
    found = []
    for pair in zip(corpus.texts(a).to_pylist(), corpus.texts(b).to_pylist(), strict=True):
        hashes = (normalised_words(text, scale_corpus.LANGUAGE).hashes for text in pair)
        first, second = (signatures.shingles(words, MinHashConfig().ngram) for words in hashes)
        found.append(len(np.intersect1d(first, second)) / len(np.union1d(first, second)))
    return found


def judge(corpus: Corpus, chain: Chain) -> dict[str, Any]:
    """What was found beside what was planted."""
    gone = scale_corpus.rows(chain, "minhash", "removed", ["doc_id", "twin"])
    removed, twins = numbers(gone["doc_id"]), numbers(gone["twin"])
    members = scale_corpus.rows(chain, "minhash", "clusters", ["doc_id", "cluster_id"])
    cluster = np.arange(corpus.size) + corpus.size  # of its own
    cluster[numbers(members["doc_id"])] = numbers(members["cluster_id"])
    stays = np.ones(corpus.size, dtype=bool)
    stays[removed] = False
    near = np.flatnonzero(corpus.kinds == scale_corpus.NEAR)
    recall = float((cluster[near] == cluster[corpus.roots[near]]).mean())
    few = near[:: max(1, len(near) // SAMPLE_PAIRS)]
    config = MinHashConfig()
    curve = [
        signatures.lsh_probability(j, config.bands, config.rows) for j in similarities(corpus, few, corpus.roots[few])
    ]
    expected = float(np.mean(curve))
    error = (expected * (1 - expected)) ** 0.5 * (1 / len(few) + 1 / len(near)) ** 0.5
    same_text = corpus.kinds != scale_corpus.NEAR  # an original and its copies
    _, left = np.unique(corpus.roots[same_text & stays], return_counts=True)

    # All that went for a document made otherwise, which may be similar all the same, and some of the rest.
    looked = corpus.roots[removed] != corpus.roots[twins]
    looked[:: max(1, len(removed) // SAMPLE_PAIRS)] = True
    alike = similarities(corpus, removed[looked], twins[looked])
    assert config.min_similarity is not None

    spans = scale_corpus.rows(chain, "substring", "spans", ["doc_id"])
    dropped = scale_corpus.rows(chain, "substring", "removed", ["doc_id"])
    cut = np.zeros(corpus.size, dtype=bool)
    cut[numbers(spans["doc_id"])] = True
    cut[numbers(dropped["doc_id"])] = True
    holders = np.flatnonzero(stays & (corpus.passages >= 0))
    times = Counter(corpus.passages[holders].tolist())
    repeated = np.array([times[p] > 1 for p in corpus.passages[holders].tolist()], dtype=bool)
    return {
        "removed_for_an_unlike_text": sum(j < config.min_similarity for j in alike),
        "copies_left": int((left - 1).sum()),
        "near_duplicates": len(near),
        "share_in_the_cluster": round(recall, 4),
        "share_expected": round(expected, 4),
        "standard_errors_apart": round(abs(recall - expected) / error, 2),
        "holders_of_repeated_passages": int(repeated.sum()),
        "holders_not_cut": int((repeated & ~cut[holders]).sum()),
    }


def is_right(judged: dict[str, Any]) -> bool:
    """Whether nothing was found that is not there, and what must be found was."""
    wrong = (judged["removed_for_an_unlike_text"], judged["copies_left"], judged["holders_not_cut"])
    return wrong == (0, 0, 0) and bool(judged["standard_errors_apart"] < 4)


def show(found: list[Measured], judged: dict[int, dict[str, Any]]) -> None:
    """Tables of sizes and of what was found."""
    rows = []
    for m in found:
        before = [b for b in found if b.step == m.step and b.size < m.size]
        growth = [
            f"{m.milliseconds / before[-1].milliseconds:.2f}" if before else "",
            f"{m.core_milliseconds / before[-1].core_milliseconds:.2f}" if before else "",
        ]
        rows.append(
            [
                m.step,
                f"{m.documents_in:,}",
                f"{m.removed:,}",
                f"{m.seconds:.1f}",
                f"{m.documents_in / m.seconds:,.0f}",
                growth[0],
                f"{m.core_milliseconds:.3f}",
                growth[1],
                f"{sum(m.exchanged_bytes.values()) / m.documents_in:,.0f}",
                f"{m.peak_bytes / (1 << 30):.2f}",
            ]
        )
    header = ["step", "documents", "removed", "s", "documents/s", "x before", "core-ms a document", "x before"]
    print(table([*header, "bytes exchanged a document", "GiB of the largest process"], rows))
    for size, counts in judged.items():
        print(f"\n{size:,} documents:")
        for name, count in counts.items():
            print(f"  {name.replace('_', ' ')}: {count:,}")


def missed_targets(found: list[Measured]) -> list[str]:
    """Targets that were missed, in words."""
    missed = []
    for step in STEPS:
        of_step = {m.size: m for m in found if m.step == step}
        if 100_000 in of_step and 1_000_000 in of_step:
            growth = of_step[1_000_000].core_milliseconds / of_step[100_000].core_milliseconds
            if growth > GROWTH_TARGET:
                missed.append(f"{step}: cost a document grows {growth:.2f} times from 100 thousand to 1 million")
    peak = max(m.peak_bytes for m in found)
    if peak >= MEMORY_TARGET_BYTES:
        missed.append(f"a process took {peak / (1 << 30):.2f} GiB")
    return missed


def main() -> int:
    """Measures, prints, and compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--partitions", type=int, help="default: by the number of shards")
    parser.add_argument("--crawl", type=Path, default=DATA, help="folder of real pages")
    parser.add_argument("--documents", type=Path, default=CACHE / "dedup_truth.parquet", help="their extracted texts")
    parser.add_argument("--work", type=Path, help="where the runs are made; default: a temporary folder")
    parser.add_argument("--datatrove-python", type=Path)
    parser.add_argument("--rensa-python", type=Path)
    parser.add_argument("--project", action="store_true", help="what a snapshot of Common Crawl would take")
    parser.add_argument("--json", type=Path, help="file for the results")
    options = parser.parse_args()
    sample(options.crawl, options.documents)
    print(f"{machine()}\n")
    with tempfile.TemporaryDirectory(prefix="dedup-scale-", dir=options.work) as work:
        return compare(options, Path(work))


def compare(options: argparse.Namespace, work: Path) -> int:
    """Everything that the options ask for; the exit code."""
    found: list[Measured] = []
    judged: dict[int, dict[str, Any]] = {}
    with Watch() as watch, Engine(Reporter(quiet=True), options.workers) as engine:
        measure(Corpus(options.documents, WARM_UP_DOCUMENTS), work / "warm-up", engine, watch, options.partitions)
        for size in sorted(options.sizes):
            corpus = Corpus(options.documents, size)
            chain, measured = measure(corpus, work / str(size), engine, watch, options.partitions)
            found += measured
            judged[size] = judge(corpus, chain)
            shutil.rmtree(work / str(size))
    show(found, judged)
    report: dict[str, Any] = {"machine": machine(), "measured": [asdict(m) for m in found], "judged": judged}
    missed = missed_targets(found)
    missed += [f"{size:,} documents: found is not what was planted" for size, j in judged.items() if not is_right(j)]
    if options.project:
        of_largest = [asdict(m) for m in found if m.size == max(options.sizes)]
        report["projection"] = project(of_largest, options.documents, work / "projection")
    if options.datatrove_python or options.rensa_python:
        peers = (options.datatrove_python, options.rensa_python)
        beside = beside_peers(options.documents, min(options.sizes), work / "peers", *peers)
        report["peers"] = beside
        missed += [f"{name}: {beside['ratios'][name]:.1f} times as fast" for name in beside["missed"]]
    dump(options.json, report)
    for line in missed:
        print(f"\nMISSED: {line}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
