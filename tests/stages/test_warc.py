from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import pickle
import random
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator

from corpusmill.core import documents
from corpusmill.core.errors import DataError, InfrastructureError, InputError
from corpusmill.stages import warc_records
from corpusmill.stages.warc import Slice, WarcConfig, WarcStage, fetch_record, plan_slices
from corpusmill.stages.warc_records import Source

PAGE = b"<!DOCTYPE html><p>" + b"Words of a page. " * 40


def http(
    body: bytes = PAGE,
    status: str = "200 OK",
    content_type: str | None = "text/html; charset=utf-8",
    extra: Sequence[tuple[str, str]] = (),
) -> bytes:
    headers = [*([("Content-Type", content_type)] if content_type else []), *extra]
    return f"HTTP/1.1 {status}\r\n".encode() + b"".join(f"{k}: {v}\r\n".encode() for k, v in headers) + b"\r\n" + body


def record(block: bytes = b"", kind: str = "response", uri: str = "http://example.com/", **headers: str) -> bytes:
    fields = {
        "WARC-Type": kind,
        "WARC-Date": "2026-09-01T12:00:00Z",
        "WARC-Target-URI": uri,
        "Content-Length": str(len(block)),
        **{k.replace("_", "-"): v for k, v in headers.items()},
    }
    head = "WARC/1.0\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items())
    return head.encode() + b"\r\n" + block + b"\r\n\r\n"


def member(data: bytes, level: int = 9) -> bytes:
    return gzip.compress(data, level, mtime=0)


class Result:
    """All rows of a file, read in slices that are mended as an engine would."""

    def __init__(self, path: Path | str, slice_bytes: int = 1 << 40, **config: Any) -> None:
        stage = WarcStage(WarcConfig(**config))
        self.kept: list[dict[str, Any]] = []
        self.removed: list[dict[str, Any]] = []
        self.quarantined: list[dict[str, Any]] = []
        self.mended = 0
        at = 0
        for piece in plan_slices(str(path), "CC-TEST", slice_bytes):
            reader = stage.read(piece)
            results = list(reader)
            if reader.facts["first_offset"] != at:
                self.mended += 1
                reader = stage.read(piece, first_offset=at)
                results = list(reader)
                assert reader.facts["first_offset"] == at
            rows = 0
            for result in results:
                assert result.kept.schema == documents.RECORD
                rows += result.kept.num_rows + result.removed.num_rows + result.quarantined.num_rows
                self.kept += result.kept.to_pylist()
                self.removed += result.removed.to_pylist()
                self.quarantined += result.quarantined.to_pylist()
            assert rows == reader.facts["records"]
            at = reader.facts["next_offset"]
        assert at == Path(path).stat().st_size

    @property
    def rows(self) -> list[dict[str, Any]]:
        return sorted([*self.kept, *self.removed, *self.quarantined], key=lambda row: row["doc_id"])

    @property
    def fates(self) -> list[str]:
        found = [(r["warc_offset"], "kept") for r in self.kept]
        found += [(documents.split_doc_id(r["doc_id"])[1], r["rule"]) for r in self.removed]
        found += [(r["warc_offset"], r["reason"]) for r in self.quarantined]
        return [fate for _, fate in sorted(found)]


def write(tmp_path: Path, *parts: bytes, name: str = "x.warc.gz") -> Path:
    path = tmp_path / name
    path.write_bytes(b"".join(parts))
    return path


def one(tmp_path: Path, data: bytes, **config: Any) -> Result:
    return Result(write(tmp_path, member(data)), **config)


# What a record becomes


def test_a_response_becomes_a_row(tmp_path: Path) -> None:
    digest = "sha1:" + base64.b32encode(hashlib.sha1(PAGE).digest()).decode()
    before = member(record(b"a: b", "warcinfo"))
    data = member(record(http(), uri="HTTP://Example.com:80/a b", WARC_Payload_Digest=digest))
    result = Result(write(tmp_path, before, data))
    assert result.kept == [
        {
            "doc_id": f"x.warc.gz:{len(before)}",
            "url": "http://example.com/a%20b",
            "domain": "example.com",
            "warc_file": "x.warc.gz",
            "warc_offset": len(before),
            "warc_length": len(data),
            "payload_digest": digest,
            "digest_ok": True,
            "crawl": "CC-TEST",
            "fetched_at": datetime(2026, 9, 1, 12, tzinfo=UTC),
            "media_type": "text/html",
            "http_charset": "utf-8",
            "payload": PAGE,
        }
    ]
    assert [(r["rule"], r["detail"], r["characters"]) for r in result.removed] == [("record_type", "warcinfo", 0)]


