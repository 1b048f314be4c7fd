"""SentencePiece models that others trained: with a space in front, normalisation, another EOS."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from token_runs import random_texts

from corpusmill.core.errors import InputError
from corpusmill.tokenize.codec import PROBES
from corpusmill.tokenize.sentencepiece_codec import model_proto
from corpusmill.tokenize.tokenizer import Tokenizer, with_eos

TEXTS = random_texts(3, 60)


@cache
def trained(**settings: Any) -> bytes:
    model = io.BytesIO()
    lines = [line for text in TEXTS for line in text.split("\n") if line]
    defaults: dict[str, Any] = {
        "vocab_size": 380,
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "minloglevel": 2,
        "num_threads": 1,
    }
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=model, **(defaults | settings))
    return model.getvalue()


@cache
def with_prefix(model_type: str) -> Tokenizer:
    """As Llama 2's: a space is put in front of a text, and decoding takes it off."""
    return Tokenizer(trained(add_dummy_prefix=True, model_type=model_type), "prefix.model")


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
@given(text=st.text() | st.lists(st.sampled_from(["\u2581", " ", "a", "\n", "</s>", "本"])).map("".join))
@settings(max_examples=200)
def test_a_model_with_a_space_in_front_is_exact(model_type: str, text: str) -> None:
    tokenizer = with_prefix(model_type)
    (ids,) = tokenizer.encode_batch([text])
    assert tokenizer.decode(ids) == text
    assert not tokenizer.codec.control_ids & set(ids.tolist())


def test_a_model_with_a_space_in_front_is_exact_by_the_probes_and_encodes_as_the_library() -> None:
    tokenizer = with_prefix("bpe")
    tokenizer.require_exact()
    library = sentencepiece.SentencePieceProcessor(model_proto=trained(add_dummy_prefix=True, model_type="bpe"))
    assert [ids.tolist() for ids in tokenizer.encode_batch(TEXTS)] == library.encode(TEXTS)


@pytest.mark.parametrize(
    ("normalisation", "lost"),
    [
        ({"normalization_rule_name": "nmt_nfkc"}, ["(NFKC)", "control characters"]),
        ({"normalization_rule_name": "nfkc_cf"}, ["capitals", "(NFKC)"]),
        ({"remove_extra_whitespaces": True}, ["several spaces", "ends in spaces"]),
    ],
)
def test_a_normalising_model_says_what_it_loses(normalisation: dict[str, Any], lost: list[str]) -> None:
    tokenizer = Tokenizer(trained(**normalisation), "x.model")
    assert tokenizer.loss is not None
    for kind in lost:
        assert kind in tokenizer.loss
    with pytest.raises(InputError, match="does not give every text back"):
        tokenizer.require_exact()


def test_no_byte_pieces_and_no_eos_are_refused() -> None:
    with pytest.raises(InputError, match="no byte pieces"):
        Tokenizer(trained(byte_fallback=False, vocab_size=100), "x.model")
    with pytest.raises(InputError, match="no token that ends a document") as caught:
        Tokenizer(trained(eos_id=-1), "x.model")
    assert "tokenizer.eos_token" in caught.value.remedy


def test_another_control_token_can_be_eos() -> None:
    model = trained(eos_id=-1, control_symbols="<|end|>", user_defined_symbols="<|user|>")
    tokenizer = Tokenizer(with_eos(model, "<|end|>", "x.model"), "x.model")
    (ids,) = tokenizer.encode_batch(["river <|end|>"])
    assert tokenizer.eos_id not in ids
    assert tokenizer.decode([*ids, tokenizer.eos_id]) == "river <|end|>"
    for token, what in (("<|user|>", "no control token"), ("<|fin|>", "no such token")):
        with pytest.raises(InputError, match=what) as caught:
            with_eos(model, token, "x.model")
        assert "<|end|>" in caught.value.remedy


def test_a_named_eos_changes_nothing_else() -> None:
    model = trained(control_symbols="<|end|>")
    named = with_eos(model, "<|end|>", "x.model")
    pieces = [[piece.piece for piece in model_proto(m, "x").pieces] for m in (model, named)]
    assert pieces[0] == pieces[1]
    before, after = Tokenizer(model, "x"), Tokenizer(named, "x")
    assert before.eos_id != after.eos_id
    for a, b in zip(before.encode_batch(TEXTS), after.encode_batch(TEXTS), strict=True):
        assert a.tolist() == b.tolist()


def test_ids_do_not_depend_on_batches_and_threads() -> None:
    tokenizer = with_prefix("unigram")
    texts = [*TEXTS, *(text for _, text in PROBES), "", "\u2581"]
    expected = [tokenizer.encode_batch([text])[0].tolist() for text in texts]
    for num_threads in (1, 2, 5):
        for size in (1, 7, 1000):
            batches = [texts[at : at + size] for at in range(0, len(texts), size)]
            found = [ids.tolist() for batch in batches for ids in tokenizer.encode_batch(batch, num_threads)]
            assert found == expected


def test_what_is_no_model_is_refused() -> None:
    for content in (b"no model", b"", b"\x0a\x05"):
        with pytest.raises(InputError, match="not a SentencePiece model"):
            Tokenizer(content, "x.model")
