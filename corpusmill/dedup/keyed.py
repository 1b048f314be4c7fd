"""Dedup by an equal key: one document of every group of equal keys survives. Exact text and URL are two keys."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from corpusmill.core.verdicts import StageResult, Verdicts
from corpusmill.dedup import groups
from corpusmill.dedup.base import PARTITION, CorpusStep, CorpusStepConfig

_ROW = pa.schema(
    [
        *groups.KEY_FIELDS,
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("fetched_at", pa.timestamp("us", tz="UTC")),
        pa.field("shard", pa.int32(), nullable=False),
        pa.field(PARTITION, pa.int32(), nullable=False),
    ]
)
_DECISION = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("twin", pa.string(), nullable=False),
        pa.field(PARTITION, pa.int32(), nullable=False),
    ]
)


class KeyedDedupConfig(CorpusStepConfig):
    """Config of the steps that compare one key."""

    keep: Literal["latest", "first"] = Field(
        "latest", description="copy that survives: latest or first fetched_at (unknown last), then smallest doc_id"
    )


class KeyedDedup(CorpusStep[KeyedDedupConfig]):
    """Subclasses name the rule of their removals and write `keys`."""

    version = 1
    Config = KeyedDedupConfig
    rounds = 1
    rule: ClassVar[str]

    @abstractmethod
    def keys(self, table: pa.Table) -> list[bytes]:
        """16 bytes a document: equal where the documents are copies, uniform otherwise."""

    def map(self, table: pa.Table, shard: int, shards: int) -> pa.Table:
        """One row a document, partitioned by its key."""
        high, low = groups.split_digests(self.keys(table))
        return pa.table(
            [
                pa.array(high),
                pa.array(low),
                table.column("doc_id"),
                table.column("fetched_at"),
                pa.array(np.full(table.num_rows, shard, dtype=np.int32)),
                pa.array(groups.partition_of(high, self.partitions(0, shards))),
            ],
            schema=_ROW,
        )

    def reduce(self, round_number: int, rows: pa.Table, shards: int) -> pa.Table:
        """One row a document that goes, with the doc_id of its surviving twin."""
        found = groups.repeated(*groups.key_columns(rows))
        table, survivor, _ = groups.ranked(rows.take(found.rows), found.numbers, self.config.keep)
        goes = np.flatnonzero(survivor != np.arange(table.num_rows))
        ids = table.column("doc_id")
        return pa.table([ids.take(goes), ids.take(survivor[goes]), table.column("shard").take(goes)], schema=_DECISION)

    def apply(self, table: pa.Table, decisions: pa.Table) -> StageResult:
        """Removes the copies."""
        twins = dict(zip(decisions.column("doc_id").to_pylist(), decisions.column("twin").to_pylist(), strict=True))
        verdicts = Verdicts(self.name, table)
        texts = table.column("text")
        for row, doc_id in enumerate(table.column("doc_id").to_pylist()):
            if doc_id in twins:
                verdicts.remove(row, self.rule, twin=twins[doc_id], text=texts[row].as_py())
        return verdicts.result()
