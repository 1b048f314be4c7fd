import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from pydantic import BaseModel

from corpusmill.core.errors import ConfigError
from corpusmill.training_hook.config import PRESETS, TrainConfig
from corpusmill.training_hook.model import Transformer, count_parameters

MODEL = {"dim": 32, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "ffn_dim": 64}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid(name: str) -> None:
    config = TrainConfig.of({"preset": name})
    assert config.model.head_dim * config.model.num_heads == config.model.dim


def parameters(preset: str, vocab_size: int) -> tuple[int, int]:
    with torch.device("meta"):
        return count_parameters(Transformer(TrainConfig.of({"preset": preset}).model, vocab_size))


def test_llama3_8b_has_the_published_number_of_parameters() -> None:
    assert parameters("llama3-8b", 128_256)[0] == 8_030_261_248


@pytest.mark.parametrize(("name", "layers", "dim"), [("gpt3-125m", 12, 768), ("llm-jp-1.3b", 24, 2048)])
def test_gpt_sizes_have_12_l_d_squared_parameters(name: str, layers: int, dim: int) -> None:
    assert parameters(name, 50_000)[1] == pytest.approx(12 * layers * dim**2, rel=0.01)


def test_tiny_is_about_a_million() -> None:
    assert 0.8e6 < parameters("tiny", 4_000)[0] < 1.4e6


def test_keys_are_laid_over_the_preset() -> None:
    config = TrainConfig.of({"preset": "llm-jp-1.3b", "optimizer": {"warmup_steps": 10}, "model": {"tied": True}})
    assert (config.optimizer.lr, config.optimizer.warmup_steps) == (2e-4, 10)
    assert (config.model.init_std, config.model.tied) == (0.013, True)


def test_an_unknown_key_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"at optimizer\.warmup(.|\n)*did you mean warmup_steps"):
        TrainConfig.of({"preset": "tiny", "optimizer": {"warmup": 3}})
    with pytest.raises(ConfigError, match="did you mean checkpoint_every"):
        TrainConfig.of({"preset": "tiny", "checkpoint_ever": 3})


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"preset": "tinny"}, "tiny"),
        ({"model": MODEL, "steps": 0}, "steps"),
        ({"model": MODEL | {"num_kv_heads": 3}}, "num_kv_heads must divide"),
        ({"model": MODEL | {"num_heads": 3}}, "even integer"),
        ({}, "model"),
    ],
)
def test_bad_values_are_refused(values: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        TrainConfig.of(values)


def test_files_round_trip(tmp_path) -> None:
    config = TrainConfig.of({"model": MODEL})
    for name, text in (("c.yaml", yaml.safe_dump({"model": MODEL})), ("c.json", config.model_dump_json())):
        (tmp_path / name).write_text(text)
        assert TrainConfig.load(str(tmp_path / name)) == config
    assert TrainConfig.of(json.loads(config.model_dump_json())).digest() == config.digest()
    assert config.digest() != TrainConfig.of({"model": MODEL, "seed": 1}).digest()


def test_a_file_that_is_no_mapping_is_refused(tmp_path) -> None:
    (tmp_path / "c.yaml").write_text("- 1")
    with pytest.raises(ConfigError, match="mapping"):
        TrainConfig.load(str(tmp_path / "c.yaml"))


def names(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from names(field.annotation)


def test_every_setting_and_preset_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "trainer.md").read_text()
    section = text[text.index("## Configuration") : text.index("## What it writes")]
    assert [n for n in (*names(TrainConfig), *PRESETS) if not re.search(rf"\b{re.escape(n)}\b", section)] == []