@pytest.mark.parametrize(
    ("data", "rule", "detail"),
    [
        (record(b"GET / HTTP/1.1\r\n\r\n", "request"), "record_type", "request"),
        (record(http(), "revisit"), "record_type", "revisit"),
        (record(b"x", "response", "dns:example.com"), "url_scheme", "dns"),
        (record(http(status="404 Not Found")), "http_status", "404"),
        (record(http(content_type="Application/PDF")), "media_type", "application/pdf"),
        (record(http(b"%PDF", content_type=None)), "media_type", "none"),
        (record(http(b"")), "empty_payload", "0 bytes"),
        (record(http(b" \r\n")), "empty_payload", "3 bytes"),
    ],
)
def test_removed(tmp_path: Path, data: bytes, rule: str, detail: str) -> None:
    (row,) = one(tmp_path, data).removed
    assert (row["rule"], row["detail"], row["stage"], row["doc_id"]) == (rule, detail, "warc", "x.warc.gz:0")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (record(http(), uri="no address"), "bad_url"),
        (record(b"nothing of HTTP\r\n\r\n"), "http_damaged"),
        (record(b"HTTP/1.1 OK\r\n\r\n"), "http_damaged"),
        (record(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"), "http_damaged"),
        (record(http(), Content_Length="900000"), "truncated_record"),
        (record(http(), Content_Length="300"), "bad_length"),
        (record(http(), Content_Length="-1"), "bad_header"),
        (record(http(), Content_Length="many"), "bad_header"),
        (record(http()).replace(b"WARC/1.0", b"CRAW/1.0"), "not_a_warc"),
        (record(http()) + record(http()), "not_per_record_gzip"),
    ],
)
def test_quarantined(tmp_path: Path, data: bytes, reason: str) -> None:
    (row,) = one(tmp_path, data).quarantined
    assert row["reason"] == reason
    assert row["warc_offset"] == 0
    assert row["detail"]
    if reason == "not_per_record_gzip":
        assert "warcio recompress" in row["detail"]


def test_angle_brackets_and_line_feeds_of_some_writers(tmp_path: Path) -> None:
    data = record(http(), uri="<http://example.com/x>").replace(b"\r\n", b"\n")
    data = data.replace(
        b"Content-Length: %d" % len(http()), b"Content-Length: %d" % len(http().replace(b"\r\n", b"\n"))
    )
    assert [r["url"] for r in one(tmp_path, data).kept] == ["http://example.com/x"]


def test_media_type_and_charset_of_the_last_header_that_has_one(tmp_path: Path) -> None:
    extra = [("Content-Type", 'Text/HTML ; q=1; Charset="Shift_JIS"'), ("Content-Type", "html")]
    (row,) = one(tmp_path, record(http(content_type="text/plain", extra=extra))).kept
    assert (row["media_type"], row["http_charset"]) == ("text/html", "Shift_JIS")


def test_without_a_media_type_markup_is_kept(tmp_path: Path) -> None:
    for body in (b"\xef\xbb\xbf \n<p>x", "<p>x".encode("utf-16")):
        (row,) = one(tmp_path, record(http(body, content_type=None))).kept
        assert (row["media_type"], row["http_charset"]) == ("", None)


def test_config_decides(tmp_path: Path) -> None:
    data = record(http(b"plain", status="404 x", content_type="text/plain"))
    assert one(tmp_path, data, statuses=(200, 404), media_types=("Text/Plain",)).fates == ["kept"]


def test_truncated_payloads(tmp_path: Path) -> None:
    data = record(http(), WARC_Truncated="length")
    assert one(tmp_path, data).fates == ["kept"]
    (row,) = one(tmp_path, data, truncated="remove").removed
    assert (row["rule"], row["detail"]) == ("truncated", "length")


