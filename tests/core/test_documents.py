"""Identities, schemas that no row can change, and character counts."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpusmill.core import documents


@given(st.text(min_size=1), st.integers(0, 2**62))
def test_doc_id_round_trip(name: str, offset: int) -> None:
    assert documents.split_doc_id(documents.doc_id(name, offset)) == (name, offset)


@pytest.mark.parametrize("value", ["", "a.warc.gz", ":12", "a.warc.gz:", "a.warc.gz:-1", "https://example.org/a"])
def test_what_is_no_doc_id(value: str) -> None:
    with pytest.raises(ValueError, match="not a doc_id"):
        documents.split_doc_id(value)


def test_excerpt_counts_code_points() -> None:
    text = "\U00020bb7" * 300
    assert documents.excerpt(text) == "\U00020bb7" * documents.EXCERPT_CHARACTERS
    assert documents.excerpt("abcdef", 4) == "ef"


def test_schema_does_not_depend_on_the_first_row() -> None:
    row = {"doc_id": "a:1", "url": "", "stage": "s", "rule": "r", "excerpt": "", "characters": 0}
    first = documents.table_of([row], documents.REMOVAL)
    second = documents.table_of([{**row, "value": 1, "twin": "a:2"}, row], documents.REMOVAL)
    assert first.schema == second.schema == documents.empty(documents.REMOVAL).schema
    assert second.column("value").to_pylist() == [1.0, None]
    assert documents.concat([first, second], documents.REMOVAL).num_rows == 3


def test_concat_of_nothing_keeps_the_schema() -> None:
    nothing = documents.concat([documents.empty(documents.SPAN)], documents.SPAN)
    assert (nothing.num_rows, nothing.schema) == (0, documents.SPAN)


def test_characters_are_code_points() -> None:
    table = pa.table({"text": pa.array(["héllo", "日本", "", "\U0001f600"], pa.large_string())})
    assert documents.characters_in(table) == 5 + 2 + 0 + 1
    assert documents.characters_in(table.slice(0, 0)) == 0
    assert documents.characters_in(pa.table({"payload": [b"abc"]})) == 0


def test_every_table_about_documents_carries_doc_id() -> None:
    for schema in (documents.RECORD, documents.DOCUMENT, documents.REMOVAL, documents.QUARANTINE, documents.SPAN):
        assert schema.field(0).name == "doc_id"
        assert not schema.field(0).nullable
