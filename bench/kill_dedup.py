"""Dedup for any number of workers and partitions, and killed in every phase: every file of the result is the same.

    python bench/kill_dedup.py [--size 20000] [--kill worker command]

Documents: those of bench/scale_corpus.py (bench/dedup_scale.py says where they come from). `minhash` and `substring`
run over them by the engine

- with 1, 2 and 4 workers, with 8 and 64 partitions, and with the components found by stars (`max_edges: 0`);
- for every phase (`map`, every turn of every round, `apply`) with a Ray worker killed by SIGKILL while it works on it;
- for every phase with the whole command killed by SIGKILL when half of the phase's tasks were done (in phases of one
  task: while it runs); then the command is given again and goes on inside the phase.

Printed are, of each run, one digest over all survivors, removals, cuts, cluster tables and manifests, and whom the kill
met. The phases are those of the run with stars. --kill chooses
whom to kill. Exit code 1 if any file of any run differs, or a kill met nobody.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dedup_truth import sample
from kill_run import busy_workers, digests
from scale_corpus import Corpus, chain_of, prepare, shards_of
from side_by_side import CACHE, DATA

from corpusmill.pipeline import recipe
from corpusmill.pipeline.chain import Chain
from corpusmill.pipeline.corpus_tasks import CorpusJob
from corpusmill.pipeline.engine import Engine
from corpusmill.pipeline.events import EventLog
from corpusmill.pipeline.progress import Reporter
from corpusmill.pipeline.refine import Refinery

Settings = dict[str, dict[str, Any]]
DEFAULT: Settings = {"minhash": {}, "substring": {}}
BY_STARS: Settings = {"minhash": {"max_edges": 0, "partitions": 8}, "substring": {"partitions": 8}}
_POLL_SECONDS = 0.002


class Phases(Refinery):
    """Notes the phases it comes through; in the phase `victim` one busy worker is killed."""

    def __init__(self, chain: Chain, engine: Engine, victim: str = "") -> None:
        any_share = {name: dict.fromkeys(("near_duplicate", "mostly_duplicate")) for name in chain.names}
        super().__init__(chain, engine, EventLog(chain.run), recipe.ErrorBudget(), any_share)
        self.seen: list[str] = []
        self.killed: list[str] = []
        self._victim = victim

    def _corpus(self, label: str, jobs: Sequence[CorpusJob]) -> None:
        self.seen.append(label)
        if label != self._victim:
            super()._corpus(label, jobs)
            return
        over = threading.Event()
        killer = threading.Thread(target=self._kill, args=(over,))
        killer.start()
        super()._corpus(label, jobs)
        over.set()
        killer.join()

    def _kill(self, over: threading.Event) -> None:
        while not over.is_set():
            for worker in busy_workers(os.getpid()):
                with suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGKILL)
                    self.killed.append(f"{worker.command} ({worker.pid})")
                return
            time.sleep(_POLL_SECONDS)


class Fatal(Engine):
    """Kills its own process when half of the tasks of the phase `label` are done, or while its only one runs."""

    def __init__(self, label: str) -> None:
        super().__init__(Reporter(quiet=True), workers=2)
        self._label = label

    def map(
        self,
        label: str,
        function: Callable[[Any], Any],
        jobs: Any,
        name: Callable[[Any], str],
        note: Callable[[Any], str] = lambda _: "",
    ) -> Iterator[tuple[Any, Any]]:
        """As Engine.map."""
        queue = list(jobs)
        if label == self._label and len(queue) == 1:
            threading.Thread(target=self._kill_while_busy, daemon=True).start()
        for done, found in enumerate(super().map(label, function, queue, name, note), 1):
            if label == self._label and done >= len(queue) / 2:
                os.kill(os.getpid(), signal.SIGKILL)
            yield found

    def _kill_while_busy(self) -> None:
        while not busy_workers(os.getpid()):
            time.sleep(_POLL_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)


class Bench:
    """Runs over one corpus, each compared with the first."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.corpus = Corpus(options.documents, options.size)
        self.folder = folder
        self.reference: dict[str, str] | None = None
        self.failures = 0
        self._documents = folder / "documents"
        prepare(self._documents, self.corpus.shard, self.corpus.shards, DEFAULT)

    def chain(self, name: str, settings: Settings) -> Chain:
        """A run whose documents are there and that has done nothing yet."""
        shutil.copytree(self._documents, self.folder / name)
        return chain_of(self.folder / name, self.corpus.shards, settings)

    def report(self, name: str, chain: Chain, note: str = "", *, met: bool = True) -> None:
        """Prints one run, compares and deletes it."""
        files = digests(Path(chain.run))
        whole = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
        if self.reference is None:
            self.reference = files
        different = sorted(p for p in {*files, *self.reference} if files.get(p) != self.reference.get(p))
        self.failures += bool(different) or not met
        print(f"{name:<44} {len(files)} files  sha256 {whole[:16]}  {note}", flush=True)
        if different:
            print(f"  DIFFERENT: {len(different)} files: {', '.join(different[:10])}")
        if not met:
            print("  the kill met nobody")
        shutil.rmtree(chain.run)


