from __future__ import annotations

import unicodedata
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpusmill.core import characters
from corpusmill.core.words import codepoints

DEFINITIONS: dict[int, Callable[[str], bool]] = {
    characters.LETTER: str.isalpha,
    characters.UPPERCASE: lambda c: unicodedata.category(c) in ("Lu", "Lt"),
    characters.DIGIT: str.isdecimal,
    characters.WORD: lambda c: unicodedata.category(c)[0] in "LMN",
    characters.SPACE: str.isspace,
    characters.ALPHANUMERIC: str.isalnum,
}


@pytest.mark.parametrize("flag", DEFINITIONS)
def test_every_code_point_below_the_tags(flag: int) -> None:
    found = (characters.classes(np.arange(0x40000, dtype=np.uint32)) & flag) != 0
    assert found.tolist() == [DEFINITIONS[flag](chr(i)) for i in range(0x40000)]


def test_no_letter_lies_above_the_table() -> None:
    assert not any(map(str.isalnum, map(chr, range(0x40000, 0x110000))))
    assert not characters.classes(np.array([0x10FFFF, 0xE0001], dtype=np.uint32)).any()


@given(st.text(), st.data())
def test_counts(text: str, data: st.DataObject) -> None:
    bound = st.integers(0, len(text))
    spans = [sorted(pair) for pair in data.draw(st.lists(st.tuples(bound, bound), max_size=5))]
    starts, ends = (np.array([span[i] for span in spans], dtype=np.int64) for i in (0, 1))
    of = characters.classes(codepoints(text))
    expected = [sum(c.isalpha() for c in text[a:b]) for a, b in spans]
    assert characters.counts(of, characters.LETTER, starts, ends).tolist() == expected


def test_spaces_of_kernels_are_those_of_strings() -> None:
    assert [i for i in range(0x110000) if characters.is_space.py_func(i)] == [
        i for i in range(0x110000) if chr(i).isspace()
    ]


def test_lowercase_is_that_of_single_code_points() -> None:
    text = "ΑΣ İstanbul STRASSE ẞ Ⅷ 日本 \U00010400 a1"
    lowered = characters.lowercase(codepoints(text)).tolist()
    assert "".join(map(chr, lowered)) == "ασ İstanbul strasse ß ⅷ 日本 \U00010428 a1"
