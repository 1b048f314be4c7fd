"""What the benchmarks against a peer share: one core for both sides, fresh processes, CPU of children, agreement."""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import resource
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

PEERS = Path(__file__).resolve().parent / "peers"
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "crawl"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "corpusmill" / "bench"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

Result = TypeVar("Result")


def use_one_core(core: int) -> None:
    """Ties this process and all that it starts from now on to one core, and libraries to one thread."""
    os.sched_setaffinity(0, {core})
    for name in _THREADS:
        os.environ[name] = "1"


def machine() -> str:
    """The machine in words: processor, cores that it has, cores used here, load at the moment."""
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    return (
        f"{model or platform.machine()}, {os.cpu_count()} cores, {len(os.sched_getaffinity(0))} used, "
        f"load {os.getloadavg()[0]:.1f}"
    )


def in_fresh_process(function: Callable[..., Result], *arguments: Any) -> Result:
    """`function(*arguments)` in a process that has seen no other text, as stages remember what they saw last."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def run_peer(python: Path, script: str, *arguments: object) -> dict[str, Any]:
    """Runs a script of bench/peers with the peer's Python; the JSON that it prints."""
    command = [str(python), str(PEERS / script), *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def cpu_seconds() -> float:
    """CPU time of this process and all its children, those that live included (to 10 ms)."""
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    tick = os.sysconf("SC_CLK_TCK")
    for thread in Path("/proc/self/task").iterdir():
        for pid in (thread / "children").read_text().split():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / tick
    return total


@dataclass
class Agreement:
    """How two sides judged the same documents."""

    both: int = 0
    only_ours: int = 0
    only_theirs: int = 0
    neither: int = 0

    def add(self, ours: bool, theirs: bool) -> None:
        """Counts one document: whether each side removes it."""
        if ours:
            self.both += theirs
            self.only_ours += not theirs
        else:
            self.only_theirs += theirs
            self.neither += not theirs

    @property
    def share(self) -> float:
        """Share of the documents on which both say the same."""
        total = self.both + self.only_ours + self.only_theirs + self.neither
        return (self.both + self.neither) / total if total else 1.0

    def cells(self) -> list[str]:
        """both, only ours, only theirs, agreement; for a row of `table`."""
        return [str(self.both), str(self.only_ours), str(self.only_theirs), f"{100 * self.share:.2f} %"]


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, text_columns: int = 1) -> str:
    """A Markdown table; all columns but the first `text_columns` are right-aligned."""
    rule = ["---" if i < text_columns else "---:" for i in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))