def run(chain: Chain, engine: Engine, victim: str = "") -> Phases:
    """Runs the corpus steps of `chain`."""
    refinery = Phases(chain, engine, victim)
    refinery.run(chain.documents_end, len(chain.steps))
    return refinery


def compare(options: argparse.Namespace, folder: Path) -> int:
    """All runs; the exit code."""
    bench = Bench(options, folder)
    phases: list[str] = []
    for workers in (2, 1, 4):
        with Engine(Reporter(quiet=True), workers) as engine:
            chain = bench.chain(f"workers-{workers}", DEFAULT)
            run(chain, engine)
            bench.report(f"{workers} workers", chain)
    with Engine(Reporter(quiet=True), 2) as engine:
        for partitions in (8, 64):
            chain = bench.chain(f"partitions-{partitions}", {name: {"partitions": partitions} for name in DEFAULT})
            run(chain, engine)
            bench.report(f"{partitions} partitions", chain)
        chain = bench.chain("stars", BY_STARS)
        phases = run(chain, engine).seen
        bench.report("components by stars", chain)
        for phase in phases if "worker" in options.kill else []:
            chain = bench.chain("worker", BY_STARS)
            killed = run(chain, engine, phase).killed
            bench.report(phase, chain, f"killed {', '.join(killed)}", met=bool(killed))
        for phase in phases if "command" in options.kill else []:
            chain = bench.chain("command", BY_STARS)
            command = [sys.executable, __file__, "--size", str(options.size)]
            done = subprocess.run([*command, "--child", str(folder / "command"), "--phase", phase], check=False)
            went_on = run(chain, engine).seen
            met = done.returncode == -signal.SIGKILL and went_on[:1] == [phase]
            bench.report(phase, chain, f"command killed, went on with {went_on[:1]}", met=met)
    print("all runs are identical" if not bench.failures else f"{bench.failures} RUNS DIFFER or were not killed")
    return int(bool(bench.failures))


def main() -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=20_000, help="documents")
    parser.add_argument("--kill", nargs="+", choices=("worker", "command"), default=["worker", "command"])
    parser.add_argument("--crawl", type=Path, default=DATA, help="folder of real pages")
    parser.add_argument("--documents", type=Path, default=CACHE / "dedup_truth.parquet", help="their extracted texts")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--phase", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        chain = chain_of(options.child, shards_of(options.size), BY_STARS)
        with Fatal(options.phase) as engine:
            run(chain, engine)
        return 0
    sample(options.crawl, options.documents)
    with tempfile.TemporaryDirectory(prefix="kill-dedup-") as folder:
        return compare(options, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
