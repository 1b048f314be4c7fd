"""Blank rows: words go, identities, numbers and the rows of others stay, whatever the columns are."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from corpusmill.core import documents
from corpusmill.core.erasing import KEPT, erased
from corpusmill.core.errors import InternalError

DAY = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ["a:1", "b:2", "c:3"]


def column(kind: pa.DataType, value: object, *, nullable: bool = False) -> pa.Table:
    schema = pa.schema([pa.field("doc_id", pa.string()), pa.field("x", kind, nullable=nullable)])
    return pa.table([pa.array(NAMES), pa.array([value] * 3, kind)], schema=schema)


@pytest.mark.parametrize(
    ("kind", "value", "blank"),
    [
        (pa.string(), "s", ""),
        (pa.large_string(), "s", ""),
        (pa.binary(), b"b", b""),
        (pa.large_binary(), b"b", b""),
        (pa.binary(4), b"four", bytes(4)),
        (pa.list_(pa.string()), ["s", "t"], []),
        (pa.large_list(pa.int64()), [1, 2], []),
        (pa.dictionary(pa.int32(), pa.string()), "s", ""),
        (pa.int64(), 7, 7),
        (pa.float32(), 0.5, 0.5),
        (pa.bool_(), True, True),
        (pa.timestamp("us", tz="UTC"), DAY, DAY),
    ],
)
@pytest.mark.parametrize("chunks", [1, 3])
def test_one_row_of_three_is_blank(kind: pa.DataType, value: object, blank: object, chunks: int) -> None:
    table = column(kind, value)
    table = pa.concat_tables([table.slice(i * 3 // chunks, 3 // chunks) for i in range(chunks)])
    found = erased(table, pa.array(["b:2", "z:9"]))
    assert found.schema.equals(table.schema)
    assert found.column("doc_id").to_pylist() == NAMES
    assert found.column("x").to_pylist() == [value, blank, value]
    assert erased(found, pa.array(["b:2"])).equals(found), "twice is the same"


def test_what_may_be_null_is_null() -> None:
    for kind, value in ((pa.string(), "s"), (pa.struct([("a", pa.string())]), {"a": "s"})):
        found = erased(column(kind, value, nullable=True), pa.array(["a:1", "c:3"]))
        assert found.column("x").to_pylist() == [None, value, None]


def test_others_are_the_same_table() -> None:
    table = column(pa.string(), "s")
    assert erased(table, pa.array(["z:9"])) is table
    assert erased(table, pa.array([], pa.string())) is table


def test_a_type_without_a_blank_is_a_bug() -> None:
    with pytest.raises(InternalError, match="no blank value for column 'x'"):
        erased(column(pa.struct([("a", pa.string())]), {"a": "s"}), pa.array(["a:1"]))


@pytest.mark.parametrize(
    "schema", [documents.DOCUMENT_WITH_LANGUAGE, documents.REMOVAL, documents.QUARANTINE, documents.SPAN]
)
def test_every_column_of_words_that_stays_is_known(schema: pa.Schema) -> None:
    words = {field.name for field in schema if not pa.types.is_primitive(field.type)}
    assert words - KEPT <= {"url", "domain", "text", "excerpt", "detail", "replacement"}
    assert {"doc_id"} <= words & KEPT
