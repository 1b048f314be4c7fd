from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpusmill.core import characters, word_break, words

sys.path.append(str(Path(__file__).resolve().parent.parent / "stages"))

from reference_words import unicode_words

# Every value of Word_Break, several where a rule tells them apart, and what the rules join.
PROBES = (
    "aZéא\"'‘’·:,.;٫0９_‿アァー"
    "日のกah\u0301\u200d\u00ad\ufe0f\U0001f1e6\U0001f1e7🙂👍🏽❤\U0001f468 \t\r\n\u0085\u2028\u3000-#"
)


def found(text: str) -> list[str]:
    spans = words.Spans(*word_break.words(words.codepoints(text), characters.table()))
    return spans.texts(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Well, that's it: can't (3.14) 1,000 U.S.", ["Well", "that's", "it", "can't", "3.14", "1,000", "U.S"]),
        ("well-known and/or x_y _z", ["well", "known", "and", "or", "x_y"]),
        ("a.b a:b a,b 1:2 1.a", ["a.b", "a:b", "a", "b", "1", "2", "1", "a"]),
        ("カタカナとひらがな漢字", ["カタカナ", "と", "ひ", "ら", "が", "な", "漢", "字"]),
        ("re\u00adlated cafe\u0301s", ["re\u00adlated", "cafe\u0301s"]),
        ('צה"ל ר\' א"', ['צה"ל', "ר'", "א"]),
        ("🇩🇪🇫🇷 👍🏽", []),
        ("\u0301a", ["a"]),
        ("", []),
    ],
)
def test_known_words(text: str, expected: list[str]) -> None:
    assert found(text) == expected


@settings(max_examples=500)
@given(st.text(st.sampled_from(PROBES), max_size=30) | st.text())
def test_boundaries_are_those_of_unicode(text: str) -> None:
    assert found(text) == unicode_words(text)


def test_lone_surrogates_are_no_words() -> None:
    assert found("a\ud800b \udfff") == ["a", "b"]


def test_long_runs_of_marks_after_middle_letters_take_linear_time() -> None:
    assert len(found(("a'" + "\u0301" * 50) * 40_000)) == 1
