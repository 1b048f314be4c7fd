"""Recipes: every key is checked, every default written out, every mistake named with its remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
import sample_runs

from corpusmill.core.errors import ConfigError
from corpusmill.pipeline import recipe
from corpusmill.pipeline.registry import ORDER_OF_STAGES

MINIMAL = "name: m\nstages: {extract: , language: }\n"


@pytest.fixture
def minimal(tmp_path: Path) -> str:
    path = tmp_path / "minimal.yaml"
    path.write_text(MINIMAL)
    return str(path)


@pytest.mark.parametrize(
    ("override", "key", "nearest"),
    [
        ("stages.quallity.min_words=3", "stages.quallity", "quality"),
        ("stages.quality.min_word=3", "stages.quality.min_word", "min_words"),
        ("tokeniser.vocab_size=300", "tokeniser", "tokenizer"),
        ("error_budget.percents=1", "error_budget.percents", "percent"),
        ("order.sequence_lenght=8", "order.sequence_lenght", "sequence_length"),
    ],
)
def test_unknown_keys_are_answered_with_the_nearest_name(override: str, key: str, nearest: str) -> None:
    with pytest.raises(ConfigError) as caught:
        sample_runs.load(override)
    assert key in caught.value.what
    assert f"did you mean `{nearest}`" in caught.value.remedy


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("stages.quality.min_words=many", "stages.quality.min_words"),
        ("stages.minhash.bands=0", "stages.minhash.bands"),
        ("error_budget.percent=101", "error_budget.percent"),
        ("train_processes=0", "train_processes"),
    ],
)
def test_wrong_values_name_key_and_value(override: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        sample_runs.load(override)
    assert key in caught.value.what
    assert caught.value.value is not None
    assert f"--set {key}=" in caught.value.remedy


@pytest.mark.parametrize(
    ("overrides", "demanded"),
    [
        (["stages.prescreen.min_words=51"], "=50"),
        (["stages.quality.min_words=40"], "=40"),
        (["stages.quality.min_words=null"], "=null"),
        (["stages.quality=false"], "=null"),
        (["stages.quality.languages={en: {min_words: 30}}"], "=30"),
        (["stages.quality.languages={de: {min_words: 30}}", "stages.language.languages=null"], "=30"),
        (["stages.quality.languages={ja: {min_words: 30}}", "stages.language.languages={jpn_Jpan: null}"], "=30"),
    ],
)
def test_a_prescreen_that_asks_for_more_words_than_quality_is_refused(overrides: list[str], demanded: str) -> None:
    with pytest.raises(ConfigError, match="the prescreen would remove pages") as caught:
        sample_runs.load("stages.language.languages={en: 0.65}", "stages.prescreen={}", *overrides)
    assert caught.value.remedy.startswith(f"--set stages.prescreen.min_words{demanded},")


@pytest.mark.parametrize(
    "override",
    [
        "stages.prescreen=null",
        "stages.quality.languages={de: {min_words: 30}}",
        "stages.prescreen.min_words=10",
        "stages.prescreen=false",
    ],
)
def test_a_prescreen_that_asks_for_no_more_than_quality_is_accepted(override: str) -> None:
    sample_runs.load("stages.language.languages={en: 0.65}", "stages.prescreen={}", override)


@pytest.mark.parametrize("override", ["stages.quality.min_words", "=3", "name.x=3"])
def test_overrides_that_are_none(override: str) -> None:
    with pytest.raises(ConfigError):
        sample_runs.load(override)


def test_overrides_are_yaml(minimal: str) -> None:
    resolved = recipe.load(
        minimal,
        [
            "stages.quality.min_words=40",
            "stages.language.languages={en: 0.5}",
            "input=[a.warc.gz, b.warc.gz]",
            "error_budget.percent=2.5",
            "description=a b",
        ],
    )
    assert resolved.stages["quality"]["min_words"] == 40
    assert resolved.stages["language"]["languages"] == {"en": 0.5}
    assert resolved.input == ["a.warc.gz", "b.warc.gz"]
    assert resolved.error_budget.percent == 2.5
    assert resolved.description == "a b"


@pytest.mark.parametrize("name", ["quickstart", "refinedweb", "japanese"])
def test_the_resolved_recipe_loads_as_itself(tmp_path: Path, name: str) -> None:
    shipped = recipe.shipped(name)
    assert shipped is not None
    resolved = recipe.load(shipped)
    path = tmp_path / "resolved.yaml"
    path.write_text(resolved.to_yaml(), encoding="utf-8")
    again = recipe.load(str(path))
    assert again == resolved
    assert again.to_yaml() == resolved.to_yaml()
    assert recipe.shipped("no-such-recipe") is None


def test_stages_run_in_their_own_order(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("name: r\nstages: {minhash: , language: , quality: , extract: }\n")
    names = list(recipe.load(str(path)).stages)
    assert names == ["warc", "extract", "language", "quality", "minhash"]
    assert names == sorted(names, key=ORDER_OF_STAGES.index)


def test_false_switches_a_stage_off_and_null_means_defaults() -> None:
    full = sample_runs.load()
    without = sample_runs.load("stages.quality=false", "stages.minhash=null")
    assert set(full.stages) - set(without.stages) == {"quality"}
    assert without.stages["minhash"] == recipe.config_class("minhash")().model_dump(mode="json")


@pytest.mark.parametrize("needed", ["extract", "language"])
def test_extraction_and_language_are_needed(needed: str) -> None:
    with pytest.raises(ConfigError, match=f"`{needed}`"):
        sample_runs.load(f"stages.{needed}=false")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "not valid YAML"),
        ("- a", "not a mapping"),
        ("name: x", "no stages"),
        (MINIMAL + "order: {key: k}", "needs tokens"),
        (MINIMAL + "tokenizer: {vocab_size: 300}\ntrain: {preset: tiny}", "needs an order"),
    ],
)
def test_recipes_that_cannot_run(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        recipe.load(str(path))


def test_a_missing_name_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("stages: {extract: , language: }\n")
    with pytest.raises(ConfigError, match="`name`"):
        recipe.load(str(path))


def test_keeping_the_best_needs_scores() -> None:
    with pytest.raises(ConfigError, match="keeping the best needs the scores of the stage `classifier`") as caught:
        sample_runs.load("stages.minhash.keep=best")
    assert "stages.minhash.keep=longest" in caught.value.remedy
    loaded = sample_runs.load("stages.minhash.keep=best", "stages.classifier={model: m.bin, threshold: 0.5}")
    assert loaded.stages["minhash"]["keep"] == "best"
