"""Tables without what they say of some documents: rows, identities, counts and numbers stay, texts and addresses go."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from corpusmill.core.errors import InternalError

# Columns of words and bytes whose values stay: identities, hashes, names of stages, rules, languages, shards. All
# others go, so that a column that is added one day is safe.
KEPT = frozenset(
    {
        "doc_id", "warc_file", "crawl", "payload_digest", "content_hash", "charset", "language", "stage", "rule",
        "reason", "twin", "twin_history", "copy_of", "via", "known_to", "cluster_id", "source", "shard",
    }
)  # fmt: skip


def erased(table: pa.Table, doc_ids: pa.Array) -> pa.Table:
    """`table` (with a column doc_id) with blank texts in the rows of these documents; itself where it has none of them.

    Blank: null where the column may be null, else "", zero bytes of fixed width, or an empty list. Numbers, times and
    the columns of KEPT stay.
    """
    rows = pc.is_in(table.column("doc_id"), value_set=doc_ids)
    if not pc.any(rows).as_py():
        return table
    for at, field in enumerate(table.schema):
        if field.name not in KEPT and not _says_nothing(field.type):
            table = table.set_column(at, field, _blanked(table.column(at), rows, field))
    return table


def _says_nothing(kind: pa.DataType) -> bool:
    return bool(pa.types.is_primitive(kind) or pa.types.is_null(kind))


def _blanked(column: pa.ChunkedArray, rows: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    if pa.types.is_dictionary(field.type):
        plain = pa.field(field.name, field.type.value_type, field.nullable)
        return _blanked(column.cast(plain.type), rows, plain).dictionary_encode().cast(field.type)
    blank = pa.scalar(None, field.type) if field.nullable else _blank(field)
    # Nested columns have no if_else: they are put together from rows.
    both = pa.chunked_array([*column.chunks, pa.array([blank.as_py()], field.type)], field.type).combine_chunks()
    last = len(both) - 1
    return pa.chunked_array([both.take(pc.if_else(rows, last, pa.array(range(last), pa.int64())))], field.type)


def _blank(field: pa.Field) -> pa.Scalar:
    kind = field.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pa.scalar("", kind)
    if pa.types.is_fixed_size_binary(kind):
        return pa.scalar(bytes(kind.byte_width), kind)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return pa.scalar(b"", kind)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.scalar([], kind)
    raise InternalError(f"no blank value for column {field.name!r}", value=str(kind))
