from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from json_tokenizers import file_of
from token_runs import random_texts

from corpusmill.core.text import Text
from corpusmill.tokenize.report import Fertility, report
from corpusmill.tokenize.sample import Document
from corpusmill.tokenize.tokenizer import Tokenizer

DOCUMENTS = [
    *(Document(f"en:{i}", "en", text) for i, text in enumerate(random_texts(21, 30)) if text),
    Document("ja:0", "ja", "東京は日本の首都です。\U0010ffff"),
    Document("x:0", "", "a </s> b <|endoftext|>"),
]


@pytest.fixture(scope="module")
def tokenizer(token_run: Path) -> Tokenizer:
    return Tokenizer.load(str(token_run / "tokens" / "tokenizer.model"))


def counted(tokenizer: Tokenizer, documents: list[Document]) -> Fertility:
    """By definition, document by document."""
    total = Fertility()
    for document in documents:
        (ids,) = tokenizer.encode_batch([document.text])
        total += Fertility(
            documents=1,
            characters=len(document.text),
            utf8_bytes=len(document.text.encode()),
            words=len(Text(document.text, document.language).words),
            tokens=len(ids),
            byte_tokens=sum(i in tokenizer.codec.byte_ids for i in ids.tolist()),
        )
    return total


def test_counts_by_language_are_those_of_the_documents(tokenizer: Tokenizer) -> None:
    found = report(tokenizer, [DOCUMENTS[:7], DOCUMENTS[7:]])
    assert list(found.languages) == ["", "en", "ja"]
    for language, each in found.languages.items():
        assert each == counted(tokenizer, [d for d in DOCUMENTS if d.language == language])
    assert found.total == counted(tokenizer, DOCUMENTS)
    assert found.languages["ja"].byte_tokens >= 4
    assert found.control_tokens == 0
    assert found.failures == ()
    assert found.loss is None
    ratios = found.languages["en"].ratios()
    assert ratios["tokens_per_character"] == found.languages["en"].tokens / found.languages["en"].characters
    assert Fertility().ratios()["tokens_per_word"] is None


def test_the_report_does_not_depend_on_batches_and_threads(tokenizer: Tokenizer) -> None:
    whole = report(tokenizer, [DOCUMENTS])
    assert report(tokenizer, [[document] for document in DOCUMENTS], num_threads=3) == whole


def test_unused_pieces_are_those_that_no_document_needs(tokenizer: Tokenizer) -> None:
    used = {i for document in DOCUMENTS for i in tokenizer.encode_batch([document.text])[0].tolist()}
    codec = tokenizer.codec
    ordinary = set(range(tokenizer.vocab_size)) - codec.control_ids - codec.byte_ids - {codec.unk_id}
    unused = report(tokenizer, [DOCUMENTS]).unused
    assert (unused.pieces, unused.unused) == (len(ordinary), len(ordinary - used))
    assert unused.share == unused.unused / unused.pieces
    assert list(unused.examples) == [tokenizer.decode([i]) for i in sorted(ordinary - used)[:20]]
    everything = report(tokenizer, [[Document("x", "en", "".join(map(codec.decode, ([i] for i in ordinary))))]])
    assert everything.unused.unused < unused.unused


def test_texts_that_do_not_come_back_are_named() -> None:
    lossy = Tokenizer(file_of("byte_level_nfc"), "nfc")
    broken = [Document("bad:0", "en", "e\u0301"), Document("good:0", "en", "é"), Document("bad:1", "en", "か\u3099")]
    found = report(lossy, [broken])
    assert found.failures == ("bad:0", "bad:1")
    assert found.total.failures == 2
    assert found.loss is not None


def test_at_most_a_hundred_failures_are_named_and_all_are_counted() -> None:
    lossy = Tokenizer(file_of("byte_level_nfc"), "nfc")
    found = report(lossy, [[Document(f"d{i}", "en", "e\u0301") for i in range(130)]])
    assert (len(found.failures), found.total.failures) == (100, 130)


def test_unknown_tokens_are_counted() -> None:
    found = report(Tokenizer(file_of("word_piece"), "w"), [[Document("x", "en", "ka \U0010ffff ka \U0010ffff")]])
    assert found.total.unknown_tokens == 2


def test_json_has_counts_and_ratios(tokenizer: Tokenizer) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = report(tokenizer, [DOCUMENTS]).to_json()
    assert data["total"]["documents"] == len(DOCUMENTS)
    assert data["languages"]["en"]["bytes_per_token"] > 1
    assert 0 <= data["unused"]["share"] <= 1
