"""The tasks that make token shards: of what is trained on, of what is held out, and of corpora that are no crawl.

Token shards know of every kept document the cluster of near-duplicates that it stands for. It is told by the removals
of `minhash`, which lie with the shards of the removed documents; an exchange brings them to those of the kept ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from corpusmill.core import artifacts, documents, storage
from corpusmill.core.artifacts import Counts, StageFolder, Tally
from corpusmill.core.documents import split_doc_id
from corpusmill.dedup.base import PARTITION
from corpusmill.dedup.minhash import MinHash
from corpusmill.pipeline import exchange, held_out
from corpusmill.pipeline.chain import Chain
from corpusmill.pipeline.engine import Engine
from corpusmill.pipeline.inputs import Shard
from corpusmill.pipeline.sources import ExtraFile
from corpusmill.tokenize.held_out import HeldOutConfig
from corpusmill.tokenize.shards import BATCH_DOCUMENTS, TokenShard, encode_documents, encode_shard
from corpusmill.tokenize.sources import check_ids, extra_batches

_SHARDS_A_TASK: Final = 64
_CLUSTER = pa.schema([pa.field("doc_id", pa.string(), nullable=False), pa.field("cluster_id", pa.string())])


@dataclass(frozen=True)
class EncodeJob:
    """One shard of the refined corpus. by: column that gives the sources. split: None where nothing is held out.

    num_threads: of encoding.
    """

    chain: Chain
    shard: Shard
    model: str
    by: str | None
    split: HeldOutConfig | None
    num_threads: int


@dataclass(frozen=True)
class HeldOutJob:
    """What of one shard is held out or a copy of that."""

    chain: Chain
    shard: Shard
    model: str
    by: str | None
    split: HeldOutConfig


@dataclass(frozen=True)
class HeldOutShard:
    """Counts of a shard's split, and its token shards by part (held_out.folders)."""

    counts: Counts
    parts: dict[str, list[TokenShard]]


@dataclass(frozen=True)
class ExtraJob:
    """One file of an extra source."""

    file: ExtraFile
    model: str
    out: str


@dataclass(frozen=True)
class IdsJob:
    """The files of one extra source, whose ids are checked against each other and the crawl's."""

    source: str
    files: tuple[str, ...]
    warc_files: frozenset[str]


@dataclass(frozen=True)
class ClusterJob:
    """The removals of `minhash` in some shards."""

    chain: Chain
    index: int
    shards: tuple[str, ...]
    file: str


def encode_training(job: EncodeJob) -> list[TokenShard]:
    """Token shards of what is trained on."""
    chain, shard = job.chain, job.shard
    without = None if job.split is None else held_out.split_of_shard(chain, job.split, shard).out
    return encode_shard(
        held_out.documents_file(chain, shard),
        shard.name,
        job.model,
        storage.join(chain.run, "tokens"),
        by=job.by,
        without=without,
        clusters=clusters_of(chain, shard),
        num_threads=job.num_threads,
    )


def encode_held_out(job: HeldOutJob) -> HeldOutShard:
    """Token shards of what is not trained on."""
    chain, shard = job.chain, job.shard
    parts = held_out.split_of_shard(chain, job.split, shard)
    path = held_out.documents_file(chain, shard)
    wanted = pc.field("doc_id").isin(parts.out)
    table = storage.read_parquet(path, None, wanted) if len(parts.out) else storage.read_parquet(path).slice(0, 0)
    is_chosen = pc.is_in(table.column("doc_id"), value_set=parts.chosen)
    clusters = clusters_of(chain, shard)

    def encoded(rows: pa.Table, out: str) -> list[TokenShard]:
        batches = rows.combine_chunks().to_batches(max_chunksize=BATCH_DOCUMENTS)
        return encode_documents(batches, shard.name, job.model, out, by=job.by, clusters=clusters)

    rows = {held_out.CHOSEN: table.filter(is_chosen), held_out.COPIES: table.filter(pc.invert(is_chosen))}
    made = {part: encoded(rows[part], root) for part, root in held_out.folders(chain.run).items()}
    return HeldOutShard(held_out.counts_of(chain, shard, parts, table), made)


