"""The durable exchange of a corpus-wide step: one file a task, one chunk a partition.

    RUN/stages/<step>/exchange/<turn>/<task>.chunks      turn: map, or <round>.<time>

A lost worker costs its own task only; a killed run goes on with the files that are there. The whole folder goes when
the step is committed.

A partition is found in a file without reading what the file says of the others, however many they are: a crawl has a
hundred thousand tasks and thousands of partitions, and every task of a round reads from every file of the one before
(docs/decisions/0022-exchange-by-chunks.md). A file is

    chunks     of one partition after another: an Arrow record batch, its integers packed (see `_packed`), serialised,
               then compressed by zstd as a whole
    index      int64 (partitions + 1, 2), little-endian: where a chunk begins; its size before compression,
               0 where the partition has no rows
    schema     Arrow IPC
    note       JSON, see _Note
    tail       where index, schema and note begin, int64 each, little-endian, and 8 bytes of magic
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import IO, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel

from corpusmill.core import documents, storage
from corpusmill.core.artifacts import StageFolder
from corpusmill.core.errors import InternalError
from corpusmill.dedup.base import PARTITION, Turn, remarks_of

Integers = npt.NDArray[Any]

_MAGIC: Final = b"CMCHUNK1"
_TAIL: Final = struct.Struct("<qqq8s")
_INDEX_ROW: Final = struct.Struct("<qq")
_CODEC: Final = "zstd"


class _Note(BaseModel):
    """What an exchange file says of itself.

    fingerprint: of what wrote it. reported, remarks: the number its task reported and its remarks (dedup/base.py).
    """

    fingerprint: str
    reported: int
    remarks: list[dict[str, Any]]


class _Tail(NamedTuple):
    """Where the parts of a file begin, in bytes; end: where the tail does."""

    index_at: int
    schema_at: int
    note_at: int
    end: int


def path(folder: StageFolder, turn: Turn | str, task: str) -> str:
    """File that `task` writes in `turn`, or for a table of the history."""
    return storage.join(folder.root, "exchange", str(turn), f"{task}.chunks")


def write(file: str, rows: pa.Table, partitions: int, fingerprint: str, reported: int = 0) -> None:
    """Writes `rows` grouped by their `partition` column (stable within a partition), atomically."""
    numbers = rows.column(PARTITION).to_numpy()
    if len(numbers) and (numbers.min() < 0 or numbers.max() >= partitions):
        raise InternalError("a row names a partition that does not exist", where=file, value=int(numbers.max()))
    table = rows.drop_columns([PARTITION]).take(pa.array(np.argsort(numbers, kind="stable"))).combine_chunks()
    starts = np.append(0, np.cumsum(np.bincount(numbers, minlength=partitions)))
    codec = pa.Codec(_CODEC)
    index = np.zeros((partitions + 1, 2), dtype="<i8")
    sink = io.BytesIO()
    for partition in range(partitions):
        index[partition, 0] = sink.tell()
        start, end = starts[partition], starts[partition + 1]
        if end > start:
            chunk = _packed(pa.concat_batches(table.slice(start, end - start).to_batches())).serialize()
            index[partition, 1] = chunk.size
            sink.write(codec.compress(chunk))
    index[partitions, 0] = sink.tell()
    note = _Note(fingerprint=fingerprint, reported=reported, remarks=remarks_of(rows))
    places = []
    for part in (index.tobytes(), table.schema.remove_metadata().serialize(), note.model_dump_json().encode()):
        places.append(sink.tell())
        sink.write(part)
    sink.write(_TAIL.pack(*places, _MAGIC))
    storage.write_bytes(file, sink.getvalue())


def is_written(file: str, fingerprint: str) -> bool:
    """Whether `file` is there, whole, and was written under `fingerprint`."""
    return storage.exists(file) and _note(file).fingerprint == fingerprint


def reported(file: str) -> int:
    """The number that the task reported which wrote `file`."""
    return _note(file).reported


def remarks(file: str) -> list[dict[str, Any]]:
    """The remarks of the task that wrote `file`."""
    return _note(file).remarks


def read(files: Sequence[str], partition: int | None) -> pa.Table:
    """Rows of one partition (None: of all) from all `files`, which have one schema, in the order of the files."""
    batches: list[pa.RecordBatch] = []
    schema: pa.Schema | None = None
    codec = pa.Codec(_CODEC)
    for file in files:
        with storage.open_read(file) as handle:
            tail = _tail(handle, file)
            if schema is None:
                schema = pa.ipc.read_schema(pa.py_buffer(_between(handle, tail.schema_at, tail.note_at)))
            at, end = tail.index_at, tail.schema_at
            if partition is not None:
                at += partition * _INDEX_ROW.size
                end = at + 2 * _INDEX_ROW.size
            for (start, size), (stop, _) in pairwise(_INDEX_ROW.iter_unpack(_between(handle, at, end))):
                if size:
                    chunk = codec.decompress(_between(handle, start, stop), size)
                    batches.append(_unpacked(pa.ipc.read_record_batch(chunk, schema)))
    assert schema is not None, "an exchange has at least one task"
    return documents.concat([pa.Table.from_batches(batches, schema)], schema)


def drop(folder: StageFolder) -> None:
    """Deletes the exchange of a committed step."""
    storage.remove_folder(storage.join(folder.root, "exchange"))


def _packed(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Every column of integers without nulls as differences from row to row, modulo 2^bits, byte by byte of all rows.

    Keys and positions mostly ascend: the high bytes of their differences are one run of zeros.
    """
    return _changed(batch, lambda values: _transposed(np.diff(values, prepend=values.dtype.type(0)), values.itemsize))


def _unpacked(batch: pa.RecordBatch) -> pa.RecordBatch:
    """What `_packed` was given."""
    return _changed(batch, lambda values: np.cumsum(_transposed(values, len(values)), dtype=values.dtype))


def _transposed(values: Integers, columns: int) -> Integers:
    """Bytes of `values`, in rows of `columns` bytes, column by column."""
    return np.ascontiguousarray(values.view(np.uint8).reshape(-1, columns).T).reshape(-1).view(values.dtype)


def _changed(batch: pa.RecordBatch, change: Callable[[Integers], Integers]) -> pa.RecordBatch:
    columns = [
        pa.array(change(np.ascontiguousarray(c.to_numpy()))) if pa.types.is_integer(c.type) and c.null_count == 0 else c
        for c in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _between(handle: IO[bytes], start: int, end: int) -> bytes:
    handle.seek(start)
    return handle.read(end - start)


def _tail(handle: IO[bytes], file: str) -> _Tail:
    end = handle.seek(0, io.SEEK_END) - _TAIL.size
    if end >= 0:
        index_at, schema_at, note_at, magic = _TAIL.unpack(_between(handle, end, end + _TAIL.size))
        if magic == _MAGIC:
            return _Tail(index_at, schema_at, note_at, end)
    raise InternalError("not a file of the exchange", where=file, remedy="delete it and run again")


def _note(file: str) -> _Note:
    with storage.open_read(file) as handle:
        tail = _tail(handle, file)
        return _Note.model_validate_json(_between(handle, tail.note_at, tail.end))
