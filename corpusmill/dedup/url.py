"""URL dedup: one document a URL, whatever the fragment and tracking parameters say.

RefinedWeb s3.3 removes URLs that an earlier part of the crawl kept; Llama 3 keeps the latest version of each.
[DEVIATION] URLs are compared in the form `core.urls.dedup_key` gives, over the whole corpus at once.
"""

from __future__ import annotations

import hashlib

import pyarrow as pa

from corpusmill.core.urls import dedup_key
from corpusmill.dedup.keyed import KeyedDedup


class UrlDedup(KeyedDedup):
    """Removes all but one document of equal `dedup_key(url)`; rule `same_url`."""

    name = "url_dedup"
    packages = ("ada-url",)
    columns = ("doc_id", "url", "fetched_at")
    rule = "same_url"

    def keys(self, table: pa.Table) -> list[bytes]:
        """BLAKE2b-128 of the URL's key."""
        urls = table.column("url").to_pylist()
        return [hashlib.blake2b(dedup_key(url).encode(), digest_size=16).digest() for url in urls]
