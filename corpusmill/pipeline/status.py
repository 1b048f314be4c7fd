"""What is done, stale or missing in a run, read from its files alone: no Ray, no cluster."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from corpusmill.core import storage
from corpusmill.core.artifacts import Counts, ShardManifest
from corpusmill.core.errors import InputError
from corpusmill.pipeline import histories, inputs, recipe
from corpusmill.pipeline.alarms import Alarm, alarms
from corpusmill.pipeline.chain import Chain
from corpusmill.pipeline.corpus_tasks import read_reported
from corpusmill.pipeline.events import seconds_by_stage
from corpusmill.pipeline.products import Products
from corpusmill.pipeline.recipe import Recipe


@dataclass(frozen=True)
class StageStatus:
    """State of one stage: `done`, `partial`, `stale` (made with other settings or input) or `pending`.

    reported: what the turns of a step that repeats counted, one number a turn.
    """

    name: str
    state: str
    shards: int
    shards_done: int
    counts: Counts
    seconds: float
    reported: dict[str, list[int]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The row of `status --json`."""
        rate = self.counts.into.documents / self.seconds if self.seconds else None
        return {
            "name": self.name,
            "state": self.state,
            "shards": self.shards,
            "shards_done": self.shards_done,
            "documents_in": self.counts.into.documents,
            "documents_kept": self.counts.kept.documents,
            "removed": {k: t.documents for k, t in self.counts.removed.items()},
            "quarantined": {k: t.documents for k, t in self.counts.quarantined.items()},
            "characters_in": self.counts.into.characters,
            "characters_kept": self.counts.kept.characters,
            "seconds": round(self.seconds, 3),
            "documents_per_core_second": None if rate is None else round(rate, 2),
            "reported": self.reported,
        }


@dataclass(frozen=True)
class RunStatus:
    """State of a run; `state` is that of its worst stage, `warnings` are about the stages that are done.

    held_out: documents and characters of the parts of the split (held_out.facts); None where there is none.
    """

    run: str
    recipe: str
    stages: list[StageStatus] = field(default_factory=list)
    warnings: list[Alarm] = field(default_factory=list)
    held_out: dict[str, Any] | None = None

    @property
    def state(self) -> str:
        """`done`, or the first of partial, stale, pending that some stage is in."""
        states = {stage.state for stage in self.stages}
        return next((s for s in ("partial", "stale", "pending") if s in states), "done")

    def to_json(self) -> dict[str, Any]:
        """The object of `status --json`."""
        return {
            "run": self.run,
            "recipe": self.recipe,
            "state": self.state,
            "stages": [stage.to_json() for stage in self.stages],
            "held_out": self.held_out,
            "warnings": [alarm.to_json() for alarm in self.warnings],
        }


def open_run(run: str) -> tuple[Recipe, Chain]:
    """Recipe and chain of a run folder, as its last `run` or `stage` command resolved them."""
    path = storage.join(run, "resolved.yaml")
    if not storage.exists(path):
        raise InputError(
            "not a run folder: it has no resolved.yaml", where=run, remedy="corpusmill run RECIPE --out RUN"
        )
    resolved = recipe.load(path)
    return resolved, Chain.of(run, resolved, inputs.load(run), histories.load(run))


def status(run: str) -> RunStatus:
    """State of every stage of `run`."""
    resolved, chain = open_run(run)
    seconds = seconds_by_stage(run)
    stages = []
    warnings = []
    for index, step in enumerate(chain.steps):
        folder = chain.folder(index)
        current = [m for s in chain.shards if (m := chain.committed(index, s)) is not None]
        any_made = any(folder.manifest(s.name) is not None for s in chain.shards)
        found = _status(step.name, len(chain.shards), current, any_made, seconds)
        stages.append(replace(found, reported=read_reported(chain, index) if step.corpus_wide else {}))
        if stages[-1].state == "done":
            warnings += alarms(chain, index, stages[-1].counts, resolved.expected)
    products = Products(resolved, chain)
    for name, shards, current, any_made in products.states():
        stages.append(_status(name, shards, current, any_made, seconds))
    return RunStatus(run, resolved.name, stages, warnings, products.split_facts())


def _status(
    name: str, shards: int, current: list[ShardManifest], any_made: bool, seconds: dict[str, float]
) -> StageStatus:
    if len(current) == shards:
        state = "done"
    elif current:
        state = "partial"
    else:
        state = "stale" if any_made else "pending"
    counts = sum((m.counts for m in current), Counts())
    return StageStatus(name, state, shards, len(current), counts, seconds.get(name, 0.0))
