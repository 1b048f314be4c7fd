from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from token_runs import WORDS, document_table, random_texts, write_documents

from corpusmill.core import storage
from corpusmill.core.errors import ConfigError, InputError
from corpusmill.tokenize.tokenizer import Tokenizer
from corpusmill.tokenize.training import BOS_ID, EOS_ID, PAD_ID, UNK_ID, TokenizerConfig, train_tokenizer


@pytest.fixture(scope="session")
def tokenizer(token_run: Path) -> Tokenizer:
    return Tokenizer.load(str(token_run / "tokens" / "tokenizer.model"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "plain words",
        "  two spaces  in front, between and behind  ",
        "line\nline\n\n\tindented\r\nWindows\u2028separator\u00a0no-break",
        "日本語の文章。「括弧」、全角　空白",
        "😀 👩‍👩‍👧 🇯🇵",
        "own mark \u2581 and \u2581\u2581twice\u2581",
        "</s><s><unk><pad><0x41>",
        "\0 \x01 \x7f \ufeff \uffff \U0010ffff",
        "ﬁ ligature, e\u0301 decomposed, Å angstrom",
        "0123456789 1,000,000",
    ],
)
def test_round_trip_is_exact(tokenizer: Tokenizer, text: str) -> None:
    (ids,) = tokenizer.encode_batch([text])
    assert tokenizer.decode(ids) == text
    assert not {UNK_ID, BOS_ID, EOS_ID, PAD_ID} & set(ids.tolist())


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_round_trip_of_any_text(tokenizer: Tokenizer, text: str) -> None:
    (ids,) = tokenizer.encode_batch([text])
    assert tokenizer.decode(ids) == text
    assert ids.dtype == np.int32
    assert all(0 <= i < tokenizer.vocab_size for i in ids.tolist())


def test_round_trip_of_real_pages(tokenizer: Tokenizer, shared_crawl: Path) -> None:
    pages = sorted((shared_crawl / "gold").iterdir())[:60]
    texts = [page.read_text(encoding="utf-8", errors="replace")[:20_000] for page in pages if page.is_file()]
    assert [tokenizer.decode(ids) for ids in tokenizer.encode_batch(texts)] == texts


def test_control_tokens(tokenizer: Tokenizer) -> None:
    assert (tokenizer.eos_id, tokenizer.pad_id) == (EOS_ID, PAD_ID)
    (ids,) = tokenizer.encode_batch(["river"])
    assert tokenizer.decode([BOS_ID, *ids, EOS_ID, PAD_ID]) == "river"


def test_line_feed_is_one_token_and_digits_are_split(tokenizer: Tokenizer) -> None:
    newline, digits = tokenizer.encode_batch(["\n", "3456"])
    assert len(newline) == 1
    assert len(digits) >= 4


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


def test_not_a_model(tmp_path: Path) -> None:
    (tmp_path / "bad.model").write_bytes(b"no model")
    with pytest.raises(InputError, match="not a SentencePiece model"):
        Tokenizer.load(str(tmp_path / "bad.model"))
