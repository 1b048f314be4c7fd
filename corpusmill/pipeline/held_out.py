"""The held-out split: which kept documents are held out from training, and which are copies of such and kept out too.

    RUN/held_out/             token shards of the held-out documents, as RUN/tokens: what evaluation reads
    RUN/held_out/copies/      the same of the kept documents that a held-out one went for: no training, no evaluation
    RUN/held_out/copies.parquet   STANDS rows of these: the held-out document, and the step that found the copy

A document is chosen by its doc_id (tokenize/held_out.py), so the steps before know nothing of the split. A kept
document is held out if it is chosen; a copy if a chosen document went for it, or for what went for it in turn; else it
is trained on. The removals tell: they are read step by step, the shards of a step at once. In memory is what was chosen
and went.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpusmill.core import artifacts, documents, storage
from corpusmill.core.artifacts import Counts, StageFolder, Tally
from corpusmill.core.errors import InternalError
from corpusmill.pipeline import exchange
from corpusmill.pipeline.chain import Chain
from corpusmill.pipeline.engine import Engine
from corpusmill.pipeline.inputs import Shard
from corpusmill.pipeline.stand_ins import STANDS, WENT, followed, gone_from
from corpusmill.tokenize.held_out import HeldOutConfig

NAME: Final = "held_out"  # of the product, and the rule under which it counts what is held out
CHOSEN: Final = "chosen"
COPIES: Final = "copies"
VERSION: Final = 1  # raised when the same documents and settings would give another split
_SHARDS_A_TASK: Final = 64


class Gone(NamedTuple):
    """What became of the chosen documents that a step removed. copied: a kept one stands for them. known: a history
    has them already. other: they went by a rule without a twin."""

    copied: int = 0
    known: int = 0
    other: int = 0


@dataclass(frozen=True)
class LookJob:
    """A look at the removals of step `index` in some shards. wanted: doc_ids, or a file with a column of them."""

    chain: Chain
    index: int
    shards: tuple[str, ...]
    config: HeldOutConfig
    wanted: pa.Array | str


Looks = Callable[[Sequence[LookJob]], Iterator[pa.Table]]


class Split(NamedTuple):
    """Of some documents: doc_ids of the chosen ones, and doc_id and stage (that found it first) of the copies."""

    chosen: pa.Array
    copies: pa.Table

    @property
    def out(self) -> pa.Array:
        """doc_ids that are not trained on."""
        return pa.concat_arrays([self.chosen, self.copies.column("doc_id").combine_chunks()])


def folder(run: str) -> str:
    """Folder of the held-out documents."""
    return storage.join(run, "held_out")


def folders(run: str) -> dict[str, str]:
    """Folders of token shards by part: CHOSEN, COPIES."""
    return {CHOSEN: folder(run), COPIES: storage.join(folder(run), "copies")}


def copies_path(run: str) -> str:
    """The table of the copies."""
    return storage.join(folder(run), "copies.parquet")


def look_at_removals(job: LookJob) -> pa.Table:
    """WENT rows of the documents that are chosen or wanted."""
    wanted = job.wanted
    if isinstance(wanted, str):
        wanted = storage.read_parquet(wanted, ["doc_id"]).column("doc_id").combine_chunks()
    tables = []
    for shard in job.shards:
        gone = gone_from(job.chain, job.index, shard)
        chosen = pa.array(job.config.chosen(gone.column("doc_id").to_pylist()), pa.bool_())
        gone = gone.append_column("is_followed", chosen)
        tables.append(gone.filter(pc.or_(chosen, pc.is_in(gone.column("doc_id"), value_set=wanted))).cast(WENT))
    return documents.concat(tables, WENT)


def derive(
    chain: Chain, config: HeldOutConfig, looks: Looks, keep: Callable[[str, pa.Array], pa.Array | str] | None = None
) -> tuple[pa.Table, dict[str, Gone]]:
    """The copies of held-out documents (STANDS rows, by doc_id, then the earliest step), and by step what went.

    looks: runs `look_at_removals` on jobs, in any order. keep: puts wanted doc_ids where the jobs of a step find them.
    """
    names = [shard.name for shard in chain.shards]
    trail = STANDS.empty_table()
    gone: dict[str, Gone] = {}
    for index in range(chain.documents_end, len(chain.steps)):
        stage = chain.steps[index].name
        wanted: pa.Array | str = pc.unique(trail.column("doc_id"))
        wanted = keep(stage, wanted) if keep is not None else wanted
        groups = [tuple(names[start : start + _SHARDS_A_TASK]) for start in range(0, len(names), _SHARDS_A_TASK)]
        found = documents.concat(looks([LookJob(chain, index, group, config, wanted) for group in groups]), WENT)
        chosen = found.filter(found.column("is_followed"))
        copied, known = pc.is_valid(chosen.column("twin")), pc.is_valid(chosen.column("known_to"))
        copies, in_history = (int(pc.sum(mask).as_py() or 0) for mask in (copied, known))
        gone[stage] = Gone(copies, in_history, chosen.num_rows - copies - in_history)
        trail = followed(trail, found)
    chosen_too = config.chosen(trail.column("doc_id").to_pylist())
    trail = trail.filter(pa.array(~chosen_too))  # held out themselves
    steps = pc.index_in(trail.column("stage"), pa.array(chain.names))
    ordered = trail.append_column("step", steps).sort_by(
        [(name, "ascending") for name in ("doc_id", "step", "copy_of")]
    )
    return ordered.drop_columns(["step"]).combine_chunks(), gone


def fingerprint(chain: Chain, config: HeldOutConfig) -> str:
    """Of the split: of the settings and the last step, whose own fingerprint is of all inputs where copies may be."""
    return artifacts.fingerprint(
        product=NAME, version=VERSION, steps=chain.steps[-1].fingerprint, config=config.model_dump()
    )


def write_copies(chain: Chain, config: HeldOutConfig, engine: Engine) -> None:
    """Writes copies.parquet if it is not up to date; every step must be committed."""
    expected = fingerprint(chain, config)
    path = copies_path(chain.run)
    if _metadata(path).get("fingerprint") == expected:
        return
    stage = StageFolder(chain.run, NAME)

    def keep(step: str, wanted: pa.Array) -> str:
        scratch = storage.join(stage.root, "exchange", f"{step}.parquet")
        storage.write_parquet(scratch, pa.table({"doc_id": wanted}))
        return scratch

    def looks(jobs: Sequence[LookJob]) -> Iterator[pa.Table]:
        label = f"{NAME}: {chain.names[jobs[0].index]}"
        tables = {job.shards: table for job, table in engine.map(label, look_at_removals, jobs, lambda j: j.shards[0])}
        return (tables[job.shards] for job in jobs)

    copies, gone = derive(chain, config, looks, keep)
    notes = {"fingerprint": expected, "gone": json.dumps({step: each._asdict() for step, each in gone.items()})}
    storage.write_parquet(path, copies.replace_schema_metadata(notes))
    exchange.drop(stage)


def read_copies(run: str, doc_ids: Sequence[str] | None = None) -> pa.Table:
    """STANDS rows of the copies; of these documents only, if they are given."""
    wanted = None if doc_ids is None else pc.field("doc_id").isin(pa.array(doc_ids, pa.string()))
    return storage.read_parquet(copies_path(run), STANDS.names, wanted).cast(STANDS)


def read_gone(run: str) -> dict[str, Gone]:
    """By corpus step what became of the chosen documents that it removed."""
    found: dict[str, dict[str, int]] = json.loads(_metadata(copies_path(run)).get("gone", "{}"))
    return {step: Gone(each["copied"], each["known"], each["other"]) for step, each in found.items()}


def _metadata(path: str) -> dict[str, str]:
    if not storage.exists(path):
        return {}
    with storage.open_read(path) as file:
        found = pq.read_schema(file).metadata or {}
    return {key.decode(): value.decode() for key, value in found.items() if not key.startswith(b"ARROW")}


def split(run: str, config: HeldOutConfig, doc_ids: pa.Array) -> Split:
    """The split of the kept documents `doc_ids`, by copies.parquet, of which no more than their range is read."""
    names = doc_ids.to_pylist()
    chosen = doc_ids.filter(pa.array(config.chosen(names), pa.bool_()))
    if not names:
        return Split(chosen, STANDS.empty_table().select(["doc_id", "stage"]))
    in_range = (pc.field("doc_id") >= min(names)) & (pc.field("doc_id") <= max(names))
    found = storage.read_parquet(copies_path(run), ["doc_id", "stage"], in_range)
    found = found.filter(pc.is_in(found.column("doc_id"), value_set=doc_ids))
    _, first = np.unique(found.column("doc_id").to_numpy(zero_copy_only=False).astype(str), return_index=True)
    return Split(chosen, found.take(pa.array(first)))


def documents_file(chain: Chain, shard: Shard) -> str:
    """The kept documents of `shard` in the refined corpus."""
    return chain.folder(len(chain.steps) - 1).path("out", shard.name)


def split_of_shard(chain: Chain, config: HeldOutConfig, shard: Shard) -> Split:
    """The split of the kept documents of `shard`."""
    ids = storage.read_parquet(documents_file(chain, shard), ["doc_id"]).column("doc_id").combine_chunks()
    return split(chain.run, config, ids)


def counts_of(chain: Chain, shard: Shard, parts: Split, texts: pa.Table) -> Counts:
    """Documents and characters of the shard: in, trained on (kept), held out and copies by step (removed).

    texts: doc_id and text of all that is not trained on.
    """
    manifest = chain.folder(len(chain.steps) - 1).manifest(shard.name)
    if manifest is None:
        raise InternalError("the refined corpus lacks a shard", where=shard.name)
    into = manifest.counts.kept
    lengths = dict(
        zip(texts.column("doc_id").to_pylist(), pc.utf8_length(texts.column("text")).to_pylist(), strict=True)
    )
    removed: dict[str, Tally] = {}
    rules = [(doc_id, NAME) for doc_id in parts.chosen.to_pylist()]
    rules += [(row["doc_id"], copy_rule(row["stage"])) for row in parts.copies.to_pylist()]
    for doc_id, rule in rules:
        removed[rule] = removed.get(rule, Tally()) + Tally(documents=1, characters=lengths[doc_id])
    out = sum(removed.values(), Tally())
    kept = Tally(documents=into.documents - out.documents, characters=into.characters - out.characters)
    return Counts(into=into, kept=kept, removed=dict(sorted(removed.items())))


def copy_rule(stage: str) -> str:
    """The rule under which copies that `stage` found are counted."""
    return f"copy_{stage}"


@dataclass(frozen=True)
class SplitFate:
    """What the split says of a document.

    chosen: whether its doc_id is held out. part: `training`, `held_out` or `copy`; None where it was not kept.
    copies: STANDS rows that make it a copy.
    """

    chosen: bool
    part: str | None
    copies: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """The key `held_out` of `explain --json`."""
        names = ("copy_of", "via", "stage", "similarity")
        copies = [{name: row[name] for name in names} for row in self.copies]
        return {"chosen": self.chosen, "part": self.part, "copies": copies}


def fate_of(run: str, config: HeldOutConfig, doc_id: str, *, kept: bool) -> SplitFate:
    """What the split, which is up to date, says of a document."""
    chosen = config.is_chosen(doc_id)
    if chosen or not kept:
        return SplitFate(chosen, NAME if kept else None, [])
    copies = read_copies(run, [doc_id]).to_pylist()
    return SplitFate(chosen, "copy" if copies else "training", copies)


def facts(counts: Counts, gone: dict[str, Gone]) -> dict[str, Any]:
    """What is reported of the whole split: documents and characters of its parts, and the chosen that were not kept."""
    copies = {rule.removeprefix("copy_"): t.model_dump() for rule, t in counts.removed.items() if rule != NAME}
    return {
        "training": counts.kept.model_dump(),
        "held_out": counts.removed.get(NAME, Tally()).model_dump(),
        "copies": copies,
        "chosen_not_kept": {step: each._asdict() for step, each in gone.items()},
    }
