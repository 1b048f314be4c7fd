"""Rounds that are run until nothing changes: the tasks of the engine, their exchange, a kill at any task."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest
from looping_steps import Endless, Peel, peeled
from step_runs import TEXTS, InProcess, Killed, refine, run_of

from corpusmill.core.artifacts import Counts, StageFolder, Tally
from corpusmill.core.documents import QUARANTINE, REMOVAL, scores_schema, table_of
from corpusmill.core.errors import InternalError
from corpusmill.pipeline import exchange
from corpusmill.pipeline.chain import Chain, Step
from corpusmill.pipeline.registry import CORPUS_STEPS


@pytest.fixture(autouse=True)
def steps(monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (Peel, Endless):
        monkeypatch.setitem(CORPUS_STEPS, step.name, step)


def bytes_of(run: Path, step: str = "peel") -> dict[str, str]:
    files = [p for p in (run / "stages" / step).rglob("*") if p.is_file()]
    return {str(p.relative_to(run)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_the_engine_takes_the_turns_that_the_local_runner_takes(tmp_path: Path) -> None:
    engine = InProcess()
    chain = run_of(tmp_path, "peel", 2, 3)
    refine(chain, engine)
    kept = [text for shard in chain.shards for text in chain.kept(1, shard.name).column("text").to_pylist()]
    left = peeled(TEXTS)
    assert sorted(kept) == sorted(text for text, rest in zip(TEXTS, left, strict=True) if rest)
    assert engine.ran[:8] == [
        "peel: map peel map s0",
        "peel: map peel map s1",
        "peel: round 0 peel round 0.0 partition 0",
        "peel: round 0 peel round 0.0 partition 1",
        "peel: round 0 peel round 0.0 partition 2",
        "peel: round 1 peel round 1.0 partition 0",
        "peel: round 1 peel round 1.0 partition 1",
        "peel: round 0, turn 1 peel round 0.1 partition 0",
    ]
    assert engine.ran[-2:] == ["peel: apply peel apply s0", "peel: apply peel apply s1"]
    assert not (tmp_path / "stages" / "peel" / "exchange").exists()


def test_a_run_that_is_killed_at_any_task_goes_on_inside_the_loop(tmp_path: Path) -> None:
    whole = InProcess()
    refine(run_of(tmp_path / "whole", "peel", 2, 2), whole)
    expected = bytes_of(tmp_path / "whole")
    assert any("turn 2" in task for task in whole.ran)
    for last in range(1, len(whole.ran), 4):
        chain = run_of(tmp_path / str(last), "peel", 2, 2)
        first, second = InProcess(last), InProcess()
        with pytest.raises(Killed):
            refine(chain, first)
        refine(chain, second)
        assert first.ran + second.ran == whole.ran, "no task is done again"
        assert bytes_of(tmp_path / str(last)) == expected


def test_results_do_not_depend_on_partitions(tmp_path: Path) -> None:
    found = []
    for partitions in (1, 5):
        run = tmp_path / str(partitions)
        refine(run_of(run, "peel", 3, partitions), InProcess())
        found.append({p: d for p, d in bytes_of(run).items() if "/removed/" in p or "/out/" in p})
    assert found[0] == found[1]


def test_an_endless_loop_stops_with_an_error(tmp_path: Path) -> None:
    with pytest.raises(InternalError, match="endless does not come to an end"):
        refine(run_of(tmp_path, "endless", 1, 1), InProcess())


def test_what_a_task_reports_is_in_its_file(tmp_path: Path) -> None:
    chain = run_of(tmp_path, "peel", 1, 1)
    with pytest.raises(Killed):
        refine(chain, InProcess(2))
    files = sorted((tmp_path / "stages" / "peel" / "exchange").glob("*/*.chunks"))
    assert [(file.parent.name, exchange.reported(str(file))) for file in files] == [("0.0", 2), ("map", 0)]
    assert StageFolder(str(tmp_path), "peel").manifest("s0") is None


CHAIN = [" ".join(f"word{i}" for i in range(n * 10, n * 10 + 200)) for n in random.Random(1).sample(range(24), 24)]


def test_components_in_one_task_or_by_stars_give_the_same_bytes_after_any_kill(tmp_path: Path) -> None:
    one = InProcess()
    refine(run_of(tmp_path / "one", "minhash", 2, 5, CHAIN, bands=8, rows=2), one)
    expected = bytes_of(tmp_path / "one", "minhash")
    stars = InProcess()
    refine(run_of(tmp_path / "stars", "minhash", 2, 5, CHAIN, bands=8, rows=2, max_edges=0), stars)
    assert not any("turn 1" in task for task in one.ran)
    assert any("turn 1" in task for task in stars.ran)
    for last in range(3, len(stars.ran), 9):
        chain = run_of(tmp_path / str(last), "minhash", 2, 5, CHAIN, bands=8, rows=2, max_edges=0)
        first, second = InProcess(last), InProcess()
        with pytest.raises(Killed):
            refine(chain, first)
        refine(chain, second)
        assert first.ran + second.ran == stars.ran
        found = bytes_of(tmp_path / str(last), "minhash")
        assert {p: d for p, d in found.items() if not p.endswith("minhash/manifest.json")} == {
            p: d for p, d in expected.items() if not p.endswith("minhash/manifest.json")
        }, "the manifest holds the config, max_edges too"


def test_the_best_is_what_the_classifier_scored_best(tmp_path: Path) -> None:
    text = " ".join(f"word{i}" for i in range(100))
    chain = run_of(tmp_path, "minhash", 2, 2, [text, text + "!", text, text + "!!", "other words"], keep="best")
    classifier = Step("classifier", False, {"model": "m.bin", "threshold": 0.0}, "classifier", False)
    chain = Chain(chain.run, (chain.steps[0], classifier, chain.steps[1]), chain.shards)
    scores = {"a.warc.gz:000": 0.25, "a.warc.gz:001": float("nan"), "a.warc.gz:002": 0.75, "a.warc.gz:003": 0.5}
    for shard in chain.shards:
        table = chain.kept(0, shard.name, ["doc_id", "language"])
        rows = [
            {**row, "characters": 1, "has_model": 1.0, "classifier_score": scores.get(row["doc_id"], 0.0)}
            for row in reversed(table.to_pylist())
        ]
        made = {
            "removed": table_of([], REMOVAL),
            "scores": table_of(rows, scores_schema(("has_model", "classifier_score"))),
        }
        counts = Counts(into=Tally(documents=len(rows)), kept=Tally(documents=len(rows)))
        quarantine = table_of([], QUARANTINE)
        chain.folder(1).commit(shard.name, chain.fingerprint(1, shard), {**made, "quarantine": quarantine}, counts)
    refine(chain, InProcess())
    kept = [i for s in chain.shards for i in chain.kept(2, s.name, ["doc_id"]).column("doc_id").to_pylist()]
    assert sorted(kept) == ["a.warc.gz:002", "a.warc.gz:004"]


# Pass 1 brings together what pass 2 finds: the shared passage stood inside another one.
_OUTER = [f"outer{i}" for i in range(8)]
_INNER = [f"inner{i}" for i in range(12)]
PASSAGES = [
    " ".join(
        [*(f"own{n}x{i}" for i in range(20)), *_INNER[:6], *_OUTER, *_INNER[6:], *(f"end{n}x{i}" for i in range(9))]
    )
    for n in range(4)
] + [" ".join([*(f"own{n}x{i}" for i in range(20)), *_INNER]) for n in range(4, 6)]


def test_substring_goes_on_inside_every_phase(tmp_path: Path) -> None:
    """Killed after the first task of every phase; phases of one task are killed before it instead."""
    settings = {"min_words": 8, "passes": 3}
    whole = InProcess()
    refine(run_of(tmp_path / "whole", "substring", 3, 4, PASSAGES, **settings), whole)
    expected = bytes_of(tmp_path / "whole", "substring")
    phases = [task.partition(" substring ")[0] for task in whole.ran]
    assert any("turn 1" in phase for phase in phases)
    for phase in dict.fromkeys(phases):
        last = phases.index(phase) + (phases.count(phase) > 1)
        chain = run_of(tmp_path / str(last), "substring", 3, 4, PASSAGES, **settings)
        first, second = InProcess(last), InProcess()
        with pytest.raises(Killed):
            refine(chain, first)
        refine(chain, second)
        assert first.ran + second.ran == whole.ran, "no task is done again"
        assert bytes_of(tmp_path / str(last), "substring") == expected
