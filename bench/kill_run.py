"""Kills runs at random moments and shows that every file of the result comes out the same.

    python bench/kill_run.py --recipe recipes/quickstart.yaml --runs 3 --seed 7
    python bench/kill_run.py --recipe recipes/refinedweb.yaml --input 'crawl/*.warc.gz' --runs 3

The recipe runs uninterrupted with 2 and with 1 workers. Then, `--runs` times, its command or one of its Ray workers
(by turns) is killed with SIGKILL at a random moment, and the same command is given again. Printed are, of each run,
one digest over all result files, the order root, and how many processes outlived a killed command for how long; with
--files also the SHA-256 of every file of the first run. Exit code 1 if any file of any run differs. No training.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_TABLES = ("out", "removed", "quarantine", "spans", "clusters", "shards")
RESULTS = (
    *(f"stages/*/{t}" for t in _TABLES),
    "history/*",
    "history/*/*",
    "tokenizer",
    "tokens",
    "tokens/documents",
    "held_out",
    "held_out/documents",
    "held_out/copies",
    "held_out/copies/documents",
    "order",
)
_TASK_NAMES = (
    "ray::run_document_job",
    "ray::run_corpus_job",
    "ray::encode_training",
    "ray::encode_held_out",
    "ray::encode_extra",
    "ray::_make_tokenizer",
    "ray::_make_order",
)
# Idle; they look for their lost head for a minute before they go.
_AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent", "dashboard/agent.py", "runtime_env/agent/main.py")
_POLL_SECONDS = 0.02
_LINGER_SECONDS = 60.0


def digests(run: Path) -> dict[str, str]:
    """SHA-256 of every result file of a run, by its path in the run."""
    files = sorted(p for pattern in RESULTS for p in run.glob(f"{pattern}/*") if p.is_file() and p.name[0] != ".")
    return {p.relative_to(run).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def order_root(run: Path) -> str:
    """The root of the run's order; "none" when the recipe has no order."""
    path = run / "order" / "order.json"
    return str(json.loads(path.read_text())["order_root"]) if path.exists() else "none"


@dataclass(frozen=True)
class Process:
    """A process as it is told apart from a later one with the same id."""

    pid: int
    parent: int
    started: str
    command: str

    @property
    def is_alive(self) -> bool:
        """Whether it is there and no zombie."""
        now = _process(self.pid)
        return now is not None and now.started == self.started


def _process(pid: int) -> Process | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, parent, *rest = stat.rpartition(")")[2].split()  # the name in parentheses may hold anything
    return None if state in "ZX" else Process(pid, int(parent), rest[17], command)


def descendants(pid: int) -> Iterator[Process]:
    """All living processes below `pid`."""
    found = (_process(int(p.name)) for p in Path("/proc").iterdir() if p.name.isdigit())
    children: dict[int, list[Process]] = {}
    for process in found:
        if process is not None:
            children.setdefault(process.parent, []).append(process)
    queue = [pid]
    while queue:
        below = children.get(queue.pop(), [])
        yield from below
        queue += [p.pid for p in below]


def busy_workers(pid: int) -> list[Process]:
    """Ray workers below `pid` that run a task of corpusmill now, by process id."""
    return sorted((p for p in descendants(pid) if p.command.startswith(_TASK_NAMES)), key=lambda p: p.pid)


def is_idle_agent(process: Process) -> bool:
    """Whether it is one of the two agents that Ray keeps beside its workers."""
    return any(name in process.command for name in _AGENTS)


@dataclass
class Killed:
    """What a kill left behind."""

    victim: str  # "" when the run ended before anything could be killed
    moment_seconds: float
    exit_code: int | None = None  # of the command whose worker was killed
    left_behind: list[str] = field(default_factory=list)  # processes that outlived the command by 0.5 s
    gone_after_seconds: float = 0.0  # when the last of them was gone but Ray's idle agents
    agents_left: int = 0


