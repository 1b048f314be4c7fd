"""The first stage: response records out of WARC and ARC files, in slices that are tasks of their own.

A slice is a byte range of a file and owns the records whose offset is in it. The first slice begins at 0; every other
one looks for its first record, and says where it was (`first_offset`) and where the record after its last one is
(`next_offset`). Slices chain when each begins where the one before ended. Bytes inside a record may look like the start
of one (a stored `.warc.gz`); then they do not chain, and the slice is read again from the offset that its predecessor,
which came there record by record, gives.

Every record of a slice is kept, removed or quarantined.

removed (detail: the value)
    record_type     not `response` (`resource` too: it carries no HTTP head); detail is the type
    url_scheme      a response to something else than http or https, e.g. dns
    http_status     not in `statuses`
    media_type      not in `media_types`; a body without a media type stays if its first character is `<`
    truncated       WARC-Truncated is set, where `truncated: remove`
    payload_bytes   payload or the block around it over its limit; value and threshold in bytes (decoding stops there)
    empty_payload   nothing, or whitespace only
    digest_mismatch the stated payload digest is another, where `digest: remove`

quarantined (detail: what was seen, bytes skipped, remedy)
    gzip_damaged    a member that does not inflate; all bytes up to the next record start are one entry
    truncated_record, bad_length   the block is shorter or longer than Content-Length says
    bad_header      a head that is no WARC or ARC record's
    not_per_record_gzip   several records in one gzip member: offsets mean nothing there
    bad_url         the target URI is not an absolute URL
    http_damaged    no HTTP head, or a body that does not decode
    not_a_warc, empty_file   the file as a whole
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

import fsspec
import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator

from corpusmill.core import documents, storage
from corpusmill.core.errors import DataError, InputError
from corpusmill.core.urls import normalise, registered_domain
from corpusmill.core.verdicts import StageResult
from corpusmill.stages.base import StageConfig
from corpusmill.stages.warc_payload import (
    HttpResponse,
    PayloadDamage,
    PayloadTooLarge,
    digest_matches,
    parse_http,
    undo_encodings,
)
from corpusmill.stages.warc_records import Damage, RawRecord, Source, find_start, records

SLICE_BYTES = 64 << 20
_BATCH_BYTES = 64 << 20  # payloads of one batch, so that memory does not follow the size of pages
_BLOCK_OVER_PAYLOAD = 2  # a block may be this much larger than the largest payload: head, chunks, failed compression


@dataclass(frozen=True)
class Slice:
    """Bytes [start, end) of a file, and the number of that range in it. Plain values only: JSON holds all of it."""

    path: str
    warc_file: str
    crawl: str
    index: int
    start: int
    end: int


@dataclass(frozen=True)
class SliceFacts:
    """What reading a slice found out.

    first_offset: of the first record at or after its start, None when no position in the slice opens a record.
    next_offset: of the first record at or after its end, or the file's size; None when `first_offset` is.
    records: records and damaged ranges of the slice = kept + removed + quarantined.

    Slices chain when every `first_offset` is the `next_offset` of the slice before. A slice that gives None lies inside
    one record: forced to begin at `next_offset` of its predecessor it gives that offset twice, and no rows.
    """

    first_offset: int | None
    next_offset: int | None
    records: int


def plan_slices(path: str, crawl: str, slice_bytes: int = SLICE_BYTES) -> list[Slice]:
    """Cuts a file in even ranges of about `slice_bytes`; reads nothing but its size.

    All layouts are cut alike: in files that are not compressed a record start is found by its first line.
    """
    size = storage.size_bytes(path)
    number = max(1, round(size / slice_bytes))
    name = storage.file_name(path)
    return [Slice(path, name, crawl, i, size * i // number, size * (i + 1) // number) for i in range(number)]


class WarcConfig(StageConfig):
    """Settings of the WARC stage."""

    slice_bytes: int = Field(
        SLICE_BYTES, ge=1 << 16, description="bytes of a file that are one task; never changes results"
    )
    max_payload_bytes: int = Field(20 << 20, ge=1, description="largest payload, in bytes after decoding")
    media_types: tuple[str, ...] = Field(
        ("text/html", "application/xhtml+xml"), description="media types that are kept"
    )
    statuses: tuple[int, ...] = Field((200,), description="HTTP status codes that are kept")
    truncated: Literal["keep", "remove"] = Field("keep", description="payloads that the crawler cut (WARC-Truncated)")
    digest: Literal["keep", "remove"] = Field("keep", description="payloads whose digest is not the one stated")

    @field_validator("media_types")
    @classmethod
    def _lower(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(v.lower() for v in value)


class WarcStage:
    """Reads slices. Not a DocumentStage: what goes in is a range of a file."""

    name: ClassVar[str] = "warc"
    version: ClassVar[int] = 1
    Config: ClassVar[type[WarcConfig]] = WarcConfig

    def __init__(self, config: WarcConfig) -> None:
        self.config = config

    def identity(self) -> dict[str, object]:
        """The settings that decide results: all but `slice_bytes`."""
        return self.config.model_dump(mode="json", exclude={"slice_bytes"})

    def read(self, slice: Slice, *, batch_documents: int = 256, first_offset: int | None = None) -> SliceReader:
        """The records of `slice`, in batches. `first_offset` is where its first record is, when that is known."""
        return SliceReader(self.config, slice, batch_documents, first_offset)


class SliceReader:
    """Iterates over the StageResults of a slice (kept rows: documents.RECORD), at least one; `facts` after the last."""

    def __init__(self, config: WarcConfig, slice: Slice, batch_documents: int, first_offset: int | None) -> None:
        self._config = config
        self._slice = slice
        self._batch_documents = batch_documents
        self._first_offset = 0 if slice.start == 0 else first_offset
        self._facts: SliceFacts | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """SliceFacts as a dictionary. Raises RuntimeError before the slice was read to its end."""
        if self._facts is None:
            raise RuntimeError("facts are known when the slice was read to its end")
        return asdict(self._facts)

    def __iter__(self) -> Iterator[StageResult]:
        """Reads the slice; every iteration reads it anew."""
        piece = self._slice
        size = storage.size_bytes(piece.path)
        batch = _Batch(piece, self._config)
        if size == 0:
            batch.quarantine(Damage(0, 0, "empty_file", "the file has no bytes; remedy: fetch it again"))
            self._facts = SliceFacts(0, 0, 1)
            yield batch.result()
            return
        with storage.open_read(piece.path) as file:
            source = Source(file, size, piece.path)
            first = self._first_offset
            if first is None:
                first = find_start(source, piece.start, piece.end)
            if first is None:
                self._facts = SliceFacts(None, None, 0)
                yield batch.result()
                return
            found = 0
            reading = records(source, first, piece.end, _BLOCK_OVER_PAYLOAD * self._config.max_payload_bytes)
            while True:
                try:
                    record = next(reading)
                except StopIteration as end:
                    self._facts = SliceFacts(first, end.value, found)
                    break
                found += 1
                batch.add(record)
                if batch.kept_rows >= self._batch_documents or batch.payload_bytes >= _BATCH_BYTES:
                    yield batch.result()
                    batch = _Batch(piece, self._config)
        yield batch.result()


class _Removed(Exception):
    """A record that a rule removes."""

    def __init__(self, rule: str, detail: str, value: float | None = None, threshold: float | None = None) -> None:
        super().__init__(rule)
        self.row = {"rule": rule, "detail": detail, "value": value, "threshold": threshold}


class _Batch:
    """Rows of one StageResult in the making."""

    def __init__(self, piece: Slice, config: WarcConfig) -> None:
        self._piece = piece
        self._config = config
        self._kept: list[dict[str, Any]] = []  # without their payloads
        self._payloads: list[bytes] = []
        self._removed: list[dict[str, Any]] = []
        self._quarantined: list[dict[str, Any]] = []
        self.payload_bytes = 0

    @property
    def kept_rows(self) -> int:
        """Records kept so far."""
        return len(self._kept)

    def add(self, record: RawRecord | Damage) -> None:
        """Judges one record."""
        if isinstance(record, Damage):
            self.quarantine(record)
            return
        url = normalise(record.uri)
        try:
            row = _judge(record, url, self._config)
        except _Removed as removed:
            self._removed.append({**self._origin(record, url), **removed.row, "excerpt": ""})
        except PayloadDamage as damage:
            self.quarantine(Damage(record.offset, record.length, "http_damaged", str(damage), record.uri))
        else:
            if url is None:
                detail = f"the target URI is {record.uri[:200]!r}"
                self.quarantine(Damage(record.offset, record.length, "bad_url", detail, record.uri))
                return
            payload = row.pop("payload")
            self.payload_bytes += len(payload)
            self._payloads.append(payload)
            self._kept.append(
                {
                    **self._origin(record, url),
                    "domain": registered_domain(url),
                    "warc_file": self._piece.warc_file,
                    "warc_offset": record.offset,
                    "warc_length": record.length,
                    "crawl": self._piece.crawl,
                    **row,
                }
            )

    def quarantine(self, damage: Damage) -> None:
        """Quarantines a range of the file."""
        self._quarantined.append(
            {
                **self._origin(damage, normalise(damage.uri)),
                "reason": damage.reason,
                "warc_file": self._piece.warc_file,
                "warc_offset": damage.offset,
                "detail": damage.detail,
            }
        )

    def _origin(self, record: RawRecord | Damage, url: str | None) -> dict[str, Any]:
        return {
            "doc_id": documents.doc_id(self._piece.warc_file, record.offset),
            "url": record.uri if url is None else url,
            "stage": WarcStage.name,
            "characters": 0,
        }

    def result(self) -> StageResult:
        """The batch as tables."""
        return StageResult(
            kept=_records(self._kept, self._payloads),
            removed=documents.table_of(self._removed, documents.REMOVAL),
            quarantined=documents.table_of(self._quarantined, documents.QUARANTINE),
        )


def _records(rows: Sequence[dict[str, Any]], payloads: Sequence[bytes]) -> pa.Table:
    """Kept rows as a RECORD table. Payloads take one allocation of their size, and not up to three as a list would."""
    offsets = np.zeros(len(payloads) + 1, dtype=np.int64)
    np.cumsum([len(payload) for payload in payloads], out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(payloads))]
    column = pa.Array.from_buffers(pa.large_binary(), len(payloads), buffers)
    at = documents.RECORD.get_field_index("payload")
    return documents.table_of(rows, documents.RECORD.remove(at)).add_column(at, documents.RECORD.field(at), column)


def _judge(record: RawRecord, url: str | None, config: WarcConfig) -> dict[str, Any]:
    """Columns of a record that is kept. Raises _Removed or PayloadDamage."""
    if record.record_type != "response":
        raise _Removed("record_type", record.record_type or "none")
    scheme = record.uri.partition(":")[0].lower()
    if url is not None and scheme not in ("http", "https"):
        raise _Removed("url_scheme", scheme)
    response = parse_http(record.block)
    if response.status not in config.statuses:
        raise _Removed("http_status", str(response.status))
    media_type = response.media_type
    if media_type and media_type not in config.media_types:
        raise _Removed("media_type", media_type)
    cut = record.headers.get("warc-truncated")
    if cut is not None and config.truncated == "remove":
        raise _Removed("truncated", cut)
    payload = _payload(record, response, config, is_cut=cut is not None)
    if not payload.strip():
        raise _Removed("empty_payload", f"{len(payload)} bytes")
    if not media_type and not _looks_like_markup(payload):
        raise _Removed("media_type", "none")
    stated = record.headers.get("warc-payload-digest")
    digest_ok = digest_matches(stated, response) if stated else None
    if digest_ok is False and config.digest == "remove":
        raise _Removed("digest_mismatch", str(stated))
    return {
        "payload_digest": stated,
        "digest_ok": digest_ok,
        "fetched_at": _date(record.headers.get("warc-date", "")),
        "media_type": media_type,
        "http_charset": response.charset,
        "payload": payload,
    }


def _payload(record: RawRecord, response: HttpResponse, config: WarcConfig, *, is_cut: bool) -> bytes:
    limit = config.max_payload_bytes
    if record.block_bytes > len(record.block):
        block_limit = _BLOCK_OVER_PAYLOAD * limit
        raise _Removed("payload_bytes", "block", value=record.block_bytes, threshold=block_limit)
    try:
        return undo_encodings(response, limit)
    except PayloadTooLarge as error:
        raise _Removed("payload_bytes", "payload", value=error.seen_bytes, threshold=limit) from error
    except PayloadDamage as error:
        if is_cut and len(error.partial) <= limit:
            return error.partial  # the crawler stopped in the middle of an encoded body
        raise


def _looks_like_markup(payload: bytes) -> bool:
    # Without NUL bytes, so that UTF-16 is seen through.
    head = payload[:1024].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n\f")
    return head.startswith(b"<")


def _date(value: str) -> datetime | None:
    try:
        date = datetime.fromisoformat(value)
    except ValueError:
        return None
    return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)


@dataclass(frozen=True)
class FetchedRecord:
    """One record, read again for an audit. `payload` is decoded; `http` keeps the head and the stored body."""

    url: str
    headers: dict[str, str]
    http: HttpResponse
    payload: bytes
    digest_ok: bool | None


def fetch_record(path: str, offset: int, length: int, *, max_payload_bytes: int = 20 << 20) -> FetchedRecord:
    """Reads the response record at `offset` of a WARC with one range request.

    offset, length: `warc_offset` and `warc_length` of the document, bytes.
    Raises InputError when there is no such file, DataError when no response record is there.
    """
    where = f"{path}:{offset}"
    try:
        fs, inner = fsspec.core.url_to_fs(path)
        data = bytes(fs.cat_file(inner, start=offset, end=offset + length))
    except FileNotFoundError as error:
        raise InputError("no such file", where=path, remedy="check the path or URL") from error
    source = Source(io.BytesIO(data), len(data), path)
    record = next(records(source, 0, len(data), _BLOCK_OVER_PAYLOAD * max_payload_bytes), None)
    if not isinstance(record, RawRecord) or record.record_type != "response":
        seen = "nothing" if record is None else record.reason if isinstance(record, Damage) else record.record_type
        raise DataError("no response record is here", where=where, value=seen, remedy="is the file still the same?")
    try:
        http = parse_http(record.block)
        payload = undo_encodings(http, max_payload_bytes)
    except (PayloadDamage, PayloadTooLarge) as error:
        raise DataError("the record's payload cannot be decoded", where=where, value=str(error)) from error
    stated = record.headers.get("warc-payload-digest")
    return FetchedRecord(
        normalise(record.uri) or record.uri,
        record.headers,
        http,
        payload,
        digest_matches(stated, http) if stated else None,
    )
