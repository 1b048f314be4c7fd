"""Captures as WARC files, one gzip member a record, and the truth line of each record."""

from __future__ import annotations

import io
import os
import uuid
import zlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Literal

from warcio.recordloader import ArcWarcRecord
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from .chance import rank

CRAWL_START = datetime(2026, 9, 1)
SECONDS_BETWEEN_CAPTURES = 37
WRONG_DIGEST = "sha1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
MIN_FLIPPED_BYTES = 16


@dataclass(frozen=True)
class Capture:
    """One fetched page and what is known about it.

    `harm`: `digest` gives a wrong WARC-Payload-Digest; `flip` damages the bytes of the gzip member; `cut` ends
    the file in the middle of it.
    """

    url: str
    kind: str
    body: bytes
    language: str | None = None
    content_type: str | None = "text/html; charset=utf-8"
    status: int = 200
    extra_headers: tuple[tuple[str, str], ...] = ()
    source: str | None = None
    original_url: str | None = None
    variant: str | None = None
    passage: str | None = None
    expected: dict[str, object] = field(default_factory=dict)
    harm: Literal["digest", "flip", "cut"] | None = None


class WarcFile:
    """A WARC file in the making: `data` is its bytes, `truth` one entry a record in file order."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.data = bytearray()
        self.truth: list[dict[str, object]] = []
        self._writer = WARCWriter(io.BytesIO(), gzip=False)
        info = f"software: corpusmill sample crawl\r\nformat: WARC File Format 1.0\r\nisPartOf: {name[:10]}2026-36\r\n"
        headers = {"WARC-Filename": name}
        record = self._record(name, "warcinfo", info.encode(), "application/warc-fields", None, headers)
        self._add(record, url=None, record_type="warcinfo", kind="warcinfo")

    def add(self, capture: Capture, with_metadata: bool) -> None:
        """Append the request, the response and, if asked for, a metadata record."""
        number = len(self.truth)
        address = {"WARC-IP-Address": f"192.0.2.{1 + rank(capture.url.split('/')[2].lower()) % 250}"}
        _, _, host, path = capture.url.split("/", 3)
        request_headers = StatusAndHeaders(
            f"GET /{path} HTTP/1.1",
            [("User-Agent", "SampleBot/1.0"), ("Accept", "text/html"), ("Host", host)],
            is_http_request=True,
        )
        request = self._record(capture.url, "request", b"", None, request_headers, address)
        self._add(request, url=capture.url, record_type="request", kind="request")

        response = self._record(capture.url, "response", capture.body, None, self._http(capture), address)
        if capture.harm == "digest":
            response.rec_headers.replace_header("WARC-Payload-Digest", WRONG_DIGEST)
        self._add(
            response,
            url=capture.url,
            record_type="response",
            kind=capture.kind,
            language=capture.language,
            source=capture.source,
            original_url=capture.original_url,
            variant=capture.variant,
            passage=capture.passage,
            expected=capture.expected,
        )
        if capture.harm in ("flip", "cut"):
            self._harm(capture.harm)
        elif with_metadata:
            text = f"fetchTimeMs: {20 + number % 400}\r\ncharset-detected: utf-8\r\n".encode()
            metadata = self._record(capture.url, "metadata", text, "application/warc-fields", None, {})
            self._add(metadata, url=capture.url, record_type="metadata", kind="metadata")

    def save(self, folder: Path) -> Path:
        """Write the file as a whole or not at all."""
        path = folder / self.name
        save(path, bytes(self.data))
        return path

    def _http(self, capture: Capture) -> StatusAndHeaders:
        headers = [("Date", self._now().strftime("%a, %d %b %Y %H:%M:%S GMT")), ("Server", "nginx")]
        if capture.content_type is not None:
            headers.append(("Content-Type", capture.content_type))
        headers += [("Content-Length", str(len(capture.body))), *capture.extra_headers]
        phrase = HTTPStatus(capture.status).phrase
        return StatusAndHeaders(f"{capture.status} {phrase}", headers, protocol="HTTP/1.1")

    def _now(self) -> datetime:
        return CRAWL_START + timedelta(seconds=SECONDS_BETWEEN_CAPTURES * len(self.truth))

    def _record(
        self,
        url: str,
        record_type: str,
        payload: bytes,
        content_type: str | None,
        http_headers: StatusAndHeaders | None,
        warc_headers: dict[str, str],
    ) -> ArcWarcRecord:
        name = uuid.uuid5(uuid.NAMESPACE_URL, f"{self.name}/{len(self.truth)}")
        headers = {
            "WARC-Record-ID": f"<urn:uuid:{name}>",
            "WARC-Date": self._now().strftime("%Y-%m-%dT%H:%M:%SZ"),
            **warc_headers,
        }
        record = self._writer.create_warc_record(
            None if record_type == "warcinfo" else url,
            record_type,
            payload=io.BytesIO(payload),
            length=len(payload),
            warc_content_type=content_type or "",
            warc_headers_dict=headers,
            http_headers=http_headers,
        )
        self._writer.ensure_digest(record, block=True, payload=True)
        return record

    def _add(self, record: ArcWarcRecord, **truth: object) -> None:
        self._writer.out.seek(0)
        self._writer.out.truncate()
        self._writer.write_record(record)
        compressor = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
        member = compressor.compress(self._writer.out.getvalue()) + compressor.flush()
        self.truth.append({"warc_file": self.name, "offset": len(self.data), "length": len(member), **truth})
        self.data += member

    def _harm(self, harm: Literal["flip", "cut"]) -> None:
        entry = self.truth[-1]
        offset, length = int(str(entry["offset"])), int(str(entry["length"]))
        middle = offset + length // 2
        if harm == "flip":
            for index in range(middle, middle + MIN_FLIPPED_BYTES):
                self.data[index] ^= 0xFF
        else:
            del self.data[middle:]
            entry["length"] = len(self.data) - offset


def save(path: Path, data: bytes) -> None:
    """Write `data` under a temporary name, then rename, so that no reader sees half a file."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(data)
    temporary.replace(path)
