from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from corpusmill.core.words import codepoints
from corpusmill.stages import phrases
from corpusmill.stages.phrases import PhraseFinder


def held(phrases: dict[str, int], *spans: str) -> list[int]:
    """The marks that a finder sees in each of `spans`, which follow one another in one text."""
    ends = np.cumsum([len(span) for span in spans], dtype=np.int64)
    starts = ends - np.array([len(span) for span in spans], dtype=np.int64)
    return PhraseFinder(phrases).in_spans(codepoints("".join(spans)), starts, ends).tolist()


def test_phrases_are_found_in_their_spans_alone() -> None:
    listed = {"he": 1, "she": 2, "his": 4, "hers": 8}
    assert held(listed, "ushers", "his", "s", "he", "") == [1 | 2 | 8, 4, 0, 1, 0]


def test_a_phrase_may_be_the_end_of_another_that_breaks_off() -> None:
    assert held({"abcd": 1, "bc": 2}, "abcx", "abcd", "ab", "cd") == [2, 3, 0, 0]


def test_case_and_whitespace_do_not_count() -> None:
    listed = {"sign  in": 1, "続きを読む": 2}
    assert held(listed, "SIGN\u3000\n IN", "ſİgn in", "signin", "続きを読む", "続き を読む") == [1, 1, 0, 2, 0]


def test_few_and_many_phrases_are_found_alike() -> None:
    few = {"[": 1, "no": 2, "use cookies": 4}
    many = {**few, **{f"another {i}{i}{i}": 8 for i in range(20)}}
    spans = ["[", "a [", "no", "\U0001f36a[\U0001f36a", "We uſe  cooKies", "use cookie", "cook", "n", ""]
    assert held(few, *spans) == held(many, *spans) == [1, 1, 2, 1, 4, 0, 0, 0, 0]


def test_no_phrases() -> None:
    assert held({}, "any", "") == [0, 0]


@given(
    st.lists(st.text(alphabet="aAbK\u212a sſ\u0131İé読", min_size=1).filter(str.strip), max_size=6),
    st.text(alphabet="aAbBkKſsS\u212a iİıéÉ読\n"),
)
@example(["i"], "\u0130")
def test_whatever_an_expression_finds_is_found(listed: list[str], text: str) -> None:
    found = held(dict.fromkeys(listed, 1), text)[0]
    expressions = [r"\s+".join(map(re.escape, phrase.split())) for phrase in listed]
    if any(re.search(expression, text, re.IGNORECASE) for expression in expressions):
        assert found
    elif found:  # only what folding a letter by letter adds
        assert not text.isascii() or not "".join(listed).isascii()


def test_lists_hold_phrases_and_comments(tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("# comment\n\n read more \n#1 choice\n続きを読む\n", encoding="utf-8")
    assert phrases.read(str(listed)) == ["read more", "続きを読む"]
