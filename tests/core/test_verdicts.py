"""What a stage says about rows becomes tables that add up."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from corpusmill.core import documents
from corpusmill.core.documents import Cut
from corpusmill.core.verdicts import Cuts, Verdicts


def _table(rows: int) -> pa.Table:
    return pa.table(
        {
            "doc_id": pa.array([f"a.warc.gz:{i}" for i in range(rows)], pa.string()),
            "url": pa.array([f"https://example.org/{i}" for i in range(rows)], pa.string()),
            "warc_file": pa.array(["a.warc.gz"] * rows, pa.string()),
            "warc_offset": pa.array(range(rows), pa.int64()),
        }
    )


@given(st.lists(st.sampled_from(["keep", "remove", "quarantine"]), max_size=20))
def test_every_row_has_one_fate(fates: list[str]) -> None:
    table = _table(len(fates))
    verdicts = Verdicts("quality", table)
    for row, fate in enumerate(fates):
        if fate == "remove":
            verdicts.remove(row, "words_min", value=row, threshold=50, text="x" * row)
        elif fate == "quarantine":
            verdicts.quarantine(row, "crashed", "signal 11", text="y" * row)
    result = verdicts.result()
    assert verdicts.surviving == [i for i, fate in enumerate(fates) if fate == "keep"]
    for fate, part in (("keep", result.kept), ("remove", result.removed), ("quarantine", result.quarantined)):
        expected = [f"a.warc.gz:{i}" for i, f in enumerate(fates) if f == fate]
        assert part.column("doc_id").to_pylist() == expected
    assert result.removed.schema == documents.REMOVAL
    assert result.quarantined.schema == documents.QUARANTINE
    removed = [i for i, f in enumerate(fates) if f == "remove"]
    assert result.removed.column("characters").to_pylist() == removed


def test_a_removal_tells_everything() -> None:
    verdicts = Verdicts("minhash", _table(2))
    verdicts.remove(
        1,
        "near_duplicate",
        value=0.9,
        threshold=0.75,
        detail="band 3",
        twin="a.warc.gz:0",
        text="abcdef",
        excerpt_start=2,
    )
    assert verdicts.result().removed.to_pylist() == [
        {
            "doc_id": "a.warc.gz:1",
            "url": "https://example.org/1",
            "stage": "minhash",
            "rule": "near_duplicate",
            "value": 0.9,
            "threshold": 0.75,
            "detail": "band 3",
            "twin": "a.warc.gz:0",
            "twin_history": None,
            "excerpt": "cdef",
            "characters": 6,
        }
    ]


def test_a_quarantined_row_says_where_it_lies() -> None:
    verdicts = Verdicts("extract", _table(2))
    verdicts.quarantine(1, "cpu_time", "over 10 s")
    (row,) = verdicts.result().quarantined.to_pylist()
    assert (row["warc_file"], row["warc_offset"]) == ("a.warc.gz", 1)
    assert (row["stage"], row["reason"], row["detail"], row["characters"]) == ("extract", "cpu_time", "over 10 s", 0)


def test_edits_replace_the_kept_rows() -> None:
    table = _table(3)
    verdicts = Verdicts("lines", table)
    verdicts.remove(0, "corrected_words")
    verdicts.cut(2, "counter", 4, 11, "3 views", "views", "a counter")
    edited = table.slice(1, 2).append_column("text", pa.array(["a", "b"]))
    result = verdicts.result(edited)
    assert result.kept is edited
    expected = {"doc_id": "a.warc.gz:2", "stage": "lines", "rule": "counter", "start": 4, "end": 11, "text": "3 views"}
    expected |= {"replacement": "views", "detail": "a counter"}
    assert result.spans.to_pylist() == [expected]
    assert result.clusters is None


def test_cuts_by_columns_are_those_one_by_one() -> None:
    cuts = [Cut("link", 0, 2), Cut("email", 3, 9, "<email>", "an address")]
    columns = Cuts.of(cuts)
    assert list(columns) == cuts
    assert (len(columns), columns[1], columns[:1]) == (2, cuts[1], cuts[:1])
    assert Cuts.of(columns) is columns
    assert list(Cuts(["link"], [0], [2])) == cuts[:1]
    assert not Cuts.of([])
    texts = ["ab", "x@y.org"]
    one_by_one, at_once = Verdicts("pii", _table(2)), Verdicts("pii", _table(2))
    for cut, text in zip(cuts, texts, strict=True):
        one_by_one.cut(1, cut.rule, cut.start, cut.end, text, cut.replacement, cut.detail)
    at_once.cut_all(1, columns, texts)
    assert at_once.result().spans.equals(one_by_one.result().spans)
