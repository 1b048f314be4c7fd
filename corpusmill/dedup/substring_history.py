"""What `substring` remembers of a snapshot: of the texts that entered the step all seeds, and the keys of all windows.

A window of a later snapshot that stands in the history has its seed there too, so seeds say which windows must be
looked up. Keys are 16 bytes a window, nearly as many as units: more than the text. So a recipe asks for this history.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from corpusmill.core.hashing import Int64Array, UInt64Array
from corpusmill.dedup import groups
from corpusmill.dedup.history import HistoryTable, Past
from corpusmill.dedup.seeds import COMPARE, find_runs, find_windows, seed_key, seed_table
from corpusmill.dedup.units import Batch

SEEDS = HistoryTable("seeds", pa.schema(groups.KEY_FIELDS), documents_a_part=1 << 18)
WINDOWS = HistoryTable("windows", pa.schema(groups.KEY_FIELDS), documents_a_part=1 << 13)


def seeds_of(seeds: UInt64Array) -> pa.Table:
    """Rows of SEEDS."""
    return _rows(seed_key(seeds), np.zeros(len(seeds), dtype=np.uint64))


def windows_of(batches: Iterable[Batch], lengths: Int64Array) -> pa.Table:
    """Rows of WINDOWS: all windows of the texts in `batches`. lengths: int64, units a window by kind."""
    keys = [np.empty((0, 2), dtype=np.uint64)]
    for batch in batches:
        seeds = np.unique(find_runs(batch.units, batch.ends, batch.kinds, lengths).seeds)
        nothing = np.zeros(len(seeds), dtype=np.uint64)
        table = seed_table(
            seeds, np.full(len(seeds), COMPARE, dtype=np.uint8), nothing, np.zeros(len(seeds), dtype=np.int32)
        )
        of_texts = np.zeros(len(batch.kinds), dtype=np.uint64)
        keys.append(find_windows(batch.units, batch.ends, batch.kinds, lengths, table, of_texts).keys)
    key = np.concatenate(keys)
    return _rows(key[:, 0].copy(), key[:, 1].copy())


def known_seeds(past: Past, seeds: UInt64Array) -> npt.NDArray[np.bool_]:
    """Which of `seeds` begin a window of a history, bool (n,)."""
    return _known(past, SEEDS, seed_key(seeds), np.zeros(len(seeds), dtype=np.uint64))


def known_windows(past: Past, high: UInt64Array, low: UInt64Array) -> npt.NDArray[np.bool_]:
    """Which windows stand in a history, by their keys, bool (n,)."""
    return _known(past, WINDOWS, high, low)


def _known(past: Past, table: HistoryTable, high: UInt64Array, low: UInt64Array) -> npt.NDArray[np.bool_]:
    found = past.matching(table, high, low)
    known: npt.NDArray[np.bool_] = groups.first_positions(*groups.key_columns(found), high, low) >= 0
    return known


def _rows(high: UInt64Array, low: UInt64Array) -> pa.Table:
    return pa.table([pa.array(high), pa.array(low)], schema=pa.schema(groups.KEY_FIELDS))
