"""Files of (hash, ordinal) pairs, sorted, for finding the rows of a value with two or three reads of the disk.

A file has `rows` pairs of little-endian uint64, by hash, then ordinal; after them a table of 2^k + 1 uint64, k =
max(0, bit length of rows - 8): entry p is the first pair whose hash has the upper k bits p or more. Hashes are spread
evenly, so a value's pair is among some 200 that the table names: no search over the file.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

import numpy as np
import numpy.typing as npt

from corpusmill.core import storage
from corpusmill.core.hashing import Int64Array, UInt64Array
from corpusmill.tokenize.store import check_size, mapped

PAIR: Final = np.dtype([("hash", "<u8"), ("ordinal", "<u8")])
_SORTED_ROWS = 1 << 21  # sorted in memory at once: some 100 MB
_SPLIT_BITS = 6  # of a partition that is too large; as many files are open, of every writer
_BUFFER_BYTES = 1 << 16

PairArray = npt.NDArray[np.void]


def prefix_bits(rows: int) -> int:
    """k of the table."""
    return max(0, rows.bit_length() - 8)


def file_bytes(rows: int) -> int:
    """Size of a file."""
    return rows * PAIR.itemsize + ((1 << prefix_bits(rows)) + 1) * 8


class PairWriter:
    """Sorts pairs into a file, on disk: partitions by the upper bits of the hash, then each partition in memory.

    A partition that is too large is split by the next bits; one whose hashes are all the same is in order as it is.
    A context: its end deletes what is in the scratch folder.

    Args:
        scratch: a folder of its own, which need not exist; holds 16 bytes a row until the file is written.
        rows: that will be added, in all.
        sorted_rows: largest partition that is sorted in memory.
    """

    def __init__(self, scratch: Path, rows: int, sorted_rows: int = _SORTED_ROWS) -> None:
        self._rows = rows
        self._sorted_rows = sorted_rows
        self._bits = min(_SPLIT_BITS, max(0, (rows - 1) // sorted_rows).bit_length())
        self._scratch = scratch
        self._files = _open_partitions(scratch, self._bits)
        self._added = 0

    def __enter__(self) -> PairWriter:
        return self

    def __exit__(self, *_: object) -> None:
        """Deletes the scratch folder."""
        _close(self._files)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def add(self, hashes: UInt64Array, first_ordinal: int) -> None:
        """The hashes of the rows from `first_ordinal` on. Rows come in order."""
        pairs = np.empty(len(hashes), PAIR)
        pairs["hash"] = hashes
        pairs["ordinal"] = np.arange(first_ordinal, first_ordinal + len(hashes))
        _scatter(pairs, self._files, self._bits, 0)
        self._added += len(hashes)

    def write(self, path: str) -> None:
        """Writes the file, atomically; nothing can be added or written after it."""
        assert self._added == self._rows, (self._added, self._rows)
        paths = _close(self._files)
        bits = prefix_bits(self._rows)
        counts = np.zeros((1 << bits) + 1, "<u8")  # counts[p + 1]: pairs of prefix p
        with storage.open_write(path) as target:
            for part in paths:
                self._write_sorted(part, self._bits, target, counts, bits)
            target.write(np.cumsum(counts, dtype="<u8").tobytes())

    def _write_sorted(self, part: Path, used_bits: int, target: IO[bytes], counts: UInt64Array, bits: int) -> None:
        """Appends the pairs of a partition in order of hash; their upper `used_bits` bits are the same."""
        rows = part.stat().st_size // PAIR.itemsize
        if rows > self._sorted_rows and _has_several(part, self._sorted_rows):
            split = min(_SPLIT_BITS, 64 - used_bits)
            files = _open_partitions(part.with_suffix(".parts"), split)
            for chunk in _chunks(part, self._sorted_rows):
                _scatter(chunk, files, split, used_bits)
            part.unlink()
            for inner in _close(files):
                self._write_sorted(inner, used_bits + split, target, counts, bits)
            return
        for chunk in _chunks(part, self._sorted_rows):  # several only where all hashes are the same
            ordered = chunk[np.argsort(chunk["hash"], kind="stable")]
            prefixes = _upper(ordered["hash"], bits)
            if len(ordered):
                first, last = int(prefixes[0]), int(prefixes[-1])
                counts[first + 1 : last + 2] += np.bincount(prefixes - first).astype(np.uint64)
            target.write(ordered.tobytes())
        part.unlink()


class PairIndex:
    """A file of `rows` pairs, memory-mapped. Raises VerificationFailed when its size is not that of so many."""

    def __init__(self, path: str, rows: int) -> None:
        check_size(path, file_bytes(rows))
        raw = np.frombuffer(mapped(path), np.uint8)
        self._pairs: PairArray = raw[: rows * PAIR.itemsize].view(PAIR)
        self._table: UInt64Array = raw[rows * PAIR.itemsize :].view("<u8")
        self._bits = prefix_bits(rows)

    def find(self, value: int) -> Int64Array:
        """Ordinals of the rows with this 64-bit hash, int64, ascending."""
        prefix = value >> (64 - self._bits)
        first, stop = (int(p) for p in self._table[prefix : prefix + 2])
        pairs = self._pairs[first:stop]
        hashes = np.ascontiguousarray(pairs["hash"])
        left, right = (int(np.searchsorted(hashes, np.uint64(value), side)) for side in ("left", "right"))
        return pairs["ordinal"][left:right].astype(np.int64)


def _upper(hashes: UInt64Array, bits: int, skipped: int = 0) -> Int64Array:
    """`bits` bits of each hash, after the `skipped` uppermost."""
    if bits == 0:
        return np.zeros(len(hashes), np.int64)
    kept = (hashes >> np.uint64(64 - skipped - bits)) & np.uint64((1 << bits) - 1)
    return kept.astype(np.int64)


def _open_partitions(folder: Path, bits: int) -> list[IO[bytes]]:
    folder.mkdir(parents=True)
    return [open(folder / f"{number:02d}", "wb", buffering=_BUFFER_BYTES) for number in range(1 << bits)]


def _scatter(pairs: PairArray, files: list[IO[bytes]], bits: int, skipped: int) -> None:
    """Appends pairs to the files of their partitions; of one partition they stay in order."""
    part = _upper(pairs["hash"], bits, skipped)
    ordered = pairs[np.argsort(part, kind="stable")]
    ends = np.cumsum(np.bincount(part, minlength=len(files)))
    for file, start, stop in zip(files, [0, *ends[:-1].tolist()], ends.tolist(), strict=True):
        if stop > start:
            file.write(ordered[start:stop].tobytes())


def _close(files: list[IO[bytes]]) -> list[Path]:
    for file in files:
        file.close()
    return [Path(os.fspath(file.name)) for file in files]


def _chunks(part: Path, rows: int) -> Iterator[PairArray]:
    with open(part, "rb") as file:
        while data := file.read(rows * PAIR.itemsize):
            yield np.frombuffer(data, PAIR)


def _has_several(part: Path, rows: int) -> bool:
    """Whether a partition, which is not empty, holds more than one hash."""
    first = next(_chunks(part, 1))["hash"][0]
    return any(np.any(chunk["hash"] != first) for chunk in _chunks(part, rows))