def test_identity_leaves_out_what_decides_nothing() -> None:
    assert WarcStage(WarcConfig(slice_bytes=1 << 20)).identity() == WarcStage(WarcConfig()).identity()
    assert WarcStage(WarcConfig(statuses=(200, 203))).identity() != WarcStage(WarcConfig()).identity()


# Digests


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("sha1:" + base64.b32encode(hashlib.sha1(PAGE).digest()).decode(), True),
        ("SHA1:" + base64.b32encode(hashlib.sha1(PAGE).digest()).decode().lower(), True),
        ("sha1:" + hashlib.sha1(PAGE).hexdigest(), True),
        ("sha-256:" + hashlib.sha256(PAGE).hexdigest().upper(), True),
        ("sha256:" + base64.b64encode(hashlib.sha256(PAGE).digest()).decode(), True),
        ("sha256:" + base64.urlsafe_b64encode(hashlib.sha256(PAGE).digest()).decode().rstrip("="), True),
        ("md5:" + base64.b32encode(hashlib.md5(PAGE).digest()).decode(), True),
        ("sha1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", False),
        ("sha1:" + base64.b32encode(hashlib.sha1(PAGE).digest()).decode().swapcase()[:-1] + "a", False),
        ("whirlpool:0123", None),
        ("nonsense", None),
    ],
)
def test_digests(tmp_path: Path, stated: str, expected: bool | None) -> None:
    data = record(http(), WARC_Payload_Digest=stated)
    (row,) = one(tmp_path, data).kept
    assert (row["payload_digest"], row["digest_ok"]) == (stated, expected)
    assert one(tmp_path, data, digest="remove").fates == (["digest_mismatch"] if expected is False else ["kept"])


def test_a_digest_of_either_form_of_a_chunked_body_is_right(tmp_path: Path) -> None:
    body = b"5\r\n<p>ab\r\n0\r\n\r\n"
    block = http(body, extra=[("Transfer-Encoding", "chunked")])
    for hashed in (body, b"<p>ab"):
        stated = "sha1:" + hashlib.sha1(hashed).hexdigest()
        (row,) = one(tmp_path, record(block, WARC_Payload_Digest=stated)).kept
        assert row["digest_ok"] is True
        assert row["payload"] == b"<p>ab"


# Encodings


def brotli(data: bytes) -> bytes:
    return bytes(pa.Codec("brotli").compress(data, asbytes=True))


def zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


def raw_deflate(data: bytes) -> bytes:
    return zlib.compress(data)[2:-4]


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (gzip.compress(PAGE), "gzip"),
        (gzip.compress(PAGE[:50]) + gzip.compress(PAGE[50:]), "x-gzip"),
        (gzip.compress(PAGE) + b"padding", "GZip"),
        (zlib.compress(PAGE), "deflate"),
        (raw_deflate(PAGE), "deflate"),
        (brotli(PAGE), "br"),
        (zstd(PAGE), "zstd"),
        (gzip.compress(brotli(PAGE)), "br, gzip"),
        (PAGE, "gzip"),  # declared, not applied
        (PAGE, "br"),
        (PAGE, "deflate"),
        (PAGE, "zstd"),
        (PAGE, "identity"),
        (PAGE, "none-such"),
    ],
)
def test_content_encodings(tmp_path: Path, body: bytes, encoding: str) -> None:
    (row,) = one(tmp_path, record(http(body, extra=[("Content-Encoding", encoding)]))).kept
    assert row["payload"] == PAGE


