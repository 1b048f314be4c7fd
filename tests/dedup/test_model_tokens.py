"""Tokens as units: their places in the text, and the cuts they lead to, against windows of pieces in bytes."""

from __future__ import annotations

import io
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from dedup_tables import document, tables
from hypothesis import given, settings
from hypothesis import strategies as st

from corpusmill.core.errors import ConfigError, InputError
from corpusmill.dedup.local import run_step
from corpusmill.dedup.model_tokens import ModelTokens
from corpusmill.dedup.substring import Substring, SubstringConfig

MIN_TOKENS = 6


def trained(path: Path, **settings: Any) -> str:
    model = io.BytesIO()
    sentences = ["the quick brown fox jumps over the lazy dog", "other words here and the rest of it", "あいう"] * 30
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=model, minloglevel=2, hard_vocab_limit=False, **settings
    )
    path.write_bytes(model.getvalue())
    return str(path)


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that spells what it lacks in bytes and changes nothing, as the project's own."""
    return trained(
        tmp_path_factory.mktemp("model") / "exact.model",
        vocab_size=300,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        user_defined_symbols=["\n"],
    )


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of the usual kind: normalises, puts a space in front, has an unknown token."""
    return trained(tmp_path_factory.mktemp("model") / "common.model", vocab_size=40)


def step(model: str, partitions: int = 2, **config: Any) -> Substring:
    settings = {"min_tokens": MIN_TOKENS, "passes": 1, "min_remaining": 0} | config
    return Substring(SubstringConfig.model_validate({"tokenizer": model, "partitions": partitions, **settings}))


def pieces(model: str, text: str) -> list[bytes]:
    """What each token stands for, in bytes."""
    processor = sentencepiece.SentencePieceProcessor(model_file=model)
    return [
        bytes([int(piece[3:5], 16)]) if processor.is_byte(i) else piece.replace("\u2581", " ").encode()
        for i, piece in zip(processor.encode(text), processor.encode(text, out_type=str), strict=True)
    ]


def left(model: str, texts: list[str]) -> list[str]:
    """The characters of each text of which some byte lies in no repeated window of tokens."""
    tokens = [pieces(model, text) for text in texts]
    windows = [[tuple(one[i : i + MIN_TOKENS]) for i in range(len(one) - MIN_TOKENS + 1)] for one in tokens]
    counts = Counter(window for one in windows for window in one)
    found = []
    for text, one, own in zip(texts, tokens, windows, strict=True):
        cut = {i + k for i, window in enumerate(own) if counts[window] > 1 for k in range(MIN_TOKENS)}
        flags = [i in cut for i, piece in enumerate(one) for _ in piece]
        kept, at = [], 0
        for c in text:
            size = len(c.encode())
            if not all(flags[at : at + size]):
                kept.append(c)
            at += size
        assert at == len(flags)
        found.append("".join(kept))
    return found


TEXTS = st.text(alphabet="the quickあ漢字😀👍é\n", max_size=25)


@settings(max_examples=150)
@given(st.lists(TEXTS, max_size=5), st.integers(1, 3), st.sampled_from([1, 4]))
def test_cuts_against_pieces_in_bytes(exact: str, texts: list[str], shards: int, partitions: int) -> None:
    """But for whitespace, which goes with what it stood beside; whatever the languages."""
    rows = [document(n, text, language=["en", "ja"][n % 2]) for n, text in enumerate(texts)]
    results = run_step(step(exact, partitions), tables(rows, shards))
    kept = {row["doc_id"]: row["text"] for result in results for row in result.kept.to_pylist()}
    expected = dict(zip((row["doc_id"] for row in rows), left(exact, texts), strict=True))
    assert {name: "".join(text.split()) for name, text in kept.items()} == {
        name: "".join(text.split()) for name, text in expected.items()
    }
    for result in results:
        for span in result.spans.to_pylist():
            text = next(row["text"] for row in rows if row["doc_id"] == span["doc_id"])
            assert span["text"] == text[span["start"] : span["end"]] != ""


def test_a_character_is_cut_when_all_its_bytes_are(exact: str) -> None:
    """漢 is E6 BC A2, 湢 is E6 B9 A2, 漣 is E6 BC A3."""
    rows = [document(0, "漢quick"), document(1, "湢quick"), document(2, "fox漢"), document(3, "fox漣")]
    (result,) = run_step(step(exact, min_tokens=4), tables(rows))
    assert result.kept.column("text").to_pylist() == ["漢", "湢", "漢", "漣"]


def test_places_of_tokens(exact: str) -> None:
    text = "the 漢😀 é\nfox"
    spans = ModelTokens(exact).places(text)
    covered = [(a, b) for a, b in zip(spans.starts.tolist(), spans.ends.tolist(), strict=True) if a < b]
    assert "".join(text[a:b] for a, b in covered if text[a:b] not in "漢😀é") == "the  \nfox"
    assert len(spans) == len(pieces(exact, text))


def test_unknown_tokens_are_what_stands_there(common: str) -> None:
    tokens = ModelTokens(common)
    hashes, ends = tokens.hashes(["the 漢", "the 字", "the 漢", ""])
    of_texts = [hashes[a:b].tolist() for a, b in pairwise(ends)]
    assert of_texts[0] == of_texts[2] != of_texts[1]
    assert of_texts[0][:-1] == of_texts[1][:-1]
    assert of_texts[3] == []


def test_a_model_that_normalises(common: str) -> None:
    """Its tokens are places in the text as it is: full-width letters and two spaces are what was cut."""
    rows = [document(0, "１２ ｔｈｅ  quick brown fox １"), document(1, "34 the quick brown fox 5")]
    (result,) = run_step(step(common, min_tokens=10), tables(rows))
    assert result.kept.column("text").to_pylist() == ["１２ １", "34 5"]


def test_the_model_is_part_of_what_decides(exact: str, tmp_path: Path) -> None:
    assert list(step(exact).resource_files()) == [exact]
    assert list(Substring(SubstringConfig()).resource_files()) == []
    with pytest.raises(InputError, match="no such tokenizer"):
        step(str(tmp_path / "none.model")).resource_files()
    broken = tmp_path / "broken.model"
    broken.write_bytes(b"no model")
    with pytest.raises(ConfigError, match="not a SentencePiece model"):
        run_step(step(str(broken)), tables([document(0, "text")]))
