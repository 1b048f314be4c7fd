"""The durable exchange of a corpus-wide step: one Parquet file a task, one row group a partition.

    RUN/stages/<step>/exchange/<round>/<task>.parquet

A lost worker costs its own task only; a killed run goes on with the files that are there. The whole folder goes when
the step is committed.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from corpusmill.core import documents, storage
from corpusmill.core.artifacts import StageFolder
from corpusmill.core.errors import InternalError
from corpusmill.dedup.base import PARTITION


class _Note(BaseModel):
    """What the schema of an exchange file carries: its fingerprint, and the row group of every partition in it."""

    fingerprint: str
    groups: dict[int, int]


def path(folder: StageFolder, round_name: int | str, task: str) -> str:
    """File that `task` writes for a round: its number, or the name of a table of the history."""
    return storage.join(folder.root, "exchange", str(round_name), f"{task}.parquet")


def write(file: str, rows: pa.Table, partitions: int, fingerprint: str) -> None:
    """Writes `rows` grouped by their `partition` column (stable within a partition), atomically."""
    numbers = rows.column(PARTITION).to_numpy()
    if len(numbers) and (numbers.min() < 0 or numbers.max() >= partitions):
        raise InternalError("a row names a partition that does not exist", where=file, value=int(numbers.max()))
    by_partition = np.argsort(numbers, kind="stable")
    table = rows.drop_columns([PARTITION]).take(pa.array(by_partition)).combine_chunks()
    present, starts = np.unique(numbers[by_partition], return_index=True)
    ends = [*starts[1:].tolist(), len(numbers)] if len(numbers) else []
    note = _Note(fingerprint=fingerprint, groups={int(p): i for i, p in enumerate(present)})
    table = table.replace_schema_metadata({"exchange": note.model_dump_json()})
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema, compression="zstd", version="2.6") as writer:
        for start, end in zip(starts.tolist(), ends, strict=True):
            writer.write_table(table.slice(start, end - start), row_group_size=max(1, end - start))
    storage.write_bytes(file, sink.getvalue())


def is_written(file: str, fingerprint: str) -> bool:
    """Whether `file` is there, whole, and was written under `fingerprint`."""
    if not storage.exists(file):
        return False
    with storage.open_read(file) as handle:
        return bool(_note(pq.ParquetFile(handle)).fingerprint == fingerprint)


def read(files: Sequence[str], partition: int) -> pa.Table:
    """Rows of one partition from all `files`, in the order of the files."""
    tables = []
    schema = None
    for file in files:
        with storage.open_read(file) as handle:
            parquet = pq.ParquetFile(handle)
            schema = parquet.schema_arrow.remove_metadata()
            group = _note(parquet).groups.get(partition)
            if group is not None:
                tables.append(parquet.read_row_group(group).replace_schema_metadata(None))
    assert schema is not None, "an exchange has at least one task"
    return documents.concat(tables, schema)


def read_all(file: str) -> pa.Table:
    """Rows of all partitions of one file."""
    return storage.read_parquet(file).replace_schema_metadata(None)


def drop(folder: StageFolder) -> None:
    """Deletes the exchange of a committed step."""
    storage.remove_folder(storage.join(folder.root, "exchange"))


def _note(parquet: pq.ParquetFile) -> _Note:
    return _Note.model_validate_json(parquet.schema_arrow.metadata[b"exchange"])