def chunked(data: bytes, size: int = 100) -> bytes:
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    return b"".join(b"%x;ext=1\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


def test_chunks_around_gzip(tmp_path: Path) -> None:
    extra = [("Transfer-Encoding", "chunked"), ("Content-Encoding", "gzip")]
    (row,) = one(tmp_path, record(http(chunked(gzip.compress(PAGE)), extra=extra))).kept
    assert row["payload"] == PAGE


@pytest.mark.parametrize(("body", "fate"), [(PAGE, "kept"), (chunked(PAGE)[:-5], "kept"), (chunked(PAGE)[:-60], "")])
def test_chunks_that_are_none_or_cut(tmp_path: Path, body: bytes, fate: str) -> None:
    result = one(tmp_path, record(http(body, extra=[("Transfer-Encoding", "chunked")])))
    assert result.fates == [fate or "http_damaged"]
    assert [r["payload"] for r in result.kept] == ([PAGE] if fate else [])


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
def test_a_body_that_breaks_off(tmp_path: Path, encoding: str) -> None:
    page = b"<p>" + random.Random(1).randbytes(3 << 20)
    body = {"gzip": gzip.compress, "br": brotli, "zstd": zstd}[encoding](page)[:-2000]
    block = http(body, extra=[("Content-Encoding", encoding)])
    assert one(tmp_path, record(block)).fates == ["http_damaged"]
    (row,) = one(tmp_path, record(block, WARC_Truncated="length")).kept  # the crawler says that it stopped
    assert page.startswith(row["payload"])
    assert len(row["payload"]) >= 1 << 20


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "deflate"])
def test_a_bomb_is_not_inflated(tmp_path: Path, encoding: str) -> None:
    zeros = b"<" * (64 << 20)
    body = {"gzip": gzip.compress, "br": brotli, "zstd": zstd, "deflate": zlib.compress}[encoding](zeros)
    data = record(http(body, extra=[("Content-Encoding", encoding)]))
    (row,) = one(tmp_path, data, max_payload_bytes=1 << 20).removed
    assert (row["rule"], row["detail"], row["threshold"]) == ("payload_bytes", "payload", 1 << 20)
    assert 1 << 20 < row["value"] <= 3 << 20


def test_a_block_over_the_limit_is_not_held(tmp_path: Path) -> None:
    data = record(http(b"<" * (8 << 20)))
    path = write(tmp_path, member(data), member(record(http())))
    result = Result(path, max_payload_bytes=1 << 20)
    assert result.fates == ["payload_bytes", "kept"]
    assert result.removed[0]["detail"] == "block"
    plain = write(tmp_path, data, record(http()), name="x.warc")
    assert Result(plain, max_payload_bytes=1 << 20).fates == ["payload_bytes", "kept"]


def test_a_member_that_inflates_without_end_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warc_records, "MAX_MEMBER_BYTES", 4 << 20)
    path = write(tmp_path, member(record(http(b"<" * (16 << 20)))), member(record(http())))
    result = Result(path)
    assert result.fates == ["gzip_damaged", "kept"]
    assert "more than" in result.quarantined[0]["detail"]


# Damage


def pages(number: int, seed: int = 0) -> list[bytes]:
    chance = random.Random(seed)
    parts = [record(b"a: b", "warcinfo")]
    for i in range(number):
        body = b"<p>" + bytes(chance.choices(b"abcdefgh \n", k=chance.randrange(50, 4000)))
        uri = f"http://site{i}.example/"
        parts += [record(b"GET", "request", uri), record(http(body), uri=uri)]
    return parts


def expected_urls(number: int, without: Sequence[int] = ()) -> list[str]:
    return [f"http://site{i}.example/" for i in range(number) if i not in without]


def test_flipped_bytes_cost_one_record(tmp_path: Path) -> None:
    parts = [member(p) for p in pages(6)]
    start = sum(map(len, parts[:6]))  # the third response
    data = bytearray(b"".join(parts))
    for i in range(start + 200, start + 216):
        data[i] ^= 0xFF
    path = write(tmp_path, bytes(data))
    result = Result(path)
    assert [r["url"] for r in result.kept] == expected_urls(6, [2])
    (row,) = result.quarantined
    assert (row["reason"], row["warc_offset"]) == ("gzip_damaged", start)
    assert f"{len(parts[6])} bytes skipped" in row["detail"]
    assert row["url"] == "http://site2.example/"  # its head could still be read
    for size in (300, 1000, 2500):
        assert Result(path, size).rows == result.rows


def test_isal_and_zlib_agree_on_what_is_damaged() -> None:
    chance = random.Random(7)
    whole = b"".join(member(p) for p in pages(2))
    seen = Counter[str]()
    for _ in range(1500):
        data = bytearray(whole)
        for _ in range(chance.randrange(4)):
            at = chance.randrange(4, len(data) if chance.random() < 0.5 else 30)
            if chance.random() < 0.7:
                data[at if at > 8 else at - 1] ^= 1 << chance.randrange(8)
            else:
                del data[max(at, 30) : max(at, 30) + chance.choice([1, 8, len(data)])]
        source = Source(io.BytesIO(bytes(data)), len(data), "x.warc.gz")
        limit = chance.choice([10, 1000, 1 << 20])
        both = warc_records._inflate(source, 0, limit)
        seen[both.fault] += 1
        assert both == warc_records._inflate_with(zlib.decompressobj(31), source, 0, limit)
    assert len(seen) > 5


