"""Which kept documents stand for given ones, on runs where documents fell at random and on the sample crawl."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import removal_runs
import sample_runs
from removal_runs import MadeRun

from corpusmill.pipeline.copies import copies
from corpusmill.pipeline.stand_ins import STANDS, stand_ins


def expected(run: MadeRun, asked: list[str]) -> tuple[set[tuple[str, str, str | None, str | None]], set[str]]:
    """(kept, asked, via, step) of all that something stands for; the others."""
    ends = {doc_id: run.end_of(doc_id) for doc_id in asked}
    stands = {(end, doc_id, via, step) for doc_id, (end, via, step) in ends.items() if end is not None}
    return stands, {doc_id for doc_id, (end, _, _) in ends.items() if end is None}


@pytest.mark.parametrize("seed", range(8))
def test_stand_ins_are_those_that_following_one_by_one_gives(tmp_path: Path, seed: int) -> None:
    run = removal_runs.make(tmp_path, seed)
    asked = [*random.Random(seed).sample(sorted(run.rows), 40), "unknown.warc.gz:7", "f0.warc.gz:999999", "no id"]
    found = stand_ins(run.chain, asked)
    assert found.kept.schema.equals(STANDS)
    rows = found.kept.to_pylist()
    stands, nothing = expected(run, asked)
    itself = {(doc_id, copy_of, via, step) for doc_id, copy_of, via, step in stands if doc_id == copy_of}
    assert {(r["doc_id"], r["copy_of"], r["via"], r["stage"]) for r in rows if r["stage"]} == stands - itself
    assert {(r["doc_id"], r["copy_of"], r["via"]) for r in rows if not r["stage"]} == {
        (i[0], i[0], i[0]) for i in itself
    }
    assert len(rows) == len(stands)
    assert len(stands - itself) > 3
    assert len(itself) > 3
    assert set(found.nothing) == nothing
    assert all(r["similarity"] == (run.similarity[r["via"]] if r["stage"] == "minhash" else None) for r in rows)

    kept = {r["doc_id"] for r in rows}
    went_for_them = {doc_id for doc_id in run.fell if run.end_of(doc_id)[0] in kept}
    assert {copy.doc_id for copy in found.removed} == went_for_them
    assert all((copy.stage, copy.twin) == run.fell[copy.doc_id][:2] for copy in found.removed)


def test_nothing_is_asked(tmp_path: Path) -> None:
    found = stand_ins(removal_runs.make(tmp_path, 0).chain, [])
    assert (found.kept.num_rows, found.removed, found.nothing) == (0, [], [])


def test_the_sample_crawl(finished_run: Path) -> None:
    chain = sample_runs.chain(finished_run)
    removed = {r["doc_id"]: r for s in sample_runs.CORPUS_STEPS for r in sample_runs.rows(finished_run, s, "removed")}
    copied = sorted(doc_id for doc_id, row in removed.items() if row["twin"])
    found = stand_ins(chain, copied)
    assert found.nothing == []
    assert {copy.doc_id for copy in found.removed} == set(copied)
    kept = found.kept.column("doc_id").to_pylist()
    one = kept[0]
    assert {c.doc_id for c in copies(chain, one, 1000).listed} == {c.doc_id for c in stand_ins(chain, [one]).removed}
