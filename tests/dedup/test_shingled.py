"""Shingles and sketches of a column against those of one text at a time."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from corpusmill.core.hashing import UInt64Array
from corpusmill.core.normalise import normalised_letters, normalised_words
from corpusmill.dedup import signatures, verified
from corpusmill.dedup.shingled import LETTERS, SEGMENTED, SPACED, Shingling

TEXT = st.text() | st.text(alphabet="ab é\u0301İß \n。が東京ไทย😀")
TEXTS = st.lists(st.tuples(TEXT, st.sampled_from(["en", "zh", "ja", "th", "xx"])), max_size=8)


def slow(text: str, language: str, config: Shingling) -> UInt64Array:
    if language in ("zh", "th") or (language == "ja" and config.japanese_letters):
        return signatures.shingles(normalised_letters(text).hashes, config.letter_ngram)
    return signatures.shingles(normalised_words(text, language).hashes, config.word_ngram)


@settings(max_examples=150)
@given(TEXTS, st.booleans(), st.integers(0, 2))
def test_shingles_and_sketches_are_those_of_the_texts(
    drawn: list[tuple[str, str]], japanese_letters: bool, skip: int
) -> None:
    config = Shingling(2, 3, japanese_letters)
    skip = min(skip, len(drawn))
    column = pa.array([text for text, _ in drawn], pa.large_string()).slice(skip)
    drawn = drawn[skip:]
    languages = [language for _, language in drawn]
    rows = np.arange(len(drawn), dtype=np.int64)[::-1].copy()
    found = {row: hashes.copy() for row, hashes in config.of_texts(column, languages, rows)}
    sets = config.sketches(column, languages)
    for row, (text, language) in enumerate(drawn):
        expected = slow(text, language, config)
        assert found[row].tolist() == expected.tolist()
        of_row = sets.hashes[sets.offsets[row] : sets.offsets[row + 1]]
        assert of_row.tolist() == verified.sketch(expected).tolist()


def test_sketches_are_cut_and_the_room_for_them_grows() -> None:
    texts = [" ".join(f"w{n}x{i}" for i in range(n * 1500)) for n in range(5)]
    sets = Shingling(1, 1, False).sketches(pa.array(texts, pa.large_string()), ["en"] * 5)
    assert np.diff(sets.offsets).tolist() == [0, 1500, 3000, verified.SKETCH_SHINGLES, verified.SKETCH_SHINGLES]
    for row, text in enumerate(texts):
        expected = verified.sketch(slow(text, "en", Shingling(1, 1, False)))
        assert sets.hashes[sets.offsets[row] : sets.offsets[row + 1]].tolist() == expected.tolist()


def test_kinds() -> None:
    assert Shingling(5, 8, False).kinds(["en", "ja", "zh", "", "th"]).tolist() == [
        SPACED,
        SEGMENTED,
        LETTERS,
        SPACED,
        LETTERS,
    ]
    assert Shingling(5, 8, True).kinds(["ja"]).tolist() == [LETTERS]
    assert Shingling(5, 8, False).kinds([]).tolist() == []