def test_damage_over_several_records_is_one_entry(tmp_path: Path) -> None:
    parts = [member(p) for p in pages(6)]
    start = sum(map(len, parts[:4]))
    end = sum(map(len, parts[:9]))
    data = b"".join(parts)
    path = write(tmp_path, data[:start], bytes(end - start), data[end:])
    result = Result(path)
    assert [r["url"] for r in result.kept] == expected_urls(6, [1, 2, 3])
    assert [r["warc_offset"] for r in result.quarantined] == [start]
    assert f"{end - start} bytes skipped" in result.quarantined[0]["detail"]
    for size in (100, 700, 3000):
        assert Result(path, size).rows == result.rows


def test_lost_bytes_in_the_middle(tmp_path: Path) -> None:
    parts = [member(p) for p in pages(6)]
    start = sum(map(len, parts[:6]))
    data = b"".join(parts)
    result = Result(write(tmp_path, data[: start + 100], data[start + 150 :]))
    assert [r["url"] for r in result.kept] == expected_urls(6, [2])
    assert [r["reason"] for r in result.quarantined] == ["gzip_damaged"]


def test_a_damaged_first_record_does_not_hide_the_rest(tmp_path: Path) -> None:
    parts = [member(p) for p in pages(3)]
    result = Result(write(tmp_path, b"\0" + parts[0][1:], *parts[1:]))
    assert [r["url"] for r in result.kept] == expected_urls(3)
    assert [(r["reason"], r["warc_offset"]) for r in result.quarantined] == [("gzip_damaged", 0)]


def test_a_file_that_ends_in_a_record(tmp_path: Path) -> None:
    parts = [member(p) for p in pages(3)]
    result = Result(write(tmp_path, *parts[:-1], parts[-1][:-50]))
    assert [r["url"] for r in result.kept] == expected_urls(3, [2])
    assert [r["reason"] for r in result.quarantined] == ["truncated_record"]
    assert result.quarantined[0]["url"] == "http://site2.example/"


def test_what_follows_the_last_record_is_told(tmp_path: Path) -> None:
    parts = [member(p) for p in pages(3)]
    path = write(tmp_path, *parts, bytes(500))
    result = Result(path)
    assert [r["url"] for r in result.kept] == expected_urls(3)
    assert [r["reason"] for r in result.quarantined] == ["gzip_damaged"]
    assert Result(path, 400).rows == result.rows


def test_empty_members_are_no_records(tmp_path: Path) -> None:
    path = write(tmp_path, *[m for p in pages(4) for m in (member(p), member(b""))])
    assert len(Result(path).rows) == 9
    assert Result(path, 500).rows == Result(path).rows


@pytest.mark.parametrize("name", ["x.warc.gz", "x.warc"])
@pytest.mark.parametrize(
    "data",
    [
        b"<html><body><h1>503 Service Unavailable</h1></body></html>",
        gzip.compress(b"crawl-data/CC-MAIN-2026-30/segments/x.warc.gz\n"),
        b"\x1f\x8b",
        b"\n\n",
        bytes(10_000),
        b"PK\x03\x04 a zip file",
    ],
)
def test_a_file_that_is_no_warc(tmp_path: Path, data: bytes, name: str) -> None:
    result = Result(write(tmp_path, data, name=name))
    if data == b"\n\n" and name == "x.warc":
        assert result.rows == []  # line breaks between records, without the records
        return
    assert result.fates == ["not_a_warc"]
    assert result.quarantined[0]["doc_id"] == f"{name}:0"


def test_an_empty_file(tmp_path: Path) -> None:
    assert Result(write(tmp_path, b"")).fates == ["empty_file"]


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        plan_slices(str(tmp_path / "none.warc.gz"), "", 1000)


def test_storage_that_gives_less_than_it_promised_is_no_damage() -> None:
    with pytest.raises(InfrastructureError, match="ended before its size"):
        Source(io.BytesIO(b"12345"), 10, "x").read(0, 10)


