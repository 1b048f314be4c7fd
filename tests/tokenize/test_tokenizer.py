from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from json_tokenizers import EXACT, file_of

from corpusmill.core.errors import InputError
from corpusmill.tokenize.tokenizer import Tokenizer, is_json
from corpusmill.tokenize.training import BOS_ID, EOS_ID, PAD_ID, UNK_ID


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


def test_not_a_model(tmp_path: Path) -> None:
    (tmp_path / "bad.model").write_bytes(b"no model")
    with pytest.raises(InputError, match="not a SentencePiece model"):
        Tokenizer.load(str(tmp_path / "bad.model"))


def test_the_content_decides_what_a_file_is(token_run: Path, tmp_path: Path) -> None:
    sentencepiece = (token_run / "tokens" / "tokenizer.model").read_bytes()
    for content, kind in ((sentencepiece, "SentencePiece"), (file_of("byte_level"), "Hugging Face")):
        for name in ("tokenizer.model", "tokenizer.json"):
            (tmp_path / name).write_bytes(content)
            assert Tokenizer.load(str(tmp_path / name)).codec.kind == kind
    assert all(is_json(file_of(name)) for name in EXACT)
    assert is_json(b"\xef\xbb\xbf \n{}")
    assert not is_json(sentencepiece)
