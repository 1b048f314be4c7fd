from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpusmill.core import segments, tokens, words
from corpusmill.core.special_tokens import special_cases

sys.path.append(str(Path(__file__).resolve().parent.parent / "stages"))

import reference_words

PROBES = "aaBz09.,'’\"-–:/…()[]$%+*°CFsS…@·€~—<=é日\u00b2☃km_| "


def found(text: str) -> list[str]:
    points = words.codepoints(text)
    starts, ends, hashes = tokens.tokens(points, segments.segments(points))
    spans = words.Spans(starts, ends)
    assert hashes.tolist() == spans.hashes(points).tolist()
    return spans.texts(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, world!", "Hello|,|world|!"),
        ('("Well," she said.)', '(|"|Well|,|"|she|said|.|)'),
        ("I don't, can't, won't; you're it's", "I|do|n't|,|ca|n't|,|wo|n't|;|you|'re|it|'s"),
        ("I don’t dont cannot gonna", "I|do|n’t|do|nt|can|not|gon|na"),
        ("Peter's the boys' its were", "Peter|'s|the|boys|'|its|were"),
        ("Mr. X. e.g., U.S. (i.e.) the U.K.", "Mr.|X.|e.g.|,|U.S.|(|i.e.|)|the|U.K."),
        ("the end.The next", "the|end|.|The|next"),
        ("well-known 10-12 a--b 3.5% $5.00 US$3 5km 10am", "well|-|known|10|-|12|a|--|b|3.5|%|$|5.00|US$|3|5|km|10|am"),
        ("wait... what... …", "wait|...|what|...|…"),
        ("a/b and/or x=y 1:2 a,b 1,000", "a|/|b|and/or|x|=|y|1:2|a|,|b|1,000"),
        ("www.foo-bar.com/a-b me@foo-bar.org, http://a.b.io:80/x?y", None),
        ("°C. 5°C.", "°|C|.|5|°|C|."),
        ("☃snow☃man", "☃|snow|☃|man"),
        ("\u3000 \n", ""),
    ],
)
def test_known_tokens(text: str, expected: str | None) -> None:
    if expected is None:
        assert found(text) == ["www.foo-bar.com/a-b", "me@foo-bar.org", ",", "http://a.b.io:80/x?y"]
    else:
        assert found(text) == [token for token in expected.split("|") if token]


def test_special_cases_join_to_their_words() -> None:
    cases = special_cases()
    assert len(cases) > 700
    assert all("".join(pieces) == word and all(pieces) and len(pieces) <= 3 for word, pieces in cases.items())
    for word, pieces in cases.items():
        assert found(word) == list(pieces)


@settings(max_examples=500)
@given(st.text(st.sampled_from(PROBES), max_size=40) | st.text())
def test_tokens_are_those_of_the_definition(text: str) -> None:
    assert found(text) == reference_words.tokens(text, "en")


@given(st.text())
def test_tokens_hold_every_visible_character_once(text: str) -> None:
    assert "".join(found(text)) == "".join(text.split())


@pytest.mark.parametrize("text", ["x" * 1_000_000, "'" * 1_000_000, "." * 1_000_000, "a." * 500_000, "a@" * 500_000])
def test_a_huge_word_takes_linear_time(text: str) -> None:
    assert found(text)
