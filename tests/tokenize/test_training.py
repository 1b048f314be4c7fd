from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError
from token_runs import WORDS, document_table, random_texts, write_documents

from corpusmill.core import storage
from corpusmill.core.errors import ConfigError, InputError
from corpusmill.tokenize.tokenizer import Tokenizer
from corpusmill.tokenize.training import TokenizerConfig, train_tokenizer


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_training_is_deterministic_and_independent_of_the_files(tmp_path: Path, model_type: str) -> None:
    files = list(write_documents(tmp_path).values())
    whole = storage.read_parquet(files[0])
    halves = [str(tmp_path / f"half-{i}.parquet") for i in range(2)]
    storage.write_parquet(halves[0], whole.slice(0, 15))
    storage.write_parquet(halves[1], whole.slice(15))
    config = TokenizerConfig.model_validate({"vocab_size": 320, "model_type": model_type})
    hashes = set()
    for number, document_files in enumerate((files, files, files[::-1], [*halves, *files[1:]])):
        out = str(tmp_path / f"{number}.model")
        train_tokenizer(document_files, config, out)
        hashes.add(storage.sha256_file(out))
    assert len(hashes) == 1


def test_sample_is_bounded_and_chosen_by_doc_id(tmp_path: Path) -> None:
    files = list(write_documents(tmp_path).values())
    for name, reordered in (("a", files), ("b", files[::-1])):
        train_tokenizer(reordered, TokenizerConfig(vocab_size=300, sample_bytes=4000), str(tmp_path / f"{name}.model"))
    assert storage.sha256_file(str(tmp_path / "a.model")) == storage.sha256_file(str(tmp_path / "b.model"))
    train_tokenizer(files, TokenizerConfig(vocab_size=300), str(tmp_path / "c.model"))
    assert storage.sha256_file(str(tmp_path / "c.model")) != storage.sha256_file(str(tmp_path / "a.model"))


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_a_vocabulary_too_large_names_the_largest_that_fits(tmp_path: Path, model_type: str) -> None:
    files = list(write_documents(tmp_path).values())
    config = {"vocab_size": 30_000, "model_type": model_type}
    with pytest.raises(ConfigError, match="too small for this vocabulary") as caught:
        train_tokenizer(files, TokenizerConfig.model_validate(config), str(tmp_path / "x.model"))
    assert not (tmp_path / "x.model").exists()
    largest = int(caught.value.remedy.split("at most ")[1].split(",")[0])
    fitting = TokenizerConfig.model_validate(config | {"vocab_size": largest})
    train_tokenizer(files, fitting, str(tmp_path / "x.model"))
    assert Tokenizer.load(str(tmp_path / "x.model")).vocab_size == largest


def test_a_vocabulary_too_small_names_the_smallest_that_fits(tmp_path: Path) -> None:
    files = list(write_documents(tmp_path).values())
    with pytest.raises(ConfigError, match="no room") as caught:
        train_tokenizer(files, TokenizerConfig(vocab_size=264), str(tmp_path / "x.model"))
    smallest = int(caught.value.remedy.split("at least ")[1].split(",")[0])
    train_tokenizer(files, TokenizerConfig(vocab_size=smallest), str(tmp_path / "x.model"))


def test_no_text_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "empty.parquet")
    storage.write_parquet(path, document_table(["", ""], "e"))
    with pytest.raises(InputError, match="no text"):
        train_tokenizer([path], TokenizerConfig(), str(tmp_path / "x.model"))


def test_lines_longer_than_sentencepiece_takes_are_learned_from(tmp_path: Path) -> None:
    path = str(tmp_path / "long.parquet")
    text = " ".join(" ".join(random_texts(seed)).replace("\n", " ") for seed in range(3))
    assert len(text.encode()) > 3 * 4192
    storage.write_parquet(path, document_table([text], "long"))
    train_tokenizer([path], TokenizerConfig(vocab_size=330), str(tmp_path / "x.model"))
    tokenizer = Tokenizer.load(str(tmp_path / "x.model"))
    assert any(len(ids) <= 2 for ids in tokenizer.encode_batch([f" {w}" for w in WORDS if len(w) > 5]))


