"""Every recipe, on the sample crawl: a change of a default that changes what is kept shows here."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from funnels import NAMES, RECIPES, funnel, golden


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory, lid_model: Path) -> Path:
    """One folder for all recipes, so that the sample is built once."""
    return tmp_path_factory.mktemp("funnels")


@pytest.mark.parametrize("name", NAMES)
def test_the_funnel_is_the_golden_one(name: str, scratch: Path) -> None:
    """If the change is meant: `python tests/recipes/funnels.py`, and look at the difference."""
    assert funnel(name, scratch) == golden(name)


@pytest.mark.parametrize("name", NAMES)
def test_golden_funnels_conserve_documents(name: str) -> None:
    stages = list(golden(name).values())
    for stage in stages:
        gone = sum(stage["removed"].values()) + sum(stage["quarantined"].values())
        assert stage["in"] == stage["kept"] + gone
    assert all(after["in"] == before["kept"] for before, after in pairwise(stages))
    assert stages[-1]["kept"] > 0


def test_every_recipe_has_a_golden_funnel() -> None:
    # quickstart runs whole in tests/pipeline, down to a trained model
    assert set(NAMES) == {path.stem for path in RECIPES.glob("*.yaml")} - {"quickstart"}
