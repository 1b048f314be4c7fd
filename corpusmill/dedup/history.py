"""The history of a corpus step: what a later snapshot must know of the documents that an earlier one has seen.

    HISTORY/<step>/<table>/<part>.parquet    rows sorted by key; part p of n holds keys of the p-th n-th of all keys
    HISTORY/<step>/manifest.json             written last: a history without one does not exist

A run commits the history of a step with the step (pipeline/history_tasks.py); a later run names it, and its reduces
look their keys up in it. A history is whole without its run: texts are never read again, and the folder can be moved or
copied. Which rows a step remembers is the step's own business; here is how they lie on disk and how they are found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from corpusmill.core import artifacts, documents, storage
from corpusmill.core.artifacts import FileEntry
from corpusmill.core.errors import ConfigError, InputError
from corpusmill.core.hashing import UInt64Array
from corpusmill.dedup import groups

HISTORY = "history"  # int32 column of rows that were found: number of the history that they come from, the earliest 0
FORMAT = 1


class HistoryTable(NamedTuple):
    """One table of a step's history.

    schema: the two columns of groups.KEY_FIELDS first.
    documents_a_part: documents of the run for each file, about; memory is bounded by it.
    rows_a_group: rows of a row group, the least that is read to find one.
    order: how rows of one key are sorted; rows that agree in key and in these columns are one.
    most: of one key the first so many; None: all.
    """

    name: str
    schema: pa.Schema
    documents_a_part: int
    rows_a_group: int = 65_536
    order: tuple[tuple[str, str], ...] = ()
    most: int | None = None

    def parts(self, num_documents: int) -> int:
        """Number of files for a run of so many documents: a power of two. Partitions and workers do not enter."""
        return 1 << max(0, -(-num_documents // self.documents_a_part) - 1).bit_length()

    def condensed(self, rows: pa.Table) -> pa.Table:
        """`rows` sorted, each once."""
        keys = [(groups.KEY_HIGH, "ascending"), (groups.KEY_LOW, "ascending")]
        rows = rows.sort_by([*keys, *self.order]).combine_chunks()
        first_of_key = _differs(rows, [name for name, _ in keys])
        rows_differ = first_of_key | _differs(rows, [name for name, _ in self.order])
        rows, first_of_key = rows.filter(pa.array(rows_differ)), first_of_key[rows_differ]
        if self.most is not None:
            starts = np.flatnonzero(first_of_key)
            rank = np.arange(rows.num_rows) - np.repeat(starts, np.diff(starts, append=rows.num_rows))
            rows = rows.filter(pa.array(rank < self.most))
        return rows.select(self.schema.names).cast(self.schema)


def _differs(rows: pa.Table, names: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Whether a row differs from the row before it in one of the columns `names`, bool (n,); the first does."""
    out = np.zeros(rows.num_rows, dtype=bool)
    out[:1] = True
    for name in names:
        column = rows.column(name)
        before, after = column.slice(0, max(0, len(column) - 1)), column.slice(1)
        differ = pc.or_(pc.fill_null(pc.not_equal(before, after), False), pc.xor(pc.is_null(before), pc.is_null(after)))
        out[1:] |= differ.to_numpy().astype(bool)
    return out


@dataclass(frozen=True)
class Outcome:
    """What a finished step made of one shard: what its `remember` sees.

    table: the step's `columns` of the documents that entered. mapped: what `map` made of them, without partitions.
    removed: doc_ids. clusters: its table of clusters, None for steps without.
    """

    table: pa.Table
    mapped: pa.Table
    removed: pa.Array
    clusters: pa.Table | None


class Manifest(BaseModel):
    """The commit record of one step's history.

    step, version, settings: what decides which keys stand in it; packages: for the reader, they are not compared.
    name: crawl or recipe of the run. earlier: fingerprints of the histories that the run itself looked into.
    made_by: fingerprint of the step in its run. fingerprint: of all that a later run can notice.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    step: str
    version: int
    settings: dict[str, Any]
    packages: dict[str, str]
    name: str
    earlier: list[str]
    tables: dict[str, list[FileEntry]]
    made_by: str
    fingerprint: str

    @property
    def label(self) -> str:
        """Name and first digits of the fingerprint: what removals call the history."""
        return f"{self.name}@{self.fingerprint[:8]}"


@dataclass(frozen=True)
class History:
    """A committed history that a run looks into. Picklable; its manifest is read where it is needed."""

    root: str
    label: str
    fingerprint: str

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest. Raises InputError when it is gone or another one than when the run began."""
        manifest = read_manifest(self.root)
        if manifest is None or manifest.fingerprint != self.fingerprint:
            raise InputError(
                "a history of this run is gone or has changed",
                where=self.root,
                value=None if manifest is None else manifest.label,
                remedy=f"bring {self.label} back, or run again with `history` as it is now",
            )
        return manifest

    def row_groups(self, table: HistoryTable, high: UInt64Array) -> Iterator[pa.Table]:
        """Row groups that may hold one of the keys whose first halves are `high` (ascending, not empty)."""
        files = self.manifest.tables[table.name]
        first, last = groups.partition_of(high[[0, -1]], len(files)).tolist()
        for entry in filter(lambda file: file.rows, files[first : last + 1]):
            with storage.open_read(storage.join(self.root, entry.path)) as handle:
                parquet = pq.ParquetFile(handle)
                for number in range(parquet.num_row_groups):
                    bounds = parquet.metadata.row_group(number).column(0).statistics
                    begin = np.searchsorted(high, np.uint64(bounds.min))
                    if begin < np.searchsorted(high, np.uint64(bounds.max), side="right"):
                        yield parquet.read_row_group(number)


