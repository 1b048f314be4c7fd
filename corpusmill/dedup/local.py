"""Runs a corpus step in this process, in memory: for notebooks, tests and benchmarks.

The engine in pipeline/ calls the same `map`, `reduce`, `visit` and `apply`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from corpusmill.core import storage
from corpusmill.core.verdicts import StageResult
from corpusmill.dedup import groups, history
from corpusmill.dedup.base import (
    MAP,
    PARTITION,
    CorpusStep,
    VisitingStep,
    lasting_turns,
    next_rows,
    next_turn,
    turns_before_apply,
)
from corpusmill.dedup.history import Manifest, Outcome


def decide(step: CorpusStep[Any], tables: Sequence[pa.Table]) -> list[pa.Table]:
    """The decisions for each table, one table a shard. `tables` is not empty."""
    shards = len(tables)
    seen = [table.select(list(step.columns)) for table in tables]
    rows = {MAP: [step.map(table, shard, shards) for shard, table in enumerate(seen)]}
    done = [MAP]

    def reported() -> int:
        return sum(step.report(done[-1].round, table) for table in rows[done[-1]])

    while (turn := next_turn(step, done, reported)) is not None:
        parts = exchanged(rows[done[-1]], step.partitions(turn.round, shards))
        rows = {kept: rows[kept] for kept in lasting_turns(step, done)}
        documents = _documents(step, seen, [table for kept in rows.values() for table in kept])
        rows[turn] = [next_rows(step, turn.round, part, documents, n, shards) for n, part in enumerate(parts)]
        done.append(turn)
    return exchanged([table for turn in turns_before_apply(step, done) for table in rows[turn]], shards)


def run_step(step: CorpusStep[Any], tables: Sequence[pa.Table]) -> list[StageResult]:
    """What becomes of the rows of each table. `tables`: one a shard, not empty, all columns."""
    decisions = decide(step, tables)
    return [step.apply(table, decided) for table, decided in zip(tables, decisions, strict=True)]


def remember(step: CorpusStep[Any], tables: Sequence[pa.Table], folder: str, name: str) -> list[StageResult]:
    """As `run_step`; and commits the history of the step under `folder`/<step>. `name`: of the snapshot."""
    results = run_step(step, tables)
    commit_history(step, outcomes(step, tables, results), folder, name)
    return results


def outcomes(step: CorpusStep[Any], tables: Sequence[pa.Table], results: Sequence[StageResult]) -> list[Outcome]:
    """What the step made of each table, as its `remember` sees it."""
    found = []
    for shard, (table, result) in enumerate(zip(tables, results, strict=True)):
        seen = table.select(list(step.columns))
        mapped = step.map(seen, shard, len(tables)).drop_columns([PARTITION])
        found.append(Outcome(seen, mapped, result.removed.column("doc_id").combine_chunks(), result.clusters))
    return found


def commit_history(step: CorpusStep[Any], done: Sequence[Outcome], folder: str, name: str) -> Manifest:
    """Commits the history of a step that has `done` with all tables under `folder`/<step>."""
    root = storage.join(folder, step.name)
    files = {}
    for kind in step.history_tables:
        rows = pa.concat_tables([step.remember(kind, outcome) for outcome in done])
        parts = kind.parts(sum(outcome.table.num_rows for outcome in done))
        numbers = groups.partition_of(rows.column(0).to_numpy(), parts)
        files[kind.name] = [
            history.write_part(root, kind, p, rows.filter(pa.array(numbers == p))) for p in range(parts)
        ]
    return history.commit(root, step, name, "", files, step.past)


def _documents(
    step: CorpusStep[Any], seen: Sequence[pa.Table], lasting: Sequence[pa.Table]
) -> Callable[[int], pa.Table]:
    """The documents of a shard as a visit sees them, when the rows `lasting` were written."""
    if not lasting:
        return seen.__getitem__
    assert isinstance(step, VisitingStep)
    revise, decisions = step.revised, exchanged(lasting, len(seen))
    return lambda shard: revise(seen[shard], decisions[shard])


def exchanged(rows: Sequence[pa.Table], partitions: int) -> list[pa.Table]:
    """The rows of every partition, in the order of the tables."""
    table = pa.concat_tables(rows)
    numbers = table.column(PARTITION)
    body = table.drop_columns([PARTITION])
    return [body] if partitions == 1 else [body.filter(pc.equal(numbers, p)) for p in range(partitions)]
