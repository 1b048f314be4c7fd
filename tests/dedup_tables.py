"""Documents for the tests of dedup."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from corpusmill.core import documents
from corpusmill.core.hashing import content_hash

DAY = datetime(2026, 8, 1, tzinfo=UTC)


def document(number: int, text: str, *, language: str = "en", url: str = "", day: int | None = 0) -> dict[str, Any]:
    """A row of DOCUMENT_WITH_LANGUAGE; doc_ids sort as `number` does (below 1000). `day` None: no date."""
    return {
        "doc_id": f"a.warc.gz:{number:03}",
        "url": url or f"https://site.example/{number}",
        "domain": "site.example",
        "warc_file": "a.warc.gz",
        "warc_offset": number,
        "warc_length": 1,
        "crawl": "",
        "fetched_at": None if day is None else DAY + timedelta(days=day),
        "charset": "utf-8",
        "text": text,
        "content_hash": content_hash(text),
        "language": language,
        "language_score": 1.0,
    }


def tables(rows: Sequence[dict[str, Any]], shards: int = 1) -> list[pa.Table]:
    """`rows` dealt out to `shards` tables."""
    return [documents.table_of(rows[i::shards], documents.DOCUMENT_WITH_LANGUAGE) for i in range(shards)]


def doc_id(number: int) -> str:
    """The doc_id of `document(number, ...)`."""
    return f"a.warc.gz:{number:03}"
