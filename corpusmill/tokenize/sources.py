"""Sources: what a document counts as in a mixture, and corpora that are no crawl.

A source is a name that the phases of an order use. Crawled documents are of the source `crawl`, or of one for every
value of a column; every corpus named in the recipe's `sources.extra` is a source of its own. Its files are Parquet with
`doc_id` (or `id`; text or integers) and `text`; `url`, `domain` and `language` are taken where they are there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import PurePath
from typing import Final, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, field_validator

from corpusmill.core import storage, urls
from corpusmill.core.documents import split_doc_id
from corpusmill.core.errors import InputError
from corpusmill.core.hashing import UInt64Array, content_hash, hash64
from corpusmill.tokenize.shards import BATCH_DOCUMENTS, CRAWL, SOURCE_NAME

_OPTIONAL: Final = ("url", "domain", "language")
_STRING: Final = pa.string()


class SourcesConfig(BaseModel):
    """The recipe's section `sources`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Literal["language", "crawl"] | None = Field(
        default=None,
        description="column of which every value is a source of its own; null: all of the crawl is one, `crawl`",
    )
    extra: dict[str, list[str]] = Field(
        default={},
        description="corpora that are no crawl: name of the source to Parquet files or globs, tokenised as they are",
    )

    @field_validator("extra")
    @classmethod
    def _named(cls, extra: dict[str, list[str]]) -> dict[str, list[str]]:
        for name, patterns in extra.items():
            if not SOURCE_NAME.fullmatch(name):
                raise ValueError(f"{name!r} cannot name a source: 1 to 64 of A-Z a-z 0-9 _ -, the first no sign")
            if name == CRAWL:
                raise ValueError(f"{name!r} is the source of the crawled documents: choose another name")
            if not patterns:
                raise ValueError(f"{name!r} has no files")
        return extra


class ExtraColumns(NamedTuple):
    """Which columns of a file are used. id: `doc_id` or `id`; optional: those of url, domain, language it has."""

    id: str
    optional: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """All that are read."""
        return [self.id, "text", *self.optional]


def extra_columns(path: str) -> ExtraColumns:
    """The columns of an extra file, from its footer. Raises InputError where the file does not fit."""
    try:
        with storage.open_read(path) as file:
            schema = pq.ParquetFile(file).schema_arrow
    except pa.ArrowInvalid as error:
        raise InputError("not a Parquet file", where=path, value=str(error)[:200]) from error
    name = next((name for name in ("doc_id", "id") if name in schema.names), None)
    if name is None or "text" not in schema.names:
        raise InputError(
            "a file of `sources.extra` needs the columns `doc_id` (or `id`) and `text`",
            where=path,
            value=schema.names,
            remedy="write or rename these columns",
        )
    optional = tuple(name for name in _OPTIONAL if name in schema.names)
    for column in (name, "text", *optional):
        kind = schema.field(column).type
        if not (_is_text(kind) or (column == name and pa.types.is_integer(kind))):
            raise InputError(
                f"the column `{column}` has a type that is not read",
                where=path,
                value=str(kind),
                remedy="write it as strings" + ("" if column != name else " or integers"),
            )
    return ExtraColumns(name, optional)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def extra_batches(path: str) -> Iterator[pa.RecordBatch]:
    """The documents of an extra file in file order, with the columns that `shards.encode_documents` reads.

    content_hash is that of the text; domain follows from the url where the file has none; missing values of optional
    columns are "". Raises InputError for a document without text.
    """
    columns = extra_columns(path)
    with storage.open_read(path) as file:
        for batch in pq.ParquetFile(file).iter_batches(BATCH_DOCUMENTS, columns=columns.names):
            yield _document_batch(batch, columns, path)


def _document_batch(batch: pa.RecordBatch, columns: ExtraColumns, path: str) -> pa.RecordBatch:
    ids = _strings(batch.column(columns.id), path)
    texts = _strings(batch.column("text"), path, pa.large_string())
    if texts.null_count:
        first = pc.index(pc.is_null(texts), True).as_py()
        raise InputError(
            "a document has no text", where=path, value=ids[first].as_py(), remedy="leave it out, or write its text"
        )
    optional = {name: pc.fill_null(_strings(batch.column(name), path), "") for name in columns.optional}
    empty = pa.array([""] * batch.num_rows, pa.string())
    addresses = optional.get("url", empty)
    if "domain" not in optional:
        optional["domain"] = pa.array([urls.registered_domain(u) if u else "" for u in addresses.to_pylist()])
    found = {
        "doc_id": ids,
        "url": addresses,
        "domain": optional["domain"],
        "content_hash": pa.array([content_hash(text) for text in texts.to_pylist()], pa.binary(16)),
        "language": optional.get("language", empty),
        "text": texts,
    }
    return pa.RecordBatch.from_pydict(found)


def _strings(column: pa.Array, path: str, kind: pa.DataType = _STRING) -> pa.Array:
    """The column as strings of type `kind`, valid UTF-8."""
    try:
        found = column.cast(kind)
        found.validate(full=True)
    except pa.ArrowInvalid as error:
        raise InputError("a column is not valid UTF-8", where=path, value=str(error)[:200]) from error
    return found


def check_ids(files: Sequence[str], warc_files: Collection[str]) -> int:
    """Documents in the `files` of one source, whose ids must be there, distinct, and none that the crawl may have.

    Holds 8 bytes a document and one batch of ids. A crawl's id is the name of one of `warc_files` and an offset.
    Raises InputError with the file and the id.
    """
    hashes: list[UInt64Array] = [np.empty(0, np.uint64)]
    for path in files:
        for ids in _ids(path):
            _refuse_crawled(ids, warc_files, path)
            hashes.append(np.array([hash64(name.encode()) for name in ids], np.uint64))
    every = np.sort(np.concatenate(hashes))
    suspects = set(every[1:][every[1:] == every[:-1]].tolist())
    if suspects:
        _refuse_repeated(files, suspects)
    return len(every)


def _ids(path: str) -> Iterator[list[str]]:
    column = extra_columns(path).id
    with storage.open_read(path) as file:
        row = 0
        for batch in pq.ParquetFile(file).iter_batches(BATCH_DOCUMENTS, columns=[column]):
            ids = _strings(batch.column(0), path)
            if ids.null_count:
                at = row + pc.index(pc.is_null(ids), True).as_py()
                raise InputError(f"row {at} has no {column}", where=path, remedy="give every document an id")
            row += batch.num_rows
            yield ids.to_pylist()


def _refuse_crawled(ids: Sequence[str], warc_files: Collection[str], path: str) -> None:
    for name in ids:
        try:
            file, _ = split_doc_id(name)
        except ValueError:
            continue
        if file in warc_files:
            raise InputError(
                "an extra document has the id of a crawled one",
                where=path,
                value=name,
                remedy="give it another id; those of the form <WARC file name>:<offset> are the crawl's",
            )


def _refuse_repeated(files: Sequence[str], suspects: set[int]) -> None:
    """Raises InputError for the first id that repeats among those whose hash does."""
    seen: dict[str, str] = {}
    for path in files:
        for ids in _ids(path):
            for name in ids:
                if hash64(name.encode()) not in suspects:
                    continue
                if name in seen:
                    raise InputError(
                        "an id occurs twice in one source",
                        where=path if seen[name] == path else f"{seen[name]} and {path}",
                        value=name,
                        remedy="give every document of the source an id of its own",
                    )
                seen[name] = path


def file_stem(path: str) -> str:
    """What token shards of an extra file are called: its name without `.parquet`."""
    name = storage.file_name(path)
    return PurePath(name).stem if name.endswith(".parquet") else name
