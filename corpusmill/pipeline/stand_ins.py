"""Which kept documents stand for given ones, and which others went for them: followed through the removals.

A dedup step that removes a document names its twin, which that step kept and which can itself only go at a later
step. So one look at the removals of every corpus step, from the first to the last, follows any set of documents to
those that stand for them in the end; one look backwards finds all that went for these (pipeline/copies.py). Tables are
read shard by shard; memory is what was followed and found.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from corpusmill.core import documents, storage
from corpusmill.core.documents import split_doc_id
from corpusmill.pipeline.chain import Chain
from corpusmill.pipeline.copies import Copy, gone_for

# A document that left a corpus step, and whether it is one of those that are followed from here on.
WENT = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("twin", pa.string()),  # in this run; null where no document of this run stands for it
        pa.field("known_to", pa.string()),  # history that holds the twin
        pa.field("stage", pa.string(), nullable=False),
        pa.field("rule", pa.string(), nullable=False),
        pa.field("similarity", pa.float64()),  # Jaccard to the twin, 0..1; null for steps that compare keys
        pa.field("is_followed", pa.bool_(), nullable=False),
    ]
)

# A document that stands for a followed one after some step.
STANDS = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("copy_of", pa.string(), nullable=False),  # the followed document
        pa.field("via", pa.string(), nullable=False),  # what went for doc_id: copy_of, or what had stood for it
        pa.field("stage", pa.string(), nullable=False),  # where `via` went
        pa.field("rule", pa.string(), nullable=False),
        pa.field("similarity", pa.float64()),  # of `via` to doc_id
    ]
)


@dataclass(frozen=True)
class StandIns:
    """What a run keeps of some documents.

    kept: STANDS rows of documents in the refined corpus, by doc_id; one that is kept itself has stage and rule "".
    removed: all documents that went for one of them, the asked ones among them: those of the last step first.
    nothing: asked doc_ids for which no document of the corpus stands: unknown, removed by a rule or by a history.
    """

    kept: pa.Table
    removed: list[Copy]
    nothing: list[str]


def stand_ins(chain: Chain, doc_ids: Iterable[str]) -> StandIns:
    """The kept documents that stand for `doc_ids`, kept ones or removed ones, and all that went for these."""
    asked = pa.array(sorted(set(doc_ids)), pa.string())
    trail = STANDS.empty_table()
    left = asked  # asked documents that no step has removed so far
    for index in range(chain.documents_end, len(chain.steps)):
        wanted = pa.concat_arrays([left, trail.column("doc_id").combine_chunks()])
        names = [shard.name for shard in chain.shards if chain.committed(index, shard) is not None]
        tables = [went(chain, index, name, wanted, left) for name in names]
        gone = documents.concat(tables, WENT)
        trail = followed(trail, gone)
        left = left.filter(pc.invert(pc.is_in(left, value_set=gone.column("doc_id"))))
    itself = _in_corpus(chain, left)
    columns = [itself, itself, itself, *(pa.array([""] * len(itself)) for _ in range(2)), pa.nulls(len(itself))]
    trail = trail.filter(pc.is_in(trail.column("doc_id"), value_set=_in_corpus(chain, trail.column("doc_id"))))
    kept = pa.concat_tables([pa.table(columns, schema=STANDS), trail]).sort_by(_BY_DOCUMENT)
    found = [
        Copy(**{name: row[name] for name in ("doc_id", "url", "stage", "rule", "twin")}, similarity=row["value"])
        for table in gone_for(chain, pc.unique(kept.column("doc_id")))
        for row in table.to_pylist()
    ]
    nothing = asked.filter(pc.invert(pc.is_in(asked, value_set=kept.column("copy_of"))))
    return StandIns(kept, found, nothing.to_pylist())


_BY_DOCUMENT = [("doc_id", "ascending"), ("copy_of", "ascending")]


def went(chain: Chain, index: int, shard: str, wanted: pa.Array, followed_ids: pa.Array) -> pa.Table:
    """WENT rows of the documents among `wanted` that left step `index` in `shard`."""
    removed = gone_from(chain, index, shard)
    rows = removed.filter(pc.is_in(removed.column("doc_id"), value_set=wanted))
    return rows.append_column("is_followed", pc.is_in(rows.column("doc_id"), value_set=followed_ids)).cast(WENT)


def gone_from(chain: Chain, index: int, shard: str) -> pa.Table:
    """Everything that left step `index` in `shard`: the columns of WENT but the last."""
    folder = chain.folder(index)
    removed = folder.read("removed", shard, ["doc_id", "twin", "twin_history", "rule", "value"])
    quarantined = folder.read("quarantine", shard, ["doc_id", "reason"])
    in_run = pc.and_(pc.is_null(removed.column("twin_history")), pc.is_valid(removed.column("twin")))
    stage = chain.steps[index].name
    schema = pa.schema(list(WENT)[:-1])
    columns = [
        removed.column("doc_id"),
        pc.if_else(in_run, removed.column("twin"), None),
        removed.column("twin_history"),
        pa.array([stage] * removed.num_rows, pa.string()),
        removed.column("rule"),
        pc.if_else(in_run, removed.column("value"), None),
    ]
    nothing = pa.nulls(quarantined.num_rows)
    of_quarantine = [
        quarantined.column("doc_id"),
        nothing,
        nothing,
        pa.array([stage] * quarantined.num_rows, pa.string()),
        quarantined.column("reason"),
        nothing,
    ]
    return pa.concat_tables([pa.table(columns, schema=schema), pa.table(of_quarantine, schema=schema)])


def followed(trail: pa.Table, gone: pa.Table) -> pa.Table:
    """STANDS after a step from STANDS before it and all WENT rows of the step that are followed or in the trail."""
    moved = pc.is_in(trail.column("doc_id"), value_set=gone.column("doc_id"))
    to_twins = gone.filter(pc.is_valid(gone.column("twin")))
    starts = to_twins.filter(to_twins.column("is_followed"))
    new = starts.select(["twin", "doc_id", "doc_id", "stage", "rule", "similarity"])
    carried = trail.filter(moved).select(["doc_id", "copy_of"]).rename_columns(["doc_id", "origin"])
    joined = carried.join(to_twins, keys="doc_id", join_type="inner", use_threads=False)
    further = joined.select(["twin", "origin", "doc_id", "stage", "rule", "similarity"])
    tables = [table.rename_columns(STANDS.names).cast(STANDS) for table in (new, further)]
    return pa.concat_tables([trail.filter(pc.invert(moved)), *tables])


def _in_corpus(chain: Chain, doc_ids: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Those of `doc_ids` that the last step kept, each once, ascending."""
    wanted = sorted(set(doc_ids.to_pylist()))
    files = {_file_of(doc_id) for doc_id in wanted}
    last = len(chain.steps) - 1
    found: list[str] = []
    for shard in chain.shards:
        if shard.slice.warc_file in files and chain.committed(last, shard) is not None:
            column = storage.read_parquet(chain.folder(last).path("out", shard.name), ["doc_id"]).column("doc_id")
            found += column.filter(pc.is_in(column, value_set=pa.array(wanted, pa.string()))).to_pylist()
    return pa.array(sorted(found), pa.string())


def _file_of(doc_id: str) -> str:
    try:
        return split_doc_id(doc_id)[0]
    except ValueError:
        return ""  # of no crawl
