"""Rows that share a 128-bit key, and which of them survives: what every dedup step does in its reduce.

A key is two uint64 columns, KEY_HIGH and KEY_LOW. With 128 bits the expected number of wrong pairs among n keys is
n^2 / 2^129: 1.5e-13 for n = 1e13, so equal keys are taken for equal contents without a second look.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from corpusmill.core.hashing import Int64Array, UInt64Array

KEY_HIGH = "key_high"
KEY_LOW = "key_low"
QUALITY = "quality_score"  # float64 column: how good a document is, the more the better; null where it is unknown
KEY_FIELDS = [pa.field(KEY_HIGH, pa.uint64(), nullable=False), pa.field(KEY_LOW, pa.uint64(), nullable=False)]

# Which document of a group survives: the first in this order. Unknown dates and scores are last, the smallest doc_id
# decides ties.
KEEP_ORDERS: dict[str, list[tuple[str, str]]] = {
    "latest": [("fetched_at", "descending"), ("doc_id", "ascending")],
    "first": [("fetched_at", "ascending"), ("doc_id", "ascending")],
    "longest": [("characters", "descending"), ("fetched_at", "descending"), ("doc_id", "ascending")],
}
KEEP_ORDERS["best"] = [(QUALITY, "descending"), *KEEP_ORDERS["longest"]]


class Groups(NamedTuple):
    """Rows of equal keys. rows: row numbers, int64 (k,). numbers: 0-based group of each row, int64 (k,), ascending."""

    rows: Int64Array
    numbers: Int64Array


def repeated(high: UInt64Array, low: UInt64Array) -> Groups:
    """The rows whose key (high, low: uint64 (n,)) occurs at least twice. One sort, whatever the sizes of the groups."""
    order = order_of_keys(high, low)
    starts = first_of_keys(high[order], low[order])
    sizes = np.diff(starts, append=len(order))
    repeats = np.repeat(sizes >= 2, sizes)
    numbers = np.repeat(np.cumsum(sizes >= 2) - 1, sizes)
    return Groups(order[repeats], numbers[repeats])


def order_of_keys(high: UInt64Array, low: UInt64Array) -> Int64Array:
    """An order of the keys (high, low: uint64 (n,)) in which equal ones are neighbours, int64 (n,)."""
    order = np.argsort(high)  # much faster than by both halves; equal high halves of different keys are rare
    sorted_high, sorted_low = high[order], low[order]
    if np.any((sorted_high[1:] == sorted_high[:-1]) & (sorted_low[1:] != sorted_low[:-1])):
        order = np.lexsort((low, high))
    return order


def first_of_keys(high: UInt64Array, low: UInt64Array) -> Int64Array:
    """Where every key comes first, int64, for keys whose equals are neighbours."""
    first = np.ones(len(high), dtype=np.bool_)
    first[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    return np.flatnonzero(first)


def key_columns(table: pa.Table) -> tuple[UInt64Array, UInt64Array]:
    """KEY_HIGH and KEY_LOW of `table` as arrays."""
    return table.column(KEY_HIGH).to_numpy(), table.column(KEY_LOW).to_numpy()


def split_digests(digests: Sequence[bytes]) -> tuple[UInt64Array, UInt64Array]:
    """16-byte digests as keys: bytes 0-7 and 8-15, little-endian."""
    halves = np.frombuffer(b"".join(digests), dtype="<u8").reshape(-1, 2)
    return halves[:, 0].copy(), halves[:, 1].copy()


def partition_of(high: UInt64Array, partitions: int) -> npt.NDArray[np.int32]:
    """Partition of every key, int32: KEY_HIGH is uniform, so its remainder is."""
    return (high % np.uint64(partitions)).astype(np.int32)


def ranked(members: pa.Table, group: Int64Array, keep: str) -> tuple[pa.Table, Int64Array, Int64Array]:
    """Sorts the members of every group so that the survivor comes first.

    Args:
        members: documents, with the columns that KEEP_ORDERS[keep] names.
        group: int64 (k,), the group of each.
        keep: a key of KEEP_ORDERS.

    Returns:
        The sorted members with a column "group"; for each row the row of its survivor and the size of its group,
        int64 (k,) each.
    """
    table = members.append_column("group", pa.array(group, pa.int64()))
    table = table.sort_by([("group", "ascending"), *KEEP_ORDERS[keep]])
    numbers = table.column("group").to_numpy()
    _, starts, sizes = np.unique(numbers, return_index=True, return_counts=True)
    return table, np.repeat(starts, sizes), np.repeat(sizes, sizes)
