from __future__ import annotations

import random
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stage_tables import gold_texts, japanese_news

from corpusmill.core.text import Text
from corpusmill.core.words import UNSPACED_SCRIPTS
from corpusmill.stages.evaluation_index import EvaluationIndex, units

ACCENTS = {
    chr(c)
    for first, last in (
        (0x300, 0x36F), (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF), (0x20D0, 0x20FF), (0xFE00, 0xFE0F), (0xFE20, 0xFE2F),
        (0xE0100, 0xE01EF),
    )
    for c in range(first, last + 1)
}  # fmt: skip


def slow_units(text: str) -> list[str]:
    """The normalised units, written on strings: a word or an unspaced letter, with the marks after it."""
    found: list[str] = []
    for word in text.split():
        inside = touching = False
        for c in word:
            form = "".join(d for d in unicodedata.normalize("NFD", c.lower()) if stays(d))
            if not form:
                touching = False
                continue
            if unicodedata.category(c)[0] == "M" and touching:
                found[-1] += form
            elif re.match(f"[{UNSPACED_SCRIPTS}]", c):
                found.append(form)
                inside = False
            elif inside:
                found[-1] += form
            else:
                found.append(form)
                inside = True
            touching = True
    return found


def stays(c: str) -> bool:
    category = unicodedata.category(c)
    return category[0] not in "PSZ" and category not in ("Cc", "Cf") and c not in ACCENTS


def weight(unit: str, ngram: int, characters: int) -> int:
    return ngram if re.match(f"[{UNSPACED_SCRIPTS}]", unit) else characters


def slow_window(found: list[str], start: int, limit: int, ngram: int, characters: int) -> tuple[str, ...] | None:
    total = 0
    for end in range(start, len(found)):
        total += weight(found[end], ngram, characters)
        if total >= limit:
            return tuple(found[start : end + 1])
    return None


def slow_hits(
    items: list[str], document: str, ngram: int, characters: int, min_words: int, max_items: int | None
) -> set[tuple[int, int, int]]:
    """(start, end, item) of every window of `document` that an item holds, from sets of tuples of strings."""
    full = ngram * characters
    windows: dict[tuple[str, ...], set[int]] = {}
    shorts: dict[tuple[str, ...], set[int]] = {}
    for number, item in enumerate(items):
        found = slow_units(item)
        if sum(weight(unit, ngram, characters) for unit in found) >= full:
            for start in range(len(found)):
                window = slow_window(found, start, full, ngram, characters)
                if window:
                    windows.setdefault(window, set()).add(number)
        elif sum(weight(unit, ngram, characters) for unit in found) >= min_words * characters:
            shorts.setdefault(tuple(found), set()).add(number)
    of = slow_units(document)
    hits = set()
    for start in range(len(of)):
        window = slow_window(of, start, full, ngram, characters)
        holders = windows.get(window, set()) if window else set()
        if window and holders and (max_items is None or len(holders) <= max_items):
            hits |= {(start, start + len(window), number) for number in holders}
        for short, numbers in shorts.items():
            if tuple(of[start : start + len(short)]) == short:
                hits |= {(start, start + len(short), number) for number in numbers}
    return hits


def hits(
    items: list[str], document: str, ngram: int, characters: int, min_words: int, max_items: int | None = None
) -> set[tuple[int, int, int]]:
    index = EvaluationIndex(
        (Text(item, "") for item in items),
        ngram=ngram,
        characters=characters,
        min_words=min_words,
        max_items=max_items,
    )
    found = index.hits(units(Text(document, "en")))
    return {
        (start, end, item)
        for start, end, at in zip(*(column.tolist() for column in found), strict=True)
        for item in index.items(at, 1000)
    }


WORDS = st.sampled_from(
    ["a", "b", "B,", "(c)", "dé", "de\u0301", "か", "が", "か\u3099", "漢字", "a漢", "—", "\n", "\ud800"]
)
PASSAGES = st.lists(WORDS, max_size=14).map(" ".join) | st.lists(WORDS, max_size=14).map("".join)


