from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpusmill.core.normalise import (
    Units,
    folds,
    hash_units_of_utf8,
    normalised_letters,
    normalised_words,
    place_units,
)
from corpusmill.core.words import codepoints

ACCENT_BLOCKS = (range(0x300, 0x370), range(0x1AB0, 0x1B00), range(0x1DC0, 0x1E00), range(0x20D0, 0x2100))
ACCENTS = {chr(c) for block in ACCENT_BLOCKS for c in block}
MIXED = st.text(alphabet="abAÉéße\u0301\u0308 \n-'.,!?😀１がかぐ\u3099漢字한й\u0947ह\u200b\u00ad\ufe0f", max_size=40)


def slow_form(text: str) -> str:
    """The rule, written on strings (marks and letters one by one)."""
    lowered = "".join(unicodedata.normalize("NFD", c.lower()) for c in text)
    kept = []
    for c in lowered:
        category = unicodedata.category(c)
        if category[0] in "PSZ" or category in ("Cc", "Cf") or c in ACCENTS or c == "\ufe0f":
            continue
        kept.append(c)
    return "".join(kept)


def texts(text: str, units: Units) -> list[str]:
    return [text[a:b] for a, b in zip(units.starts.tolist(), units.ends.tolist(), strict=True)]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Hello, WORLD!", "hello world"),
        ("Ça va — très bien…", "ca va tres bien"),
        ("don't  stop\n\nnow", "dont stop now"),
        ("naïve", "nai\u0308ve"),
        ("Straße ЙОД", "straße иод"),
        ("co\u00adoperate zero\u200bwidth", "cooperate zerowidth"),
        ("한국어", unicodedata.normalize("NFD", "한국어")),
        ("İstanbul", "istanbul"),
    ],
)
def test_words_that_differ_in_case_accents_and_punctuation_are_equal(left: str, right: str) -> None:
    assert normalised_words(left, "en").hashes.tolist() == normalised_words(right, "en").hashes.tolist()


@pytest.mark.parametrize(("left", "right"), [("か", "が"), ("कि", "क"), ("a b", "ab"), ("v1.2", "v1.3"), ("１", "1")])
def test_words_that_stay_different(left: str, right: str) -> None:
    assert normalised_words(left, "en").hashes.tolist() != normalised_words(right, "en").hashes.tolist()


def test_words_of_punctuation_and_emoji_vanish() -> None:
    text = "one — two 😀 ... three."
    assert texts(text, normalised_words(text, "en")) == ["one", "two", "three."]
    assert len(normalised_words("— 😀 !?", "en")) == len(normalised_words("", "en")) == 0


def test_letters_carry_their_marks() -> None:
    text = "e\u0301, か\u3099 が!"
    units = normalised_letters(text)
    assert texts(text, units) == ["e\u0301", "か\u3099", "が"]
    assert units.hashes[1] == units.hashes[2]
    assert units.hashes[0] == normalised_letters("É").hashes[0]


def test_marks_without_a_letter_are_no_unit() -> None:
    assert len(normalised_letters("\u3099\u0301!\u3099")) == 0


def test_japanese_words_are_morphemes_and_letters_are_letters() -> None:
    text = "東京都に住む。"
    assert texts(text, normalised_words(text, "ja")) == ["東京", "都", "に", "住む"]
    assert texts(text, normalised_letters(text)) == list("東京都に住む")


@given(MIXED)
def test_words_agree_with_the_rule_on_strings(text: str) -> None:
    expected = [(w, slow_form(w)) for w in text.split() if slow_form(w)]
    units = normalised_words(text, "en")
    assert texts(text, units) == [w for w, _ in expected]
    again = normalised_words(" ".join(form for _, form in expected), "en")
    assert again.hashes.tolist() == units.hashes.tolist()


@given(MIXED, MIXED)
def test_hashes_are_equal_where_forms_are(a: str, b: str) -> None:
    forms_a = [slow_form(t) for t in texts(a, normalised_letters(a))]
    forms_b = [slow_form(t) for t in texts(b, normalised_letters(b))]
    assert (forms_a == forms_b) == (normalised_letters(a).hashes.tolist() == normalised_letters(b).hashes.tolist())


@given(MIXED)
def test_letters_are_disjoint_ascending_and_cover_all_that_stays(text: str) -> None:
    units = normalised_letters(text)
    assert (units.starts < units.ends).all()
    assert (units.starts[1:] >= units.ends[:-1]).all()
    outside = set(range(len(text))) - {i for a, b in zip(units.starts, units.ends, strict=True) for i in range(a, b)}
    for i in outside:
        assert not slow_form(text[i]) or unicodedata.category(text[i])[0] == "M"  # a mark without a letter before it


@given(MIXED, st.booleans())
def test_places_and_hashes_of_units_straight_from_the_text(text: str, spaced: bool) -> None:
    units = normalised_words(text, "en") if spaced else normalised_letters(text)
    starts, ends = place_units(codepoints(text), spaced, folds())
    assert (starts.tolist(), ends.tolist()) == (units.starts.tolist(), units.ends.tolist())
    before = "é x".encode()  # the text is not the first one, and not the last
    data = np.frombuffer(before + text.encode() + before, dtype=np.uint8)
    offsets = np.cumsum([0, len(before), len(text.encode()), len(before)])
    hashes, at = hash_units_of_utf8(data, offsets, np.array([True, spaced, False]), folds())
    assert hashes[at[1] : at[2]].tolist() == units.hashes.tolist()
    assert (at[1], len(hashes) - at[2]) == (2, 2)
