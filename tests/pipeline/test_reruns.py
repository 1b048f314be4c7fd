"""What is run again and what is not: resume, changed settings, other workers, partitions and slices, error budgets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sample_runs
from sample_runs import CORPUS_STEPS, DOCUMENT_STAGES, PRODUCTS
from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, pre_tokenizers, trainers

from corpusmill.core import storage
from corpusmill.core.artifacts import Counts, Tally
from corpusmill.core.errors import ErrorBudgetExceeded, UserError
from corpusmill.pipeline.recipe import ErrorBudget
from corpusmill.pipeline.refine import check_budget
from corpusmill.pipeline.runner import Selection, rerun_stage
from corpusmill.pipeline.status import status
from corpusmill.tokenize.tokenizer import Tokenizer

STAGES = DOCUMENT_STAGES + CORPUS_STEPS
EARLIER = STAGES[: STAGES.index("quality")]
LATER = STAGES[STAGES.index("quality") + 1 :] + PRODUCTS


def _inodes(run: Path, stages: list[str]) -> dict[str, tuple[int, int]]:
    """Inode and time of every shard file of the stages."""
    files = [p for s in stages for p in (run / "stages" / s).glob("*/*") if p.is_file()]
    assert files
    return {str(p): (p.stat().st_ino, p.stat().st_mtime_ns) for p in files}


def _states(run: Path) -> dict[str, str]:
    return {stage.name: stage.state for stage in status(str(run)).stages}


def _tasks(run: Path) -> list[str]:
    return [event["stage"] for event in sample_runs.events(run) if event["event"] == "task"]


def test_resuming_a_finished_run_runs_no_task(copied_run: Path) -> None:
    before, inodes = _tasks(copied_run), _inodes(copied_run, STAGES + PRODUCTS)
    sample_runs.run(copied_run)
    assert _tasks(copied_run) == before
    assert _inodes(copied_run, STAGES + PRODUCTS) == inodes
    assert [e["event"] for e in sample_runs.events(copied_run)][-2:] == ["start", "end"]


def test_a_changed_threshold_reruns_its_stage_and_those_after_it(copied_run: Path, finished_run: Path) -> None:
    original = sample_runs.digests(finished_run)
    earlier = _inodes(copied_run, EARLIER)
    before = len(_tasks(copied_run))

    stale = rerun_stage(str(copied_run), "quality", ["stages.quality.min_words=120"], quiet=True)
    assert stale == LATER
    states = _states(copied_run)
    assert {n: s for n, s in states.items() if s != "done"} == dict.fromkeys(LATER, "stale")
    assert set(_tasks(copied_run)[before:]) == {"quality"}

    sample_runs.run(copied_run, "stages.quality.min_words=120")
    assert set(_states(copied_run).values()) == {"done"}
    assert not set(_tasks(copied_run)[before:]) & set(EARLIER)
    assert _inodes(copied_run, EARLIER) == earlier
    removed = sample_runs.rows(copied_run, "quality", "removed")
    assert {r["threshold"] for r in removed if r["rule"] == "words_min"} == {120.0}
    changed = sample_runs.digests(copied_run)
    assert changed != original
    assert all(changed[p] == d for p, d in original.items() if p.split("/")[1] in EARLIER)

    sample_runs.run(copied_run)
    assert sample_runs.digests(copied_run) == original
    assert _inodes(copied_run, EARLIER) == earlier


def test_a_damaged_shard_is_made_again_alone(copied_run: Path, finished_run: Path) -> None:
    victim = sorted((copied_run / "stages" / "language" / "out").iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:-1])
    assert _states(copied_run)["language"] == "partial"
    before, events = len(_tasks(copied_run)), len(sample_runs.events(copied_run))
    sample_runs.run(copied_run)
    assert set(_tasks(copied_run)[before:]) <= set(DOCUMENT_STAGES[DOCUMENT_STAGES.index("language") :])
    assert {e["task"] for e in sample_runs.events(copied_run)[events:] if e["event"] == "task"} == {victim.stem}
    assert sample_runs.digests(copied_run) == sample_runs.digests(finished_run)


def test_a_lost_table_of_the_tokens_is_made_again(copied_run: Path, finished_run: Path) -> None:
    (copied_run / "tokens" / "documents.parquet").unlink()
    assert _states(copied_run)["order"] == "stale"
    sample_runs.run(copied_run)
    assert sample_runs.digests(copied_run) == sample_runs.digests(finished_run)


def test_a_tokenizer_json_makes_tokens_order_and_texts(copied_run: Path, tmp_path: Path) -> None:
    library = Library(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|fin|>"], initial_alphabet=alphabet, show_progress=False
    )
    library.train_from_iterator(["the river and the mill"] * 5, trainer)
    path = tmp_path / "tokenizer.json"
    library.save(str(path))
    inodes = _inodes(copied_run, STAGES)
    sample_runs.run(copied_run, f"tokenizer.model={path}", "tokenizer.eos_token=<|fin|>")
    assert _inodes(copied_run, STAGES) == inodes
    assert set(_states(copied_run).values()) == {"done"}
    kept = (copied_run / "tokens" / "tokenizer.model").read_bytes()
    assert kept == (copied_run / "tokenizer" / "tokenizer.model").read_bytes()
    tokenizer = Tokenizer(kept, "x")
    assert tokenizer.codec.kind == "Hugging Face"
    texts = [row["text"] for file in sorted((copied_run / "documents").iterdir()) for row in _rows_of(file)]
    ids = np.concatenate([np.fromfile(file, "<u2") for file in sorted((copied_run / "tokens").glob("*.bin"))])
    ends = np.flatnonzero(ids == tokenizer.eos_id)
    assert [tokenizer.decode(part[part != tokenizer.eos_id]) for part in np.split(ids, ends + 1)[:-1]] == texts


def _rows_of(file: Path) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = storage.read_parquet(str(file), ["text"]).to_pylist()
    return rows


def test_a_stage_cannot_start_before_the_one_it_follows(copied_run: Path) -> None:
    with pytest.raises(UserError, match="`lines` cannot start: `quality` before it"):
        rerun_stage(str(copied_run), "lines", ["stages.quality.min_words=120"], quiet=True)
    with pytest.raises(UserError, match="`order` cannot start: `tokenizer` before it"):
        sample_runs.run(copied_run, "tokenizer.vocab_size=3000", selection=Selection("order", "order"))
    with pytest.raises(UserError, match="no such stage") as caught:
        rerun_stage(str(copied_run), "qualty", [], quiet=True)
    assert "quality" in caught.value.remedy


def test_an_error_budget_of_zero_stops_the_run(tmp_path: Path, ray_session: None) -> None:
    overrides = ["error_budget.records=0", "error_budget.percent=0"]
    with pytest.raises(ErrorBudgetExceeded, match=r"stage warc quarantined \d of the first \d+ documents") as caught:
        sample_runs.run(tmp_path / "run", *overrides, selection=Selection(last="url_filter"))
    assert caught.value.exit_code == 1
    assert "gzip_damaged" in str(caught.value) or "truncated" in str(caught.value)
    assert sample_runs.events(tmp_path / "run")[-1]["event"] == "failed"


def test_slices_do_not_change_the_corpus(tmp_path: Path, finished_run: Path, ray_session: None) -> None:
    """One slice a file against three: the same pages with the same texts; only their order in files differs."""
    selection = Selection(last="substring")
    sample_runs.run(tmp_path / "run", "stages.warc.slice_bytes=67108864", selection=selection)
    whole, cut = sample_runs.chain(tmp_path / "run"), sample_runs.chain(finished_run)
    assert len(whole.shards) == 4 < len(cut.shards)
    texts = [
        {(row["doc_id"], row["text"]) for row in sample_runs.rows(run, "substring", "out")}
        for run in (tmp_path / "run", finished_run)
    ]
    assert texts[0] == texts[1]


def test_workers_and_partitions_do_not_change_a_byte(tmp_path: Path, finished_run: Path) -> None:
    partitions = [f"stages.{step}.partitions={n}" for n, step in enumerate(CORPUS_STEPS, 2)]
    settings = [*partitions, "stages.minhash.max_edges=0"]
    arguments = [part for setting in settings for part in ("--set", setting)]
    done = sample_runs.command(
        "run", sample_runs.RECIPE, "--out", tmp_path / "run", "--workers", "1", "--set", "train=null", *arguments
    )
    assert done.returncode == 0, done.stderr
    assert sample_runs.digests(tmp_path / "run") == sample_runs.digests(finished_run)
    roots = [sample_runs.kill_run.order_root(run) for run in (tmp_path / "run", finished_run)]
    assert roots[0] == roots[1] != "none"


def test_the_budget_stops_a_run_early_only_when_nothing_could_mend_it() -> None:
    budget = ErrorBudget(records=10, percent=1.0)
    counts = Counts(
        into=Tally(documents=1000), kept=Tally(documents=985), quarantined={"gzip_damaged": Tally(documents=15)}
    )
    check_budget("warc", counts, budget, expected=2000.0)  # 15 of 2,000 would be within 1 %
    with pytest.raises(ErrorBudgetExceeded, match="gzip_damaged"):
        check_budget("warc", counts, budget, expected=1400.0)
    with pytest.raises(ErrorBudgetExceeded):
        check_budget("warc", counts, budget)
