"""Runs of two processes on the CPU (gloo). Each launch takes a few seconds, so there are few."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from corpusmill.core.errors import UserError
from corpusmill.training_hook import checkpoint
from corpusmill.training_hook.config import TrainConfig
from corpusmill.training_hook.launch import launch
from corpusmill.training_hook.parallel import World
from corpusmill.training_hook.train import train

from .conftest import ORDER_STEPS, TINY
from .runs import assert_fed_as_planned, losses

linux = pytest.mark.skipif(sys.platform != "linux", reason="finds child processes in /proc")
CONFIG = TrainConfig.of({**TINY, "steps": ORDER_STEPS, "checkpoint_every": 7})
# Another number of processes adds in another order. Relative: the first loss, and all of 40 steps at a high rate.
FIRST_TOLERANCE, WORLD_SIZE_TOLERANCE = 1e-6, 1e-3


@pytest.fixture(scope="module")
def two(order_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An uninterrupted run of two processes."""
    run = tmp_path_factory.mktemp("two") / "run"
    subprocess.run(["cp", "-r", order_folder, run], check=True)
    assert launch(str(run), CONFIG, 2, False) == 0
    return str(run)


def start(run: str) -> subprocess.Popen[str]:
    """`launch` of two processes in a process of its own."""
    code = (
        "import sys; from corpusmill.training_hook.config import TrainConfig;"
        "from corpusmill.training_hook.launch import launch;"
        "sys.exit(launch(sys.argv[1], TrainConfig.load(sys.argv[2]), 2, False))"
    )
    path = Path(run) / "config.json"
    path.write_text(CONFIG.model_dump_json())
    return subprocess.Popen([sys.executable, "-c", code, run, str(path)], stderr=subprocess.PIPE, text=True)


def wait_for_step(run: str, step: int) -> None:
    """Returns when the line of `step` is in the log of attempt 0."""
    log = Path(run) / "train" / "fed" / "attempt-00000.jsonl"
    deadline = time.monotonic() + 60
    while not log.exists() or log.read_text().count("\n") <= step:
        assert time.monotonic() < deadline
        time.sleep(0.002)


def children(pid: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_the_number_of_processes_does_not_change_what_is_fed(
    two: str, new_run: Callable[[], str], alone: World
) -> None:
    one = new_run()
    train(one, CONFIG, False, alone)
    for run in (one, two):
        assert_fed_as_planned(run)
        assert sorted(losses(run)) == list(range(ORDER_STEPS))
    assert losses(two)[0] == pytest.approx(losses(one)[0], rel=FIRST_TOLERANCE)
    assert list(losses(two).values()) == pytest.approx(list(losses(one).values()), rel=WORLD_SIZE_TOLERANCE)


def test_a_finished_run_is_not_started_again(two: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = (Path(two) / "train" / "lineage.json").read_bytes()
    assert launch(two, CONFIG, 2, True) == 0
    assert f"all {ORDER_STEPS} steps are done" in capsys.readouterr().err
    assert (Path(two) / "train" / "lineage.json").read_bytes() == before


@linux
def test_a_killed_process_then_resume_is_bitwise(two: str, new_run: Callable[[], str]) -> None:
    run = new_run()
    launcher = start(run)
    wait_for_step(run, random.randrange(1, 30))
    os.kill(random.choice(children(launcher.pid)), signal.SIGKILL)
    _, said = launcher.communicate(timeout=60)
    assert launcher.returncode == 3, said
    assert "SIGKILL" in said
    assert "--resume" in said
    assert launch(run, CONFIG, 2, True) == 0
    assert losses(run) == losses(two)
    before = losses(run, 0)
    assert 0 < len(before) < ORDER_STEPS
    assert before == {step: loss for step, loss in losses(two).items() if step in before}
    assert_fed_as_planned(run)


@linux
def test_processes_die_with_the_launcher_and_another_number_goes_on(
    two: str, new_run: Callable[[], str], alone: World
) -> None:
    run = new_run()
    launcher = start(run)
    wait_for_step(run, 8)
    workers = children(launcher.pid)
    launcher.kill()
    launcher.communicate()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert train(run, CONFIG, True, alone)
    assert_fed_as_planned(run)
    assert sorted(losses(run)) == list(range(ORDER_STEPS))
    assert list(losses(run).values()) == pytest.approx(list(losses(two).values()), rel=WORLD_SIZE_TOLERANCE)
    attempts = json.loads((Path(run) / "train" / "lineage.json").read_text())["attempts"]
    assert [a["world_size"] for a in attempts] == [2, 1]


def test_sigterm_saves_on_all_processes(two: str, new_run: Callable[[], str], alone: World) -> None:
    run = new_run()
    launcher = start(run)
    wait_for_step(run, 8)
    launcher.terminate()
    _, said = launcher.communicate(timeout=60)
    assert launcher.returncode == 3, said
    _, progress, _ = checkpoint.newest(checkpoint.folder(run))
    assert progress is not None
    assert progress.next_step == len(losses(run))
    assert f"stopped before step {progress.next_step} of {ORDER_STEPS}" in said
    assert losses(run) == {step: loss for step, loss in losses(two).items() if step < progress.next_step}


def test_a_refusal_comes_before_any_process(two: str) -> None:
    with pytest.raises(UserError, match="trained before"):
        launch(two, CONFIG, 2, False)
