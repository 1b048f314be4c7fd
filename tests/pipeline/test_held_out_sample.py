"""The held-out split on the sample crawl, whose copies are planted, for any number of workers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import sample_runs
from sample_runs import CORPUS_STEPS, DOCUMENT_STAGES, PRODUCTS

from corpusmill.core import storage
from corpusmill.core.urls import dedup_key
from corpusmill.pipeline.status import status
from corpusmill.pipeline.verify import verify_run
from corpusmill.tokenize.held_out import HeldOutConfig

CONFIG = HeldOutConfig(key="corpusmill", share="1/10")


def doc_ids(run: Path, folder: str) -> set[str]:
    return set(storage.read_parquet(str(run / folder / "documents.parquet"), ["doc_id"]).column("doc_id").to_pylist())


def test_only_the_products_are_made_anew(split_run: Path, finished_run: Path) -> None:
    before, after = sample_runs.digests(finished_run), sample_runs.digests(split_run)
    steps = tuple(f"stages/{name}/" for name in (*DOCUMENT_STAGES, *CORPUS_STEPS, "tokenizer"))
    kept = {path: digest for path, digest in before.items() if path.startswith((*steps, "history/", "tokenizer/"))}
    assert {path: digest for path, digest in after.items() if path in kept} == kept
    assert len(kept) > 80
    assert after["tokens/documents.parquet"] != before["tokens/documents.parquet"]
    assert [s.name for s in status(str(split_run)).stages][-4:] == [PRODUCTS[0], "held_out", *PRODUCTS[1:]]


def test_no_planted_copy_of_a_chosen_page_is_trained_on(split_run: Path) -> None:
    """Every article is left once: where a page of it is chosen and was a copy like any other, none is trained on."""
    training, held_out, copies = (doc_ids(split_run, f) for f in ("tokens", "held_out", "held_out/copies"))
    entered = {r["doc_id"]: r for r in sample_runs.rows(split_run, "lines", "out")}
    assert {d for d in training | held_out | copies if CONFIG.is_chosen(d)} == held_out
    truth = sample_runs.truth(split_run)

    def article(doc_id: str) -> tuple[str, str] | None:
        page = truth[doc_id]
        return (page["language"], page["source"]) if page["source"] and page["kind"] != "copied_passage" else None

    chosen = {article(d) for d in entered if CONFIG.is_chosen(d)} - {None}
    assert len(chosen) > 10
    assert not chosen & {article(d) for d in training}
    assert len(copies) >= 5
    for column in ("content_hash", "url"):
        values = {d: dedup_key(r["url"]) if column == "url" else r[column] for d, r in entered.items()}
        assert not {values[d] for d in held_out} & {values[d] for d in training}


def test_kept_is_trained_on_held_out_or_copied(split_run: Path) -> None:
    parts = [doc_ids(split_run, f) for f in ("tokens", "held_out", "held_out/copies")]
    kept = {row["doc_id"] for row in sample_runs.rows(split_run, "substring", "out")}
    assert set().union(*parts) == kept
    assert sum(map(len, parts)) == len(kept)
    state = status(str(split_run))
    assert state.held_out is not None
    stages = {stage.name: stage.counts for stage in state.stages}
    assert stages["held_out"].into == stages["substring"].kept
    assert stages["tokens"].into == stages["order"].into == stages["held_out"].kept
    assert state.held_out["training"] == stages["tokens"].kept.model_dump()


def test_cluster_ids_are_those_of_what_went_for_the_document(split_run: Path, finished_run: Path) -> None:
    removed = sample_runs.rows(finished_run, "minhash", "removed")
    clusters = {row["twin"]: row["detail"] for row in removed}
    for run, folders in ((finished_run, ["tokens"]), (split_run, ["tokens", "held_out", "held_out/copies"])):
        seen = 0
        for folder in folders:
            table = storage.read_parquet(str(run / folder / "documents.parquet"), ["doc_id", "cluster_id"])
            for row in table.to_pylist():
                assert row["cluster_id"] == clusters.get(row["doc_id"])
                seen += row["cluster_id"] is not None
        assert seen == len(clusters) > 5


@pytest.mark.parametrize("workers", [1, 4])
def test_same_bytes_for_any_number_of_workers(
    split_run: Path, finished_run: Path, tmp_path: Path, workers: int
) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run", symlinks=True))
    sample_runs.split(run, workers)
    assert sample_runs.digests(run) == sample_runs.digests(split_run)


def test_verify_proves_it(split_run: Path) -> None:
    chain = sample_runs.chain(split_run)
    checks = verify_run(str(split_run), sample_runs.load("held_out={key: corpusmill, share: 1/10}"), chain, "full", 0)
    assert [check.name for check in checks if not check.ok] == []
    assert {check.name for check in checks if check.name.startswith("held-out")} == {
        "held-out split", "held-out files", "held-out copies", "held-out documents",
    }  # fmt: skip