def start(arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    """Starts `corpusmill run` with `arguments`, in a process group of its own."""
    command = [sys.executable, "-m", "corpusmill", "run", *arguments, "--quiet"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)


def run_to_end(arguments: Sequence[str]) -> float:
    """Runs `corpusmill run` with `arguments`; seconds it took. Exits when it fails."""
    started = time.monotonic()
    process = start(arguments)
    _, errors = process.communicate()
    if process.returncode:
        sys.exit(f"the run failed with exit code {process.returncode}:\n{errors.decode()}")
    return time.monotonic() - started


def run_and_kill_command(arguments: Sequence[str], after_seconds: float) -> Killed:
    """Starts the run, kills the command with SIGKILL, and waits until its processes are gone."""
    process = start(arguments)
    _wait(process, after_seconds)
    family = list(descendants(process.pid))
    process.kill()
    process.communicate()
    killed = time.monotonic()
    outcome = Killed("command" if process.returncode == -signal.SIGKILL else "", after_seconds)
    time.sleep(0.5)
    outcome.left_behind = [p.command[:80] for p in family if p.is_alive]
    agents = [p for p in family if is_idle_agent(p)]
    others = [p for p in family if not is_idle_agent(p)]
    while any(p.is_alive for p in others) and time.monotonic() - killed < _LINGER_SECONDS:
        time.sleep(0.1)
    outcome.gone_after_seconds = time.monotonic() - killed
    outcome.agents_left = sum(p.is_alive for p in agents)
    return outcome


def run_and_kill_worker(arguments: Sequence[str], after_seconds: float, chance: random.Random) -> Killed:
    """Starts the run, kills one busy worker (the first that is seen from then on), and waits for the run to end."""
    process = start(arguments)
    _wait(process, after_seconds)
    started = time.monotonic()
    outcome = Killed("", after_seconds)
    while process.poll() is None:
        workers = busy_workers(process.pid)
        if workers:
            victim = chance.choice(workers)
            os.kill(victim.pid, signal.SIGKILL)
            outcome.victim = f"worker {victim.command}"
            outcome.moment_seconds += time.monotonic() - started
            break
        time.sleep(_POLL_SECONDS)
    process.communicate()
    outcome.exit_code = process.returncode
    return outcome


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


def _arguments(options: argparse.Namespace, run: Path, workers: int) -> list[str]:
    arguments = [options.recipe, "--out", str(run), "--workers", str(workers), "--set", "train=null"]
    for pattern in options.input:
        arguments += ["--input", pattern]
    for override in options.set:
        arguments += ["--set", override]
    return arguments


def _report(name: str, run: Path, reference: dict[str, str] | None, note: str) -> bool:
    """Prints one run; whether its files are those of `reference`."""
    files = digests(run)
    whole = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    print(f"{name:<12} {len(files)} files  sha256 {whole}  order {order_root(run)}  {note}", flush=True)
    if reference is None or files == reference:
        return True
    different = sorted(p for p in {*files, *reference} if files.get(p) != reference.get(p))
    print(f"  DIFFERENT: {len(different)} files: {', '.join(different[:10])}")
    return False


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--input", action="append", default=[], help="WARC files or a glob; repeat for more")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="overrides a recipe key")
    parser.add_argument("--runs", type=int, default=3, help="runs that are killed")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and victims")
    parser.add_argument("--files", action="store_true", help="print the digest of every file of the first run")
    parser.add_argument("--folder", help="where the runs are kept; default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kill-run-") as scratch:
        folder = Path(options.folder or scratch)
        sys.exit(0 if _compare(options, folder) else 1)


def _compare(options: argparse.Namespace, folder: Path) -> bool:
    chance = random.Random(options.seed)
    print(f"seed {options.seed}")
    first = folder / "two-workers"
    seconds = run_to_end(_arguments(options, first, 2))
    reference = digests(first)
    if options.files:
        for path, sha256 in reference.items():
            print(f"{sha256}  {path}")
    _report("2 workers", first, None, f"{seconds:.1f} s")
    one = folder / "one-worker"
    one_seconds = run_to_end(_arguments(options, one, 1))
    same = [_report("1 worker", one, reference, f"{one_seconds:.1f} s")]
    for number in range(options.runs):
        run = folder / f"killed-{number}"
        arguments = _arguments(options, run, 2)
        moment = seconds * chance.uniform(0.1, 0.95)
        while True:
            kill_command = number % 2 == 0
            killed = (
                run_and_kill_command(arguments, moment)
                if kill_command
                else run_and_kill_worker(arguments, moment, chance)
            )
            if killed.victim:
                break
            shutil.rmtree(run)  # too late: the run has ended
            moment /= 2
        note = f"exit code {killed.exit_code}"
        if kill_command:
            note = f"{len(killed.left_behind)} processes left after 0.5 s, all but {killed.agents_left} idle agents "
            note += f"gone after {killed.gone_after_seconds:.1f} s"
        run_to_end(arguments)
        note = f"{killed.victim} killed after {killed.moment_seconds:.1f} s; {note}"
        same.append(_report(f"killed {number}", run, reference, note))
    print("all runs are identical" if all(same) else "RUNS DIFFER")
    return all(same)


if __name__ == "__main__":
    main()
