"""Brings the chain of document stages and corpus steps up to date, shard by shard and step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from corpusmill.core.artifacts import Counts, ShardManifest
from corpusmill.core.errors import ErrorBudgetExceeded, InternalError
from corpusmill.dedup.base import MAP, Turn, next_turn
from corpusmill.dedup.minhash import MinHash
from corpusmill.pipeline import exchange, near_duplicates
from corpusmill.pipeline.alarms import Expected, alarms
from corpusmill.pipeline.chain import Chain, corpus_step
from corpusmill.pipeline.corpus_tasks import (
    CorpusJob,
    exchange_fingerprint,
    output_paths,
    run_corpus_job,
    write_reported,
)
from corpusmill.pipeline.document_tasks import DocumentJob, Done, run_document_job
from corpusmill.pipeline.engine import Engine
from corpusmill.pipeline.events import EventLog
from corpusmill.pipeline.inputs import Shard
from corpusmill.pipeline.recipe import ErrorBudget


class Refinery:
    """Runs the steps of a chain that are not committed.

    budget: what each step may quarantine. expected: what each rule may remove without a warning (pipeline/alarms.py).
    """

    def __init__(self, chain: Chain, engine: Engine, events: EventLog, budget: ErrorBudget, expected: Expected) -> None:
        self.chain = chain
        self.engine = engine
        self.events = events
        self.budget = budget
        self.expected = expected
        self._ran: set[str] = set()

    def run(self, start: int, end: int, *, force: bool = False) -> None:
        """Brings the steps [start, end) up to date; `force` runs them even where they are.

        Steps before `start` must be committed.
        """
        documents_end = min(end, self.chain.documents_end)
        if start < documents_end:
            self._run_documents(start, documents_end, force=force)
        for index in range(max(start, self.chain.documents_end), end):
            self._run_corpus_step(index, force=force)

    def _run_documents(self, start: int, end: int, *, force: bool) -> None:
        chain = self.chain
        jobs = []
        for shard in chain.shards:
            first = start if force else chain.first_stale(shard, end)
            if first < end:
                jobs.append(DocumentJob(chain, shard, first, end))
        if jobs:
            # The largest first: a long one must not be the last.
            jobs.sort(key=_bytes, reverse=True)
            label = f"{chain.steps[min(j.first for j in jobs)].name} .. {chain.steps[end - 1].name}"
            self._documents(label, jobs)
        self._mend_slices(end)  # also without jobs: an earlier call may have been stopped before it came here
        for index in range(start, end):
            self._finish(index)

    def _documents(self, label: str, jobs: Sequence[DocumentJob]) -> None:
        seen: dict[str, Counts] = {}
        bytes_seen, bytes_total = 0, sum(_bytes(job) for job in jobs)
        for job, done in self.engine.map(
            label, run_document_job, jobs, lambda job: job.shard.name, lambda done: _kept(done[-1])
        ):
            bytes_seen += _bytes(job)
            for item in done:
                self._log(item)
                seen[item.stage] = seen.get(item.stage, Counts()) + item.counts
                # Stops when the budget would be exceeded even if nothing more went wrong: not at one bad file.
                expected = seen[item.stage].into.documents * bytes_total / max(1, bytes_seen)
                check_budget(item.stage, seen[item.stage], self.budget, expected)

    def _mend_slices(self, end: int) -> None:
        """Runs slices again that began at a false record start.

        A slice finds its first record by looking for the head of one. Bytes inside a record may look like that;
        then the slice before it, which came there record by record, ended elsewhere, and it is right.
        """
        chain = self.chain
        for _ in range(len(chain.shards)):
            jobs: dict[str, DocumentJob] = {}
            for before, shard in pairwise(chain.shards):
                path = shard.slice.path
                if before.slice.path != path or path in jobs:
                    continue  # one of a file at a time: what follows may change with it
                ended = _facts(chain, before)["next_offset"]
                if ended != _facts(chain, shard)["first_offset"]:
                    jobs[path] = DocumentJob(chain, shard, 0, end, first_offset=ended)
            if not jobs:
                return
            self._documents("slices that began inside a record", list(jobs.values()))
        raise InternalError("slices of a WARC do not chain", where=chain.run)

    def _run_corpus_step(self, index: int, *, force: bool) -> None:
        chain = self.chain
        name = chain.steps[index].name
        shards = range(len(chain.shards))
        stale = [n for n in shards if force or chain.committed(index, chain.shards[n]) is None]
        if stale:
            if force:
                exchange.drop(chain.folder(index))
            step = corpus_step(name, chain.steps[index].config)
            done = [MAP]
            self._take(index, MAP, ())

            shown: dict[str, list[int]] = {}

            def reported() -> int:
                number = sum(map(exchange.reported, output_paths(chain, index, done[-1:])))
                if (what := step.reported_as.get(done[-1].round)) is not None:
                    shown.setdefault(what, []).append(number)
                    self.engine.reporter.say(f"{name}, pass {len(shown[what])}: {number:,} {what}")
                return number

            while (turn := next_turn(step, done, reported)) is not None:
                self._take(index, turn, tuple(done))
                done.append(turn)
            if shown:
                write_reported(chain, index, shown)
            jobs = [CorpusJob(chain, index, None, tuple(done), n) for n in stale]
            self._corpus(f"{name}: apply", jobs)
        if name == MinHash.name:
            near_duplicates.write_report(chain, index, self.engine)
        self._finish(index)
        exchange.drop(chain.folder(index))

    def _take(self, index: int, turn: Turn, done: tuple[Turn, ...]) -> None:
        """Runs the tasks of a turn that are not written; those before it are `done`."""
        fingerprint = exchange_fingerprint(self.chain, index)
        paths = output_paths(self.chain, index, [turn])
        missing = [n for n, path in enumerate(paths) if not exchange.is_written(path, fingerprint)]
        if missing:
            label = "map" if turn == MAP else f"round {turn.round}" + (f", turn {turn.time}" if turn.time else "")
            jobs = [CorpusJob(self.chain, index, turn, done, n) for n in missing]
            self._corpus(f"{self.chain.steps[index].name}: {label}", jobs)

    def _corpus(self, label: str, jobs: Sequence[CorpusJob]) -> None:
        note: Callable[[Done | float], str] = lambda done: _kept(done) if isinstance(done, Done) else ""  # noqa: E731
        for job, done in self.engine.map(label, run_corpus_job, jobs, lambda job: job.label, note):
            if isinstance(done, Done):
                self._log(done)
            else:
                stage = self.chain.steps[job.index].name
                self.events.write("task", stage=stage, task=job.label, seconds=round(done, 4))

    def _log(self, done: Done) -> None:
        self._ran.add(done.stage)
        self.events.write("task", stage=done.stage, task=done.shard, seconds=round(done.seconds, 4))

    def _finish(self, index: int) -> None:
        chain = self.chain
        step = chain.steps[index]
        manifests = [_manifest(chain, index, n) for n in range(len(chain.shards))]
        counts = sum((m.counts for m in manifests), Counts())
        check_budget(step.name, counts, self.budget)
        chain.folder(index).finish(step.fingerprint, step.config, [s.name for s in chain.shards])
        for alarm in alarms(chain, index, counts, self.expected) if step.name in self._ran else []:
            self.engine.reporter.warn(alarm.message)
            self.events.write("warning", **alarm.to_json())


def check_budget(stage: str, counts: Counts, budget: ErrorBudget, expected: float | None = None) -> None:
    """Raises ErrorBudgetExceeded when a stage quarantined more than the budget allows.

    expected: documents that the stage will have seen at its end; None = those of `counts`, it is at its end.
    """
    bad = sum(t.documents for t in counts.quarantined.values())
    share = 100.0 * bad / max(1.0, expected or counts.into.documents)
    seen = f"{'' if expected is None else 'the first '}{counts.into.documents} documents"
    if bad > budget.records and share > budget.percent:
        worst = max(counts.quarantined, key=lambda reason: counts.quarantined[reason].documents)
        raise ErrorBudgetExceeded(
            f"stage {stage} quarantined {bad} of {seen} (at least {share:.2f} % in all), most for {worst}",
            where=f"stages/{stage}/quarantine",
            value=f"budget: {budget.records} records and {budget.percent} %",
            remedy=f"corpusmill inspect RUN {stage} --table quarantine; or --set error_budget.percent=...",
        )


def _bytes(job: DocumentJob) -> int:
    return job.shard.slice.end - job.shard.slice.start


def _kept(done: Done) -> str:
    return f"{done.shard}: {done.counts.kept.documents} of {done.counts.into.documents} kept"


def _manifest(chain: Chain, index: int, number: int) -> ShardManifest:
    manifest = chain.committed(index, chain.shards[number])
    if manifest is None:
        raise InternalError(
            "a shard is missing after its task", where=f"{chain.names[index]}/{chain.shards[number].name}"
        )
    return manifest


def _facts(chain: Chain, shard: Shard) -> dict[str, int]:
    manifest = chain.folder(0).manifest(shard.name)
    assert manifest is not None, "checked after the tasks of all shards"
    return dict(manifest.facts)
