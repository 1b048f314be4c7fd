"""Tokenizers that a recipe names: taken as they are, with another EOS, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from corpusmill.core.errors import ConfigError, InputError
from corpusmill.pipeline import recipe
from corpusmill.pipeline.chain import Chain
from corpusmill.pipeline.products import Products, _make_tokenizer, _TokenizerJob
from corpusmill.pipeline.recipe import Recipe, TokenizerSection
from corpusmill.tokenize.tokenizer import Tokenizer

MINIMAL = "name: x\nstages: {extract: {}, language: {}}\n"


def write_json(path: Path, *, lossy: bool = False) -> str:
    library = Library(models.BPE())
    if lossy:
        library.normalizer = normalizers.NFC()
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>", "<|fin|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    library.train_from_iterator(["the river and the mill"] * 5, trainer)
    library.save(str(path))
    return str(path)


def made(tmp_path: Path, **settings: Any) -> Path:
    out = tmp_path / "out" / "tokenizer.model"
    _make_tokenizer(_TokenizerJob((), TokenizerSection.model_validate(settings), str(out)))
    return out


def test_a_tokenizer_json_is_taken_as_it_is(tmp_path: Path) -> None:
    path = write_json(tmp_path / "tokenizer.json")
    assert made(tmp_path, model=path).read_bytes() == Path(path).read_bytes()


def test_a_named_eos_is_in_the_copy(tmp_path: Path) -> None:
    path = write_json(tmp_path / "tokenizer.json")
    ends = [Tokenizer.load(str(made(tmp_path, model=path, eos_token=token))).eos_id for token in ("<|fin|>", None)]
    assert ends == [1, 0]


def test_a_lossy_tokenizer_is_refused_unless_it_is_asked_for(tmp_path: Path) -> None:
    path = write_json(tmp_path / "tokenizer.json", lossy=True)
    with pytest.raises(InputError, match="does not give every text back") as caught:
        made(tmp_path, model=path)
    assert "(NFC)" in str(caught.value.value)
    assert not (tmp_path / "out").exists()
    assert made(tmp_path, model=path, allow_lossy=True).read_bytes() == Path(path).read_bytes()


def load(tmp_path: Path, tokenizer: dict[str, Any]) -> Recipe:
    path = tmp_path / "recipe.yaml"
    path.write_text(MINIMAL + f"tokenizer: {json.dumps(tokenizer)}\n", encoding="utf-8")
    return recipe.load(str(path))


@pytest.mark.parametrize("key", [{"eos_token": "</s>"}, {"allow_lossy": True}])
def test_keys_of_a_given_model_need_one(tmp_path: Path, key: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="are for a given `model`"):
        load(tmp_path, key)
    load(tmp_path, {"model": "m.model"} | key)


def test_training_keys_of_a_recipe(tmp_path: Path) -> None:
    keys = {"user_symbols": ["<|user|>"], "sample_languages": {"ja": "1/2", "en": 0.5}}
    section = load(tmp_path, keys).tokenizer
    assert section is not None
    assert section.training().user_symbols == ("<|user|>",)
    again = tmp_path / "again.yaml"
    again.write_text(load(tmp_path, keys).to_yaml(), encoding="utf-8")
    assert recipe.load(str(again)) == load(tmp_path, keys)


def test_what_changes_the_copy_changes_its_fingerprint(tmp_path: Path) -> None:
    path = write_json(tmp_path / "tokenizer.json")

    def fingerprint(**settings: Any) -> str:
        chain = cast(Chain, SimpleNamespace(run=str(tmp_path), steps=["extract"], shards=[]))
        return Products(load(tmp_path, {"model": path} | settings), chain)._tokenizer_fingerprint

    assert fingerprint() == fingerprint(allow_lossy=True) == fingerprint(vocab_size=999)
    assert fingerprint() != fingerprint(eos_token="<|fin|>")
    before = fingerprint()
    write_json(tmp_path / "tokenizer.json", lossy=True)
    assert fingerprint() != before