def encode_extra(job: ExtraJob) -> tuple[list[TokenShard], Tally]:
    """The token shard of an extra file, and its documents and characters."""
    tally = Tally()

    def counted() -> Iterator[pa.RecordBatch]:
        nonlocal tally
        for batch in extra_batches(job.file.path):
            characters = int(pc.sum(pc.utf8_length(batch.column("text"))).as_py() or 0)
            tally += Tally(documents=batch.num_rows, characters=characters)
            yield batch

    made = encode_documents(counted(), job.file.stem, job.model, job.out, source=job.file.source)
    return made, tally


def check_source_ids(job: IdsJob) -> int:
    """Documents of the source; raises InputError where an id is missing, twice there or the crawl's."""
    return check_ids(job.files, job.warc_files)


def write_clusters(chain: Chain, engine: Engine) -> None:
    """Writes the exchange that `clusters_of` reads, where it is not there; nothing without `minhash`."""
    if MinHash.name not in chain.names:
        return
    index = chain.index(MinHash.name)
    names = [shard.name for shard in chain.shards]
    groups = [tuple(names[start : start + _SHARDS_A_TASK]) for start in range(0, len(names), _SHARDS_A_TASK)]
    files = _cluster_files(chain)
    expected = _clusters_fingerprint(chain)
    jobs = [
        ClusterJob(chain, index, group, file)
        for group, file in zip(groups, files, strict=True)
        if not exchange.is_written(file, expected)
    ]
    for _ in engine.map("tokens: clusters", write_clusters_of, jobs, lambda job: job.shards[0]):
        pass


def write_clusters_of(job: ClusterJob) -> None:
    """Rows of the documents that near-duplicates went for, partitioned by their WARC file."""
    chain = job.chain
    tables = []
    for shard in job.shards:
        removed = chain.folder(job.index).read("removed", shard, ["twin", "twin_history", "detail"])
        removed = removed.filter(
            pc.and_(pc.is_valid(removed.column("twin")), pc.is_null(removed.column("twin_history")))
        )
        tables.append(removed.select(["twin", "detail"]).rename_columns(_CLUSTER.names).cast(_CLUSTER))
    rows = documents.concat(tables, _CLUSTER).group_by(_CLUSTER.names, use_threads=False).aggregate([])
    numbers = _file_numbers(chain)
    partition = [numbers[split_doc_id(doc_id)[0]] for doc_id in rows.column("doc_id").to_pylist()]
    rows = rows.append_column(PARTITION, pa.array(partition, pa.int32()))
    exchange.write(job.file, rows, len(numbers), _clusters_fingerprint(chain))


def clusters_of(chain: Chain, shard: Shard) -> pa.Table | None:
    """doc_id and cluster_id of the kept documents in the WARC file of `shard` that near-duplicates went for.

    None without `minhash`. Documents that went themselves at a later step may be among them.
    """
    if MinHash.name not in chain.names:
        return None
    return exchange.read(_cluster_files(chain), _file_numbers(chain)[shard.slice.warc_file])


def drop_clusters(chain: Chain) -> None:
    """Deletes the exchange."""
    exchange.drop(StageFolder(chain.run, "tokens"))


def _file_numbers(chain: Chain) -> dict[str, int]:
    return {name: number for number, name in enumerate(sorted({shard.slice.warc_file for shard in chain.shards}))}


def _cluster_files(chain: Chain) -> Sequence[str]:
    folder = StageFolder(chain.run, "tokens")
    tasks = -(-len(chain.shards) // _SHARDS_A_TASK)
    return [exchange.path(folder, "clusters", f"{number:05d}") for number in range(tasks)]


def _clusters_fingerprint(chain: Chain) -> str:
    """Of the removals: that of the step is of all inputs."""
    return artifacts.fingerprint(clusters=chain.steps[chain.index(MinHash.name)].fingerprint)