@settings(max_examples=300, deadline=None)
@given(PASSAGES | st.text(max_size=30))
def test_units_equal_their_definition(text: str) -> None:
    found = units(Text(text, "en"))
    points = found.points.tolist()
    forms = ["".join(map(chr, points[a:b])) for a, b in zip(found.at[:-1], found.at[1:], strict=True)]
    assert forms == slow_units(text)
    assert (found.starts < found.ends).all()
    assert (found.ends[:-1] <= found.starts[1:]).all()


@settings(max_examples=300, deadline=None)
@given(
    st.lists(PASSAGES, max_size=5), PASSAGES, st.sampled_from([(1, 1, 1), (2, 3, 1), (3, 4, 2), (3, 5, 3)]),
    st.sampled_from([None, None, 1, 2]),
)  # fmt: skip
def test_hits_are_those_of_sets_of_tuples_of_words(
    items: list[str], document: str, sizes: tuple[int, int, int], max_items: int | None
) -> None:
    assert hits(items, document, *sizes, max_items) == slow_hits(items, document, *sizes, max_items)


def test_a_passage_is_found_however_it_is_set() -> None:
    item = "When was the old bridge over the river Main in Frankfurt built?"
    assert hits([item], item, 13, 26, 8) == {(0, 12, 0)}
    changed = "…  WHEN was — the old bridge;\nover the river 'Main' in Fránkfurt BUILT."
    assert hits([item], f"He asks: {changed} Nobody knows.", 13, 26, 8) == {(2, 14, 0)}
    assert hits([item], item.replace("old", "new"), 13, 26, 8) == set()


def test_the_same_passage_of_japanese_has_no_need_of_a_language() -> None:
    item = "次の文章を読み、筆者が最も伝えたいことを一つ選びなさい。"
    found = hits([item], f"問題です。{item}（解答は次のページ）", 13, 26, 8)
    assert found == {(4, 30, 0)}
    assert hits([item], item[:-4], 13, 26, 8) == set()


@pytest.mark.parametrize(("words", "expected"), [(7, set()), (8, {(0, 8, 0)}), (12, {(0, 12, 0)}), (13, {(0, 13, 0)})])
def test_items_shorter_than_an_ngram_are_matched_whole_from_min_words_on(
    words: int, expected: set[tuple[int, int, int]]
) -> None:
    item = " ".join(f"w{i}" for i in range(words))
    assert hits([item], item, 13, 26, 8) == expected
    assert hits([item], item.rsplit(" ", 1)[0], 13, 26, 8) == set()


def test_ngrams_of_many_items_are_ignored_on_request() -> None:
    instruction = "choose the answer that fits the sentence best and write it down here now"
    items = [f"{instruction} question number {i} is about the thing {i} and its parts" for i in range(5)]
    assert {item for *_, item in hits(items, instruction, 13, 26, 8)} == {0, 1, 2, 3, 4}
    assert hits(items, instruction, 13, 26, 8, max_items=4) == set()
    assert {item for *_, item in hits(items, items[3], 13, 26, 8, max_items=4)} == {3}


def test_an_empty_index_finds_nothing() -> None:
    for items in ([], [""], ["too short"], ["—"]):
        assert hits(items, "too short — for anything to be found in it, whatever it may be about", 13, 26, 8) == set()
    assert hits(["a b c d e f g h"], "", 13, 26, 8) == set()


def test_many_random_items_against_the_definition() -> None:
    rng = random.Random(7)
    vocabulary = [f"w{i}" for i in range(40)]
    items = [" ".join(rng.choices(vocabulary, k=rng.randint(1, 30))) for _ in range(300)]
    parts = [" ".join(rng.choices(vocabulary, k=5)) if rng.random() < 0.5 else rng.choice(items) for _ in range(40)]
    document = " ".join(parts)
    found = hits(items, document, 6, 12, 4)
    assert found == slow_hits(items, document, 6, 12, 4, None)
    assert len(found) > 100


def test_real_texts_against_the_definition(shared_crawl: Path) -> None:
    pages = [text for text, _ in gold_texts(shared_crawl, every=150)] + japanese_news(shared_crawl, 3)
    items = [text[100:400] for text in pages[::3]]
    for text in pages:
        assert hits(items, text, 13, 26, 8) == slow_hits(items, text, 13, 26, 8, None)
