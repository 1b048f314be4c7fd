"""What other thresholds do to one shard: documents gained and lost at every stage, and what becomes of them.

Where thresholds change, the stored scores are judged anew. A document gained there is run, in memory, through the
document stages behind, with their (perhaps changed) settings: stages are pure functions, so what they say of it is what
a rerun would say. A document lost there is lost to all of them. The corpus-wide steps are not simulated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from corpusmill.core import documents
from corpusmill.core.hashing import canonical_json
from corpusmill.pipeline.chain import Chain, document_stage
from corpusmill.pipeline.inputs import Shard
from corpusmill.pipeline.near import entering
from corpusmill.pipeline.scores import read
from corpusmill.pipeline.trial import Trial

# Documents that go another way.
MOVED = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("characters", pa.int64(), nullable=False),  # of the text as it enters the stage, or leaves it
        pa.field("rule", pa.string(), nullable=False),  # the rule that removes them, now or in the trial; "" if none
    ]
)


@dataclass(frozen=True)
class StageShift:
    """What a trial changes at one stage of one shard; all tables are MOVED.

    gained, lost: documents that this stage removed so far and would keep, and the other way round.
    arrived: number of documents gained at earlier stages that come here; stopped: those of them that go here.
    anyway: number of documents lost at earlier stages that this stage removed so far.
    more, fewer: documents that would leave this stage and did not so far, and the other way round.
    """

    stage: str
    gained: pa.Table
    lost: pa.Table
    arrived: int
    stopped: pa.Table
    anyway: int
    more: pa.Table
    fewer: pa.Table


@dataclass
class ShardNow:
    """What a run says of one shard, read once for however many trials."""

    chain: Chain
    shard: Shard
    _read: dict[tuple[str, int], Any] = field(default_factory=dict)
    _passed: dict[tuple[str, bytes], dict[str, tuple[pa.Table | None, str]]] = field(default_factory=dict)

    def _once(self, what: str, index: int, make: Any) -> Any:
        if (what, index) not in self._read:
            self._read[what, index] = make()
        return self._read[what, index]

    def scores(self, index: int) -> pa.Table:
        """Scores of step `index`."""
        return self._once("scores", index, lambda: read(self.chain, index, self.shard))

    def removed(self, index: int) -> dict[str, str]:
        """doc_id -> rule of the documents that step `index` removed."""
        columns = ["doc_id", "rule"]
        table = self._once("removed", index, lambda: self.chain.folder(index).read("removed", self.shard.name, columns))
        return dict(zip(*(table.column(name).to_pylist() for name in columns), strict=True))

    def gone(self, index: int) -> pa.Array:
        """doc_ids that step `index` removed or quarantined."""
        gone: pa.Array = self._once("gone", index, lambda: self.chain.dropped(index, index + 1, self.shard.name))
        return gone

    def leaving(self, index: int, moved: pa.Table) -> pa.Table:
        """`moved`, documents that left step `index`, with the characters of their texts there."""
        source = self.chain.stored_at(index)
        assert source is not None, "scored stages follow extraction, which is stored"
        texts = self._once(
            "out", source, lambda: self.chain.folder(source).read("out", self.shard.name, ["doc_id", "text"])
        )
        at = pc.index_in(moved.column("doc_id"), value_set=texts.column("doc_id"))
        lengths = pc.utf8_length(texts.column("text").take(at)).cast(pa.int64())
        return moved.set_column(2, MOVED.field("characters"), lengths)

    def through(self, name: str, config: Mapping[str, Any], table: pa.Table) -> tuple[pa.Table, pa.Table]:
        """Documents through a stage: those kept, and MOVED rows of the others. None is run twice with one config."""
        seen = self._passed.setdefault((name, canonical_json(config)), {})
        ids = table.column("doc_id").to_pylist()
        new = [row for row, doc_id in enumerate(ids) if doc_id not in seen]
        if new:
            result = document_stage(name, config).process(table.take(pa.array(new, pa.int64())).combine_chunks())
            for row, doc_id in enumerate(result.kept.column("doc_id").to_pylist()):
                seen[doc_id] = result.kept.slice(row, 1), ""
            for gone, why in ((result.removed, "rule"), (result.quarantined, "reason")):
                for row in gone.select(["doc_id", why]).to_pylist():
                    seen[row["doc_id"]] = None, row[why]
        kept = [row for row, _ in map(seen.__getitem__, ids) if row is not None]
        stopped = pa.array([seen[doc_id][0] is None for doc_id in ids], pa.bool_())
        rules = [rule for row, rule in map(seen.__getitem__, ids) if row is None]
        return pa.concat_tables(kept) if kept else table.slice(0, 0), moved_texts(table.filter(stopped), rules)


def shift(now: ShardNow, tried: Trial) -> tuple[list[StageShift], pa.Table | None]:
    """What `tried` changes in the shard of `now`, at every document stage from the first changed one on.

    Also the documents gained, as they would leave the last document stage; None when there are none.
    """
    chain = now.chain
    stages: list[StageShift] = []
    visitors: pa.Table | None = None  # documents gained so far
    fewer = documents.empty(MOVED)  # documents lost so far that the run has kept so far
    for index in range(tried.first, chain.documents_end):
        name = chain.names[index]
        arrived = visitors.num_rows if visitors else 0
        stopped = gained = lost = documents.empty(MOVED)
        if visitors:
            visitors, stopped = now.through(name, tried.configs[name], visitors)
        entered = fewer
        fewer = _without(fewer, now.gone(index))
        if name in tried.changed:
            own, gained, lost = _judged_anew(now, tried, index, entered.column("doc_id"))
            fewer = pa.concat_tables([fewer, lost])
            if own is not None:
                visitors = pa.concat_tables([visitors, own]) if visitors else own
        fewer = now.leaving(index, fewer) if fewer.num_rows else fewer
        more = moved_texts(visitors, [""] * visitors.num_rows) if visitors else documents.empty(MOVED)
        anyway = entered.num_rows + lost.num_rows - fewer.num_rows
        stages.append(StageShift(name, gained, lost, arrived, stopped, anyway, more, fewer))
    return stages, visitors


def _judged_anew(
    now: ShardNow, tried: Trial, index: int, missing: pa.ChunkedArray
) -> tuple[pa.Table | None, pa.Table, pa.Table]:
    """Documents that the changed stage `index` would keep, and MOVED rows of those gained and lost.

    missing: doc_ids that no longer come to this stage.
    """
    name = now.chain.names[index]
    stage = tried.stage(name)
    scores = _without(now.scores(index), missing)
    judged = stage.judge(scores)
    removed = now.removed(index)
    gone = set(now.gone(index).to_pylist())
    moved = scores.select(["doc_id", "language", "characters"])
    lost: list[tuple[int, str]] = []
    candidates: list[tuple[int, str]] = []
    for row, doc_id in enumerate(moved.column("doc_id").to_pylist()):
        broken = judged[row]
        if broken is not None and doc_id not in gone:
            lost.append((row, broken.rule))
        elif broken is None and doc_id in removed:
            candidates.append((row, removed[doc_id]))
    gained = _moved_rows(moved, candidates)
    if not candidates:
        return None, gained, _moved_rows(moved, lost)
    kept = entering(now.chain, index, now.shard, gained.column("doc_id").combine_chunks())
    if not stage.only_filters:  # a text of which its cuts leave nothing goes whatever its scores
        kept, _ = now.through(name, tried.configs[name], kept)
        gained = gained.filter(pc.is_in(gained.column("doc_id"), value_set=kept.column("doc_id")))
    return kept if kept.num_rows else None, gained, _moved_rows(moved, lost)


def moved_texts(table: pa.Table, rules: list[str]) -> pa.Table:
    """MOVED rows of documents, each with its rule; language is "" before a stage has told it."""
    told = "language" in table.column_names
    languages = table.column("language") if told else pa.array([""] * table.num_rows, pa.string())
    lengths = pc.utf8_length(table.column("text")).cast(pa.int64())
    return pa.table([table.column("doc_id"), languages, lengths, pa.array(rules, pa.string())], schema=MOVED)


def _moved_rows(moved: pa.Table, rows: list[tuple[int, str]]) -> pa.Table:
    chosen = moved.take(pa.array([row for row, _ in rows], pa.int64()))
    return pa.table([*chosen.columns, pa.array([rule for _, rule in rows], pa.string())], schema=MOVED)


def _without(table: pa.Table, doc_ids: pa.Array | pa.ChunkedArray) -> pa.Table:
    if len(doc_ids) == 0:
        return table
    return table.filter(pc.invert(pc.is_in(table.column("doc_id"), value_set=doc_ids)))
