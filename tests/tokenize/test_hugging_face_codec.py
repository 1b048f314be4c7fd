from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from json_tokenizers import EXACT, LOSSY, TEXTS, file_of

from corpusmill.core.errors import InputError
from corpusmill.tokenize.codec import PROBES
from corpusmill.tokenize.tokenizer import LossyTokenizerWarning, Tokenizer, with_eos


@cache
def exact(name: str) -> Tokenizer:
    return Tokenizer(file_of(name), name)


def changed(name: str, **keys: Any) -> bytes:
    return json.dumps(json.loads(file_of(name)) | keys).encode()


MARKS = ["</s>", "a </s> b", "</s></s>", "<|endoftext|>x<|im_start|>", "<unk>", "<s>a</s>", "<0x41>", "▁</s>▁"]
HOSTILE = ["", " ", *MARKS]


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("text", [*HOSTILE, *(text for _, text in PROBES)])
def test_round_trip_is_exact_and_no_text_is_a_control_token(name: str, text: str) -> None:
    tokenizer = exact(name)
    (ids,) = tokenizer.encode_batch([text])
    assert tokenizer.decode(ids) == text
    assert not tokenizer.codec.control_ids & set(ids.tolist())
    assert tokenizer.eos_id in tokenizer.codec.control_ids


@pytest.mark.parametrize("name", EXACT)
@given(text=st.text() | st.lists(st.sampled_from([*HOSTILE, "▁", " ", "\n", "é", "e\u0301"])).map("".join))
@settings(max_examples=150)
def test_round_trip_of_any_text(name: str, text: str) -> None:
    tokenizer = exact(name)
    (ids,) = tokenizer.encode_batch([text])
    assert tokenizer.decode(ids) == text
    assert ids.dtype == np.int32
    assert all(0 <= i < tokenizer.vocab_size for i in ids.tolist())
    assert not tokenizer.codec.control_ids & set(ids.tolist())


@pytest.mark.parametrize("name", EXACT)
def test_ids_are_those_of_the_library_where_it_is_exact(name: str) -> None:
    library = tokenizers.Tokenizer.from_str(file_of(name).decode())
    texts = [text for text in TEXTS if "▁" not in text]
    theirs = [encoding.ids for encoding in library.encode_batch(texts, add_special_tokens=False)]
    assert [ids.tolist() for ids in exact(name).encode_batch(texts)] == theirs


