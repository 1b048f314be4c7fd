"""Runs of one corpus step over documents that a test makes, task by task in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dedup_tables import document, tables

from corpusmill.core.artifacts import Counts
from corpusmill.core.documents import REMOVAL, table_of
from corpusmill.pipeline.chain import Chain, Step
from corpusmill.pipeline.document_tasks import tally
from corpusmill.pipeline.events import EventLog
from corpusmill.pipeline.inputs import Shard
from corpusmill.pipeline.progress import Reporter
from corpusmill.pipeline.recipe import ErrorBudget
from corpusmill.pipeline.refine import Refinery
from corpusmill.pipeline.registry import CORPUS_STEPS
from corpusmill.stages.warc import Slice

TEXTS = ["abcde", "abce", "bbcd", "xyz", "ccdx", "e", "edcba", "", "ab"]


class Killed(Exception):
    """What a run of these tests dies of."""


class InProcess:
    """An engine that runs tasks one by one here, and dies before task number `last`."""

    cpus = 1

    def __init__(self, last: int | None = None) -> None:
        self.reporter = Reporter(quiet=True)
        self.left = last
        self.ran: list[str] = []

    def map(
        self,
        label: str,
        function: Callable[[Any], Any],
        jobs: Iterable[Any],
        name: Callable[[Any], str],
        note: Callable[[Any], str] = lambda _: "",
    ) -> Iterator[tuple[Any, Any]]:
        for job in jobs:
            if self.left == 0:
                raise Killed
            self.left = None if self.left is None else self.left - 1
            self.ran.append(f"{label} {name(job)}")
            yield job, function(job)


def run_of(
    folder: Path,
    step: str,
    shards: int,
    partitions: int,
    texts: Sequence[str | dict[str, Any]] = TEXTS,
    **config: Any,
) -> Chain:
    """A run whose documents, texts or rows, are committed and whose next step is `step`."""
    config = CORPUS_STEPS[step].Config(partitions=partitions, **config).model_dump(mode="json")
    steps = (Step("language", False, {}, "documents", True), Step(step, True, config, step, True))
    names = [f"s{n}" for n in range(shards)]
    chain = Chain(str(folder), steps, tuple(Shard(n, n, Slice(n, n, "", 0, 0, 1)) for n in names))
    rows = [document(n, text) if isinstance(text, str) else text for n, text in enumerate(texts)]
    for shard, table in zip(chain.shards, tables(rows, shards), strict=True):
        counts = Counts(into=tally(table), kept=tally(table))
        removed = table_of([], REMOVAL)
        chain.folder(0).commit(shard.name, chain.fingerprint(0, shard), {"out": table, "removed": removed}, counts)
    return chain


def refine(chain: Chain, engine: InProcess) -> None:
    """Runs the last step of `chain`."""
    last = len(chain.steps) - 1
    Refinery(chain, engine, EventLog(chain.run), ErrorBudget(), {}).run(last, last + 1)  # type: ignore[arg-type]
