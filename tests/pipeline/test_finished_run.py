"""A whole run on the sample crawl: every record is accounted for, and where the sample's own truth says it falls."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sample_runs
from sample_runs import CORPUS_STEPS, DOCUMENT_STAGES, PRODUCTS

from corpusmill.core import storage
from corpusmill.pipeline.explain import explain, find
from corpusmill.pipeline.status import status

STAGES = DOCUMENT_STAGES + CORPUS_STEPS
RECORDS = 592

# Where the truth names the kind of copy, any step that looks for copies may find it first: an exact copy with an
# unchanged address falls to the URL step, a near copy whose main text is the same to the exact step.
COPIES = {"url_dedup": "same_url", "exact_dedup": "same_text", "minhash": "near_duplicate"}


@pytest.fixture(scope="module")
def fates(finished_run: Path) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """doc_id -> (stage, rule or reason, row) of every record that was removed or quarantined."""
    gone: dict[str, tuple[str, str, dict[str, Any]]] = {}
    for stage in STAGES:
        for kind, column in (("removed", "rule"), ("quarantine", "reason")):
            for row in sample_runs.rows(finished_run, stage, kind):
                assert row["doc_id"] not in gone, "a record falls once"
                assert row["stage"] == stage
                gone[row["doc_id"]] = (stage, row[column], row)
    return gone


@pytest.fixture(scope="module")
def kept(finished_run: Path) -> set[str]:
    """doc_ids of the refined corpus."""
    return {row["doc_id"] for row in sample_runs.rows(finished_run, "substring", "out")}


def test_every_record_is_kept_or_falls_once(
    finished_run: Path, fates: dict[str, tuple[str, str, Any]], kept: set[str]
) -> None:
    assert not kept & set(fates)
    assert len(kept) + len(fates) == RECORDS
    assert kept | set(fates) == set(sample_runs.truth(finished_run))


def test_conservation_and_flow(finished_run: Path) -> None:
    stages = status(str(finished_run)).stages
    assert [s.name for s in stages] == STAGES + PRODUCTS
    assert {s.state for s in stages} == {"done"}
    enters = RECORDS
    for stage in stages:
        counts = stage.counts
        gone = sum(t.documents for t in [*counts.removed.values(), *counts.quarantined.values()])
        assert counts.into.documents == enters, stage.name
        if stage.name in STAGES:
            assert enters == counts.kept.documents + gone
            enters = counts.kept.documents
    assert enters > 80


def test_ledgers_count_the_rows_of_the_tables(finished_run: Path) -> None:
    for stage in STAGES:
        ledger = storage.read_parquet(str(finished_run / "stages" / stage / "ledger.parquet")).to_pylist()
        booked: Counter[str] = Counter()
        for line in ledger:
            if line["kind"] == "removed":
                booked[line["rule"]] += line["documents"]
        removed = sample_runs.rows(finished_run, stage, "removed")
        assert booked == Counter(row["rule"] for row in removed), stage


def test_no_document_is_twice_in_the_corpus(finished_run: Path, kept: set[str]) -> None:
    documents = sample_runs.rows(finished_run, "substring", "out")
    assert len(documents) == len(kept)
    texts = [row["text"] for row in documents]
    assert len(set(texts)) == len(texts)


def test_pages_fall_where_the_truth_says(
    finished_run: Path, fates: dict[str, tuple[str, str, Any]], kept: set[str]
) -> None:
    wrong = []
    for doc_id, page in sample_runs.truth(finished_run).items():
        expected = page["expected"]
        stage, rule, _ = fates.get(doc_id, ("", "", None))
        if page["record_type"] != "response":
            good = (stage, rule) == ("warc", "record_type") or expected is not None
        elif not expected:
            good = True  # left open by the sample
        elif expected.get("quarantined"):
            good = stage == "warc" and any(
                row["doc_id"] == doc_id for row in sample_runs.rows(finished_run, "warc", "quarantine")
            )
        elif page["kind"] in ("exact_duplicate", "same_url", "near_duplicate") or expected["kept"]:
            good = doc_id in kept or COPIES.get(stage) == rule
        else:
            good = stage == expected.get("stage", stage) and rule == expected.get("rule", rule) and doc_id not in kept
        if not good:
            wrong.append((page["kind"], expected, stage, rule, page["url"]))
    assert wrong == []


def test_every_copy_names_a_twin_that_was_kept_before_it(
    finished_run: Path, fates: dict[str, tuple[str, str, Any]], kept: set[str]
) -> None:
    copies = {doc_id: row for doc_id, (stage, _, row) in fates.items() if stage in COPIES}
    assert len(copies) > 40
    for row in copies.values():
        twin = row["twin"]
        while twin in copies:  # its own twin may be a copy for a later step
            assert STAGES.index(copies[twin]["stage"]) > STAGES.index(row["stage"])
            row, twin = copies[twin], copies[twin]["twin"]
        assert twin in kept


def test_each_article_is_left_once(finished_run: Path, kept: set[str]) -> None:
    texts: Counter[tuple[str, str]] = Counter()
    pages = [p | {"doc_id": d} for d, p in sample_runs.truth(finished_run).items() if p["record_type"] == "response"]
    articles = {(p["language"], p["source"]) for p in pages if p["kind"] == "article"}
    for page in pages:
        if page["doc_id"] in kept and page["source"] and page["kind"] != "copied_passage":
            texts[page["language"], page["source"]] += 1
    assert [a for a in articles if texts[a] == 0] == []


def test_explain_tells_every_life(finished_run: Path, fates: dict[str, tuple[str, str, Any]], kept: set[str]) -> None:
    chain = sample_runs.chain(finished_run)
    seen = set()
    for doc_id, (stage, rule, row) in fates.items():
        if (stage, rule) in seen:
            continue
        seen.add((stage, rule))
        life = explain(chain, doc_id)
        assert [f.outcome for f in life.fates[:-1]] == ["kept"] * STAGES.index(stage) or "edited" in {
            f.outcome for f in life.fates
        }
        last = life.fates[-1]
        assert (last.stage, last.rule, last.twin) == (stage, rule, row.get("twin"))
        assert not life.survived
    for doc_id in sorted(kept)[:5]:
        life = explain(chain, doc_id)
        assert life.survived
        assert [f.stage for f in life.fates] == STAGES
        assert doc_id in find(chain, life.url)


def test_cut_passages_are_recorded(finished_run: Path, kept: set[str]) -> None:
    """The text after a step is the text before it without its spans."""
    before = {row["doc_id"]: row["text"] for row in sample_runs.rows(finished_run, "lines", "out")}
    after = {row["doc_id"]: row["text"] for row in sample_runs.rows(finished_run, "substring", "out")}
    spans = sample_runs.rows(finished_run, "substring", "spans")
    assert spans
    for span in spans:
        assert before[span["doc_id"]][span["start"] : span["end"]] == span["text"]
        assert len(after[span["doc_id"]]) < len(before[span["doc_id"]])
    untouched = kept - {span["doc_id"] for span in spans}
    assert all(after[doc_id] == before[doc_id] for doc_id in untouched)


def test_documents_point_to_the_refined_corpus(finished_run: Path) -> None:
    assert (finished_run / "documents").resolve() == (finished_run / "stages" / "substring" / "out").resolve()
    assert not list(finished_run.glob("stages/*/exchange"))
