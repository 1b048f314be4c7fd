"""The copies that a document stands for: what the dedup steps removed for it, and for those in turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from corpusmill.core import storage
from corpusmill.pipeline.chain import Chain

_COLUMNS = ["doc_id", "url", "stage", "rule", "value", "twin"]


@dataclass(frozen=True)
class Copy:
    """A document that went for another. twin: the one it went for, which may have gone itself at a later step.

    similarity: Jaccard to the twin, 0..1; None for steps that compare keys.
    """

    doc_id: str
    url: str
    stage: str
    rule: str
    similarity: float | None
    twin: str


@dataclass(frozen=True)
class Copies:
    """total: of all copies; listed: the first of them, those of the last step first, then by doc_id."""

    total: int = 0
    listed: list[Copy] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The key `copies` of `explain --json`."""
        return {"total": self.total, "documents": [asdict(copy) for copy in self.listed]}


def copies(chain: Chain, doc_id: str, limit: int) -> Copies:
    """The documents that went for `doc_id`, and for those; at most `limit` are listed.

    A copy's twin was kept by the step that removed the copy, and can itself only go at a later step; so one look at the
    removals of every step, from the last to the first, finds all.
    """
    total = 0
    listed: list[Copy] = []
    for rows in gone_for(chain, pa.array([doc_id], pa.string())):
        total += rows.num_rows
        listed += [
            Copy(**{name: row[name] for name in _COLUMNS if name != "value"}, similarity=row["value"])
            for row in rows.slice(0, limit - len(listed)).to_pylist()
        ]
    return Copies(total, listed)


def gone_for(chain: Chain, kept: pa.Array) -> Iterator[pa.Table]:
    """The removals of every corpus step, the last first, of what went for the doc_ids `kept`, and for that in turn.

    Columns doc_id, url, stage, rule, value, twin; by doc_id within a step; steps without any are left out.
    """
    wanted = kept
    for index in reversed(range(chain.documents_end, len(chain.steps))):
        found = []
        for shard in chain.shards:
            if chain.committed(index, shard) is None:
                continue
            removed = storage.read_parquet(chain.folder(index).path("removed", shard.name), _COLUMNS)
            twins = removed.column("twin")
            # A document that the history has already is its own twin.
            goes_for = pc.and_(pc.is_in(twins, value_set=wanted), pc.not_equal(twins, removed.column("doc_id")))
            found.append(removed.filter(goes_for))
        rows = pa.concat_tables(found).sort_by("doc_id") if found else None
        if rows is not None and rows.num_rows:
            yield rows
            wanted = pa.concat_arrays([wanted, rows.column("doc_id").combine_chunks()])
