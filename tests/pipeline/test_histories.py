"""Two snapshots, the second against the history of the first: half of the sample crawl each."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import sample_runs

from corpusmill.core.errors import ConfigError, InputError
from corpusmill.core.urls import dedup_key
from corpusmill.pipeline.chain import Chain
from corpusmill.pipeline.copies import copies
from corpusmill.pipeline.explain import explain
from corpusmill.pipeline.runner import Selection
from corpusmill.pipeline.status import status
from corpusmill.pipeline.verify import verify_run

KEYED = ["url_dedup", "exact_dedup"]
STEPS = [*KEYED, "minhash", "substring"]
SHORT = ["tokenizer=null", "order=null", f"history_steps=[{', '.join(STEPS)}]"]


def snapshot(folder: Path, crawl: Path, halves: str, *overrides: str, selection: Selection | None = None) -> None:
    """Runs the chain, without products, on the files of `crawl` whose numbers are in `halves`."""
    files = [str(path) for path in sorted(crawl.glob("*.warc.gz")) if path.name[-9] in halves]
    assert len(files) == 2
    sample_runs.run(folder, *SHORT, f"crawl=half-{halves}", f"input={files}", *overrides, selection=selection)


@pytest.fixture(scope="module")
def crawl(finished_run: Path) -> Path:
    return finished_run / "input"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, crawl: Path, ray_session: None) -> Path:
    folder = tmp_path_factory.mktemp("first") / "run"
    snapshot(folder, crawl, "01")
    return folder


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory, crawl: Path, first: Path, ray_session: None) -> Path:
    folder = tmp_path_factory.mktemp("second") / "run"
    snapshot(folder, crawl, "23", f"history=[{first}]")
    return folder


def entering(run: Path, stage: str) -> list[dict[str, Any]]:
    """Documents that entered a corpus step, with their texts."""
    gone = [r["doc_id"] for s in STEPS[: STEPS.index(stage)] for r in sample_runs.rows(run, s, "removed")]
    return [row for row in sample_runs.rows(run, "lines", "out") if row["doc_id"] not in gone]


def files(run: Path) -> dict[str, bytes]:
    """The history of a run."""
    return {str(p.relative_to(run)): p.read_bytes() for p in (run / "history").rglob("*") if p.is_file()}


def tasks(run: Path) -> list[str]:
    return [event["task"] for event in sample_runs.events(run) if event["event"] == "task"]


@pytest.mark.parametrize("stage", KEYED)
def test_what_an_earlier_snapshot_kept_goes_from_the_later(first: Path, second: Path, stage: str) -> None:
    def key(row: dict[str, Any]) -> str:
        return dedup_key(row["url"]) if stage == "url_dedup" else str(row["text"])

    gone_before = {row["doc_id"] for row in sample_runs.rows(first, stage, "removed")}
    known = {key(row): row["doc_id"] for row in entering(first, stage) if row["doc_id"] not in gone_before}
    removed = {row["doc_id"]: row for row in sample_runs.rows(second, stage, "removed")}
    kept_keys: list[str] = []
    from_history = 0
    for row in entering(second, stage):
        if key(row) in known:
            from_history += 1
            assert removed[row["doc_id"]]["twin"] == known[key(row)]
            assert removed[row["doc_id"]]["twin_history"].startswith("half-01@")
        elif row["doc_id"] not in removed:
            kept_keys.append(key(row))
        else:
            assert removed[row["doc_id"]]["twin_history"] is None
    assert from_history > 5
    assert len(kept_keys) == len(set(kept_keys))


def test_near_copies_of_what_an_earlier_snapshot_kept_go(first: Path, second: Path) -> None:
    entered = {row["doc_id"] for row in entering(first, "minhash")}
    kept = entered - {row["doc_id"] for row in sample_runs.rows(first, "minhash", "removed")}
    known = [row for row in sample_runs.rows(second, "minhash", "removed") if row["twin_history"]]
    assert len(known) > 5
    for row in known:
        assert row["twin"] in kept
        assert row["value"] >= 0.7
        assert row["twin_history"].startswith("half-01@")


def test_passages_of_an_earlier_snapshot_are_cut(first: Path, second: Path) -> None:
    old = " ".join(word for row in entering(first, "substring") for word in row["text"].split())
    cut = sample_runs.rows(second, "substring", "spans")
    known = [span for span in cut if " ".join(span["text"].split()) in old]
    assert known
    published = " ".join(word for row in sample_runs.rows(second, "substring", "out") for word in row["text"].split())
    assert not [
        span for span in known if len(span["text"].split()) >= 50 and " ".join(span["text"].split()) in published
    ]


def test_removals_and_lives_name_the_history(second: Path) -> None:
    (row, *_) = [r for r in sample_runs.rows(second, "exact_dedup", "removed") if r["twin_history"]]
    life = explain(sample_runs.chain(second), row["doc_id"])
    assert (life.fates[-1].twin, life.fates[-1].twin_history) == (row["twin"], row["twin_history"])
    of_twin = copies(sample_runs.chain(second), row["twin"], 100)
    assert row["doc_id"] in [copy.doc_id for copy in of_twin.listed]


def test_the_history_is_verified(second: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(second, tmp_path / "run", symlinks=True))
    chain = sample_runs.chain(run)
    names = [f"history {step}" for step in STEPS]

    def checks() -> dict[str, bool]:
        found = verify_run(str(run), sample_runs.load(*SHORT), chain, "full", 0)
        return {check.name: check.ok for check in found if check.name in names}

    assert checks() == dict.fromkeys(names, True)
    (run / "history" / "minhash" / "survivors" / "00000.parquet").write_bytes(b"")
    (run / "history" / "substring" / "windows" / "00000.parquet").unlink()
    (part,) = (run / "history" / "exact_dedup" / "keys").iterdir()
    data = part.read_bytes()
    part.write_bytes(data[:50] + bytes([data[50] ^ 1]) + data[51:])
    (run / "history" / "url_dedup" / "manifest.json").unlink()
    assert checks() == dict.fromkeys(names, False)


def test_a_lost_history_is_made_again_with_the_same_bytes(second: Path, crawl: Path, first: Path) -> None:
    """Also where the exchange is long gone; the stage itself is not run again."""
    before, done = files(second), len(tasks(second))
    assert {name.split("/")[1] for name in before} == set(STEPS)
    shutil.rmtree(second / "history" / "url_dedup")
    (second / "history" / "minhash" / "manifest.json").unlink()  # as a kill among the parts leaves it
    (second / "history" / "minhash" / "survivors" / "00000.parquet").write_bytes(b"torn")
    (second / "history" / "minhash" / "survivors" / "00001.parquet").write_bytes(b"of other documents")
    snapshot(second, crawl, "23", f"history=[{first}]")
    assert files(second) == before
    assert {task.split()[1] for task in tasks(second)[done:]} == {"history"}


def test_a_moved_history_is_the_same_one(second: Path, crawl: Path, first: Path, tmp_path: Path) -> None:
    exported = Path(shutil.copytree(first / "history", tmp_path / "exported"))
    done = len(tasks(second))
    snapshot(second, crawl, "23", f"history=[{exported}]")
    assert len(tasks(second)) == done
    shutil.rmtree(exported)
    assert status(str(second)).state == "done"  # what is there can be read without it
    with pytest.raises(InputError, match="no history"):
        snapshot(second, crawl, "23", f"history=[{exported}]")


def test_a_history_touches_the_steps_that_look_into_it(first: Path, second: Path) -> None:
    chain = sample_runs.chain(second)
    recipe = sample_runs.load(*SHORT, "crawl=half-23")
    without = Chain.of(str(second), recipe, chain.shards)
    differ = [a.name for a, b in zip(chain.steps, without.steps, strict=True) if a.fingerprint != b.fingerprint]
    assert differ == STEPS
    assert [step.name for step in chain.steps if step.remembers] == STEPS


def test_mistakes_are_refused(tmp_path: Path, crawl: Path, first: Path) -> None:
    with pytest.raises(ConfigError, match="its own history"):
        snapshot(first, crawl, "01", f"history=[{first}]")
    with pytest.raises(ConfigError, match="no step of the recipe"):
        snapshot(tmp_path, crawl, "23", f"history=[{first}]", "history_steps=[]")
    with pytest.raises(ConfigError, match="unknown recipe key") as caught:
        sample_runs.load("history_steps=[urldedup]")
    assert "did you mean `url_dedup`" in caught.value.remedy


def test_a_history_that_is_not_asked_for_goes(tmp_path: Path, crawl: Path, first: Path) -> None:
    run = Path(shutil.copytree(first, tmp_path / "run", symlinks=True))
    done = len(tasks(run))
    snapshot(run, crawl, "01", "history_steps=[exact_dedup]")
    assert sorted(p.name for p in (run / "history").iterdir()) == ["exact_dedup"]
    assert len(tasks(run)) == done