def test_plain_wrong_lengths(tmp_path: Path) -> None:
    parts = pages(5)
    for text in (b"999", b"10", b"99999999"):
        bad = parts[4].replace(b"Content-Length: " + str(len(parts[4])).encode(), b"")
        head, _, rest = bad.partition(b"Content-Length: ")
        changed = head + b"Content-Length: " + text + b"\r\n" + rest.partition(b"\r\n")[2]
        path = write(tmp_path, *parts[:4], changed, *parts[5:], name="x.warc")
        result = Result(path)
        assert [r["url"] for r in result.kept] == expected_urls(5, [1]), text
        assert [r["reason"] for r in result.quarantined] == ["bad_length"]
        for size in (300, 1000, 2500):
            assert Result(path, size).rows == result.rows


def test_plain_damaged_head(tmp_path: Path) -> None:
    parts = pages(5)
    path = write(tmp_path, *parts[:4], b"XXXX" + parts[4][4:], *parts[5:], name="x.warc")
    result = Result(path)
    assert [r["url"] for r in result.kept] == expected_urls(5, [1])
    assert [r["reason"] for r in result.quarantined] == ["bad_header"]


def test_plain_file_that_ends_in_a_record(tmp_path: Path) -> None:
    parts = pages(3)
    result = Result(write(tmp_path, *parts[:-1], parts[-1][:-50], name="x.warc"))
    assert result.fates[-1] == "truncated_record"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_conserves_and_slices_agree(tmp_path: Path, data: st.DataObject) -> None:
    is_gzip = data.draw(st.booleans())
    parts = [member(p) if is_gzip else p for p in pages(3)]
    body = bytearray(b"".join(parts))
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        kind = data.draw(st.sampled_from(["flip", "drop", "insert", "cut"]))
        if kind == "flip":
            body[at] ^= data.draw(st.integers(1, 255))
        elif kind == "drop":
            del body[at : at + data.draw(st.integers(1, 300))]
        elif kind == "insert":
            body[at:at] = data.draw(st.binary(min_size=1, max_size=30))
        else:
            del body[at:]
        if not body:
            return
    path = write(tmp_path, bytes(body), name="x.warc.gz" if is_gzip else "x.warc")
    whole = Result(path)
    ids = [row["doc_id"] for row in whole.rows]
    assert len(ids) == len(set(ids))
    size = data.draw(st.integers(50, 3000))
    assert Result(path, size).rows == whole.rows


# Slices


def test_slices_cover_the_file_and_travel(tmp_path: Path) -> None:
    path = write(tmp_path, bytes(1_000_001))
    slices = plan_slices(str(path), "CC", 300_000)
    assert [s.index for s in slices] == [0, 1, 2]
    assert slices[0].start == 0
    assert slices[-1].end == 1_000_001
    assert all(a.end == b.start for a, b in pairwise(slices))
    assert slices[0].warc_file == "x.warc.gz"
    assert len(plan_slices(str(path), "CC")) == 1
    assert pickle.loads(pickle.dumps(slices)) == slices
    assert [Slice(**json.loads(json.dumps(asdict(s)))) for s in slices] == slices


def test_facts_come_last(tmp_path: Path) -> None:
    path = write(tmp_path, member(record(http())))
    reader = WarcStage(WarcConfig()).read(plan_slices(str(path), "")[0])
    with pytest.raises(RuntimeError):
        _ = reader.facts
    list(reader)
    assert reader.facts == {"first_offset": 0, "next_offset": path.stat().st_size, "records": 1}


def test_a_slice_without_a_record_start_says_so(tmp_path: Path) -> None:
    path = write(tmp_path, member(record(http(random.Random(0).randbytes(5000)))))
    piece = Slice(str(path), "x.warc.gz", "", 1, 1000, 2000)
    stage = WarcStage(WarcConfig())
    reader = stage.read(piece)
    (result,) = list(reader)
    assert result.kept.schema == documents.RECORD
    assert reader.facts == {"first_offset": None, "next_offset": None, "records": 0}
    forced = stage.read(piece, first_offset=path.stat().st_size)
    list(forced)
    assert forced.facts["first_offset"] == forced.facts["next_offset"] == path.stat().st_size


