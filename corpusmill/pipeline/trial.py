"""Other thresholds, to be tried on the stored scores of a run: what may be changed, and what the stages then are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from corpusmill.core import storage
from corpusmill.core.errors import InputError, UserError
from corpusmill.pipeline import recipe as recipes
from corpusmill.pipeline.chain import Chain, document_stage
from corpusmill.pipeline.recipe import Recipe
from corpusmill.pipeline.scores import Scored, scored_stages
from corpusmill.pipeline.status import open_run


@dataclass(frozen=True)
class Change:
    """A key of the recipe with the value of the run and the one to be tried."""

    key: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Trial:
    """Settings to be tried on a run: its recipe and chain, and the document stages' configs as they would be."""

    recipe: Recipe
    chain: Chain
    configs: Mapping[str, Mapping[str, Any]]
    changes: tuple[Change, ...]

    @property
    def changed(self) -> tuple[str, ...]:
        """Stages with a changed threshold, in running order."""
        return tuple(name for name, config in self.configs.items() if config != self.recipe.stages[name])

    @property
    def first(self) -> int:
        """Position of the first stage with a changed threshold; behind the document stages when there is none."""
        return min((self.chain.index(name) for name in self.changed), default=self.chain.documents_end)

    def stage(self, name: str) -> Scored:
        """The scored stage `name` with the settings to be tried."""
        stage = document_stage(name, self.configs[name])
        assert isinstance(stage, Scored), "only thresholds of scored stages are tried"
        return stage


def open_scored(run: str) -> tuple[Recipe, Chain]:
    """Recipe and chain of a run whose scores can be relied on.

    Raises InputError when it is no run, or its document stages are not up to date.
    """
    resolved, chain = open_run(run)
    for index in range(chain.documents_end):
        stale = sum(chain.committed(index, shard) is None for shard in chain.shards)
        if stale:
            raise InputError(
                f"`{chain.names[index]}` is missing or stale in {stale} of {len(chain.shards)} shards, so stored scores"
                " do not fit this recipe",
                where=run,
                remedy=f"corpusmill run {run}/resolved.yaml --out {run} --until {chain.names[chain.documents_end - 1]}",
            )
    return resolved, chain


def trial(resolved: Recipe, chain: Chain, overrides: Sequence[str]) -> Trial:
    """The trial of `overrides` (`stages.quality.min_words=40`) on the run of `chain`.

    Raises UserError when one of them changes anything but a threshold that acts on stored scores.
    """
    wanted = recipes.load(storage.join(chain.run, "resolved.yaml"), overrides)
    changes = list(_differences("", resolved.model_dump(mode="json"), wanted.model_dump(mode="json")))
    for change in changes:
        _check_tunable(chain, change)
    names = chain.names[: chain.documents_end]
    return Trial(resolved, chain, {name: wanted.stages[name] for name in names}, tuple(changes))


def _differences(prefix: str, before: Any, after: Any) -> Iterator[Change]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys([*before, *after]):
            yield from _differences(f"{prefix}.{key}" if prefix else key, before.get(key), after.get(key))
    elif before != after:
        yield Change(prefix, before, after)


def _check_tunable(chain: Chain, change: Change) -> None:
    section, _, rest = change.key.partition(".")
    name, _, key = rest.partition(".")
    value = "..." if isinstance(change.after, (dict, list)) else "null" if change.after is None else change.after
    if section != "stages" or not key:
        raise UserError(
            f"`{change.key}` is not a threshold",
            remedy=f"only thresholds of these stages can be tried on stored scores: {', '.join(scored_stages(chain))}",
        )
    stage = scored_stages(chain).get(name)
    rerun = f"corpusmill stage {name} {chain.run} --set {change.key}={value}"
    if stage is None:
        raise UserError(
            f"`{name}` stores no scores, so `{change.key}` cannot be tried without running it",
            remedy=f"{rerun}; stages whose thresholds can be tried: {', '.join(scored_stages(chain))}",
        )
    if key.partition(".")[0] not in stage.threshold_keys:
        tunable = ", ".join(sorted(stage.threshold_keys)) or "none"
        raise UserError(
            f"`{change.key}` changes what `{name}` measures, so its stored scores do not fit",
            remedy=f"{rerun}; keys of this stage that can be tried: {tunable}",
        )
