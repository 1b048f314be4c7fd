"""The documents of a run by name: through the index of tokenize/lookup.py, or by a scan where there can be none."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpusmill.core import storage
from corpusmill.core.errors import CorpusmillError, InputError
from corpusmill.core.hashing import Int64Array
from corpusmill.tokenize.lookup import Kind, Lookup, build

Note = Callable[[str], None]
Names = tuple[str, str]  # doc_id, url


def to_stderr(text: str) -> None:
    """Where notes go if nobody says otherwise."""
    print(text, file=sys.stderr)


class RunDocuments:
    """The documents of RUN/tokens."""

    def __init__(self, tokens_folder: str, note: Note = to_stderr) -> None:
        self._folder = tokens_folder
        self._path = storage.join(tokens_folder, "documents.parquet")
        self._note = note

    def find(self, kind: Kind, value: str | bytes) -> list[tuple[int, Names]]:
        """(ordinal, names) of the documents whose `kind` is `value`, by ordinal.

        Builds the index when there is none, which reads documents.parquet once. Where that cannot be, it reads
        documents.parquet each time, row group by row group. Both are said on `note`.
        """
        lookup = self._built()
        if lookup is not None:
            ordinals = lookup.find(kind, value)
            return list(zip(ordinals.tolist(), lookup.names(ordinals), strict=True))
        return list(scan_documents(self._path, kind, value))

    def names(self, doc_ordinals: Sequence[int]) -> dict[int, Names]:
        """Names by ordinal. Without an index it reads the row groups that hold them, and builds none."""
        wanted = np.unique(np.asarray(doc_ordinals, np.int64))
        try:
            return dict(zip(wanted.tolist(), Lookup.open(self._folder).names(wanted), strict=True))
        except CorpusmillError:
            return dict(_rows(self._path, wanted, ["doc_id", "url"]))

    def content_hashes(self, doc_ordinals: Sequence[int]) -> list[bytes]:
        """The 16 bytes of each document, in the order asked for."""
        wanted = np.asarray(doc_ordinals, np.int64)
        found = {o: row[0] for o, row in _rows(self._path, np.unique(wanted), ["content_hash"])}
        return [found[o] for o in wanted.tolist()]

    def _built(self) -> Lookup | None:
        try:
            return Lookup.open(self._folder)
        except CorpusmillError:
            pass  # none, an old one, a damaged one, or a remote folder
        try:
            self._note(f"building the index of {self._path}, once; later searches find it")
            build(self._folder)
            return Lookup.open(self._folder)
        except (OSError, InputError) as error:
            why = str(error).splitlines()[0]
            self._note(f"no index of the documents can be kept ({why}); reading all of {self._path}")
            return None


def scan_documents(path: str, kind: Kind, value: str | bytes) -> Iterator[tuple[int, Names]]:
    """(ordinal, names) of the rows of a documents.parquet whose `kind` is `value`; memory: one row group."""
    columns = list(dict.fromkeys(["doc_ordinal", "doc_id", "url", kind]))
    with storage.open_read(path) as file:
        source = pq.ParquetFile(file)
        for group in range(source.num_row_groups):
            table = source.read_row_group(group, columns)
            column = table.column(kind)
            found = table.filter(pc.equal(column, pa.scalar(value, column.type)))
            ordinals, doc_ids, urls = (found.column(c).to_pylist() for c in columns[:3])
            yield from zip(ordinals, zip(doc_ids, urls, strict=True), strict=True)


def _rows(path: str, doc_ordinals: Int64Array, columns: list[str]) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Columns of documents by ordinal (ascending): reads the row groups that hold them."""
    with storage.open_read(path) as file:
        source = pq.ParquetFile(file)
        sizes = np.array([source.metadata.row_group(i).num_rows for i in range(source.num_row_groups)], np.int64)
        stops = np.cumsum(sizes)
        groups = np.searchsorted(stops, doc_ordinals, side="right")
        for group in np.unique(groups).tolist():
            mine = doc_ordinals[groups == group]
            table = source.read_row_group(group, columns)
            table = table.take(pa.array(mine - (stops[group] - sizes[group])))
            yield from zip(
                mine.tolist(), zip(*(table.column(c).to_pylist() for c in columns), strict=True), strict=True
            )