def test_batches_are_bounded_and_lose_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, *map(member, pages(25)))
    (piece,) = plan_slices(str(path), "")
    results = list(WarcStage(WarcConfig()).read(piece, batch_documents=10))
    assert [r.kept.num_rows for r in results] == [10, 10, 5]
    assert sum(r.removed.num_rows for r in results) == 26


def false_start(tmp_path: Path) -> tuple[Path, int]:
    """A file with a WARC stored, not compressed, in the payload of a record, and where that WARC begins."""
    inner = b"".join(map(member, pages(5, seed=1)))
    outer = [member(p) for p in pages(2)]
    holder = member(record(http(inner, content_type="application/gzip"), uri="http://holder.example/"), level=0)
    assert inner in holder
    path = write(tmp_path, outer[0], holder, *outer[1:])
    return path, len(outer[0]) + holder.index(inner)


def test_a_false_record_start_breaks_the_chain_and_is_mended(tmp_path: Path) -> None:
    path, inner = false_start(tmp_path)
    size = path.stat().st_size
    stage = WarcStage(WarcConfig())
    before = stage.read(Slice(str(path), "x.warc.gz", "", 0, 0, inner))
    fooled = stage.read(Slice(str(path), "x.warc.gz", "", 1, inner, size))
    list(before)
    list(fooled)
    assert fooled.facts["first_offset"] == inner
    assert before.facts["next_offset"] > inner  # so they do not chain
    whole = Result(path)
    assert whole.fates.count("kept") == 2
    for slice_bytes in (200, 1000, 3000):
        cut = Result(path, slice_bytes)
        assert cut.rows == whole.rows
        assert cut.mended > 0


def test_a_plain_warc_in_a_payload(tmp_path: Path) -> None:
    inner = b"\r\n\r\n" + b"".join(pages(4, seed=2))
    parts = pages(2)
    path = write(tmp_path, parts[0], record(http(inner)), *parts[1:], name="x.warc")
    whole = Result(path)
    assert whole.fates.count("kept") == 3
    for slice_bytes in (300, 1000, 4000):
        assert Result(path, slice_bytes).rows == whole.rows


# Other files and real ones


def arc_record(url: str, body: bytes) -> bytes:
    return f"{url} 192.0.2.1 20260901120000 text/html {len(body)}\n".encode() + body + b"\n"


def arc(number: int) -> list[bytes]:
    version = b"1 0 Test\nURL IP-address Archive-date Content-type Archive-length\n"
    head = b"filedesc://x.arc 0.0.0.0 20260901120000 text/plain %d\n" % len(version) + version + b"\n"
    return [head, *(arc_record(f"http://site{i}.example/a b", http(PAGE * (i + 1))) for i in range(number))]


@pytest.mark.parametrize("name", ["x.arc", "x.arc.gz"])
def test_arc(tmp_path: Path, name: str) -> None:
    parts = [member(p) if name.endswith(".gz") else p for p in arc(8)]
    path = write(tmp_path, *parts, name=name)
    result = Result(path)
    assert [r["url"] for r in result.kept] == [f"http://site{i}.example/a%20b" for i in range(8)]
    assert [r["payload"] for r in result.kept] == [PAGE * (i + 1) for i in range(8)]
    assert [r["warc_length"] for r in result.kept] == list(map(len, parts[1:]))
    assert result.kept[0]["fetched_at"] == datetime(2026, 9, 1, 12, tzinfo=UTC)
    assert result.fates[0] == "record_type"
    for size in (300, 2000):
        assert Result(path, size).rows == result.rows


