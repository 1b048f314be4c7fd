"""Documents near a limit, on both sides of it: those that another threshold would move."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpusmill.core import documents
from corpusmill.core.errors import UserError
from corpusmill.pipeline.chain import Chain
from corpusmill.pipeline.inputs import Shard
from corpusmill.pipeline.scores import Scored, read, scored_stage
from corpusmill.stages.scored import Bound

Side = Literal["kept", "removed"]


@dataclass(frozen=True)
class Near:
    """A document near a limit, on one side of it.

    side: `removed` under this rule, or `kept` by the stage. change: what other thresholds did to it, `gained` or
    `lost`, else "". distance: from the limit, relative to it. Rules without a number have no score, value and limit.
    """

    stage: str
    rule: str
    side: Side
    change: str
    doc_id: str
    score: str | None = None
    value: float | None = None
    limit: float | None = None
    distance: float = 0.0
    url: str = ""
    excerpt: str = ""

    def to_json(self) -> dict[str, Any]:
        """The row that commands print."""
        return asdict(self)


def nearest(
    chain: Chain,
    stage: Scored,
    bounds: Callable[[str], Sequence[Bound]],
    number: int,
    shards: Sequence[Shard] | None = None,
) -> list[Near]:
    """For every rule of `bounds` the `number` documents nearest to its limit among those that `stage` keeps and
    removes under it; the nearest first.

    stage: with the thresholds to judge by; the scores are those of the run.
    """
    index = chain.index(stage.name)
    before = scored_stage(chain, stage.name)
    best: dict[tuple[str, str], list[tuple[Near, Shard]]] = {}
    for shard in chain.shards if shards is None else shards:
        for near in _near(read(chain, index, shard), stage, before, bounds, number):
            best.setdefault((near.rule, near.side), []).append((near, shard))
        for key, found in best.items():
            best[key] = sorted(found, key=lambda pair: (pair[0].distance, pair[0].doc_id))[:number]
    return with_texts(chain, index, [pair for found in best.values() for pair in found])


def near_rule(chain: Chain, name: str, rule: str, number: int) -> list[Near]:
    """The `number` documents nearest to the limit of `rule` of the stage `name`, on either side.

    Raises UserError when the stage has no such rule for any language that occurs.
    """
    stage = scored_stage(chain, name)
    known: dict[str, None] = {}

    def wanted(language: str) -> list[Bound]:
        bounds = stage.bounds(language)
        known.update(dict.fromkeys(bound.rule for bound in bounds))
        return [bound for bound in bounds if bound.rule == rule]

    found = nearest(chain, stage, wanted, number)
    if rule not in known:
        raise UserError(
            f"`{name}` has no rule with a threshold of this name", value=rule, remedy=f"one of: {', '.join(known)}"
        )
    return found


def with_texts(chain: Chain, index: int, chosen: Sequence[tuple[Near, Shard]]) -> list[Near]:
    """`chosen` with URL and excerpt of the documents as they entered step `index`."""
    texts: dict[str, tuple[str, str]] = {}
    for shard in dict.fromkeys(shard for _, shard in chosen):
        ids = {near.doc_id for near, at in chosen if at == shard}
        table = entering(chain, index, shard, ids, ["doc_id", "url", "text"])
        texts |= {row["doc_id"]: (row["url"], documents.excerpt(row["text"])) for row in table.to_pylist()}
    return [replace(near, url=texts[near.doc_id][0], excerpt=texts[near.doc_id][1]) for near, _ in chosen]


def _near(
    scores: pa.Table,
    stage: Scored,
    before: Scored,
    bounds: Callable[[str], Sequence[Bound]],
    number: int,
) -> list[Near]:
    """Of one shard, the `number` nearest on either side of every limit."""
    ids = scores.column("doc_id").to_pylist()
    languages = np.array(scores.column("language").to_pylist(), dtype=object)
    now = stage.judge(scores)
    then = before.judge(scores)
    rules = np.array([broken.rule if broken else "" for broken in now], dtype=object)
    found = []
    for language in sorted(set(languages)):
        rows = np.flatnonzero(languages == language)
        for bound in bounds(language):
            values = scores.column(bound.score).to_numpy()[rows]
            distances = np.abs(values - bound.limit) / max(abs(bound.limit), 1e-9)
            sides: tuple[tuple[Side, str], ...] = (("removed", bound.rule), ("kept", ""))
            for side, rule in sides:
                of_side = np.flatnonzero((rules[rows] == rule) & ~np.isnan(values))
                for at in of_side[np.argsort(distances[of_side], kind="stable")][:number]:
                    row = rows[at]
                    was_kept = then[row] is None
                    change = "" if was_kept == (side == "kept") else "lost" if was_kept else "gained"
                    judged = (bound.score, float(values[at]), bound.limit, float(distances[at]))
                    found.append(Near(stage.name, bound.rule, side, change, ids[row], *judged))
    return found


def entering(
    chain: Chain, index: int, shard: Shard, doc_ids: Iterable[str] | pa.Array, columns: Sequence[str] | None = None
) -> pa.Table:
    """The documents of `shard` named `doc_ids` as they entered step `index`."""
    assert chain.stored_at(index - 1) is not None, "scored stages follow extraction, which is stored"
    table = chain.kept(index - 1, shard.name, columns)
    wanted = doc_ids if isinstance(doc_ids, pa.Array) else pa.array(sorted(doc_ids), pa.string())
    return table.filter(pc.is_in(table.column("doc_id"), value_set=wanted))
