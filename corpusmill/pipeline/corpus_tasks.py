"""The tasks of a corpus-wide step: map a shard, reduce a partition, apply the decisions to a shard."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pyarrow as pa

from corpusmill.core import artifacts
from corpusmill.core.artifacts import Counts
from corpusmill.dedup.base import next_rows
from corpusmill.pipeline import exchange
from corpusmill.pipeline.chain import Chain
from corpusmill.pipeline.document_tasks import Done, tally


@dataclass(frozen=True)
class CorpusJob:
    """One task of step `index`: of `phase` map, reduce or apply; `number` is a shard or a partition."""

    chain: Chain
    index: int
    phase: str
    round: int
    number: int

    @property
    def label(self) -> str:
        """Name for logs and errors."""
        step = self.chain.steps[self.index].name
        if self.phase == "reduce":
            return f"{step} round {self.round} partition {self.number}"
        return f"{step} {self.phase} {self.chain.shards[self.number].name}"


def exchange_fingerprint(chain: Chain, index: int) -> str:
    """What exchange files of step `index` carry: the step's own and, since files are grouped by it, `partitions`."""
    step = chain.steps[index]
    return artifacts.fingerprint(step=step.fingerprint, config=dict(step.config))


def output_path(job: CorpusJob) -> str:
    """Exchange file that a map or reduce task writes."""
    folder = job.chain.folder(job.index)
    if job.phase == "map":
        return exchange.path(folder, 0, job.chain.shards[job.number].name)
    return exchange.path(folder, job.round + 1, f"{job.number:05d}")


def input_paths(chain: Chain, index: int, round_number: int) -> list[str]:
    """Exchange files that round `round_number` reads, in their fixed order."""
    folder = chain.folder(index)
    if round_number == 0:
        return [exchange.path(folder, 0, shard.name) for shard in chain.shards]
    step = chain.corpus_step(index)
    tasks = step.partitions(round_number - 1, len(chain.shards))
    return [exchange.path(folder, round_number, f"{p:05d}") for p in range(tasks)]


def run_corpus_job(job: CorpusJob) -> Done | float:
    """Runs one task. Returns what was committed (apply), or the seconds it took (map, reduce)."""
    chain, index = job.chain, job.index
    step = chain.corpus_step(index)
    shards = len(chain.shards)
    started = time.perf_counter()
    if job.phase == "apply":
        return _apply(job, started)

    def documents(shard: int) -> pa.Table:
        return chain.kept(index - 1, chain.shards[shard].name, step.columns)

    if job.phase == "map":
        rows = step.map(documents(job.number), job.number, shards)
        following = 0
    else:
        rows = exchange.read(input_paths(chain, index, job.round), job.number)
        rows = next_rows(step, job.round, rows, documents, job.number, shards)
        following = job.round + 1
    partitions = step.partitions(following, shards)
    exchange.write(output_path(job), rows, partitions, exchange_fingerprint(chain, index))
    return time.perf_counter() - started


def _apply(job: CorpusJob, started: float) -> Done:
    chain, index = job.chain, job.index
    shard = chain.shards[job.number]
    step = chain.corpus_step(index)
    table = chain.kept(index - 1, shard.name)
    decisions = exchange.read(input_paths(chain, index, step.rounds), job.number)
    result = step.apply(table, decisions)
    into = tally(table)
    counts = Counts.of(into.documents, into.characters, tally(result.kept), result.removed, result.quarantined)
    tables = {"removed": result.removed, "quarantine": result.quarantined}
    if result.spans.num_rows:
        tables["spans"] = result.spans
    if result.clusters is not None:
        tables["clusters"] = result.clusters
    if chain.steps[index].stored:
        tables["out"] = result.kept.cast(table.schema)
    chain.folder(index).commit(shard.name, chain.fingerprint(index, shard), tables, counts)
    return Done(step.name, shard.name, counts, time.perf_counter() - started)
