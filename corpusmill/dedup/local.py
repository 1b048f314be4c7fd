"""Runs a corpus step in this process, in memory: for notebooks, tests and benchmarks.

The engine in pipeline/ calls the same `map`, `reduce`, `visit` and `apply`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from corpusmill.core.verdicts import StageResult
from corpusmill.dedup.base import PARTITION, CorpusStep, next_rows


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


def _exchange(rows: Sequence[pa.Table], partitions: int) -> list[pa.Table]:
    table = pa.concat_tables(rows)
    numbers = table.column(PARTITION)
    body = table.drop_columns([PARTITION])
    return [body.filter(pc.equal(numbers, p)) for p in range(partitions)]
