"""Runs a corpus step in this process, in memory: for notebooks, tests and benchmarks.

The engine in pipeline/ calls the same `map`, `reduce`, `visit` and `apply`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from corpusmill.core import storage
from corpusmill.core.verdicts import StageResult
from corpusmill.dedup import groups, history
from corpusmill.dedup.base import PARTITION, CorpusStep, next_rows
from corpusmill.dedup.history import Outcome


def decide(step: CorpusStep[Any], tables: Sequence[pa.Table]) -> list[pa.Table]:
    """The decisions for each table, one table a shard. `tables` is not empty."""
    shards = len(tables)
    seen = [table.select(list(step.columns)) for table in tables]
    rows = [step.map(table, shard, shards) for shard, table in enumerate(seen)]
    for round_number in range(step.rounds):
        parts = _exchange(rows, step.partitions(round_number, shards))
        rows = [next_rows(step, round_number, part, seen.__getitem__, n, shards) for n, part in enumerate(parts)]
    return _exchange(rows, shards)


def run_step(step: CorpusStep[Any], tables: Sequence[pa.Table]) -> list[StageResult]:
    """What becomes of the rows of each table. `tables`: one a shard, not empty, all columns."""
    decisions = decide(step, tables)
    return [step.apply(table, decided) for table, decided in zip(tables, decisions, strict=True)]


def remember(step: CorpusStep[Any], tables: Sequence[pa.Table], folder: str, name: str) -> list[StageResult]:
    """As `run_step`; and commits the history of the step under `folder`/<step>. `name`: of the snapshot."""
    shards = len(tables)
    results = run_step(step, tables)
    outcomes = []
    for shard, (table, result) in enumerate(zip(tables, results, strict=True)):
        seen = table.select(list(step.columns))
        mapped = step.map(seen, shard, shards).drop_columns([PARTITION])
        outcomes.append(Outcome(seen, mapped, result.removed.column("doc_id").combine_chunks(), result.clusters))
    root = storage.join(folder, step.name)
    files = {}
    for kind in step.history_tables:
        rows = pa.concat_tables([step.remember(kind, outcome) for outcome in outcomes])
        parts = kind.parts(sum(t.num_rows for t in tables))
        numbers = groups.partition_of(rows.column(0).to_numpy(), parts)
        files[kind.name] = [
            history.write_part(root, kind, p, rows.filter(pa.array(numbers == p))) for p in range(parts)
        ]
    history.commit(root, step, name, "", files, step.past)
    return results


def _exchange(rows: Sequence[pa.Table], partitions: int) -> list[pa.Table]:
    table = pa.concat_tables(rows)
    numbers = table.column(PARTITION)
    body = table.drop_columns([PARTITION])
    return [body.filter(pc.equal(numbers, p)) for p in range(partitions)]