@pytest.mark.parametrize(("name", "is_gzip"), [("x.warc", True), ("x.bad", True), ("x.warc.gz", False)])
def test_a_name_that_says_something_else(tmp_path: Path, name: str, is_gzip: bool) -> None:
    path = write(tmp_path, *[member(p) if is_gzip else p for p in pages(6)], name=name)
    result = Result(path)
    assert [r["url"] for r in result.kept] == expected_urls(6)
    cut = Result(path, path.stat().st_size // 3)
    assert cut.rows == result.rows
    assert cut.mended == 0


def test_layouts_one_after_another(tmp_path: Path) -> None:
    parts = pages(3)
    path = write(tmp_path, *map(member, parts), *parts, *map(member, parts))
    result = Result(path)
    assert result.fates.count("kept") == 9
    assert not result.quarantined


def test_magic_numbers_everywhere_do_not_stop_the_search(tmp_path: Path) -> None:
    noise = b"\x1f\x8b\x08\0\0\0\0\0\0\x03" * 30_000
    path = write(tmp_path, *map(member, pages(1)), noise, *map(member, pages(2)))
    result = Result(path)
    assert result.fates.count("kept") == 3
    assert [r["reason"] for r in result.quarantined] == ["gzip_damaged"]


def crawl_files(shared_crawl: Path) -> list[Path]:
    genuine = [p for p in (shared_crawl / "genuine").iterdir() if p.suffix != ".jsonl"]
    return sorted([*genuine, *(shared_crawl / "noise").glob("*.gz"), *(shared_crawl / "warc").glob("*.gz")])


def test_real_files_give_the_same_records_in_any_slices(shared_crawl: Path) -> None:
    for number, path in enumerate(crawl_files(shared_crawl)):
        is_small = path.stat().st_size < 1 << 17  # slices this thin read every window of the file many times
        whole = Result(path)
        for size in (5_000, 1_000) if is_small else ((1 << 20, 333_333)[number % 2],):
            cut = Result(path, size)
            assert cut.rows == whole.rows, (path.name, size)
            assert cut.mended == 0 or size < 50_000, (path.name, size)


def by_warcio(path: Path) -> Iterator[tuple[int, str]]:
    with path.open("rb") as file:
        iterator = ArchiveIterator(file, arc2warc=True)
        for found in iterator:
            yield iterator.get_record_offset(), found.rec_type


def test_real_files_agree_with_warcio(shared_crawl: Path) -> None:
    """Offsets of all records, where warcio can read the file to its end and every record is its own member."""
    damaged = {"badexample", "example-bad", "example-trunc", "space-in-url"}
    for path in crawl_files(shared_crawl):
        if any(name in path.name for name in damaged) or path.stat().st_size > 3 << 20:
            continue
        result = Result(path)
        assert not result.quarantined, path.name
        ours = [documents.split_doc_id(row["doc_id"])[1] for row in result.rows]
        assert sorted(ours) == sorted(offset for offset, _ in by_warcio(path)), path.name
        responses = sum(kind == "response" for _, kind in by_warcio(path))
        assert responses == len(result.kept) + sum(r["rule"] != "record_type" for r in result.removed), path.name


def test_real_digests(shared_crawl: Path) -> None:
    result = Result(shared_crawl / "genuine" / "whirlwind-python__whirlwind.warc.gz")
    assert [r["digest_ok"] for r in result.kept] == [True]


def test_damaged_real_files(shared_crawl: Path) -> None:
    genuine = shared_crawl / "genuine"
    assert Result(genuine / "warcio__example-bad.warc.gz.bad").fates == ["not_per_record_gzip"]
    assert Result(genuine / "aut__badexample.arc.gz").fates == ["not_per_record_gzip"]
    assert Result(genuine / "warcio__example-trunc.warc").fates.count("bad_length") == 1
    assert "truncated_record" in Result(genuine / "warcio__example-space-in-url.arc").fates


# One record again


def test_fetch_record(tmp_path: Path) -> None:
    digest = "sha1:" + hashlib.sha1(PAGE).hexdigest()
    block = http(chunked(PAGE), extra=[("Transfer-Encoding", "chunked")])
    parts = [member(record(b"x", "request")), member(record(block, WARC_Payload_Digest=digest)), member(record(http()))]
    for name, pieces in (("x.warc.gz", parts), ("x.warc", [gzip.decompress(p) for p in parts])):
        path = write(tmp_path, *pieces, name=name)
        (row, _) = Result(path).kept
        fetched = fetch_record(str(path), row["warc_offset"], row["warc_length"])
        assert (fetched.url, fetched.payload, fetched.digest_ok) == (row["url"], PAGE, True)
        assert fetched.http.status == 200
        assert fetched.headers["warc-type"] == "response"
        for offset, length in ((0, len(pieces[0])), (row["warc_offset"] + 1, 50), (row["warc_offset"], 60), (0, 0)):
            with pytest.raises(DataError):
                fetch_record(str(path), offset, length)
    with pytest.raises(InputError):
        fetch_record(str(tmp_path / "none"), 0, 1)
