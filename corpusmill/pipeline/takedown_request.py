"""Which documents a takedown asks for: URLs, doc_ids or content hashes, one a line, found in the tables of the run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpusmill.core import storage, urls
from corpusmill.core.errors import InputError
from corpusmill.core.hashing import digest
from corpusmill.pipeline.registry import ORDER_OF_STAGES
from corpusmill.pipeline.takedown_records import TakedownRecord, TakenDocument

Kind = Literal["urls", "docs", "content_hashes"]
_HASH = re.compile(r"[0-9a-f]{32}")
_NO_PAGE = "record_type"  # rule of the WARC stage: requests and metadata, which carry the URL of the page


@dataclass
class Found:
    """What the tables of the run say of the documents that were asked for.

    documents: by doc_id. records: request and metadata records about their URLs. not_found: lines of the request.
    """

    documents: dict[str, TakenDocument] = field(default_factory=dict)
    records: set[str] = field(default_factory=set)
    not_found: list[str] = field(default_factory=list)


def read_request(kind: Kind, path: str) -> list[str]:
    """The lines of a request, each once, in their order; URLs normalised, hashes in lower case.

    A content hash is 32 hexadecimal digits, or a line of order/removals.jsonl. Raises InputError when there is no line,
    or when a line is not of its kind.
    """
    try:
        lines = [line.strip() for line in storage.read_text(path).splitlines()]
    except UnicodeDecodeError as error:
        raise InputError("the list is not UTF-8 text", where=path, remedy="save it as UTF-8") from error
    values = [_value(kind, line, f"{path}, line {at}") for at, line in enumerate(lines, start=1) if line]
    if not values:
        raise InputError("the list of documents is empty", where=path, remedy="one document a line")
    return list(dict.fromkeys(values))


def _value(kind: Kind, line: str, where: str) -> str:
    if kind == "urls":
        return urls.normalise(line) or line
    if kind == "docs":
        return line
    value = line
    if line.startswith("{"):
        try:
            value = str(json.loads(line)["content_hash"])
        except (ValueError, KeyError) as error:
            raise InputError("not a line of removals.jsonl", where=where, value=line[:80]) from error
    if not _HASH.fullmatch(value.lower()):
        raise InputError("not a content hash", where=where, value=value[:80], remedy="32 hexadecimal digits")
    return value.lower()


def find(run: str, kind: Kind, values: Sequence[str], records: Sequence[TakedownRecord]) -> Found:
    """The documents that the lines name, wherever the run has a row of them; `records` know erased URLs."""
    found = Found()
    wanted = set(values)
    seen: set[str] = set()
    by_name = {digest(value.encode()) if kind == "urls" else value: value for value in values}
    for document in (document for record in records for document in record.documents):
        name = {"docs": document.doc_id, "content_hashes": document.content_hash, "urls": document.url_sha256}[kind]
        if name in by_name:
            seen.add(by_name[name])
            found.documents[document.doc_id] = document.model_copy(update={"copy_of": None})
    for rows in _rows(run):
        _match(rows, kind, wanted, found, seen)
    if kind == "content_hashes":
        wanted_ids = set(found.documents)
        for rows in _rows(run):  # the URL and the ordinal may stand in tables without the hash
            _match(rows, "docs", wanted_ids, found, set())
    _find_records(run, found)
    found.not_found = [value for value in values if value not in seen]
    return found


def describe(run: str, doc_ids: Sequence[str]) -> dict[str, TakenDocument]:
    """What the run says of these documents, by doc_id."""
    found = Found()
    for rows in _rows(run):
        _match(rows, "docs", set(doc_ids), found, set())
    return found.documents


def _rows(run: str) -> Iterator[pa.Table]:
    """Columns doc_id, url, content_hash (null where there is none), ordinal, is_page of every table; tokens last."""
    stages = storage.join(run, "stages")
    for name in ORDER_OF_STAGES:
        for kind in ("removed", "quarantine", "out"):
            for path in storage.list_files(storage.join(stages, name, kind), ".parquet"):
                yield _columns(path)
    path = storage.join(run, "tokens", "documents.parquet")
    if storage.exists(path):
        yield _columns(path)


_COLUMNS = {
    "doc_id": pa.string(),
    "url": pa.string(),
    "content_hash": pa.binary(16),
    "doc_ordinal": pa.int64(),
    "rule": pa.string(),
}


def _columns(path: str) -> pa.Table:
    with storage.open_read(path) as file:
        parquet = pq.ParquetFile(file)
        names = set(parquet.schema_arrow.names)
        table = parquet.read(columns=[name for name in _COLUMNS if name in names])
    for name, kind in _COLUMNS.items():
        if name not in names:
            table = table.append_column(name, pa.nulls(table.num_rows, kind))
    is_page = pc.fill_null(pc.not_equal(table.column("rule"), _NO_PAGE), True)
    return table.select(list(_COLUMNS)[:-1]).append_column("is_page", is_page)


_UNKNOWN = TakenDocument(doc_id="", doc_ordinal=None, content_hash=None, url_sha256=None)


def _match(rows: pa.Table, kind: Kind, wanted: set[str], found: Found, seen: set[str]) -> None:
    column = {"urls": "url", "docs": "doc_id", "content_hashes": "content_hash"}[kind]
    # A line that named a document by its URL also names its rows in tables where the URL is gone.
    values = [bytes.fromhex(v) for v in wanted] if kind == "content_hashes" else sorted(wanted)
    kinds = {"content_hash": pa.binary(16)}.get(column, pa.string())
    chosen = pc.is_in(rows.column(column), value_set=pa.array(values, kinds))
    chosen = pc.or_(chosen, pc.is_in(rows.column("doc_id"), value_set=pa.array(list(found.documents), pa.string())))
    chosen = pc.and_(chosen, rows.column("is_page")) if kind != "docs" else chosen
    for row in rows.filter(chosen).to_pylist():
        value = row[column].hex() if isinstance(row[column], bytes) else row[column]
        if value in wanted:
            seen.add(value)
        known = found.documents.get(row["doc_id"], _UNKNOWN)
        content_hash = row["content_hash"].hex() if row["content_hash"] is not None else None
        found.documents[row["doc_id"]] = TakenDocument(
            doc_id=row["doc_id"],
            doc_ordinal=row["doc_ordinal"] if row["doc_ordinal"] is not None else known.doc_ordinal,
            content_hash=content_hash or known.content_hash,
            url_sha256=digest(row["url"].encode()) if row["url"] else known.url_sha256,
        )


def _find_records(run: str, found: Found) -> None:
    hashes = {document.url_sha256 for document in found.documents.values()} - {None}
    folder = storage.join(run, "stages", ORDER_OF_STAGES[0], "removed")
    for path in storage.list_files(folder, ".parquet"):
        rows = _columns(path)
        for row in rows.filter(pc.invert(rows.column("is_page"))).to_pylist():
            if row["url"] and digest(row["url"].encode()) in hashes:
                found.records.add(row["doc_id"])
