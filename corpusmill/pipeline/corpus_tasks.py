"""The tasks of a corpus-wide step: map a shard, reduce a partition, apply the decisions to a shard."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from corpusmill.core import artifacts, storage
from corpusmill.core.artifacts import Counts
from corpusmill.core.hashing import canonical_json
from corpusmill.dedup import groups
from corpusmill.dedup.base import (
    MAP,
    Turn,
    VisitingStep,
    lasting_turns,
    next_rows,
    successors,
    turns_before_apply,
)
from corpusmill.pipeline import exchange
from corpusmill.pipeline.chain import Chain, corpus_step
from corpusmill.pipeline.document_tasks import Done, tally
from corpusmill.pipeline.inputs import Shard
from corpusmill.pipeline.scores import read as read_scores
from corpusmill.stages.classifier import CLASSIFIER_SCORE, ClassifierStage


@dataclass(frozen=True)
class CorpusJob:
    """One task of step `index`: of `turn`, or of `apply` (None); `number` is a shard or a partition.

    done: the turns before it, `map` first.
    """

    chain: Chain
    index: int
    turn: Turn | None
    done: tuple[Turn, ...]
    number: int

    @property
    def label(self) -> str:
        """Name for logs and errors."""
        step = self.chain.steps[self.index].name
        if self.turn not in (None, MAP):
            return f"{step} round {self.turn} partition {self.number}"
        return f"{step} {self.turn or 'apply'} {self.chain.shards[self.number].name}"


def exchange_fingerprint(chain: Chain, index: int) -> str:
    """What exchange files of step `index` carry: the step's own and, since files are grouped by it, `partitions`."""
    step = chain.steps[index]
    return artifacts.fingerprint(step=step.fingerprint, config=dict(step.config))


def output_path(job: CorpusJob) -> str:
    """Exchange file that a task of a turn writes."""
    assert job.turn is not None
    return output_paths(job.chain, job.index, [job.turn])[job.number]


def output_paths(chain: Chain, index: int, turns: Sequence[Turn]) -> list[str]:
    """Exchange files that the tasks of `turns` write, in their fixed order."""
    folder = chain.folder(index)
    step = corpus_step(chain.steps[index].name, chain.steps[index].config)
    paths = []
    for turn in turns:
        if turn == MAP:
            names = [shard.name for shard in chain.shards]
        else:
            names = [f"{p:05d}" for p in range(step.partitions(turn.round, len(chain.shards)))]
        paths += [exchange.path(folder, turn, name) for name in names]
    return paths


def write_reported(chain: Chain, index: int, reported: Mapping[str, Sequence[int]]) -> None:
    """Keeps what the turns of step `index` reported, by what it counts, in RUN/stages/<step>/reported.json."""
    body = {"fingerprint": chain.steps[index].fingerprint, "reported": {k: list(v) for k, v in reported.items()}}
    storage.write_bytes(_reported_path(chain, index), canonical_json(body) + b"\n")


def read_reported(chain: Chain, index: int) -> dict[str, list[int]]:
    """What `write_reported` kept for step `index` as the recipe asks for it; empty when there is nothing."""
    path = _reported_path(chain, index)
    found = json.loads(storage.read_text(path)) if storage.exists(path) else {}
    same = found.get("fingerprint") == chain.steps[index].fingerprint
    return dict(found["reported"]) if same else {}


def _reported_path(chain: Chain, index: int) -> str:
    return storage.join(chain.folder(index).root, "reported.json")


def run_corpus_job(job: CorpusJob) -> Done | float:
    """Runs one task. Returns what was committed (apply), or the seconds it took (map, reduce)."""
    chain, index = job.chain, job.index
    step = corpus_step(chain.steps[index].name, chain.steps[index].config)
    shards = len(chain.shards)
    started = time.perf_counter()
    if job.turn is None:
        return _apply(job, started)

    def documents(shard: int) -> pa.Table:
        table = _documents(chain, index, step.columns, chain.shards[shard])
        lasting = lasting_turns(step, job.done)
        if not lasting:
            return table
        assert isinstance(step, VisitingStep)
        return step.revised(table, exchange.read(output_paths(chain, index, lasting), shard))

    if job.turn == MAP:
        rows = step.map(documents(job.number), job.number, shards)
    else:
        alone = step.partitions(job.turn.round, shards) == 1
        rows = exchange.read(output_paths(chain, index, job.done[-1:]), None if alone else job.number)
        rows = next_rows(step, job.turn.round, rows, documents, job.number, shards)
    following = successors(step, job.turn.round)
    partitions = max(step.partitions(round_number, shards) for round_number in following)
    reported = step.report(job.turn.round, rows) if len(following) > 1 else 0
    exchange.write(output_path(job), rows, partitions, exchange_fingerprint(chain, index), reported)
    return time.perf_counter() - started


def _documents(chain: Chain, index: int, columns: Sequence[str], shard: Shard) -> pa.Table:
    """The documents of a shard as they enter step `index`; groups.QUALITY is what the classifier stored."""
    table = chain.kept(index - 1, shard.name, [name for name in columns if name != groups.QUALITY])
    if groups.QUALITY in columns:
        scores = read_scores(chain, chain.index(ClassifierStage.name), shard, ["doc_id", CLASSIFIER_SCORE])
        at = pc.index_in(table.column("doc_id"), scores.column("doc_id").combine_chunks())
        values = pa.array(scores.column(CLASSIFIER_SCORE).to_numpy(), from_pandas=True)  # NaN, no model, is null
        table = table.append_column(groups.QUALITY, values.take(at.combine_chunks()))
    return table.select(list(columns))


def _apply(job: CorpusJob, started: float) -> Done:
    chain, index = job.chain, job.index
    shard = chain.shards[job.number]
    step = corpus_step(chain.steps[index].name, chain.steps[index].config)
    table = chain.kept(index - 1, shard.name)
    decisions = exchange.read(output_paths(chain, index, turns_before_apply(step, job.done)), job.number)
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
