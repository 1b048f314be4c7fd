"""Dedup by an equal key: one document of every group of equal keys survives. Exact text and URL are two keys.

A document whose key an earlier snapshot's history has goes, whatever `keep` says.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from corpusmill.core.verdicts import StageResult, Verdicts
from corpusmill.dedup import groups
from corpusmill.dedup.base import PARTITION, CorpusStep, CorpusStepConfig
from corpusmill.dedup.history import HISTORY, HistoryTable, Outcome

_ROW = pa.schema(
    [
        *groups.KEY_FIELDS,
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("fetched_at", pa.timestamp("us", tz="UTC")),
        pa.field("shard", pa.int32(), nullable=False),
        pa.field(PARTITION, pa.int32(), nullable=False),
    ]
)
KEYS = HistoryTable(
    "keys", pa.schema([*groups.KEY_FIELDS, pa.field("doc_id", pa.string(), nullable=False)]), documents_a_part=1 << 22
)
_DECISION = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("twin", pa.string(), nullable=False),
        pa.field("twin_history", pa.string()),  # null where the twin is in this run
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
    history_tables = (KEYS,)
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
        keys = groups.key_columns(rows)
        past = self.past.matching(KEYS, *keys)
        at = groups.first_positions(*groups.key_columns(past), *keys)
        known = self._known(rows.filter(pa.array(at >= 0)), past.take(pa.array(at[at >= 0])))
        rows = rows.filter(pa.array(at < 0))
        found = groups.repeated(*groups.key_columns(rows))
        table, survivor, _ = groups.ranked(rows.take(found.rows), found.numbers, self.config.keep)
        goes = np.flatnonzero(survivor != np.arange(table.num_rows))
        ids = table.column("doc_id")
        columns = [ids.take(goes), ids.take(survivor[goes]), pa.nulls(len(goes), pa.string())]
        return pa.concat_tables([known, pa.table([*columns, table.column("shard").take(goes)], schema=_DECISION)])

    def _known(self, rows: pa.Table, twins: pa.Table) -> pa.Table:
        """Decisions about documents whose key the history has: all go, the earliest history has the twin."""
        labels = self.past.labels(twins.column(HISTORY))
        return pa.table([rows.column("doc_id"), twins.column("doc_id"), labels, rows.column("shard")], schema=_DECISION)

    def remember(self, table: HistoryTable, outcome: Outcome) -> pa.Table:
        """The keys of the documents that stayed."""
        mapped = outcome.mapped
        stays = pc.invert(pc.is_in(mapped.column("doc_id"), value_set=outcome.removed))
        return mapped.filter(stays).select(table.schema.names)

    def apply(self, table: pa.Table, decisions: pa.Table) -> StageResult:
        """Removes the copies."""
        twins = {row["doc_id"]: row for row in decisions.to_pylist()}
        verdicts = Verdicts(self.name, table)
        texts = table.column("text")
        for row, doc_id in enumerate(table.column("doc_id").to_pylist()):
            if doc_id in twins:
                twin = twins[doc_id]
                verdicts.remove(
                    row, self.rule, twin=twin["twin"], twin_history=twin["twin_history"], text=texts[row].as_py()
                )
        return verdicts.result()
