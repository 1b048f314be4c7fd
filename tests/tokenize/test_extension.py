from __future__ import annotations

import random
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from json_tokenizers import file_of
from token_runs import random_texts

from corpusmill.core.errors import ConfigError, InputError
from corpusmill.tokenize.extension import Extended, extend
from corpusmill.tokenize.sentencepiece_codec import model_proto
from corpusmill.tokenize.tokenizer import Tokenizer
from corpusmill.tokenize.training import TokenizerConfig, fit

OLD = random_texts(5, 60)
_chance = random.Random(7)
_NEW_WORDS = ["".join(_chance.choices("川山本日橋渡道東京都市港町村", k=_chance.randint(2, 3))) for _ in range(40)]
NEW = [" ".join(_chance.choices(_NEW_WORDS, k=30)) + "。" for _ in range(60)]
ONE_THREAD = TokenizerConfig(num_threads=1)
PIECES = 40


@cache
def base(model_type: str) -> bytes:
    return fit(OLD, TokenizerConfig.model_validate({"vocab_size": 400, "model_type": model_type, "num_threads": 1}))


@cache
def extended(model_type: str) -> Extended:
    return extend(base(model_type), "base.model", NEW, PIECES, ONE_THREAD)


BOTH = pytest.mark.parametrize("model_type", ["unigram", "bpe"])


@BOTH
def test_old_ids_keep_their_meaning(model_type: str) -> None:
    old, new = model_proto(base(model_type), "x"), model_proto(extended(model_type).model, "x")
    count = len(old.pieces)
    assert [p.SerializeToString() for p in old.pieces] == [p.SerializeToString() for p in new.pieces[:count]]
    assert [p.piece for p in new.pieces[count:]] == list(extended(model_type).pieces)
    assert len(new.pieces) == count + PIECES == Tokenizer(extended(model_type).model, "x").vocab_size
    assert len({p.piece for p in new.pieces}) == len(new.pieces)
    before, after = Tokenizer(base(model_type), "x"), Tokenizer(extended(model_type).model, "x")
    assert (before.eos_id, before.pad_id) == (after.eos_id, after.pad_id)


@BOTH
def test_every_new_piece_is_used_for_its_own_text_and_most_in_the_corpus(model_type: str) -> None:
    tokenizer = Tokenizer(extended(model_type).model, "x")
    for number, piece in enumerate(extended(model_type).pieces, 400):
        (ids,) = tokenizer.encode_batch([piece.replace("\u2581", " ")])
        assert ids.tolist() == [number]
    used = set(np.concatenate(tokenizer.encode_batch(NEW)).tolist())
    assert len(used & set(range(400, 400 + PIECES))) > PIECES / 2


@BOTH
def test_new_text_takes_far_fewer_tokens_and_old_text_no_more(model_type: str) -> None:
    before, after = Tokenizer(base(model_type), "x"), Tokenizer(extended(model_type).model, "x")

    def tokens(tokenizer: Tokenizer, texts: list[str]) -> int:
        return sum(map(len, tokenizer.encode_batch(texts)))

    assert tokens(after, NEW) < 0.5 * tokens(before, NEW)
    assert tokens(after, OLD) <= tokens(before, OLD)


@BOTH
@given(text=st.text() | st.lists(st.sampled_from([*_NEW_WORDS, "\u2581", " ", "\n", "</s>"])).map("".join))
@settings(max_examples=150)
def test_round_trip_stays_exact(model_type: str, text: str) -> None:
    tokenizer = Tokenizer(extended(model_type).model, "x")
    (ids,) = tokenizer.encode_batch([text])
    assert tokenizer.decode(ids) == text
    assert not tokenizer.codec.control_ids & set(ids.tolist())


@BOTH
def test_text_without_new_pieces_is_encoded_as_before(model_type: str) -> None:
    before, after = Tokenizer(base(model_type), "x"), Tokenizer(extended(model_type).model, "x")
    texts = [text for text in OLD if not any(p.replace("\u2581", " ") in text for p in extended(model_type).pieces)]
    assert texts
    for a, b in zip(before.encode_batch(texts), after.encode_batch(texts), strict=True):
        assert a.tolist() == b.tolist()


@BOTH
def test_the_same_corpus_gives_the_same_bytes_and_more_pieces_save_more(model_type: str) -> None:
    again = extend(base(model_type), "elsewhere.model", list(NEW), PIECES, ONE_THREAD)
    assert again == extended(model_type)
    few = Tokenizer(extend(base(model_type), "x", NEW, 5, ONE_THREAD).model, "x")
    many = Tokenizer(extended(model_type).model, "x")
    assert sum(map(len, many.encode_batch(NEW))) < sum(map(len, few.encode_batch(NEW)))


@BOTH
def test_an_extended_model_can_be_extended(model_type: str) -> None:
    more = extend(extended(model_type).model, "x", NEW, 3, ONE_THREAD)
    assert not set(more.pieces) & set(extended(model_type).pieces)
    assert Tokenizer(more.model, "x").vocab_size == 400 + PIECES + 3


def test_too_few_new_pieces_name_how_many_there_are() -> None:
    with pytest.raises(ConfigError, match="fewer new pieces") as caught:
        extend(base("bpe"), "x", ["川山川山川山"], 500, ONE_THREAD)
    there = int(caught.value.remedy.split("--pieces ")[1].split(" ")[0])
    assert len(extend(base("bpe"), "x", ["川山川山川山"], there, ONE_THREAD).pieces) == there


def test_only_sentencepiece_can_be_extended() -> None:
    with pytest.raises(InputError, match="only SentencePiece"):
        extend(file_of("byte_level"), "tokenizer.json", NEW, 5, ONE_THREAD)
    with pytest.raises(InputError, match="not a SentencePiece model"):
        extend(b"nothing", "x.model", NEW, 5, ONE_THREAD)