class Past(NamedTuple):
    """The histories that a step looks into, the earliest first; none in most runs."""

    histories: tuple[History, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.histories)

    def labels(self, numbers: pa.ChunkedArray) -> pa.ChunkedArray:
        """The label of every history number, null for null."""
        return pa.chunked_array([[history.label for history in self.histories]], pa.string()).take(numbers)

    def matching(self, table: HistoryTable, high: UInt64Array, low: UInt64Array) -> pa.Table:
        """Rows of `table` with one of these keys, in the order of key and history, with the column HISTORY.

        high, low: uint64 (n,) each, in any order, repeats are no harm. Row groups are read one after another, and only
        those that may hold a key: memory is bounded by the keys that are asked for.
        """
        schema = table.schema.append(pa.field(HISTORY, pa.int32(), nullable=False))
        if not self or len(high) == 0:
            return documents.empty(schema)
        order = np.lexsort((low, high))
        high, low = high[order], low[order]
        found = []
        for number, history in enumerate(self.histories):
            for rows in history.row_groups(table, high):
                at = groups.first_positions(high, low, *groups.key_columns(rows))
                rows = rows.filter(pa.array(at >= 0))
                numbers = pa.array(np.full(rows.num_rows, number, dtype=np.int32))
                found.append(pa.table([*rows.columns, numbers], schema=schema))
        rows = documents.concat(found, schema)
        return rows.take(pa.array(np.lexsort((rows.column(HISTORY).to_numpy(), *reversed(groups.key_columns(rows))))))


NO_PAST = Past()


def read_manifest(root: str) -> Manifest | None:
    """The manifest in the folder of one step; None when there is none of this format."""
    path = storage.join(root, "manifest.json")
    if not storage.exists(path):
        return None
    try:
        return Manifest.model_validate_json(storage.read_bytes(path))
    except ValidationError:
        return None


def write_part(root: str, table: HistoryTable, part: int, rows: pa.Table) -> FileEntry:
    """Writes the rows of one part, sorted and condensed."""
    path = f"{table.name}/{part:05d}.parquet"
    rows = table.condensed(rows)
    data = storage.parquet_bytes(rows, table.rows_a_group)
    storage.write_bytes(storage.join(root, path), data)
    return FileEntry(path=path, bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), rows=rows.num_rows)


def commit(
    root: str, step: Any, name: str, made_by: str, tables: Mapping[str, Sequence[FileEntry]], past: Past
) -> Manifest:
    """Writes the manifest of a history whose parts are there. `step`: the CorpusStep that remembers."""
    body: dict[str, Any] = {
        "format": FORMAT,
        "step": step.name,
        "version": step.history_version,
        "settings": step.history_settings(),
        "name": name,
        "earlier": [history.fingerprint for history in past.histories],
    }
    files = {table: [[entry.path, entry.sha256] for entry in entries] for table, entries in tables.items()}
    manifest = Manifest(
        **body,
        packages=artifacts.package_versions(step.packages),
        tables={table: list(entries) for table, entries in tables.items()},
        made_by=made_by,
        fingerprint=artifacts.fingerprint(files=files, **body),
    )
    storage.write_text(storage.join(root, "manifest.json"), manifest.model_dump_json(indent=1) + "\n")
    return manifest


def named(paths: Sequence[str], step: Any) -> Past:
    """The histories of `step` at `paths`: run folders or folders of histories, the earliest first.

    Raises InputError where there is none, ConfigError where it was made under settings that give other keys, or where
    a history that it builds on is not named before it.
    """
    found: list[History] = []
    for path in paths:
        root = next(
            (r for r in (storage.join(path, "history", step.name), storage.join(path, step.name)) if read_manifest(r)),
            None,
        )
        manifest = read_manifest(root) if root is not None else None
        if root is None or manifest is None:
            raise InputError(
                f"no history of `{step.name}` is committed here",
                where=path,
                remedy=f"finish that run with `{step.name}` in its `history_steps`, or leave it out of this recipe's",
            )
        _check_settings(root, manifest, step)
        missing = set(manifest.earlier) - {history.fingerprint for history in found}
        if missing:
            raise ConfigError(
                f"the history of `{step.name}` builds on another that is not named before it",
                where=path,
                value=sorted(fingerprint[:8] for fingerprint in missing),
                remedy="name every earlier snapshot in `history`, the earliest first",
            )
        found.append(History(root, manifest.label, manifest.fingerprint))
    return Past(tuple(found))


def _check_settings(root: str, manifest: Manifest, step: Any) -> None:
    """Refuses a history whose keys this step would not find though the documents are the same."""
    theirs = {"format": manifest.format, "version": manifest.version, **manifest.settings}
    ours = {"format": FORMAT, "version": step.history_version, **step.history_settings()}
    for key in sorted({*theirs, *ours}):
        if theirs.get(key) != ours.get(key):
            remedy = f"set stages.{step.name}.{key} to what the history has, or make the history again"
            if key in ("format", "version"):
                remedy = "make the history again with this version of corpusmill"
            raise ConfigError(
                f"the history of `{step.name}` was made under another `{key}`",
                where=root,
                value=f"history: {theirs.get(key)}, this recipe: {ours.get(key)}",
                remedy=remedy,
            )


def problems(root: str, manifest: Manifest, *, hashes: bool) -> list[str]:
    """What is wrong with the files of a history: sizes, and with `hashes` every byte."""
    wrong = []
    for entry in (entry for entries in manifest.tables.values() for entry in entries):
        path = storage.join(root, entry.path)
        if not storage.exists(path) or storage.size_bytes(path) != entry.bytes:
            wrong.append(f"{path} is missing or has another size")
        elif hashes and storage.sha256_file(path) != entry.sha256:
            wrong.append(f"{path} does not match its sha256")
    return wrong