USER_SYMBOLS = ["<|user|>", "  ", 'a,b"c', "x y", "日本"]


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_user_symbols_are_one_token_and_control_symbols_never_are(tmp_path: Path, model_type: str) -> None:
    files = list(write_documents(tmp_path).values())
    config = TokenizerConfig.model_validate(
        {
            "vocab_size": 400,
            "model_type": model_type,
            "user_symbols": USER_SYMBOLS,
            "control_symbols": ["<|im_end|>", "<|a,b|>"],
        }
    )
    train_tokenizer(files, config, str(tmp_path / "x.model"))
    tokenizer = Tokenizer.load(str(tmp_path / "x.model"))
    assert tokenizer.vocab_size == 400
    for symbol in USER_SYMBOLS:
        for text in (symbol, f"ka{symbol}ri"):
            (ids,) = tokenizer.encode_batch([text])
            assert tokenizer.decode(ids) == text
            assert any(tokenizer.decode([i]) == symbol for i in ids.tolist())
    assert len(tokenizer.codec.control_ids) == 5  # BOS, EOS, pad and the two
    for symbol in config.control_symbols:
        (ids,) = tokenizer.encode_batch([f"a {symbol} b"])
        assert tokenizer.decode(ids) == f"a {symbol} b"
        assert not tokenizer.codec.control_ids & set(ids.tolist())


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"user_symbols": [""]}, "1 to 64 characters"),
        ({"user_symbols": ["a\u2581b"]}, r"U\+2581"),
        ({"user_symbols": ["</s>"]}, "already"),
        ({"user_symbols": ["<0x41>"]}, "already"),
        ({"control_symbols": ["\n"]}, "already"),
        ({"user_symbols": ["<|a|>"], "control_symbols": ["<|a|>"]}, "named twice"),
        ({"sample_languages": {"ja": 0.5, "en": 0.6}}, "add up to 1"),
        ({"sample_languages": {"ja": 1, "en": 0}}, "above 0"),
        ({"sample_languages": {"ja": "half"}}, "fraction"),
        ({"sample_languages": {}}, "add up to 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        TokenizerConfig.model_validate(settings)


def test_shares_are_exact_and_survive_being_written_down() -> None:
    config = TokenizerConfig.model_validate({"sample_languages": {"ja": "1/3", "en": "2/3"}})
    assert config.sample_languages == {"ja": Fraction(1, 3), "en": Fraction(2, 3)}
    assert TokenizerConfig.model_validate(config.model_dump(mode="json")) == config
    tenths = TokenizerConfig.model_validate({"sample_languages": {"ja": 0.1, "en": 0.2, "de": 0.7}})
    assert sum((tenths.sample_languages or {}).values()) == 1  # which floats do not add up to


def two_languages(folder: Path) -> tuple[list[str], list[str]]:
    """The same documents, in English and Japanese, in one file and spread over two."""
    english = document_table(random_texts(11), "en")
    japanese = document_table(["日本の川と橋。" * (1 + i % 5) for i in range(40)], "ja")
    japanese = japanese.set_column(
        japanese.schema.get_field_index("language"), english.schema.field("language"), [["ja"] * 40]
    )
    whole = pa.concat_tables([english, japanese])
    one, spread = [str(folder / "one.parquet")], [str(folder / f"{i}.parquet") for i in range(2)]
    storage.write_parquet(one[0], whole)
    storage.write_parquet(spread[0], whole.take(list(range(79, 0, -2))))
    storage.write_parquet(spread[1], whole.take(list(range(0, 80, 2))))
    return one, spread


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_shares_of_languages_do_not_depend_on_the_files(tmp_path: Path, model_type: str) -> None:
    one, spread = two_languages(tmp_path)
    config = TokenizerConfig.model_validate(
        {
            "vocab_size": 310,
            "model_type": model_type,
            "sample_bytes": 3000,
            "sample_languages": {"ja": "1/3", "en": "2/3"},
            "num_threads": 1,
        }
    )
    samples = [train_tokenizer(files, config, str(tmp_path / f"{len(files)}.model")) for files in (one, spread)]
    assert samples[0] == samples[1]
    assert (tmp_path / "1.model").read_bytes() == (tmp_path / "2.model").read_bytes()
    assert samples[0].bytes["ja"] == pytest.approx(1000, abs=120)
    assert samples[0].bytes["en"] == pytest.approx(2000, abs=500)


def test_a_language_without_text_is_named(tmp_path: Path) -> None:
    one, _ = two_languages(tmp_path)
    config = TokenizerConfig.model_validate({"sample_languages": {"de": "1/2", "en": "1/2"}})
    with pytest.raises(InputError, match="no text in a language") as caught:
        train_tokenizer(one, config, str(tmp_path / "x.model"))
    assert caught.value.value == "de"
