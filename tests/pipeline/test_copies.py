"""The copies that a document stands for."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import sample_runs
from sample_runs import CORPUS_STEPS

from corpusmill.pipeline.copies import Copy, copies

PAGE = sample_runs.REPOSITORY / "docs" / "dedup.md"


def test_every_copy_is_told_by_the_document_that_was_kept(finished_run: Path) -> None:
    chain = sample_runs.chain(finished_run)
    kept = {row["doc_id"] for row in sample_runs.rows(finished_run, "substring", "out")}
    removed = [r for step in CORPUS_STEPS for r in sample_runs.rows(finished_run, step, "removed") if r["twin"]]
    twins = {row["doc_id"]: row["twin"] for row in removed}
    stands_for: dict[str, set[str]] = {}
    for copy in twins:
        last = copy
        while last in twins:
            last = twins[last]
        stands_for.setdefault(last, set()).add(copy)
    assert set(stands_for) <= kept
    listed: list[Copy] = []
    for doc_id in sorted({*stands_for, *sorted(kept)[:5]}):
        found = copies(chain, doc_id, 1000)
        assert {copy.doc_id for copy in found.listed} == stands_for.get(doc_id, set())
        assert found.total == len(found.listed)
        listed += found.listed
        for copy in found.listed:
            assert twins[copy.doc_id] == copy.twin
    assert len(twins) > 40
    assert all((copy.stage == "minhash") == ((copy.similarity or 0.0) >= 0.7) for copy in listed)
    assert "minhash" in {copy.stage for copy in listed}


def test_the_documented_join_finds_the_same(finished_run: Path) -> None:
    block = re.search(r"^```sql\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert block is not None
    chain = sample_runs.chain(finished_run)
    compared = 0
    for row in sample_runs.rows(finished_run, "substring", "out"):
        sql = block.group(1).replace("RUN/", f"{finished_run}/").replace("DOC_ID", row["doc_id"])
        found = {copy[0] for copy in duckdb.sql(sql).fetchall()}
        assert found == {copy.doc_id for copy in copies(chain, row["doc_id"], 1000).listed}
        compared += bool(found)
        if compared == 5:
            return
    raise AssertionError("the sample has copies")
