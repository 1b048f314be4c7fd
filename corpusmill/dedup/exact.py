"""Exact text dedup: one document a text, code point for code point. Cheap, and it spares the near-duplicate step."""

from __future__ import annotations

import pyarrow as pa

from corpusmill.dedup.keyed import KeyedDedup


class ExactDedup(KeyedDedup):
    """Removes all but one document of equal `content_hash`; rule `same_text`."""

    name = "exact_dedup"
    columns = ("doc_id", "content_hash", "fetched_at")
    rule = "same_text"

    def keys(self, table: pa.Table) -> list[bytes]:
        """The content hash, BLAKE2b-128 of the text."""
        hashes: list[bytes] = table.column("content_hash").to_pylist()
        return hashes
