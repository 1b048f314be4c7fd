"""Which documents two corpora have in common, by doc_id; memory bounded for any number of documents.

Documents are compared by 64-bit hashes of doc_id: among 10^8 documents the chance that any two share one is 1 in 3,700.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from corpusmill.core import storage
from corpusmill.core.hashing import UInt64Array, hash64

_BATCH_DOCUMENTS = 1 << 16
_BITS = 6  # of a doc_id's hash that choose its partition

PAIR = np.dtype([("doc_id", "<u8"), ("content", "<u8")])


class DocumentChanges(NamedTuple):
    """Numbers of documents, from the first corpus to the second. changed: another content or number of tokens."""

    added: int
    removed: int
    changed: int


def diff_documents(path_a: str, path_b: str) -> DocumentChanges:
    """Compares two documents.parquet files. On disk it needs 16 bytes a document of both; in memory a 64th of that."""
    added = removed = changed = 0
    with TemporaryDirectory(prefix="corpusmill-diff-") as scratch:
        sides = [Path(scratch) / name for name in ("a", "b")]
        for side, path in zip(sides, (path_a, path_b), strict=True):
            _partition(path, side)
        for number in range(1 << _BITS):
            a, b = (np.sort(np.fromfile(side / f"{number:02d}", PAIR), order="doc_id") for side in sides)
            _, in_a, in_b = np.intersect1d(a["doc_id"], b["doc_id"], assume_unique=True, return_indices=True)
            removed += len(a) - len(in_a)
            added += len(b) - len(in_b)
            changed += int((a["content"][in_a] != b["content"][in_b]).sum())
    return DocumentChanges(added, removed, changed)


def content_keys(documents_path: str) -> UInt64Array:
    """The first 8 bytes of each document's content hash, by ordinal, uint64: 8 bytes a document in memory."""
    with storage.open_read(documents_path) as file:
        source = pq.ParquetFile(file)
        keys = np.empty(source.metadata.num_rows, np.uint64)
        at = 0
        for batch in source.iter_batches(_BATCH_DOCUMENTS, columns=["content_hash"]):
            keys[at : at + batch.num_rows] = _first_bytes(batch.column("content_hash"))
            at += batch.num_rows
    return keys


def _partition(documents_path: str, folder: Path) -> None:
    folder.mkdir()
    with ExitStack() as stack, storage.open_read(documents_path) as source:
        files = [stack.enter_context((folder / f"{n:02d}").open("wb")) for n in range(1 << _BITS)]
        columns = ["doc_id", "content_hash", "num_tokens"]
        for batch in pq.ParquetFile(source).iter_batches(_BATCH_DOCUMENTS, columns=columns):
            pairs = np.empty(batch.num_rows, PAIR)
            doc_ids = batch.column("doc_id").cast(pa.binary()).to_pylist()
            pairs["doc_id"] = np.fromiter(map(hash64, doc_ids), np.uint64, len(doc_ids))
            tokens = batch.column("num_tokens").to_numpy().astype(np.uint64)
            pairs["content"] = _first_bytes(batch.column("content_hash")) ^ (tokens << np.uint64(24))
            numbers = pairs["doc_id"] >> np.uint64(64 - _BITS)
            for number in np.unique(numbers).tolist():
                files[number].write(pairs[numbers == number].tobytes())


def _first_bytes(column: pa.Array) -> UInt64Array:
    """The first 8 of 16 bytes of each value."""
    if not len(column):
        return np.empty(0, np.uint64)
    words: UInt64Array = np.frombuffer(column.buffers()[1], "<u8").reshape(-1, 2)[:, 0]
    return words[column.offset : column.offset + len(column)]
