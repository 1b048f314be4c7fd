"""The tasks that commit the history of a finished corpus step: every shard remembers, every part is sorted and written.

RUN/history/<step>/<table>/<part>.parquet, manifest.json    see dedup/history.py
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from corpusmill.core import storage
from corpusmill.core.artifacts import Counts, FileEntry
from corpusmill.dedup import groups, history
from corpusmill.dedup.base import MAP, PARTITION
from corpusmill.dedup.history import HistoryTable, Manifest, Outcome
from corpusmill.pipeline import exchange
from corpusmill.pipeline.chain import Chain
from corpusmill.pipeline.corpus_tasks import documents_of, exchange_fingerprint


@dataclass(frozen=True)
class HistoryJob:
    """A task of step `index`: shard `number` remembers, or part `number` of table `table` is written.

    documents: that entered the step; they decide the number of parts.
    """

    chain: Chain
    index: int
    documents: int
    number: int
    table: int | None = None

    @property
    def label(self) -> str:
        """Name for logs and errors."""
        if self.table is None:
            return f"{self.chain.names[self.index]} history {self.chain.shards[self.number].name}"
        return f"{self.chain.names[self.index]} history part {self.number}"


@dataclass(frozen=True)
class Remembered:
    """What a task did: the seconds it took, and the file of a part."""

    seconds: float
    entry: FileEntry | None = None


def folder(chain: Chain, index: int) -> str:
    """Folder of the history of step `index`."""
    return storage.join(chain.run, "history", chain.names[index])


def documents_in(chain: Chain, index: int) -> int:
    """Documents that entered step `index`, whose shards are all committed."""
    manifests = [chain.committed(index, shard) for shard in chain.shards]
    return sum((m.counts for m in manifests if m is not None), Counts()).into.documents


def committed(chain: Chain, index: int) -> Manifest | None:
    """The manifest of the history of step `index` if it is up to date and its files have their sizes."""
    root = folder(chain, index)
    manifest = history.read_manifest(root)
    if manifest is None or (manifest.made_by, manifest.name) != (chain.steps[index].fingerprint, chain.snapshot):
        return None
    return None if history.problems(root, manifest, hashes=False) else manifest


def jobs(chain: Chain, index: int) -> tuple[list[HistoryJob], list[HistoryJob]]:
    """The tasks that are still to be done, those of the shards and then those of the parts."""
    documents = documents_in(chain, index)
    tables = chain.corpus_step(index).history_tables
    fingerprint = exchange_fingerprint(chain, index)
    shards = [
        HistoryJob(chain, index, documents, n)
        for n, shard in enumerate(chain.shards)
        if not all(exchange.is_written(_file(chain, index, t, shard.name), fingerprint) for t in tables)
    ]
    parts = [
        HistoryJob(chain, index, documents, part, number)
        for number, table in enumerate(tables)
        for part in range(table.parts(documents))
    ]
    return shards, parts


def run_history_job(job: HistoryJob) -> Remembered:
    """Runs one task."""
    chain, index = job.chain, job.index
    started = time.perf_counter()
    tables = chain.corpus_step(index).history_tables
    if job.table is None:
        _remember(job)
        return Remembered(time.perf_counter() - started)
    table = tables[job.table]
    files = [_file(chain, index, table, shard.name) for shard in chain.shards]
    entry = history.write_part(folder(chain, index), table, job.number, exchange.read(files, job.number))
    return Remembered(time.perf_counter() - started, entry)


def _remember(job: HistoryJob) -> None:
    chain, index = job.chain, job.index
    shard = chain.shards[job.number].name
    step = chain.corpus_step(index)
    fingerprint = exchange_fingerprint(chain, index)
    table = documents_of(chain, index, step.columns, chain.shards[job.number])
    mapped = exchange.path(chain.folder(index), MAP, shard)
    if exchange.is_written(mapped, fingerprint):
        rows = exchange.read([mapped], None)
    else:  # the step was committed before its history was asked for
        rows = step.map(table, job.number, len(chain.shards)).drop_columns([PARTITION])
    stage = chain.folder(index)
    manifest = stage.manifest(shard)
    assert manifest is not None, "the step is finished"
    clusters = stage.read("clusters", shard) if "clusters" in manifest.files else None
    outcome = Outcome(table, rows, stage.read("removed", shard, ["doc_id"]).column("doc_id").combine_chunks(), clusters)
    for history_table in step.history_tables:
        rows = step.remember(history_table, outcome)
        parts = history_table.parts(job.documents)
        numbers = groups.partition_of(rows.column(0).to_numpy(), parts)
        rows = rows.append_column(PARTITION, pa.array(numbers.astype(np.int32)))
        exchange.write(_file(chain, index, history_table, shard), rows, parts, fingerprint)


def _file(chain: Chain, index: int, table: HistoryTable, shard: str) -> str:
    return exchange.path(chain.folder(index), f"history-{table.name}", shard)