@pytest.mark.parametrize("name", LOSSY)
def test_a_lossy_tokenizer_says_what_it_loses(name: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(file_of(name))
    with pytest.warns(LossyTokenizerWarning):
        tokenizer = Tokenizer.load(str(path))
    assert tokenizer.loss is not None
    for kind in LOSSY[name][1]:
        assert kind in tokenizer.loss
    with pytest.raises(InputError, match="does not give every text back") as caught:
        tokenizer.require_exact()
    assert "allow_lossy" in caught.value.remedy


@pytest.mark.parametrize("name", EXACT)
def test_an_exact_tokenizer_loads_without_a_word(name: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"  # the content says what it is
    path.write_bytes(file_of(name))
    tokenizer = Tokenizer.load(str(path))  # a warning would be an error
    tokenizer.require_exact()


def test_no_text_becomes_eos_even_where_the_model_has_it_as_a_piece() -> None:
    library = tokenizers.Tokenizer.from_str(file_of("greedy_byte_level").decode())
    library.encode_special_tokens = True
    assert library.token_to_id("</s>") in library.encode("a </s>").ids  # otherwise this tests nothing
    tokenizer = exact("greedy_byte_level")
    for text in ("a </s>", "</s>", "</s></s> </s>"):
        (ids,) = tokenizer.encode_batch([text])
        assert tokenizer.eos_id not in ids
        assert tokenizer.decode(ids) == text


def test_eos_in_a_text_of_a_unigram_model_is_spelled() -> None:
    library = tokenizers.Tokenizer.from_str(file_of("unigram").decode())
    library.encode_special_tokens = True
    tokenizer = Tokenizer(file_of("unigram"), "unigram")
    assert tokenizer.eos_id in library.encode("river </s> river", add_special_tokens=False).ids
    (ids,) = tokenizer.encode_batch(["river </s> river"])
    assert tokenizer.eos_id not in ids


def test_truncation_padding_and_dropout_of_the_file_are_switched_off() -> None:
    library = tokenizers.Tokenizer.from_str(file_of("byte_level").decode())
    library.enable_truncation(3)
    library.enable_padding(length=8)
    data = json.loads(library.to_str())
    data["model"]["dropout"] = 0.5
    tokenizer = Tokenizer(json.dumps(data).encode(), "x")
    expected = exact("byte_level").encode_batch(TEXTS)
    for _ in range(3):
        found = tokenizer.encode_batch(TEXTS)
        assert [ids.tolist() for ids in found] == [ids.tolist() for ids in expected]


@pytest.mark.parametrize("name", ["byte_level", "byte_fallback_with_prefix"])
def test_ids_do_not_depend_on_batches_and_threads(name: str) -> None:
    tokenizer = exact(name)
    texts = [*TEXTS, *HOSTILE, *(text for _, text in PROBES)] * 3
    expected = [tokenizer.encode_batch([text])[0].tolist() for text in texts]
    for num_threads in (1, 2, 5):
        for size in (1, 7, 1000):
            batches = [texts[at : at + size] for at in range(0, len(texts), size)]
            found = [ids.tolist() for batch in batches for ids in tokenizer.encode_batch(batch, num_threads)]
            assert found == expected


# EOS


@pytest.mark.parametrize(
    ("name", "eos"),
    [("byte_level", "<|endoftext|>"), ("byte_fallback", "</s>"), ("unigram", "</s>"), ("word_piece", "[SEP]")],
)
def test_eos_is_found_by_template_or_name(name: str, eos: str) -> None:
    library = tokenizers.Tokenizer.from_str(file_of(name).decode())
    assert Tokenizer(file_of(name), name).eos_id == library.token_to_id(eos)


def test_an_unknown_eos_names_the_remedy() -> None:
    content = file_of("byte_level").replace(b"<|endoftext|>", b"<|finis|>")
    with pytest.raises(InputError, match="no token that ends a document") as caught:
        Tokenizer(content, "x")
    assert "tokenizer.eos_token" in caught.value.remedy
    named = Tokenizer(with_eos(content, "<|finis|>", "x"), "x")
    assert named.codec.decode([named.eos_id]) == ""
    with pytest.raises(InputError, match="no such token"):
        with_eos(content, "<|endoftext|>", "x")


def test_two_usual_names_are_not_guessed_between() -> None:
    content = file_of("byte_level").replace(b"<|im_start|>", b"</s>")
    with pytest.raises(InputError, match="not known which token ends") as caught:
        Tokenizer(content, "x")
    assert "</s>" in str(caught.value.value)
    assert "tokenizer.eos_token" in caught.value.remedy


@pytest.mark.parametrize("name", ["byte_level", "byte_fallback", "unigram", "word_piece"])
def test_a_named_eos_stands_in_the_file_and_changes_no_id(name: str) -> None:
    library = tokenizers.Tokenizer.from_str(file_of(name).decode())
    token = str(library.id_to_token(300 if name.startswith("byte") else 40))
    content = with_eos(file_of(name), token, "x")
    tokenizer, before = Tokenizer(content, "x"), Tokenizer(file_of(name), "x")
    assert tokenizer.eos_id == library.token_to_id(token)
    others = tokenizers.Tokenizer.from_str(content.decode()).encode("river").ids
    assert others[-1] == tokenizer.eos_id  # so the library says, too
    texts = [text for text in TEXTS if token.replace("Ġ", " ").strip("▁ ") not in text]
    assert texts
    for ours, theirs in zip(tokenizer.encode_batch(texts), before.encode_batch(texts), strict=True):
        assert ours.tolist() == theirs.tolist()


def test_eos_that_the_file_does_not_call_special_is_special() -> None:
    data = json.loads(file_of("byte_level"))
    for added in data["added_tokens"]:
        added["special"] = False
    tokenizer = Tokenizer(json.dumps(data).encode(), "x")
    (ids,) = tokenizer.encode_batch(["a<|endoftext|>b"])
    assert tokenizer.eos_id not in ids
    assert tokenizer.decode([*ids, tokenizer.eos_id]) == "a<|endoftext|>b"


# Files


def test_pad_and_sizes() -> None:
    assert exact("byte_level").pad_id == exact("byte_level").eos_id
    unigram = Tokenizer(file_of("unigram"), "x")
    assert unigram.pad_id == 0
    assert unigram.codec.unk_id == 2
    runs = exact("byte_level_with_runs")
    assert runs.vocab_size == exact("byte_level").vocab_size + 2


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        (b'{"model": 3}', "no key `model`"),
        (b"{", "Expecting"),
        (b'{"model_max_length": 512, "eos_token": "</s>"}', "no key `model`"),
        (b'{"model": {"type": "BPE"}}', "no `vocab`"),
        (b'{"model": {"type": "Strange", "vocab": {"</s>": 0}}}', ""),
    ],
)
def test_what_is_no_tokenizer_is_refused(content: bytes, seen: str) -> None:
    with pytest.raises(InputError, match=r"not a tokenizer\.json") as caught:
        Tokenizer(content, "somewhere")
    assert seen in str(caught.value.value)
    assert caught.value.where == "somewhere"


def test_byte_ids_are_parts_of_characters() -> None:
    tokenizer = exact("byte_level")
    (ids,) = tokenizer.encode_batch(["\U0010ffff"])
    assert set(ids.tolist()) <= tokenizer.codec.byte_ids
    (ids,) = tokenizer.encode_batch(["a river"])
    assert not set(ids.tolist()) & tokenizer.codec.byte_ids
