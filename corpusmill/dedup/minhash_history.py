"""What `minhash` remembers of a snapshot, and how a later one joins its components.

- buckets: the key of every bucket that a document of the run is in, removed or kept, with the component it is in.
- survivors: the documents of a component that stayed, in the order of `keep`, with their sets of shingles.
- links: components that were one by the documents of the run, and bear different names in it and in its histories.

A component of a history is one node of the later run: the hash of its cluster_id, negative as no document's node is.
Two components with one hash (n^2 / 2^64 for n that a run touches) would be taken for one, and their members compared in
vain.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpusmill.core.hashing import Int64Array, UInt64Array, hash64
from corpusmill.dedup import groups
from corpusmill.dedup.history import HistoryTable, Outcome, Past

_COMPONENT = pa.field("component", pa.int64(), nullable=False)
BUCKET_KEYS = HistoryTable("buckets", pa.schema([*groups.KEY_FIELDS, _COMPONENT]), documents_a_part=1 << 18)
LINKS = HistoryTable(
    "links",
    pa.schema([*groups.KEY_FIELDS, _COMPONENT, pa.field("other", pa.int64(), nullable=False)]),
    documents_a_part=1 << 22,
    order=(("other", "ascending"),),
)
_SURVIVOR = pa.schema(
    [
        *groups.KEY_FIELDS,
        _COMPONENT,
        pa.field("cluster_id", pa.string(), nullable=False),
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("fetched_at", pa.timestamp("us", tz="UTC")),
        pa.field("characters", pa.int64(), nullable=False),
        pa.field(groups.QUALITY, pa.float64()),  # null where it is unknown or not asked for
        pa.field("shingles", pa.list_(pa.uint64())),  # null without verification
    ]
)


def survivors_table(keep: str, most: int) -> HistoryTable:
    """The table of survivors: of every component the first `most` in the order `keep`; no more are ever compared."""
    return HistoryTable(
        "survivors",
        _SURVIVOR,
        documents_a_part=1 << 15,
        rows_a_group=256,
        order=tuple(groups.KEEP_ORDERS[keep]),
        most=most,
    )


def component_nodes(cluster_ids: Sequence[str]) -> Int64Array:
    """The node of every component, int64 (n,), negative."""
    hashes = np.array([hash64(name.encode()) for name in cluster_ids], dtype=np.uint64)
    return (hashes | np.uint64(1 << 63)).view(np.int64)


def _keys(nodes: Int64Array) -> tuple[UInt64Array, UInt64Array]:
    """The keys under which LINKS and survivors of components stand."""
    return nodes.view(np.uint64) << np.uint64(1), np.zeros(len(nodes), dtype=np.uint64)


def components_of_buckets(past: Past, rows: pa.Table) -> pa.Table:
    """A row for every bucket of `rows` (keys, node) that a history has too, with its component there as node."""
    known = past.matching(BUCKET_KEYS, *groups.key_columns(rows))
    return pa.table([*known.columns[:2], known.column("component")], schema=rows.schema)


def joined(past: Past, components: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Edges to all components that are one with `components` by what later histories say, however far."""
    ends: list[Int64Array] = [np.empty(0, dtype=np.int64)]
    others = [ends[0]]
    seen = new = np.unique(components)
    while len(new):
        links = past.matching(LINKS, *_keys(new))
        ends.append(links.column("component").to_numpy())
        others.append(links.column("other").to_numpy())
        new = np.setdiff1d(others[-1], seen)
        seen = np.union1d(seen, new)
    return np.concatenate(ends), np.concatenate(others)


def survivors(past: Past, table: HistoryTable, components: Int64Array) -> pa.Table:
    """Rows of `table` for the nodes `components`, with HISTORY and `set_id` (null where there is no set)."""
    rows = past.matching(table, *_keys(components))
    names = [
        hashlib.blake2b(shingles.values.to_numpy().tobytes(), digest_size=16).digest() if shingles.is_valid else None
        for shingles in rows.column("shingles")
    ]
    return rows.append_column("set_id", pa.array(names, pa.binary(16)))


class Remembered:
    """What a finished shard remembers. rows: int64 (n,), the document of every row that `map` made, by its row."""

    def __init__(self, outcome: Outcome, rows: Int64Array) -> None:
        assert outcome.clusters is not None, "minhash always has clusters"
        clusters = outcome.clusters
        named = dict(zip(clusters.column("doc_id").to_pylist(), clusters.column("cluster_id").to_pylist(), strict=True))
        self._outcome = outcome
        self._rows = rows
        self._names = [named.get(doc_id, doc_id) for doc_id in outcome.table.column("doc_id").to_pylist()]
        self._components = component_nodes(self._names)

    def buckets(self) -> pa.Table:
        """Rows of BUCKET_KEYS."""
        keys = self._outcome.mapped.select([groups.KEY_HIGH, groups.KEY_LOW])
        return pa.table([*keys.columns, pa.array(self._components[self._rows])], schema=BUCKET_KEYS.schema)

    def links(self, past: Past) -> pa.Table:
        """Rows of LINKS."""
        known = past.matching(BUCKET_KEYS, *groups.key_columns(self._outcome.mapped))
        order = np.lexsort(tuple(reversed(groups.key_columns(self._outcome.mapped))))
        high, low = (key[order] for key in groups.key_columns(self._outcome.mapped))
        at = groups.first_positions(high, low, *groups.key_columns(known))
        there, here = known.column("component").to_numpy(), self._components[self._rows[order[at]]]
        ends = np.concatenate([there, here])[np.tile(there != here, 2)]
        others = np.concatenate([here, there])[np.tile(there != here, 2)]
        return pa.table([pa.array(column) for column in (*_keys(ends), ends, others)], schema=LINKS.schema)

    def stayed(self) -> tuple[Int64Array, pa.Table]:
        """The documents with words that stayed: their rows in the shard, and the table of survivors without sets."""
        table = self._outcome.table
        gone = pc.is_in(table.column("doc_id"), value_set=self._outcome.removed).to_numpy()
        rows = np.unique(self._rows)
        rows = rows[~gone[rows]]
        members = table.take(pa.array(rows))
        components = self._components[rows]
        quality = members.column(groups.QUALITY) if groups.QUALITY in members.column_names else pa.nulls(len(rows))
        columns = [
            *(pa.array(key) for key in _keys(components)),
            pa.array(components),
            pa.array([self._names[row] for row in rows.tolist()], pa.string()),
            members.column("doc_id"),
            members.column("fetched_at"),
            pc.utf8_length(members.column("text")).cast(pa.int64()),
            quality,
        ]
        return rows, pa.table(columns, schema=pa.schema(list(_SURVIVOR)[:-1]))
