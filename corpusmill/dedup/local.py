"""Runs a corpus step in this process, in memory: for notebooks, tests and benchmarks.

The engine in pipeline/ calls the same `map`, `reduce`, `visit` and `apply`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from corpusmill.core.verdicts import StageResult
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
