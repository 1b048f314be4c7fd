from __future__ import annotations

import re
import threading
import unicodedata
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpusmill.core import characters, segments, words

WHITESPACE = "".join(c for c in map(chr, range(0x110000)) if c.isspace())
TEXTS = st.text() | st.text(st.sampled_from("ab. \n\t…　日本語、。" + WHITESPACE))
JAPANESE = "吾輩は猫である。名前はまだ無い。\n\n「どこで生れたか」とんと見当がつかぬ。"


def test_words_with_spaces_keep_their_punctuation() -> None:
    assert words.words("Well, that's\xa0it —\n(3.5 %)", "en").texts("Well, that's\xa0it —\n(3.5 %)") == [
        "Well,",
        "that's",
        "it",
        "—",
        "(3.5",
        "%)",
    ]


def test_words_of_japanese_are_morphemes_without_punctuation() -> None:
    found = words.words(JAPANESE, "ja").texts(JAPANESE)
    assert found[:9] == ["吾輩", "は", "猫", "で", "ある", "名前", "は", "まだ", "無い"]
    assert not any(set(word) & set("。「」、\n") for word in found)


def test_words_of_other_languages_without_spaces_are_letters() -> None:
    text = "我们用GPT-4写。ไทย"
    assert words.words(text, "zh").texts(text) == ["我", "们", "用", "GPT", "4", "写", "ไ", "ท", "ย"]


@pytest.mark.parametrize("language", ["en", "ja", "zh", ""])
def test_no_words_in_nothing(language: str) -> None:
    for text in ("", " \n\t　"):
        assert len(words.words(text, language)) == 0
        assert len(words.lines(text)) == len(words.paragraphs(text)) == len(words.sentences(text)) == 0


@given(TEXTS)
def test_whitespace_words_are_those_of_str_split(text: str) -> None:
    assert words.words(text, "en").texts(text) == text.split()


@settings(max_examples=40)
@given(TEXTS, st.sampled_from(["en", "ja", "zh", "th"]))
def test_words_ascend_and_hold_no_whitespace(text: str, language: str) -> None:
    found = words.words(text, language)
    assert found.starts.dtype == found.ends.dtype == np.int64
    assert (found.lengths > 0).all()
    assert all(a <= b for a, b in zip(found.ends[:-1], found.starts[1:], strict=True))
    if language != "ja":
        assert not any(c.isspace() for word in found.texts(text) for c in word)


def test_long_japanese_texts_are_cut_where_sentences_end() -> None:
    text = JAPANESE * 600  # 19,000 code points: two pieces
    once, found = words.words(JAPANESE, "ja"), words.words(text, "ja")
    assert found.texts(text) == once.texts(JAPANESE) * 600


def test_a_japanese_text_without_any_break_is_cut_by_length() -> None:
    found = words.words("\U00020b9f" * 30_000, "ja")  # four bytes each: the longest pieces in UTF-8
    assert found.starts[0] == 0
    assert found.ends[-1] == 30_000


def test_japanese_words_do_not_depend_on_what_came_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words._Japanese, "limit", 100)
    texts = [JAPANESE, "東京都に行く。", "x" * 101, JAPANESE + "完。"]
    first = [words.words(text, "ja").texts(text) for text in texts]
    assert [words.words(text, "ja").texts(text) for text in reversed(texts)] == first[::-1]


def test_japanese_words_in_threads() -> None:
    found: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: found.append(words.words(JAPANESE, "ja").texts(JAPANESE))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [words.words(JAPANESE, "ja").texts(JAPANESE)] * 3


def test_lines_and_paragraphs() -> None:
    text = "  one \r\n\n\n two\nthree\n\n \n\nfour"
    assert words.lines(text).texts(text) == ["one", "two", "three", "four"]
    assert words.paragraphs(text).texts(text) == ["one", "two\nthree", "four"]


@given(TEXTS)
def test_lines_are_the_stripped_lines(text: str) -> None:
    assert words.lines(text).texts(text) == [line.strip() for line in text.split("\n") if line.strip()]


@given(TEXTS)
def test_paragraphs_are_the_stripped_runs_between_empty_lines(text: str) -> None:
    assert words.paragraphs(text).texts(text) == [p.strip() for p in re.split("\n\n", text) if p.strip()]


def test_sentences() -> None:
    text = "It is 3.5, i.e., so! Is it? (Yes.) 今日は晴れ。「明日は？」雨\nend?いや"
    assert words.sentences(text).texts(text) == [
        "It is 3.5, i.e., so!",
        "Is it?",
        "(Yes.)",
        "今日は晴れ。",
        "「明日は？」",
        "雨",
        "end?",
        "いや",
    ]


@given(TEXTS)
def test_sentences_hold_every_visible_character_once(text: str) -> None:
    found = words.sentences(text)
    assert all(a <= b for a, b in pairwise(np.ravel(np.column_stack(found)).tolist()))
    assert "".join("".join(found.texts(text)).split()) == "".join(text.split())


@given(TEXTS)
def test_sentences_are_counted_as_they_are_found(text: str) -> None:
    points = words.codepoints(text)
    assert segments.count_sentences(points, 0, len(points)) == len(words.sentences(text))
    assert segments.count_sentences(points, len(points) // 2, len(points)) == len(
        words.sentences(text[len(text) // 2 :])
    )


def test_equal_words_have_equal_hashes() -> None:
    text = "the cat the dog cat"
    hashes = words.words(text, "en").hashes(words.codepoints(text)).tolist()
    assert hashes[0] == hashes[2] != hashes[1] == hashes[4]


@given(TEXTS)
def test_outer_punctuation(text: str) -> None:
    spans = words.words(text, "en")
    inner = words.without_outer_punctuation(spans, characters.classes(words.codepoints(text)))
    expected = []
    for word in text.split():
        held = [i for i, c in enumerate(word) if unicodedata.category(c)[0] in "LMN"]
        expected.append(word[held[0] : held[-1] + 1] if held else "")
    assert inner.texts(text) == expected


@given(st.text())
def test_codepoints_are_those_of_the_text(text: str) -> None:
    assert words.codepoints(text).tolist() == [ord(c) for c in text]
