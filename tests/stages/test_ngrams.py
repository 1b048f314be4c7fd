from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ngram_reference import reference

from corpusmill.core import words
from corpusmill.stages import ngrams


def covered(text: str) -> dict[int, int]:
    """Characters covered, by n."""
    found = words.words(text, "en")
    characters = ngrams.ngram_characters(found.hashes(words.codepoints(text)), found.lengths)
    return dict(zip(range(2, 11), characters.tolist(), strict=True))


@given(st.lists(st.sampled_from(["a", "bb", "ccc", "dddd"]), max_size=60))
def test_equals_the_definition(tokens: list[str]) -> None:
    assert covered(" ".join(tokens)) == {n: reference(tokens, n) for n in range(2, 11)}


@given(st.lists(st.sampled_from(["a", "bb", "ccc"]), min_size=5, max_size=12), st.integers(2, 6))
def test_equals_the_definition_on_loops(tokens: list[str], times: int) -> None:
    assert covered(" ".join(tokens * times)) == {n: reference(tokens * times, n) for n in range(2, 11)}


def test_top_ngram_must_occur_twice() -> None:
    assert set(covered("one two three four five six seven").values()) == {0}


def test_overlapping_occurrences_count_once() -> None:
    assert covered("ha ha ha ha")[2] == 8  # not 3 * 4
    assert covered("ha ha ha ha")[3] == 8


def test_of_equally_frequent_ngrams_the_longest_counts() -> None:
    assert covered("a b x a b y long words z long words")[2] == 18
    assert covered("long words z long words y a b x a b")[2] == 18


def test_the_most_frequent_counts_not_the_longest() -> None:
    assert covered("a b x a b y a b z long words w long words")[2] == 6


def test_the_first_occurrence_of_a_duplicate_is_not_counted() -> None:
    text = "q w e r t . q w e r t"
    assert covered(text)[5] == 5
    assert covered(text)[6] == 0


def test_duplicates_that_overlap_count_every_character_once() -> None:
    six = "aa bb cc dd ee ff"
    assert covered(f"{six} . {six}")[5] == 12


def test_words_are_not_joined() -> None:
    assert covered("a bc ab c")[2] == 0


def test_order_of_words_matters() -> None:
    assert covered("a b c b a")[2] == 0


@pytest.mark.parametrize("num_words", [0, 1, 2, 4, 9])
def test_texts_shorter_than_the_ngram(num_words: int) -> None:
    assert covered(" ".join(["a"] * num_words)) == {n: reference(["a"] * num_words, n) for n in range(2, 11)}


def test_many_distinct_words_have_no_repeated_ngram() -> None:
    assert set(covered(" ".join(map(str, range(100_000)))).values()) == {0}


def test_duplicates() -> None:
    hashes, lengths = np.array([7, 3, 7, 7, 3, 9], np.uint64), np.array([5, 2, 5, 5, 2, 1], np.int64)
    assert ngrams.duplicates(hashes, lengths) == (3, 12)
    assert ngrams.duplicates(hashes[:0], lengths[:0]) == (0, 0)


@given(st.lists(st.integers(0, 40)))
def test_shared_hashes_occur_twice(numbers: list[int]) -> None:
    found = ngrams.shared(np.array(numbers, dtype=np.uint64))
    assert found.tolist() == [numbers.count(number) > 1 for number in numbers]
