"""URL and exact text dedup."""

from __future__ import annotations

from typing import Any

import pytest
from dedup_tables import doc_id, document, tables
from hypothesis import given
from hypothesis import strategies as st

from corpusmill.core.urls import dedup_key
from corpusmill.dedup.exact import ExactDedup
from corpusmill.dedup.keyed import KeyedDedupConfig
from corpusmill.dedup.local import run_step
from corpusmill.dedup.url import UrlDedup


def removals(step: Any, rows: list[dict[str, Any]], shards: int = 1) -> dict[str, tuple[str, str]]:
    """doc_id -> (rule, twin) of what is removed; checks that nothing is lost."""
    found = {}
    for table, result in zip(tables(rows, shards), run_step(step, tables(rows, shards)), strict=True):
        kept = result.kept.column("doc_id").to_pylist()
        gone = result.removed.column("doc_id").to_pylist()
        order = table.column("doc_id").to_pylist()
        assert sorted(kept + gone) == sorted(order)
        assert kept == [i for i in order if i not in gone]
        assert result.kept.schema == table.schema
        found.update({r["doc_id"]: (r["rule"], r["twin"]) for r in result.removed.to_pylist()})
    return found


def test_same_url_keeps_the_latest_or_the_first() -> None:
    url = "https://site.example/page"
    rows = [
        document(1, "old", url=url, day=1),
        document(2, "new", url=url + "#part", day=5),
        document(3, "undated", url=url, day=None),
        document(4, "other", url="https://site.example/other"),
    ]
    latest = removals(UrlDedup(KeyedDedupConfig()), rows)
    assert latest == {doc_id(1): ("same_url", doc_id(2)), doc_id(3): ("same_url", doc_id(2))}
    first = removals(UrlDedup(KeyedDedupConfig(keep="first")), rows)
    assert first == {doc_id(2): ("same_url", doc_id(1)), doc_id(3): ("same_url", doc_id(1))}


def test_the_smallest_doc_id_decides_ties() -> None:
    rows = [document(n, "text", day=0) for n in (3, 1, 2)]
    assert removals(ExactDedup(KeyedDedupConfig()), rows) == {
        doc_id(2): ("same_text", doc_id(1)),
        doc_id(3): ("same_text", doc_id(1)),
    }


def test_exact_is_exact() -> None:
    rows = [document(1, "Text"), document(2, "text"), document(3, "text "), document(4, "te\u0301xt")]
    assert removals(ExactDedup(KeyedDedupConfig()), rows) == {}


def test_removal_says_what_was_removed() -> None:
    rows = [document(1, "a" * 500, day=2), document(2, "a" * 500, day=1)]
    (result,) = run_step(ExactDedup(KeyedDedupConfig()), tables(rows))
    (removal,) = result.removed.to_pylist()
    assert removal["stage"] == "exact_dedup"
    assert removal["excerpt"] == "a" * 200
    assert removal["characters"] == 500


def test_no_documents() -> None:
    for step in (ExactDedup(KeyedDedupConfig()), UrlDedup(KeyedDedupConfig())):
        (result,) = run_step(step, tables([]))
        assert result.kept.num_rows == result.removed.num_rows == 0


ROWS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["/x", "/y", "/x#z"]), st.sampled_from([None, 0, 1])), max_size=12
)


@given(
    ROWS,
    st.permutations(range(12)),
    st.integers(1, 4),
    st.sampled_from([1, 3, 16]),
    st.sampled_from(["latest", "first"]),
)
def test_one_of_every_group_survives_whatever_the_split(
    drawn: list[tuple[str, str, int | None]], order: list[int], shards: int, partitions: int, keep: Any
) -> None:
    rows = [document(n, t, url="https://site.example" + u, day=d) for n, (t, u, d) in enumerate(drawn)]
    shuffled = [rows[i] for i in order if i < len(rows)]
    config = KeyedDedupConfig(keep=keep, partitions=partitions)
    for step, rule, key in (
        (ExactDedup(config), "same_text", lambda r: r["text"]),
        (UrlDedup(config), "same_url", lambda r: dedup_key(r["url"])),
    ):
        expected = {}
        for row in rows:
            group = sorted((r for r in rows if key(r) == key(row)), key=lambda r: r["doc_id"])  # type: ignore[no-untyped-call]
            dated = sorted(
                (r for r in group if r["fetched_at"]), key=lambda r: r["fetched_at"], reverse=keep == "latest"
            )
            best = (dated or group)[0]
            if best is not row:
                expected[row["doc_id"]] = (rule, best["doc_id"])
        assert removals(step, shuffled, shards) == expected


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="keep"):
        KeyedDedupConfig(keep="best")  # type: ignore[arg-type]
    assert "partitions" not in KeyedDedupConfig().identity()
