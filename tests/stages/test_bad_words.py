from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpusmill.stages import phrases
from corpusmill.stages.bad_words import BadWords


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The DARN thing", ["darn"]),
        ("darn", ["darn"]),
        ("(darn)!", ["darn"]),
        ("darning socks", []),
        ("darn_it", []),
        ("what the heck darn", ["darn", "what the heck"]),
        ("what the hecks", []),
        ("🖕", ["🖕"]),
        ("a🖕b", []),
        ("", []),
    ],
)
def test_whole_words_where_words_are_separated(text: str, found: list[str]) -> None:
    assert list(BadWords(["Darn", "what the heck", "🖕"], "en").found(text)) == found


def test_anywhere_in_languages_without_spaces() -> None:
    assert list(BadWords(["ばか", "XX"], "ja").found("おばかさんxxx")) == ["xx", "ばか"]
    assert list(BadWords(["ばか"], "en").found("おばかさん")) == []


LISTED = ["ab", "a b", "b-", "-", "ba"]


@given(st.text(alphabet="ab -_é\n"))
def test_as_the_expression_of_datatrove(text: str) -> None:
    expression = re.compile(r"(?:\W|^)({})(?:\W|$)".format("|".join(map(re.escape, LISTED))))
    assert bool(BadWords(LISTED, "en").found(text)) == (expression.search(text.lower()) is not None)


def test_published_lists(shared_crawl: Path) -> None:
    for language in ("en", "ja", "zh", "de"):
        listed = phrases.read(str(shared_crawl / "blocklists" / "ldnoobw" / f"{language}.txt"))
        bad = BadWords(listed, language)
        assert all(bad.found(f"… {word} …") for word in listed)
