from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from corpusmill.core import words
from corpusmill.core.text import Text, _memory


@given(st.text(), st.sampled_from(["en", "ja", "zh", ""]))
def test_a_text_says_what_the_functions_say(string: str, language: str) -> None:
    text = Text.of(string, language)
    assert text.words.texts(string) == words.words(string, language).texts(string)
    assert text.lines.texts(string) == words.lines(string).texts(string)
    assert text.paragraphs.texts(string) == words.paragraphs(string).texts(string)
    assert text.sentences.texts(string) == words.sentences(string).texts(string)
    assert len(text.points) == len(text.classes) == len(string)
    assert text.word_hashes.tolist() == text.words.hashes(text.points).tolist()
    lines = text.lines.texts(string)
    assert [a == b for a in lines for b in lines] == [a == b for a in text.line_hashes for b in text.line_hashes]
    assert text.token_hashes.tolist() == text.tokens.hashes(text.points).tolist()
    assert text.spaced_words.texts(string) == string.split()
    assert all(word[0].isalnum() for word in text.unicode_words.texts(string))
    assert [w for w in text.bare_words.texts(string) if w != w.strip("(),")] == []


def test_texts_are_remembered_by_string_and_language() -> None:
    assert Text.of("a b", "en") is Text.of("a b", "en")
    assert Text.of("a b", "en") is not Text.of("a b", "de")


def test_texts_of_one_length_and_end_are_told_apart() -> None:
    ends = "x" * 100
    for start in ("a", "b", "a"):
        assert Text.of(start + ends, "en").string == start + ends
    size = _memory._size
    Text.of("b" + ends, "en")
    assert _memory._size == size


def test_what_is_remembered_is_bounded() -> None:
    for i in range(5):
        Text.of(str(i) * 1_500_000, "en")
    assert _memory._size <= _memory.limit
    assert len(_memory._texts) <= 2
    huge = Text.of("x" * (_memory.limit + 1), "en")
    assert len(huge.words) == 1
    assert _memory._size == 0


def test_threads_do_not_share_texts() -> None:
    found: list[Text] = []
    thread = threading.Thread(target=lambda: found.append(Text.of("one two", "en")))
    thread.start()
    thread.join()
    assert found[0] is not Text.of("one two", "en")
