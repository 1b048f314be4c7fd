"""What `minhash` found that deserves a look: the largest buckets and clusters, the sources that lost most.

    RUN/stages/minhash/report.parquet    written when all shards are committed, before the exchange goes

Bad shingles, templates and error pages show here first: published runs lost whole sources to one cluster. Warnings are
made of it (pipeline/alarms.py); it changes no result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from corpusmill.core import documents, storage
from corpusmill.dedup.base import Turn
from corpusmill.dedup.minhash import BUCKETS, LARGEST_BUCKETS, Bucket, node_of
from corpusmill.pipeline import exchange
from corpusmill.pipeline.chain import Chain
from corpusmill.pipeline.corpus_tasks import output_paths
from corpusmill.pipeline.engine import Engine

LEAST_DOCUMENTS: Final = 200  # of a source: shares of fewer say little
LARGEST: Final = LARGEST_BUCKETS  # rows of each kind
_MERGED_AT_ONCE: Final = 64  # shards

# One row a bucket, cluster or source, the most striking first.
REPORT = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),  # bucket, cluster or source
        # the bucket's 128-bit key in hexadecimal, the cluster_id, the registered domain
        pa.field("name", pa.string(), nullable=False),
        pa.field("documents", pa.int64(), nullable=False),  # of the source: all that entered the step
        pa.field("removed", pa.int64()),  # under near_duplicate; null for buckets
        pa.field("examples", pa.list_(pa.string()), nullable=False),  # a few doc_ids of the bucket
    ]
)
_COUNTED = {"documents": "sum", "removed": "sum"}


@dataclass(frozen=True)
class _ShardJob:
    chain: Chain
    index: int
    shard: str


@dataclass(frozen=True)
class _Shard:
    """Of one shard: clusters (name, documents of the whole cluster, removed here) and sources (name, documents,
    removed), tables of REPORT's columns of these names."""

    clusters: pa.Table
    sources: pa.Table


def read_report(chain: Chain, index: int) -> pa.Table | None:
    """The report (REPORT) of step `index` as the recipe asks for it; None when there is none."""
    path = _path(chain, index)
    if not storage.exists(path):
        return None
    table = storage.read_parquet(path)
    fingerprint = (table.schema.metadata or {}).get(b"fingerprint")
    return table if fingerprint == chain.steps[index].fingerprint.encode() else None


def write_report(chain: Chain, index: int, engine: Engine) -> None:
    """Writes the report of step `index`, whose shards are committed and whose exchange is still there, if it is not."""
    bucket_files = output_paths(chain, index, [Turn(BUCKETS, 0)])
    if read_report(chain, index) is not None or not all(map(storage.exists, bucket_files)):
        return
    jobs = [_ShardJob(chain, index, shard.name) for shard in chain.shards]
    clusters: list[pa.Table] = []
    sources: list[pa.Table] = []
    for _, found in engine.map(f"{chain.names[index]}: report", _look_at_shard, jobs, lambda job: job.shard):
        clusters.append(found.clusters)
        sources.append(found.sources)
        if len(sources) > _MERGED_AT_ONCE:
            sources = [_merged(sources)]
    rows = [
        *_largest_buckets(chain, index, bucket_files),
        *_rows("cluster", _first(_merged_clusters(clusters), LARGEST)),
        *_rows("source", _first(_sources_by_share(_merged(sources)), LARGEST)),
    ]
    table = documents.table_of(rows, REPORT).replace_schema_metadata({"fingerprint": chain.steps[index].fingerprint})
    storage.write_parquet(_path(chain, index), table)


def _path(chain: Chain, index: int) -> str:
    return storage.join(chain.folder(index).root, "report.parquet")


def _look_at_shard(job: _ShardJob) -> _Shard:
    chain, index = job.chain, job.index
    table = chain.kept(index - 1, job.shard, ["doc_id", "domain"])
    removed = chain.folder(index).read("removed", job.shard, ["doc_id"]).column("doc_id").combine_chunks()
    gone = pc.is_in(table.column("doc_id"), value_set=removed).cast(pa.int64())
    sources = pa.table([table.column("domain"), gone], names=["name", "gone"]).group_by("name", use_threads=False)
    counted = sources.aggregate([("gone", "count"), ("gone", "sum")])
    clusters = chain.folder(index).read("clusters", job.shard, ["doc_id", "cluster_id", "cluster_size", "canonical"])
    copies = pc.not_equal(clusters.column("doc_id"), clusters.column("canonical")).cast(pa.int64())
    clusters = pa.table(
        [clusters.column("cluster_id"), clusters.column("cluster_size"), copies], names=["name", "documents", "removed"]
    )
    # The size is that of the whole cluster: what is among the largest of the corpus is so in each of its shards.
    return _Shard(
        _first(_merged_clusters([clusters]), LARGEST),
        counted.select(["name", "gone_count", "gone_sum"]).rename_columns(["name", "documents", "removed"]),
    )


def _merged(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables of counts added up by name."""
    added = pa.concat_tables(tables).group_by("name", use_threads=False).aggregate(list(_COUNTED.items()))
    return added.select(["name", "documents_sum", "removed_sum"]).rename_columns(["name", "documents", "removed"])


def _merged_clusters(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables of clusters by name, the largest first."""
    grouped = pa.concat_tables(tables).group_by("name", use_threads=False)
    merged = grouped.aggregate([("documents", "max"), ("removed", "sum")])
    merged = merged.select(["name", "documents_max", "removed_sum"]).rename_columns(["name", "documents", "removed"])
    return merged.sort_by([("documents", "descending"), ("name", "ascending")])


def _sources_by_share(sources: pa.Table) -> pa.Table:
    """The sources that are large enough and lost documents; those first that lost the largest share."""
    chosen = sources.filter(
        (pc.field("documents") >= LEAST_DOCUMENTS) & (pc.field("removed") > 0) & (pc.field("name") != "")
    )
    share = pc.divide(chosen.column("removed").cast(pa.float64()), chosen.column("documents").cast(pa.float64()))
    ordered = chosen.append_column("share", share)
    return ordered.sort_by([("share", "descending"), ("documents", "descending"), ("name", "ascending")])


def _first(table: pa.Table, number: int) -> pa.Table:
    return table.slice(0, number).combine_chunks()


def _rows(kind: str, table: pa.Table) -> list[dict[str, Any]]:
    rows = table.select(["name", "documents", "removed"]).to_pylist()
    return [{"kind": kind, **row, "examples": []} for row in rows]


def _largest_buckets(chain: Chain, index: int, files: Sequence[str]) -> list[dict[str, Any]]:
    buckets = [Bucket(**remark) for file in files for remark in exchange.remarks(file)]
    buckets = sorted(buckets, key=lambda b: (-b.documents, b.key))[:LARGEST]
    wanted = {node_of(node) for bucket in buckets for node in bucket.nodes}
    ids: dict[tuple[int, int], str] = {}
    for number in sorted({shard for shard, _ in wanted}):
        column = chain.kept(index - 1, chain.shards[number].name, ["doc_id"]).column("doc_id")
        ids.update({(number, row): column[row].as_py() for shard, row in wanted if shard == number})
    return [
        {
            "kind": "bucket",
            "name": bucket.key,
            "documents": bucket.documents,
            "removed": None,
            "examples": [ids[node_of(node)] for node in bucket.nodes],
        }
        for bucket in buckets
    ]
