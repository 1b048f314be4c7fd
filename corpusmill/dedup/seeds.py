"""Minimizers: the seeds by which repeated windows are found without shipping every window.

The minimizer of a window of L units is its k-mer (run of k units) of smallest hash, the first of equal ones (Roberts et
al. 2004; winnowing, Schleimer et al. 2003). Equal windows have their minimizer at the same place inside, so a window
that occurs twice has a minimizer that begins at two places of the corpus, and what equals a window of a seed is among
the windows of that seed. Neighbouring windows share minimizers: of n windows about 2n / (L - k + 2) k-mers are some.

A run is the windows, one after another, that share one minimizer at one place; its content is all their units. Where
all runs of a seed have one content, every window in them is repeated, and none need be looked at.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from corpusmill.core.hashing import Int64Array, UInt64Array
from corpusmill.dedup.windows import (
    BASE_HIGH,
    BASE_LOW,
    hash_prefixes,
    multiply_modulo,
    powers,
    salted,
    subtract_modulo,
    window_hash,
)

Int32Array = npt.NDArray[np.int32]

CUT, COMPARE = 1, 2  # what becomes of the windows of a seed: all are repeated, or some may be
SEED_SALT = 1 << 32  # above the salts of windows: a seed's hash is no half of a window's key

_CHUNK = 8192  # windows that are looked at together: their arrays stay in the cache. Runs end where a chunk ends
_SLOTS = 1024  # a power of two; of what was just met in a document, so that short periods are one row each
_POSITION = np.uint64(0xFFFFFFFF)  # the lower half of a mark
_DROPPED_BITS = np.uint64(29)  # of the 61 of a k-mer's hash: the others are the upper half
_HALF = np.uint64(32)
_SEED_DROPPED_BITS = np.uint64(16)  # 48 are left: seeds that meet by chance cost a comparison, and others fewer bytes


@numba.njit(cache=True, nogil=True)
def seed_length(length: int) -> int:
    """Units a seed, for windows of `length` units: half of them. Longer ones are more, shorter ones meet oftener."""
    return max(1, length // 2)


@numba.njit(cache=True, nogil=True)
def first_minima(values: UInt64Array, width: int, count: int, later: UInt64Array, out: UInt64Array) -> None:
    """out[i] = smallest of values[i : i + width] for i < count: three comparisons an item, whatever the values.

    By minima of blocks from either end (van Herk 1992). `later`: room for count + width - 1 items.
    """
    items = count + width - 1
    in_block = (items - 1) % width
    running = values[items - 1]
    for i in range(items - 1, -1, -1):
        running = values[i] if in_block == width - 1 else min(running, values[i])
        later[i] = running
        in_block = width - 1 if in_block == 0 else in_block - 1
    in_block = 0
    for i in range(items):
        running = values[i] if in_block == 0 else min(running, values[i])
        in_block = 0 if in_block == width - 1 else in_block + 1
        if i >= width - 1:
            out[i - width + 1] = min(later[i - width + 1], running)


class _Chunk(NamedTuple):
    """Room for what is worked out about the windows of a chunk."""

    prefixes: UInt64Array  # of the chunk's units, base BASE_HIGH
    low_prefixes: UInt64Array  # base BASE_LOW; only where windows are compared
    marks: UInt64Array  # of every k-mer: upper 32 bits of its hash, then its position
    later: UInt64Array
    minima: UInt64Array  # mark of every window's minimizer
    firsts: Int64Array  # first window of every run; one more: the number of windows


@numba.njit(cache=True, nogil=True)
def _room(longest: int) -> _Chunk:
    items = _CHUNK + longest + 1
    return _Chunk(
        np.empty(items, dtype=np.uint64),
        np.empty(items, dtype=np.uint64),
        np.empty(items, dtype=np.uint64),
        np.empty(items, dtype=np.uint64),
        np.empty(items, dtype=np.uint64),
        np.empty(items, dtype=np.int64),
    )


@numba.njit(cache=True, nogil=True)
def _find_runs(units: UInt64Array, length: int, powers: UInt64Array, chunk: _Chunk) -> int:
    """Fills `chunk` for all windows of `units`, but for `low_prefixes`; the number of runs."""
    k = seed_length(length)
    windows = len(units) - length + 1
    hash_prefixes(units, BASE_HIGH, chunk.prefixes)
    for i in range(len(units) - k + 1):
        hashed = subtract_modulo(chunk.prefixes[i + k], multiply_modulo(chunk.prefixes[i], powers[k]))
        chunk.marks[i] = (hashed >> _DROPPED_BITS << _HALF) | np.uint64(i)
    first_minima(chunk.marks, length - k + 1, windows, chunk.later, chunk.minima)
    runs = 0
    for i in range(windows):
        if i == 0 or chunk.minima[i] != chunk.minima[i - 1]:
            chunk.firsts[runs] = i
            runs += 1
    chunk.firsts[runs] = windows
    return runs


@numba.njit(cache=True, inline="always")
def _seed(chunk: _Chunk, powers: UInt64Array, run: int, k: int, kind: int) -> np.uint64:
    """Hash of the minimizer of a run, 48 bits; those of different kinds of units meet by chance alone."""
    at = int(np.int64(chunk.minima[chunk.firsts[run]] & _POSITION))
    return salted(window_hash(chunk.prefixes, powers, at, k), SEED_SALT + kind) >> _SEED_DROPPED_BITS


@numba.njit(cache=True, nogil=True)
def _doubled(table: Any) -> Any:
    """The rows of `table`, an array of any dtype, with room for as many more."""
    out = np.empty((2 * len(table), table.shape[1]), dtype=table.dtype)
    out[: len(table)] = table
    return out


class Runs(NamedTuple):
    """Runs of windows. Those of one seed and one content in one text are one row, if what lies between them is short.

    seeds, contents: uint64 (r,), hashes of the minimizer and of all units of the run.
    places: int32 (r,), how many the row stands for. texts, starts: int32 (r,), number of the text, first window of the
    first of them.
    """

    seeds: UInt64Array
    contents: UInt64Array
    places: Int32Array
    texts: Int32Array
    starts: Int32Array


@numba.njit(cache=True, nogil=True)
def find_runs(units: UInt64Array, ends: Int64Array, kinds: Int64Array, lengths: Int64Array) -> Runs:
    """The runs of many texts.

    Args:
        units, ends: uint64, int64 (n + 1,): hashes of the units of text i are units[ends[i] : ends[i + 1]].
        kinds: int64 (n,), what the units of each text are; different kinds do not meet.
        lengths: int64, units a window by kind, at least 1 each.
    """
    longest = lengths.max()
    of_base = powers(BASE_HIGH, 2 * longest + 1)
    chunk = _room(longest)
    hashes = np.empty((1024 + len(units) // 8, 2), dtype=np.uint64)
    places = np.empty((len(hashes), 3), dtype=np.int32)
    met = np.full(_SLOTS, -1, dtype=np.int64)
    count = 0
    for text in range(len(kinds)):
        kind = kinds[text]
        length = lengths[kind]
        k = seed_length(length)
        windows = ends[text + 1] - ends[text] - length + 1
        for start in range(0, windows, _CHUNK):
            begin = ends[text] + start
            runs = _find_runs(units[begin : begin + min(_CHUNK, windows - start) + length - 1], length, of_base, chunk)
            for run in range(runs):
                first, size = chunk.firsts[run], chunk.firsts[run + 1] - chunk.firsts[run]
                seed = _seed(chunk, of_base, run, k, kind)
                content = salted(window_hash(chunk.prefixes, of_base, first, size + length - 1), size)
                slot = int(np.int64(seed & np.uint64(_SLOTS - 1)))
                at = met[slot]
                if at >= 0 and places[at, 1] == text and hashes[at, 0] == seed and hashes[at, 1] == content:
                    places[at, 0] += 1
                    continue
                if count == len(hashes):
                    hashes, places = _doubled(hashes), _doubled(places)
                hashes[count, 0], hashes[count, 1] = seed, content
                places[count, 0], places[count, 1], places[count, 2] = 1, text, start + first
                met[slot] = count
                count += 1
    return Runs(
        hashes[:count, 0].copy(),
        hashes[:count, 1].copy(),
        places[:count, 0].copy(),
        places[:count, 1].copy(),
        places[:count, 2].copy(),
    )


class SeedTable(NamedTuple):
    """What is decided about seeds, by open addressing: a power of two of slots, at most half of them used.

    seeds: uint64. fates: uint8, CUT or COMPARE, 0 where the slot is free. documents, starts: uint64, int32: the run
    that stays of a seed that is cut, by hash of its doc_id and first window; -1 where none does.
    """

    seeds: UInt64Array
    fates: npt.NDArray[np.uint8]
    documents: UInt64Array
    starts: Int32Array


@numba.njit(cache=True, nogil=True)
def seed_table(
    seeds: UInt64Array, fates: npt.NDArray[np.uint8], documents: UInt64Array, starts: Int32Array
) -> SeedTable:
    """The table of `seeds` (distinct), (k,) each."""
    size = 16
    while size < 2 * len(seeds):
        size *= 2
    table = SeedTable(
        np.zeros(size, dtype=np.uint64),
        np.zeros(size, dtype=np.uint8),
        np.zeros(size, dtype=np.uint64),
        np.zeros(size, dtype=np.int32),
    )
    for i in range(len(seeds)):
        slot = _slot(table, seeds[i])
        table.seeds[slot], table.fates[slot] = seeds[i], fates[i]
        table.documents[slot], table.starts[slot] = documents[i], starts[i]
    return table


@numba.njit(cache=True, inline="always")
def _slot(table: SeedTable, seed: np.uint64) -> int:
    """Where `seed` is, or would be."""
    slot = int(np.int64(seed & np.uint64(len(table.seeds) - 1)))
    while table.fates[slot] and table.seeds[slot] != seed:
        slot = (slot + 1) & (len(table.seeds) - 1)
    return slot


class Windows(NamedTuple):
    """Windows of decided seeds.

    cut: int32 (c, 3): text, first window, number of windows that are cut for certain, one after another.
    keys: uint64 (w, 2), high and low key of a window that must be compared.
    places: int32 (w, 3): text, number of the window, whether it was met again shortly after: such places are in `cut`.
    """

    cut: npt.NDArray[np.int32]
    keys: UInt64Array
    places: npt.NDArray[np.int32]


@numba.njit(cache=True, nogil=True)
def find_windows(
    units: UInt64Array,
    ends: Int64Array,
    kinds: Int64Array,
    lengths: Int64Array,
    table: SeedTable,
    documents: UInt64Array,
) -> Windows:
    """The windows of the seeds in `table`. The other arguments as for `find_runs`; documents: uint64 (n,), hashes of
    the texts' doc_ids.
    """
    longest = lengths.max()
    of_base, of_low_base = powers(BASE_HIGH, 2 * longest + 1), powers(BASE_LOW, longest + 1)
    chunk = _room(longest)
    cut = np.empty((1024, 3), dtype=np.int32)
    keys = np.empty((1024, 2), dtype=np.uint64)
    places = np.empty((1024, 3), dtype=np.int32)
    met = np.full(_SLOTS, -1, dtype=np.int64)
    cuts = count = 0
    for text in range(len(kinds)):
        kind = kinds[text]
        length = lengths[kind]
        k = seed_length(length)
        windows = ends[text + 1] - ends[text] - length + 1
        for start in range(0, windows, _CHUNK):
            begin = ends[text] + start
            piece = units[begin : begin + min(_CHUNK, windows - start) + length - 1]
            runs = _find_runs(piece, length, of_base, chunk)
            has_low = False
            for run in range(runs):
                slot = _slot(table, _seed(chunk, of_base, run, k, kind))
                fate = table.fates[slot]
                if fate == 0:
                    continue
                first, last = chunk.firsts[run], chunk.firsts[run + 1]
                if fate == CUT:
                    if table.starts[slot] == start + first and table.documents[slot] == documents[text]:
                        continue
                    cut, cuts = _with_range(cut, cuts, text, start + first, last - first)
                    continue
                if not has_low:
                    hash_prefixes(piece, BASE_LOW, chunk.low_prefixes)
                    has_low = True
                for i in range(first, last):
                    high = salted(window_hash(chunk.prefixes, of_base, i, length), 2 * kind)
                    low = salted(window_hash(chunk.low_prefixes, of_low_base, i, length), 2 * kind + 1)
                    remembered = int(np.int64(high & np.uint64(_SLOTS - 1)))
                    at = met[remembered]
                    if at >= 0 and places[at, 0] == text and keys[at, 0] == high and keys[at, 1] == low:
                        places[at, 2] = 1
                        cut, cuts = _with_range(cut, cuts, text, start + i, 1)
                        continue
                    if count == len(keys):
                        keys, places = _doubled(keys), _doubled(places)
                    keys[count, 0], keys[count, 1] = high, low
                    places[count, 0], places[count, 1], places[count, 2] = text, start + i, 0
                    met[remembered] = count
                    count += 1
    return Windows(cut[:cuts].copy(), keys[:count].copy(), places[:count].copy())


@numba.njit(cache=True, nogil=True)
def _with_range(
    cut: npt.NDArray[np.int32], count: int, text: int, start: int, windows: int
) -> tuple[npt.NDArray[np.int32], int]:
    """`cut` and its length with one more range, which may go on with the last one."""
    if count and cut[count - 1, 0] == text and cut[count - 1, 1] + cut[count - 1, 2] == start:
        cut[count - 1, 2] += windows
        return cut, count
    if count == len(cut):
        cut = _doubled(cut)
    cut[count, 0], cut[count, 1], cut[count, 2] = text, start, windows
    return cut, count + 1
