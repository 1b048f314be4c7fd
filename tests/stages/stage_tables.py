"""Tables of documents and real texts for the tests of rules."""

from __future__ import annotations

import gzip
import json
import re
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import pyarrow as pa
from warcio.archiveiterator import ArchiveIterator

from corpusmill.core import documents
from corpusmill.core.hashing import content_hash
from corpusmill.core.verdicts import StageResult


def documents_of(*texts: tuple[str, str]) -> pa.Table:
    """A DOCUMENT_WITH_LANGUAGE table with one more column, of (text, language) pairs."""
    rows = [
        {
            "doc_id": documents.doc_id("made.warc.gz", i),
            "url": f"https://example.org/{i}",
            "domain": "example.org",
            "warc_file": "made.warc.gz",
            "warc_offset": i,
            "warc_length": 1,
            "crawl": "",
            "charset": "utf-8",
            "text": text,
            "content_hash": content_hash(text),
            "language": language,
            "language_score": 0.9,
            "extra": i,
        }
        for i, (text, language) in enumerate(texts)
    ]
    extra = pa.field("extra", pa.int32())
    return documents.table_of(rows, documents.DOCUMENT_WITH_LANGUAGE.append(extra))


def records_of(payloads: list[bytes], charset: str | None = "utf-8") -> pa.Table:
    """A RECORD table of HTML payloads."""
    rows = [
        {
            "doc_id": f"a.warc.gz:{i}",
            "url": f"https://example.org/{i}",
            "domain": "example.org",
            "warc_file": "a.warc.gz",
            "warc_offset": i,
            "warc_length": len(payload),
            "payload_digest": "sha1:X",
            "digest_ok": True,
            "crawl": "CC-TEST",
            "fetched_at": datetime(2026, 8, 1, tzinfo=UTC),
            "media_type": "text/html",
            "http_charset": charset,
            "payload": payload,
        }
        for i, payload in enumerate(payloads)
    ]
    return documents.table_of(rows, documents.RECORD)


def check_conservation(table: pa.Table, result: StageResult) -> None:
    """Every row is kept or removed, kept rows are in input order, schemas are the declared ones."""
    ids = table.column("doc_id").to_pylist()
    kept, removed = result.kept.column("doc_id").to_pylist(), result.removed.column("doc_id").to_pylist()
    assert sorted(kept + removed) == sorted(ids)
    assert kept == [i for i in ids if i in set(kept)]
    assert result.kept.schema == table.schema
    assert result.removed.schema == documents.REMOVAL
    assert result.spans.schema == documents.SPAN
    assert result.quarantined.num_rows == 0


def gold_texts(crawl: Path, every: int) -> list[tuple[str, str]]:
    """(main text, language) of every n-th page whose main text is known."""
    with open(crawl / "pages.jsonl", encoding="utf-8") as lines:
        languages = {page["id"]: page["lang"] for page in map(json.loads, lines)}
    paths = sorted((crawl / "gold").glob("*.txt"))[::every]
    return [(path.read_text(encoding="utf-8"), languages[path.stem]) for path in paths]


def japanese_news(crawl: Path, number: int) -> list[str]:
    """The first texts of the Japanese news corpus."""
    with gzip.open(crawl / "text" / "livedoor_news_ja.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for _, line in zip(range(number), lines, strict=False)]


def made_bad_pages(crawl: Path) -> list[tuple[str, str, str]]:
    """(kind, language, visible text) of the pages that were made to break a rule."""
    noise = crawl / "noise"
    with open(noise / "quality_truth.jsonl", encoding="utf-8") as lines:
        truth = {page["record_id"]: page for page in map(json.loads, lines)}
    pages = []
    for path in sorted({noise / page["warc"] for page in truth.values()}):
        with open(path, "rb") as stream:
            for record in ArchiveIterator(stream):
                page = truth.get(record.rec_headers.get_header("WARC-Record-ID"))
                if page and record.rec_type == "response":
                    body = record.content_stream().read().decode()
                    pages.append((page["kind"], page["lang"], _visible(body)))
    return pages


def _visible(body: str) -> str:
    blocks = re.sub(r"</(p|h1|tr)>", "\n", body[body.index("<body>") :])
    return unescape(re.sub(r"<[^>]*>", "", blocks.replace("</td><td>", " | "))).strip()
