"""One task: a slice of a WARC through all document stages, in memory, committed stage by stage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from corpusmill.core import documents, storage
from corpusmill.core.artifacts import Counts, Tally
from corpusmill.core.errors import InternalError
from corpusmill.core.verdicts import StageResult
from corpusmill.pipeline.chain import Chain, document_stage, warc_stage
from corpusmill.pipeline.inputs import Shard

_BATCH_ROWS = 256


@dataclass(frozen=True)
class DocumentJob:
    """`shard` through the steps [first, end) of `chain`.

    first_offset: where the first record of the slice is, when the slice could not find it by itself.
    """

    chain: Chain
    shard: Shard
    first: int
    end: int
    first_offset: int | None = None


@dataclass(frozen=True)
class Done:
    """What a task committed: counts for progress and ledger, and where the time went."""

    stage: str
    shard: str
    counts: Counts
    seconds: float


@dataclass
class _Ledger:
    """Collects what one stage said about the batches of a shard."""

    into: Tally = field(default_factory=Tally)
    kept: Tally = field(default_factory=Tally)
    out: list[pa.Table] = field(default_factory=list)
    removed: list[pa.Table] = field(default_factory=list)
    quarantined: list[pa.Table] = field(default_factory=list)
    spans: list[pa.Table] = field(default_factory=list)
    scores: list[pa.Table] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, into: Tally, result: StageResult, *, stored: bool) -> None:
        self.into += into
        self.kept += tally(result.kept)
        self.removed.append(result.removed)
        self.quarantined.append(result.quarantined)
        self.spans.append(result.spans)
        if result.scores is not None:
            self.scores.append(result.scores)
        if stored:
            self.out.append(result.kept)


def tally(table: pa.Table) -> Tally:
    """Rows and characters of a table."""
    return Tally(documents=table.num_rows, characters=documents.characters_in(table))


def run_document_job(job: DocumentJob) -> list[Done]:
    """Runs the job and commits every step of it; returns what was committed, in step order."""
    chain = job.chain
    ledgers = {i: _Ledger() for i in range(job.first, job.end)}
    facts: dict[str, Any] = {}
    for batch in _source(job, ledgers, facts):
        table = batch
        for index in range(max(job.first, 1), job.end):
            step = chain.steps[index]
            stage = document_stage(step.name, step.config)
            into = tally(table)
            started = time.perf_counter()
            result = stage.process(table)
            ledgers[index].seconds += time.perf_counter() - started
            ledgers[index].add(into, result, stored=step.stored)
            table = result.kept
    # The manifests of an earlier reading go first, the last step's before all: what a killed worker leaves is of one
    # reading, from the first step on.
    for index in reversed(range(job.first, job.end)):
        storage.remove(chain.folder(index).manifest_path(job.shard.name))
    return [_commit(job, index, ledgers[index], facts if index == 0 else {}) for index in range(job.first, job.end)]


def _source(job: DocumentJob, ledgers: dict[int, _Ledger], facts: dict[str, Any]) -> Iterator[pa.Table]:
    """Batches of the documents that enter the job's first step; of records, where that is behind the WARC step.

    They come from the nearest stored step before `first`, or from the WARC. Steps between that only filtered are not
    run again: their removals are applied.
    """
    chain, shard = job.chain, job.shard
    source = chain.stored_at(job.first - 1) if job.first > 0 else None
    if source is not None:
        table = chain.kept(job.first - 1, shard.name)
        for start in range(0, table.num_rows, _BATCH_ROWS):
            yield table.slice(start, _BATCH_ROWS)
        if table.num_rows == 0:
            yield table
        return
    first_offset = job.first_offset
    if job.first > 0:
        committed = chain.committed(0, shard)
        assert committed is not None, "a job begins behind what is committed"
        first_offset = committed.facts["first_offset"]  # a mended slice is read again as it was mended
    reader = warc_stage(chain.steps[0].config).read(shard.slice, batch_documents=_BATCH_ROWS, first_offset=first_offset)
    results = iter(reader)
    while True:
        started = time.perf_counter()
        result = next(results, None)
        seconds = time.perf_counter() - started
        if result is None:
            break
        if 0 in ledgers:
            rows = result.kept.num_rows + result.removed.num_rows + result.quarantined.num_rows
            ledgers[0].seconds += seconds
            ledgers[0].add(Tally(documents=rows), result, stored=False)
        yield chain.without_dropped(result.kept, 1, max(job.first, 1), shard.name)
    facts.update(reader.facts)


def _commit(job: DocumentJob, index: int, ledger: _Ledger, facts: dict[str, Any]) -> Done:
    chain, shard = job.chain, job.shard
    step = chain.steps[index]
    removed = documents.concat(ledger.removed, documents.REMOVAL)
    quarantined = documents.concat(ledger.quarantined, documents.QUARANTINE)
    spans = documents.concat(ledger.spans, documents.SPAN)
    tables = {"removed": removed, "quarantine": quarantined}
    if spans.num_rows:
        tables["spans"] = spans
    if ledger.scores:
        tables["scores"] = pa.concat_tables(ledger.scores)
    if step.stored:
        tables["out"] = documents.concat(ledger.out, output_schema(chain, index))
    counts = Counts.of(ledger.into.documents, ledger.into.characters, ledger.kept, removed, quarantined)
    chain.folder(index).commit(shard.name, chain.fingerprint(index, shard), tables, counts, facts)
    return Done(step.name, shard.name, counts, ledger.seconds)


def output_schema(chain: Chain, index: int) -> pa.Schema:
    """Schema of the documents that leave step `index`: that of the last stage that set one."""
    for step in reversed(chain.steps[1 : index + 1]):
        if step.corpus_wide:
            continue
        schema = document_stage(step.name, step.config).output_schema
        if schema is not None:
            return schema
    raise InternalError("no stage before this one makes documents", where=chain.steps[index].name)
