"""kill -9 of the command and of a worker: the same command goes on and ends with the same bytes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import sample_runs
from sample_runs import kill_run

SEED = 20260901


def _arguments(run: Path) -> list[str]:
    return [sample_runs.RECIPE, "--out", str(run), "--workers", "2", "--set", "train=null"]


@pytest.fixture
def chance() -> random.Random:
    print(f"seed {SEED}")  # shown when a test fails
    return random.Random(SEED)


def test_a_killed_command_goes_on_where_it_stopped(tmp_path: Path, finished_run: Path, chance: random.Random) -> None:
    arguments = _arguments(tmp_path / "run")
    process = kill_run.start(arguments)
    events = tmp_path / "run" / "events.jsonl"
    wanted = chance.randrange(1, 60)  # of about 170 tasks
    while process.poll() is None and (not events.exists() or events.read_text().count('"event": "task"') < wanted):
        kill_run.time.sleep(0.01)
    family = list(kill_run.descendants(process.pid))
    process.kill()
    process.communicate()
    assert process.returncode == -9, "killed in the middle"
    assert not (tmp_path / "run" / "order" / "order.json").exists()
    done = sum(e["event"] == "task" for e in sample_runs.events(tmp_path / "run"))

    kill_run.run_to_end(arguments)
    assert sample_runs.digests(tmp_path / "run") == sample_runs.digests(finished_run)
    total = sum(e["event"] == "task" for e in sample_runs.events(tmp_path / "run"))
    straight = sum(e["event"] == "task" for e in sample_runs.events(finished_run))
    assert done >= wanted
    assert total <= straight + 40, "what was committed is not done again"
    # Ray's two idle agents wait a minute for their lost head; whatever works or holds data is gone at once.
    assert [p.command for p in family if p.is_alive and not kill_run.is_idle_agent(p)] == []


def test_a_killed_worker_is_replaced(tmp_path: Path, finished_run: Path, chance: random.Random) -> None:
    killed = kill_run.run_and_kill_worker(_arguments(tmp_path / "run"), 0.0, chance)
    assert killed.victim.startswith("worker ray::run_document_job")
    assert killed.exit_code == 0
    assert sample_runs.digests(tmp_path / "run") == sample_runs.digests(finished_run)
