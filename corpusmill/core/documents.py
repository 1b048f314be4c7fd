"""The Arrow schemas of a record, a document, a removal, a quarantined record, a cut span and a table of scores.

Column names live here and nowhere else. The schema of a table never depends on its rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from corpusmill.core import hashing

# Identity and origin: every table that speaks of a document starts with these.
ORIGIN = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),  # <WARC file name>:<record offset>
        pa.field("url", pa.string(), nullable=False),  # WHATWG-normalised
        pa.field("domain", pa.string(), nullable=False),  # registered domain, "" for an IP or none
        pa.field("warc_file", pa.string(), nullable=False),
        pa.field("warc_offset", pa.int64(), nullable=False),  # bytes, of the compressed record
        pa.field("warc_length", pa.int64(), nullable=False),  # bytes, compressed: one range request
        pa.field("payload_digest", pa.string()),  # as the record states it, e.g. sha1:BASE32
        pa.field("digest_ok", pa.bool_()),  # null where the record states none
        pa.field("crawl", pa.string(), nullable=False),  # snapshot name, "" if unknown
        pa.field("fetched_at", pa.timestamp("us", tz="UTC")),  # WARC-Date
    ]
)

# A response record before extraction; lives in memory only.
RECORD = pa.schema(
    [
        *ORIGIN,
        pa.field("media_type", pa.string(), nullable=False),  # lower-case essence, "" if none is given
        pa.field("http_charset", pa.string()),  # label of the Content-Type header, null if none
        pa.field("payload", pa.large_binary(), nullable=False),  # body, transfer and content encodings undone
    ]
)

# A document after extraction.
DOCUMENT = pa.schema(
    [
        *ORIGIN,
        pa.field("charset", pa.string(), nullable=False),  # what the body was decoded as
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("content_hash", pa.binary(16), nullable=False),  # hashing.content_hash of `text`
    ]
)

# Columns that the language stage adds to a document.
LANGUAGE_FIELDS = [
    pa.field("language", pa.string(), nullable=False),  # core/languages.py; ISO 639-1 where there is one
    pa.field("language_score", pa.float32(), nullable=False),  # 0..1
]
DOCUMENT_WITH_LANGUAGE = pa.schema([*DOCUMENT, *LANGUAGE_FIELDS])

# A document that a stage removed, and why.
REMOVAL = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("rule", pa.string(), nullable=False),
        pa.field("value", pa.float64()),  # the score that was judged, null for rules without a number
        pa.field("threshold", pa.float64()),
        pa.field("detail", pa.string()),  # the word, domain or language that matched
        pa.field("twin", pa.string()),  # doc_id of the kept copy
        pa.field("excerpt", pa.string(), nullable=False),  # first characters of the text, "" before extraction
        pa.field("characters", pa.int64(), nullable=False),  # of the text, 0 before extraction
    ]
)

# A record that could not be processed, and why.
QUARANTINE = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),  # "" where the record could not be read so far
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),  # a short name, counted by the ledger
        pa.field("warc_file", pa.string(), nullable=False),
        pa.field("warc_offset", pa.int64(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),  # value seen, and the remedy if there is one
        pa.field("characters", pa.int64(), nullable=False),  # of the text, 0 before extraction
    ]
)

# A passage of a kept document that a stage cut or replaced; one that is only marked is replaced by itself.
SPAN = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("rule", pa.string(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),  # code points, in the text before this stage
        pa.field("end", pa.int64(), nullable=False),  # exclusive
        pa.field("text", pa.large_string(), nullable=False),  # or a hash of it, where it must not be stored
        pa.field("replacement", pa.large_string(), nullable=False),  # "" where it was cut
        pa.field("detail", pa.string()),  # what the passage was found to be, e.g. the evaluation item
    ]
)

EXCERPT_CHARACTERS = 200


class Cut(NamedTuple):
    """Code points [start, end) of a text that a rule takes out, what it puts there, and what it found there."""

    rule: str
    start: int
    end: int
    replacement: str = ""
    detail: str | None = None


def scores_schema(names: Iterable[str]) -> pa.Schema:
    """Schema of a table of scores: one row for every document that entered a stage, one column a score.

    A score that a document does not have (the rule does not apply to its language) is NaN.
    """
    return pa.schema(
        [
            pa.field("doc_id", pa.string(), nullable=False),
            pa.field("language", pa.string(), nullable=False),
            pa.field("characters", pa.int64(), nullable=False),  # code points of the text
            *(pa.field(name, pa.float64(), nullable=False) for name in names),
        ]
    )


def doc_id(warc_file: str, offset: int) -> str:
    """Identity of a record: WARC file name (no folder) and the byte offset of its compressed record."""
    return f"{warc_file}:{offset}"


def split_doc_id(value: str) -> tuple[str, int]:
    """Inverse of `doc_id`. Raises ValueError when `value` is not a doc_id."""
    name, _, offset = value.rpartition(":")
    if not name or not offset.isdigit():
        raise ValueError(f"not a doc_id: {value!r} (expected <WARC file name>:<offset>)")
    return name, int(offset)


def excerpt(text: str, start: int = 0) -> str:
    """At most `EXCERPT_CHARACTERS` code points of `text` from `start` on, for removals."""
    return text[start : start + EXCERPT_CHARACTERS]


def without_spans(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """`text` without `spans` (start, end; ascending, disjoint), nothing put between the pieces."""
    return with_replacements(text, ((start, end, "") for start, end in spans))


def with_replacements(text: str, spans: Iterable[tuple[int, int, str]]) -> str:
    """`text` with every span (start, end, replacement; ascending, disjoint) replaced."""
    pieces = []
    kept_from = 0
    for start, end, replacement in spans:
        pieces += [text[kept_from:start], replacement]
        kept_from = end
    return "".join([*pieces, text[kept_from:]])


def with_texts(table: pa.Table, texts: Mapping[int, str]) -> pa.Table:
    """`table` with other texts (by row) and their `content_hash`; its schema stays."""
    rows = np.arange(table.num_rows)
    rows[list(texts)] = table.num_rows + np.arange(len(texts))
    hashes = [hashing.content_hash(text) for text in texts.values()]
    for name, values in (("text", list(texts.values())), ("content_hash", hashes)):
        at = table.schema.get_field_index(name)
        field = table.schema.field(at)
        column = pa.chunked_array([*table.column(name).chunks, pa.array(values, field.type)], field.type)
        table = table.set_column(at, field, column.combine_chunks().take(pa.array(rows)))
    return table


def utf8(texts: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Bytes and offsets of a large_string array without nulls, no copy: text i is data[offsets[i] : offsets[i + 1]]."""
    _, offsets, data = texts.buffers()
    if len(texts) == 0 or data is None:
        return np.empty(0, dtype=np.uint8), np.zeros(len(texts) + 1, dtype=np.int64)
    of_all = np.frombuffer(offsets, dtype=np.int64)
    return np.frombuffer(data, dtype=np.uint8), of_all[texts.offset : texts.offset + len(texts) + 1]


def empty(schema: pa.Schema) -> pa.Table:
    """A table of `schema` without rows."""
    return schema.empty_table()


def table_of(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows (dicts; missing keys are null) as a table of `schema`, whatever the first row holds."""
    return pa.Table.from_pylist(list(rows), schema=schema)


def concat(tables: Iterable[pa.Table], schema: pa.Schema) -> pa.Table:
    """Tables one after another; an empty table of `schema` when there are none."""
    chunks = [t for t in tables if t.num_rows]
    return pa.concat_tables(chunks) if chunks else empty(schema)


def characters_in(table: pa.Table) -> int:
    """Code points in the `text` column; 0 for tables that have none yet."""
    if "text" not in table.column_names or table.num_rows == 0:
        return 0
    import pyarrow.compute as pc

    return int(pc.sum(pc.utf8_length(table.column("text"))).as_py() or 0)
