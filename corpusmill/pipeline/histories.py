"""Which histories a run looks into: found when the run is started, written beside its shards.

RUN/histories.json names them by step, so that `status`, `explain` and `verify` know the chain where they are gone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

from corpusmill.core import storage
from corpusmill.core.errors import ConfigError
from corpusmill.dedup import history
from corpusmill.dedup.history import History, Past
from corpusmill.pipeline.recipe import Recipe
from corpusmill.pipeline.registry import CORPUS_STEPS


def find(recipe: Recipe, run: str) -> dict[str, Past]:
    """The histories that `recipe` names, by step.

    Raises InputError or ConfigError where one is missing or does not fit (dedup/history.py), is the run's own, or where
    no step of the recipe would look into it.
    """
    if not recipe.history:
        return {}
    steps = [name for name in recipe.stages if name in recipe.history_steps]
    if not steps:
        raise ConfigError(
            "`history` is named, but no step of the recipe looks into it",
            value=recipe.history_steps,
            remedy="name steps of the recipe in `history_steps`, or take `history` away",
        )
    for path in recipe.history:
        if path in (run, storage.join(run, "history")):
            raise ConfigError("a run cannot be its own history", where=path, remedy="name earlier runs in `history`")
    return {name: history.named(recipe.history, CORPUS_STEPS[name](recipe.stage_config(name))) for name in steps}


def save(run: str, pasts: Mapping[str, Past]) -> None:
    """Writes RUN/histories.json."""
    body = {step: [asdict(each) for each in past.histories] for step, past in pasts.items()}
    storage.write_text(_path(run), json.dumps(body, indent=1) + "\n")


def load(run: str) -> dict[str, Past]:
    """The histories that a run looks into, by step."""
    if not storage.exists(_path(run)):
        return {}  # of an older version
    body = json.loads(storage.read_text(_path(run)))
    return {step: Past(tuple(History(**each) for each in past)) for step, past in body.items()}


def _path(run: str) -> str:
    return storage.join(run, "histories.json")
