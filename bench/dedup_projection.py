"""What dedup of one snapshot of Common Crawl would take, from measurements; part of bench/dedup_scale.py.

docs/scale.md says what is assumed. Memory is that of a task that holds one partition: each phase that is cut in key
partitions runs over 100,000 documents in one partition, and what it adds to the process grows with the documents a
partition. A look is what finds and reads one chunk of one file of the exchange.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scale_corpus import Corpus, InTurn, MeasuredRefinery, prepare
from side_by_side import in_fresh_process, table

from corpusmill.dedup.base import MAP, PARTITION, Turn
from corpusmill.pipeline import exchange
from corpusmill.pipeline.chain import corpus_step
from corpusmill.pipeline.corpus_tasks import CorpusJob
from corpusmill.pipeline.events import EventLog

STEPS = ("minhash", "substring")
SNAPSHOT_DOCUMENTS = 3_000_000_000
SNAPSHOT_SHARDS = 90_000  # one a WARC file
PARTITIONS = (256, 1024, 4096)
MEMORY_DOCUMENTS = 100_000
_WARM_UP_DOCUMENTS = 1_000
_LOOKS = 50
_CHUNK_ROWS = 100


def _status(name: str) -> int:
    """A size of this process, VmRSS or VmHWM, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))


class _ByPhase(MeasuredRefinery):
    """Notes the turns of each step, and for phases of one task what they add to the memory of this process."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.bytes: dict[str, dict[Turn, int]] = {}
        self.turns: dict[str, list[Turn]] = {}
        self.base_bytes = _status("VmRSS")

    def _corpus(self, label: str, jobs: Sequence[CorpusJob]) -> None:
        name = self.chain.names[jobs[0].index]
        before = _status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
        super()._corpus(label, jobs)
        turn = jobs[0].turn
        if turn is None:
            self.turns[name] = list(jobs[0].done)
        elif len(jobs) == 1:
            self.bytes.setdefault(name, {})[turn] = _status("VmHWM") - before


def measure_memory(pages: Path, work: Path) -> dict[str, Any]:
    """Bytes a document that the hungriest phase of each step adds; bytes of the process before; turns of each step."""
    for name, size in (("warm-up", _WARM_UP_DOCUMENTS), ("run", MEMORY_DOCUMENTS)):
        corpus = Corpus(pages, size)
        chain = prepare(work / name, corpus.shard, corpus.shards, {step: {"partitions": 1} for step in STEPS})
        refinery = _ByPhase(chain, InTurn(), EventLog(chain.run))
        refinery.run(chain.documents_end, len(chain.steps))
    by_step = {}
    for step in STEPS:
        cut = corpus_step(step, {"partitions": PARTITIONS[0]})
        sizes = [
            size
            for turn, size in refinery.bytes[step].items()
            if turn != MAP and cut.partitions(turn.round, SNAPSHOT_SHARDS) == PARTITIONS[0]
        ]
        by_step[step] = max(sizes) / MEMORY_DOCUMENTS
    turns = {step: [tuple(turn) for turn in turns] for step, turns in refinery.turns.items()}
    return {"bytes_a_document": by_step, "base_bytes": refinery.base_bytes, "turns": turns}


def seconds_a_look(partitions: int) -> float:
    """Seconds in which one chunk of an exchange file of so many partitions is found and read, from the page cache."""
    numbers = np.repeat(np.arange(partitions, dtype=np.int32), _CHUNK_ROWS)
    keys = np.random.default_rng(0).integers(0, 1 << 63, len(numbers))
    rows = pa.table({"key": keys, PARTITION: numbers})
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "a.chunks")
        exchange.write(file, rows, partitions, "")
        best = float("inf")
        for _ in range(3):
            started = time.perf_counter()
            for i in range(_LOOKS):
                exchange.read([file], i * partitions // _LOOKS)
            best = min(best, (time.perf_counter() - started) / _LOOKS)
    return best


def looks(step: str, turns: Sequence[tuple[int, int]], partitions: int) -> int:
    """Chunks that all tasks of a step look for: every task of a turn in every file of the turn before."""
    cut = corpus_step(step, {"partitions": partitions})

    def tasks(turn: Turn) -> int:
        return SNAPSHOT_SHARDS if turn == MAP else cut.partitions(turn.round, SNAPSHOT_SHARDS)

    done = [Turn(*turn) for turn in turns]
    of_turns = sum(tasks(before) * tasks(after) for before, after in pairwise(done))
    return of_turns + tasks(done[-1]) * SNAPSHOT_SHARDS


def project(measured: list[dict[str, Any]], pages: Path, work: Path) -> dict[str, Any]:
    """Prints and returns the projection. measured: what bench/dedup_scale.py found for the largest size, by step."""
    work.mkdir()
    memory = in_fresh_process(measure_memory, pages, work)
    size = measured[0]["documents_in"]
    rows, totals = [], {}
    for m in measured:
        entering = SNAPSHOT_DOCUMENTS * m["documents_in"] / size
        core_hours = m["cpu_seconds"] / m["documents_in"] * entering / 3600
        terabytes = sum(m["exchanged_bytes"].values()) / m["documents_in"] * entering / 1e12
        totals[m["step"]] = {"documents": entering, "core_hours": core_hours, "exchanged_terabytes": terabytes}
        rows.append([m["step"], f"{entering / 1e9:.2f}", f"{core_hours:,.0f}", f"{terabytes:.2f}"])
    print(f"\nA snapshot of {SNAPSHOT_DOCUMENTS / 1e9:.0f} billion documents in {SNAPSHOT_SHARDS:,} shards\n")
    print(table(["step", "documents in, 10^9", "core-hours", "TB exchanged"], rows))
    rows, by_partitions = [], []
    for partitions in PARTITIONS:
        look = seconds_a_look(partitions)
        for step in STEPS:
            documents = totals[step]["documents"] / partitions
            gibibytes = (memory["base_bytes"] + memory["bytes_a_document"][step] * documents) / (1 << 30)
            count = looks(step, memory["turns"][step], partitions)
            found = {"partitions": partitions, "step": step, "gibibytes": gibibytes, "looks": count}
            by_partitions.append({**found, "look_core_hours": count * look / 3600})
            rows.append(
                [step, f"{partitions:,}", f"{gibibytes:.1f}", f"{count / 1e6:,.0f}", f"{count * look / 3600:,.0f}"]
            )
    rows.sort(key=lambda row: row[0])
    print()
    print(table(["step", "partitions", "GiB of a task", "million looks", "core-hours of looks"], rows))
    return {"steps": totals, "by_partitions": by_partitions, "memory": memory}
