"""Two columns of tokens/documents.parquet as plain arrays, which readers map into memory.

documents.offsets   int64 (D+1,): tokens before each document, in all shards one after another; the last is their number
documents.salts     uint8 (D, 16)

Little-endian, 24 bytes a document. They say nothing that documents.parquet does not say, and can be made again from it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from corpusmill.core import storage
from corpusmill.core.hashing import Int64Array

UInt8Array = npt.NDArray[np.uint8]

OFFSETS, SALTS = "documents.offsets", "documents.salts"
_BATCH_DOCUMENTS = 1 << 16


def read_columns(documents_path: str) -> tuple[Int64Array, UInt8Array]:
    """offsets (D+1,) and salts (16 D,) from documents.parquet."""
    table = storage.read_parquet(documents_path, ["num_tokens", "salt"])
    offsets = np.zeros(table.num_rows + 1, np.int64)
    np.cumsum(table.column("num_tokens").to_numpy(), out=offsets[1:])
    return offsets, _salt_bytes(table.column("salt"))


def write_columns(tokens_folder: str) -> None:
    """Writes documents.offsets and documents.salts from documents.parquet of the folder; memory O(batch)."""
    with (
        storage.open_read(storage.join(tokens_folder, "documents.parquet")) as source,
        storage.open_write(storage.join(tokens_folder, OFFSETS)) as offsets,
        storage.open_write(storage.join(tokens_folder, SALTS)) as salts,
    ):
        before = 0
        offsets.write(np.zeros(1, "<i8").tobytes())
        for batch in pq.ParquetFile(source).iter_batches(_BATCH_DOCUMENTS, columns=["num_tokens", "salt"]):
            ends = before + np.cumsum(batch.column("num_tokens").to_numpy())
            before = int(ends[-1]) if len(ends) else before
            offsets.write(ends.astype("<i8").tobytes())
            salts.write(_salt_bytes(pa.chunked_array([batch.column("salt")])).tobytes())


def _salt_bytes(column: pa.ChunkedArray) -> UInt8Array:
    return np.concatenate([np.empty(0, np.uint8), *(fixed_bytes(chunk, 16).ravel() for chunk in column.chunks)])


def fixed_bytes(column: pa.Array, width: int) -> UInt8Array:
    """(rows, width) of a column of fixed-size binary values without nulls."""
    if not len(column):
        return np.empty((0, width), np.uint8)
    data = np.frombuffer(column.buffers()[1], np.uint8)
    return data[column.offset * width : (column.offset + len(column)) * width].reshape(-1, width)


def document_records(rows: pa.RecordBatch) -> UInt8Array:
    """(rows, 32): content_hash, doc_ordinal, num_tokens, as hashes.document_leaf hashes them behind a zero byte."""
    records = np.empty((rows.num_rows, 32), np.uint8)
    records[:, :16] = fixed_bytes(rows.column("content_hash"), 16)
    for at, name in ((16, "doc_ordinal"), (24, "num_tokens")):
        values = rows.column(name).to_numpy().astype("<u8")
        records[:, at : at + 8] = values.view(np.uint8).reshape(-1, 8)
    return records
