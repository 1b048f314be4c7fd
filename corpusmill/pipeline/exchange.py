"""The durable exchange of a corpus-wide step: one Parquet file a task, one row group a partition.

    RUN/stages/<step>/exchange/<turn>/<task>.parquet      turn: map, or <round>.<time>

A lost worker costs its own task only; a killed run goes on with the files that are there. The whole folder goes when
the step is committed.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from corpusmill.core import documents, storage
from corpusmill.core.artifacts import StageFolder
from corpusmill.core.errors import InternalError
from corpusmill.dedup.base import PARTITION, Turn, remarks_of

_SAMPLE = 100_000  # rows that decide how a column is stored


class _Note(BaseModel):
    """What the schema of an exchange file carries.

    fingerprint: of what wrote it. groups: the row group of every partition in it. reported, remarks: the number its
    task reported and its remarks (dedup/base.py).
    """

    fingerprint: str
    groups: dict[int, int]
    reported: int
    remarks: list[dict[str, Any]]


def path(folder: StageFolder, turn: Turn, task: str) -> str:
    """File that `task` writes in `turn`."""
    return storage.join(folder.root, "exchange", str(turn), f"{task}.parquet")


def write(file: str, rows: pa.Table, partitions: int, fingerprint: str, reported: int = 0) -> None:
    """Writes `rows` grouped by their `partition` column (stable within a partition), atomically."""
    numbers = rows.column(PARTITION).to_numpy()
    if len(numbers) and (numbers.min() < 0 or numbers.max() >= partitions):
        raise InternalError("a row names a partition that does not exist", where=file, value=int(numbers.max()))
    by_partition = np.argsort(numbers, kind="stable")
    table = rows.drop_columns([PARTITION]).take(pa.array(by_partition)).combine_chunks()
    present, starts = np.unique(numbers[by_partition], return_index=True)
    ends = [*starts[1:].tolist(), len(numbers)] if len(numbers) else []
    note = _Note(
        fingerprint=fingerprint,
        groups={int(p): i for i, p in enumerate(present)},
        reported=reported,
        remarks=remarks_of(rows),
    )
    table = table.replace_schema_metadata({"exchange": note.model_dump_json()})
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema, compression="zstd", version="2.6", **_encodings(table)) as writer:
        for start, end in zip(starts.tolist(), ends, strict=True):
            writer.write_table(table.slice(start, end - start), row_group_size=max(1, end - start))
    storage.write_bytes(file, sink.getvalue())


def _encodings(table: pa.Table) -> dict[str, Any]:
    """How the columns of `table` are stored: numbers that hardly repeat not by a dictionary, which would hold them all.

    Those that mostly ascend, as sorted keys and positions do, are stored by their differences.
    """
    by_dictionary, by_difference = [], {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if not pa.types.is_integer(column.type):
            by_dictionary.append(name)
            continue
        values = column.slice(0, _SAMPLE).to_numpy()
        if 2 * len(np.unique(values)) <= len(values):
            by_dictionary.append(name)
        elif 8 * np.count_nonzero(values[1:] < values[:-1]) <= len(values):
            by_difference[name] = "DELTA_BINARY_PACKED"
    return {"use_dictionary": by_dictionary, "column_encoding": by_difference or None}


def is_written(file: str, fingerprint: str) -> bool:
    """Whether `file` is there, whole, and was written under `fingerprint`."""
    if not storage.exists(file):
        return False
    with storage.open_read(file) as handle:
        return bool(_note(pq.ParquetFile(handle)).fingerprint == fingerprint)


def reported(file: str) -> int:
    """The number that the task reported which wrote `file`."""
    with storage.open_read(file) as handle:
        return int(_note(pq.ParquetFile(handle)).reported)


def remarks(file: str) -> list[dict[str, Any]]:
    """The remarks of the task that wrote `file`."""
    with storage.open_read(file) as handle:
        return list(_note(pq.ParquetFile(handle)).remarks)


def read(files: Sequence[str], partition: int | None) -> pa.Table:
    """Rows of one partition (None: of all) from all `files`, in the order of the files."""
    tables = []
    schema = None
    for file in files:
        with storage.open_read(file) as handle:
            parquet = pq.ParquetFile(handle)
            schema = parquet.schema_arrow.remove_metadata()
            groups = _note(parquet).groups
            for number in sorted(groups) if partition is None else [partition]:
                if number in groups:
                    tables.append(parquet.read_row_group(groups[number]).replace_schema_metadata(None))
    assert schema is not None, "an exchange has at least one task"
    return documents.concat(tables, schema)


def drop(folder: StageFolder) -> None:
    """Deletes the exchange of a committed step."""
    root = storage.join(folder.root, "exchange")
    if storage.is_local(root):
        shutil.rmtree(storage.local_path(root), ignore_errors=True)
        return
    import fsspec

    fs, inner = fsspec.core.url_to_fs(root)
    if fs.exists(inner):
        fs.rm(inner, recursive=True)


def _note(parquet: pq.ParquetFile) -> _Note:
    return _Note.model_validate_json(parquet.schema_arrow.metadata[b"exchange"])
