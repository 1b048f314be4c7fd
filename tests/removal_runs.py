"""Runs whose documents fall at random: removed for a twin, for one of a history, by a rule, or quarantined."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from dedup_tables import document
from step_runs import InProcess

from corpusmill.core import storage
from corpusmill.core.artifacts import Counts
from corpusmill.core.documents import DOCUMENT_WITH_LANGUAGE, QUARANTINE, REMOVAL, table_of
from corpusmill.dedup.minhash import CLUSTER
from corpusmill.pipeline.chain import Chain, Step
from corpusmill.pipeline.document_tasks import tally
from corpusmill.pipeline.events import EventLog
from corpusmill.pipeline.inputs import Shard
from corpusmill.pipeline.products import Products, product_names
from corpusmill.pipeline.recipe import Recipe, resolve
from corpusmill.pipeline.sources import ExtraFile
from corpusmill.stages.warc import Slice
from corpusmill.tokenize.training import TokenizerConfig, train_tokenizer

STEPS = ("url_dedup", "exact_dedup", "minhash", "substring")
FILES, SLICES, RECORDS = 3, 2, 30


@dataclass
class MadeRun:
    """A run, and what fell in it. fell: doc_id -> (step, twin or None, history or None)."""

    chain: Chain
    rows: dict[str, dict[str, Any]]
    fell: dict[str, tuple[str, str | None, str | None]] = field(default_factory=dict)
    similarity: dict[str, float] = field(default_factory=dict)
    clusters: dict[str, str] = field(default_factory=dict)

    @property
    def kept(self) -> set[str]:
        return set(self.rows) - set(self.fell)

    def end_of(self, doc_id: str) -> tuple[str | None, str | None, str | None]:
        """The kept document that stands for `doc_id`, what went for it, and at which step; itself without the rest."""
        via, step = None, None
        while doc_id in self.fell:
            step, twin, history = self.fell[doc_id]
            if twin is None or history is not None:
                return None, None, None
            via, doc_id = doc_id, twin
        return (doc_id, via, step) if doc_id in self.rows else (None, None, None)


def make(folder: Path, seed: int) -> MadeRun:
    """A run of FILES x SLICES shards of RECORDS documents each in all."""
    chance = random.Random(seed)
    stages = (Step("language", False, {}, f"documents {seed}", True),)
    steps = (*stages, *(Step(name, True, {}, f"{name} {seed}", name == STEPS[-1]) for name in STEPS))
    shards = []
    for number in range(FILES):
        for part in range(SLICES):
            piece = Slice(f"/f{number}.warc.gz", f"f{number}.warc.gz", "", part, part, part + 1)
            shards.append(Shard(f"f{number}.warc.gz--{part:04d}", f"{number} {part}", piece))
    chain = Chain(str(folder), steps, tuple(shards))
    of_shard: dict[str, list[str]] = {}
    rows: dict[str, dict[str, Any]] = {}
    for shard in shards:
        first = shard.slice.start * 1000
        ids = [f"{shard.slice.warc_file}:{first + 10 * n}" for n in range(RECORDS // (1 + chance.randrange(2)))]
        of_shard[shard.name] = ids
        for doc_id in ids:
            text = " ".join(chance.choices(["river", "stone", "bread", "letter", "橋"], k=chance.randrange(30)))
            row = document(0, text) | {"doc_id": doc_id, "language": chance.choice(["en", "ja"])}
            rows[doc_id] = row
    run = MadeRun(chain, rows)
    _commit(run, 0, of_shard)
    for index, step in enumerate(STEPS, start=1):
        _let_fall(run, step, chance)
        _commit(run, index, of_shard)
    return run


def _let_fall(run: MadeRun, step: str, chance: random.Random) -> None:
    alive = sorted(run.kept)
    goes = chance.sample(alive, len(alive) // 4)
    stays = sorted(set(alive) - set(goes))
    groups: dict[str, list[str]] = {}
    for doc_id in goes:
        kind = chance.random()
        if step == "substring" or kind < 0.1:
            run.fell[doc_id] = (step, None, None)
        elif kind < 0.25:
            run.fell[doc_id] = (step, chance.choice([doc_id, "old.warc.gz:5"]), "earlier@01234567")
        else:
            twin = chance.choice(stays[: len(stays) // 2])
            run.fell[doc_id] = (step, twin, None)
            run.similarity[doc_id] = round(chance.uniform(0.7, 1), 3)
            groups.setdefault(twin, [twin]).append(doc_id)
    if step == "minhash":
        run.clusters = {twin: min(members) for twin, members in groups.items()}


def _commit(run: MadeRun, index: int, of_shard: dict[str, list[str]]) -> None:
    chain = run.chain
    step = chain.steps[index]
    order = [s.name for s in chain.steps]
    for shard in chain.shards:
        entered = [i for i in of_shard[shard.name] if i not in run.fell or order.index(run.fell[i][0]) >= index]
        gone = [i for i in entered if i in run.fell and run.fell[i][0] == step.name]
        # What fell without a twin is quarantined by turns.
        alone = [i for i in gone if run.fell[i][1] is None]
        quarantined = alone[::2]
        removed = [_removal(run, i) for i in gone if i not in quarantined]
        into = pa.Table.from_pylist([run.rows[i] for i in entered], schema=DOCUMENT_WITH_LANGUAGE)
        kept = pa.Table.from_pylist([run.rows[i] for i in entered if i not in gone], schema=DOCUMENT_WITH_LANGUAGE)
        tables = {
            "removed": table_of(removed, REMOVAL),
            "quarantine": table_of([_quarantine(run, i) for i in quarantined], QUARANTINE),
        }
        if step.stored:
            tables["out"] = kept
        if step.name == "minhash":
            tables["clusters"] = table_of([], CLUSTER)
        into_tally = tally(into)
        counts = Counts.of(
            into_tally.documents, into_tally.characters, tally(kept), tables["removed"], tables["quarantine"]
        )
        chain.folder(index).commit(shard.name, chain.fingerprint(index, shard), tables, counts)


def _removal(run: MadeRun, doc_id: str) -> dict[str, Any]:
    step, twin, history = run.fell[doc_id]
    near = step == "minhash" and history is None and twin is not None
    return {
        "doc_id": doc_id,
        "url": run.rows[doc_id]["url"],
        "stage": step,
        "rule": f"rule_of_{step}",
        "value": run.similarity.get(doc_id) if near else None,
        "detail": run.clusters[twin] if near and twin is not None else None,
        "twin": twin,
        "twin_history": history,
        "excerpt": "",
        "characters": len(run.rows[doc_id]["text"]),
    }


def _quarantine(run: MadeRun, doc_id: str) -> dict[str, Any]:
    row = {name: run.rows[doc_id][name] for name in ("doc_id", "url", "warc_file", "warc_offset")}
    return row | {"stage": "x", "reason": "broken", "detail": "", "characters": len(run.rows[doc_id]["text"])}


def train_model(folder: Path) -> str:
    """A small tokenizer."""
    rows = [document(n, f"river stone {n} bread letter 橋 {n * 7}") for n in range(200)]
    file = str(folder / "texts.parquet")
    storage.write_parquet(file, table_of(rows, DOCUMENT_WITH_LANGUAGE))
    path = str(folder / "tokenizer.model")
    train_tokenizer([file], TokenizerConfig(vocab_size=290, model_type="bpe"), path)
    return path


def recipe(model: str, **sections: Any) -> Recipe:
    """A recipe of products alone: the stages are those of the made run."""
    stages = {"extract": None, "language": None}
    return resolve({"name": "made", "stages": stages, "tokenizer": {"model": model}} | sections, "test")


def produce(run: MadeRun, recipe: Recipe, extra: Sequence[ExtraFile] = (), engine: InProcess | None = None) -> Products:
    """Makes the products of the run that are not up to date."""
    products = Products(recipe, run.chain, extra)
    events = EventLog(run.chain.run)
    for name in product_names(recipe):
        products.make(name, engine or InProcess(), events)  # type: ignore[arg-type]
    events.close()
    return products
