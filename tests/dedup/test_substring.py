from __future__ import annotations

import unicodedata
from collections import Counter
from typing import Any

import numpy as np
import pytest
from dedup_tables import doc_id, document, tables
from hypothesis import given, settings
from hypothesis import strategies as st

from corpusmill.core import documents
from corpusmill.core.documents import without_spans
from corpusmill.core.hashing import content_hash, hash64
from corpusmill.core.normalise import folds, place_units
from corpusmill.core.words import Spans, codepoints
from corpusmill.dedup.cuts import cut_spans
from corpusmill.dedup.local import decide, exchanged, run_step
from corpusmill.dedup.substring import Substring, SubstringConfig

MIN_WORDS, MIN_CHARACTERS = 3, 4


def step(partitions: int = 3, keep: Any = "none", min_remaining: int = 0, passes: int = 1) -> Substring:
    return Substring(
        SubstringConfig(
            min_words=MIN_WORDS,
            min_characters=MIN_CHARACTERS,
            partitions=partitions,
            keep=keep,
            min_remaining=min_remaining,
            passes=passes,
        )
    )


def forms(text: str, language: str) -> list[str]:
    """Normalised units by the rule written on strings (for the alphabets below)."""
    items = text if language == "ja" else text.split()
    return [f for f in ("".join(c for c in i.lower() if unicodedata.category(c)[0] in "LN") for i in items) if f]


Corpus = dict[str, tuple[str, list[str]]]  # doc_id -> language, units


def corpus(rows: list[dict[str, Any]]) -> Corpus:
    return {row["doc_id"]: (row["language"], forms(row["text"], row["language"])) for row in rows}


def by_brute_force(documents: Corpus, keep: str = "none", min_words: int = MIN_WORDS) -> dict[str, list[int]]:
    """doc_id -> marked windows, from all windows of all documents."""
    places: dict[tuple[str, ...], list[tuple[int, int, str]]] = {}
    for name, (language, units) in documents.items():
        length = MIN_CHARACTERS if language == "ja" else min_words
        for i in range(len(units) - length + 1):
            window = (language, *units[i : i + length])
            places.setdefault(window, []).append((hash64(name.encode()), i, name))
    marked: dict[str, list[int]] = {}
    for found in places.values():
        if len(found) > 1:
            for _, i, name in sorted(found)[keep == "first" :]:
                marked.setdefault(name, []).append(i)
    return {name: sorted(positions) for name, positions in marked.items()}


def without(documents: Corpus, marked: dict[str, list[int]], min_words: int = MIN_WORDS) -> Corpus:
    """The units that no marked window holds."""
    left = {}
    for name, (language, units) in documents.items():
        length = MIN_CHARACTERS if language == "ja" else min_words
        cut = {i + k for i in marked.get(name, []) for k in range(length)}
        left[name] = (language, [u for i, u in enumerate(units) if i not in cut])
    return left


def marked_windows(rows: list[dict[str, Any]], shards: int, substring: Substring) -> dict[str, list[int]]:
    """doc_id -> windows that the decisions of a single pass name."""
    names = {hash64(row["doc_id"].encode()): row["doc_id"] for row in rows}
    marked: dict[str, list[int]] = {}
    for table, decisions in zip(tables(rows, shards), decide(substring, tables(rows, shards)), strict=True):
        here = set(table.column("doc_id").to_pylist())
        for row in decisions.to_pylist():
            name = names[row["document"]]
            assert name in here
            marked.setdefault(name, []).extend(range(row["start"], row["start"] + row["windows"]))
    return {name: sorted(positions) for name, positions in marked.items()}


ENGLISH = st.lists(st.sampled_from(["a", "A", "b,", "b", "—", "c😀", "\n"]), max_size=14).map(" ".join)
JAPANESE = st.text(alphabet="あい漢、。😀 \n", max_size=20)
PERIODS = st.tuples(st.sampled_from(["a ", "a b ", "a b c ", "b, A\n"]), st.integers(0, 8)).map(lambda p: p[0] * p[1])
TEXTS = st.one_of(
    st.tuples(ENGLISH, st.just("en")), st.tuples(PERIODS, st.just("en")), st.tuples(JAPANESE, st.just("ja"))
)


@settings(max_examples=600)
@given(st.lists(TEXTS, max_size=6), st.integers(1, 3), st.sampled_from([1, 3, 64]), st.sampled_from(["none", "first"]))
def test_marked_windows_against_brute_force(
    drawn: list[tuple[str, str]], shards: int, partitions: int, keep: str
) -> None:
    rows = [document(n, text, language=language) for n, (text, language) in enumerate(drawn)]
    assert marked_windows(rows, shards, step(partitions, keep)) == by_brute_force(corpus(rows), keep)


@settings(max_examples=250)
@given(st.lists(TEXTS, min_size=1, max_size=6), st.integers(1, 3), st.sampled_from(["none", "first"]))
def test_passes_against_brute_force(drawn: list[tuple[str, str]], shards: int, keep: str) -> None:
    """Every number of passes, up to the one that finds nothing."""
    rows = [document(n, text, language=language) for n, (text, language) in enumerate(drawn)]
    left = corpus(rows)
    for passes in range(1, 100):
        marked = by_brute_force(left, keep)
        left = without(left, marked)
        kept = [
            r
            for result in run_step(step(2, keep, passes=passes), tables(rows, shards))
            for r in result.kept.to_pylist()
        ]
        assert {r["doc_id"]: (r["language"], forms(r["text"], r["language"])) for r in kept} == left
        if not marked:
            break


@settings(max_examples=150)
@given(st.lists(TEXTS, min_size=1, max_size=6), st.integers(1, 3), st.integers(0, 6))
def test_cuts_are_exactly_the_marked_units(drawn: list[tuple[str, str]], shards: int, min_remaining: int) -> None:
    rows = [document(n, text, language=language) for n, (text, language) in enumerate(drawn)]
    marked = by_brute_force(corpus(rows))
    results = run_step(step(min_remaining=min_remaining), tables(rows, shards))
    kept = {r["doc_id"]: r for result in results for r in result.kept.to_pylist()}
    removed = {r["doc_id"]: r for result in results for r in result.removed.to_pylist()}
    spans: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        assert result.kept.schema == documents.DOCUMENT_WITH_LANGUAGE
        for span in result.spans.to_pylist():
            spans.setdefault(span["doc_id"], []).append(span)
    assert sorted([*kept, *removed]) == [row["doc_id"] for row in rows]
    assert set(spans) == set(marked) - set(removed)
    for row in rows:
        name, text = row["doc_id"], row["text"]
        if name in removed:
            assert removed[name]["rule"] == "mostly_duplicate"
            assert removed[name]["value"] < removed[name]["threshold"] == min_remaining
            assert name in marked
            continue
        rebuilt = kept[name]["text"]
        for span in spans.get(name, []):
            assert span["text"] == text[span["start"] : span["end"]]
            rebuilt = rebuilt[: span["start"]] + span["text"] + rebuilt[span["start"] :]
        assert rebuilt == text
        assert kept[name]["content_hash"] == content_hash(kept[name]["text"])
        assert forms(kept[name]["text"], row["language"]) == without(corpus([row]), marked)[name][1]


def test_all_copies_are_cut_and_the_breaks_stay() -> None:
    passage = "this passage is found twice"
    rows = [
        document(1, "First paragraph here.\n\nThis  Passage is found, twice!\n\nLast one of document."),
        document(2, f"Another beginning {passage} another end"),
        document(3, "Nothing of the kind at all"),
    ]
    (result,) = run_step(step(), tables(rows))
    assert result.kept.column("text").to_pylist() == [
        "First paragraph here.\n\nLast one of document.",
        "Another beginning another end",
        "Nothing of the kind at all",
    ]
    assert {s["rule"] for s in result.spans.to_pylist()} == {"repeated_passage"}


def test_first_spares_one_copy() -> None:
    rows = [document(n, f"start{n} one two three four end{n}") for n in range(3)]
    (result,) = run_step(step(keep="first"), tables(rows))
    spared = min(range(3), key=lambda n: hash64(doc_id(n).encode()))
    assert result.kept.column("text").to_pylist() == [
        rows[n]["text"] if n == spared else f"start{n} end{n}" for n in range(3)
    ]


def test_a_document_with_too_little_left_goes() -> None:
    rows = [document(1, "one two three four five left over: 20 chars."), document(2, "one two three four five and")]
    (result,) = run_step(step(min_remaining=20), tables(rows))
    assert result.kept.column("text").to_pylist() == ["left over: 20 chars."]
    (removal,) = result.removed.to_pylist()
    assert removal["doc_id"] == doc_id(2)
    assert (removal["value"], removal["threshold"], removal["excerpt"]) == (3.0, 20.0, rows[1]["text"])


def test_short_documents_that_repeat_nothing_stay() -> None:
    rows = [document(1, "hi"), document(2, "hi"), document(3, "")]
    (result,) = run_step(step(min_remaining=20), tables(rows))
    assert result.kept.num_rows == 3


def test_repeats_inside_one_document_and_constant_runs() -> None:
    (result,) = run_step(step(), tables([document(1, "x y z and again x y z"), document(2, "w " * 50)]))
    assert result.kept.column("text").to_pylist() == ["and again", ""]


def test_windows_do_not_reach_across_documents() -> None:
    rows = [document(1, "a b"), document(2, "c a b"), document(3, "c d")]
    (result,) = run_step(step(), tables(rows))
    assert result.spans.num_rows == 0


def test_words_and_letters_do_not_meet() -> None:
    rows = [document(1, "a b c d e", language="en"), document(2, "a b c d e", language="ja")]
    (result,) = run_step(step(), tables(rows))
    assert result.spans.num_rows == 0


def test_marks_are_cut_with_their_letters() -> None:
    """Never inside a composed character, decomposed or not."""
    rows = [document(1, "前がぎぐけ\u3099後", language="ja"), document(2, "か\u3099き\u3099ぐげ", language="ja")]
    (result,) = run_step(step(), tables(rows))
    assert result.kept.column("text").to_pylist() == ["前後", ""]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("keep CUT CUT CUT keep", "keep keep"),
        ("keep\n\nCUT CUT CUT keep", "keep\n\nkeep"),
        ("keep CUT CUT CUT\n\nkeep", "keep\n\nkeep"),
        ("keep\nCUT CUT CUT\nkeep", "keep\nkeep"),
        ("keep  CUT CUT CUT keep", "keep  keep"),
        ("\n CUT CUT CUT \n\nkeep", "keep"),
        ("keep \n\n CUT CUT CUT ", "keep"),
        ("keep — CUT CUT CUT — keep", "keep — — keep"),
        ('keep "CUT CUT CUT." keep', "keep keep"),
    ],
)
def test_what_joins_the_pieces(text: str, expected: str) -> None:
    points = codepoints(text)
    units = Spans(*place_units(points, True, folds()))
    position = next(i for i, start in enumerate(units.starts) if "CUT" in text[start : units.ends[i]])
    spans = cut_spans(points, units, np.array([position]), np.array([position + 3]))
    assert without_spans(text, spans) == expected


def test_no_documents_and_no_repeats() -> None:
    (result,) = run_step(step(), tables([]))
    assert result.kept.num_rows == 0
    (result,) = run_step(step(), tables([document(1, "a b c d")]))
    assert result.kept.num_rows == 1


def test_defaults_are_those_of_the_paper() -> None:
    config = SubstringConfig()
    assert (config.min_words, config.min_characters, config.min_tokens, config.keep, config.min_remaining) == (
        50,
        100,
        50,
        "none",
        20,
    )
    words = [f"w{i}" for i in range(50)]
    rows = [
        document(1, " ".join(["a", *words])),
        document(2, " ".join([*words, "b"])),
        document(3, " ".join(words[:49])),
    ]
    marked = Counter({n: len(p) for n, p in marked_windows(rows, 1, Substring(config)).items()})
    assert marked == {doc_id(1): 1, doc_id(2): 1}


def sent(substring: Substring, shards: list[Any]) -> list[int]:
    """Rows that each round of one pass sends."""
    rows = [substring.map(table, n, len(shards)) for n, table in enumerate(shards)]
    counts = [sum(table.num_rows for table in rows)]
    for number in range(3):
        parts = exchanged(rows, substring.partitions(number, len(shards)))
        if number == 1:
            rows = [substring.visit(1, part, shards[n], n, len(shards)) for n, part in enumerate(parts)]
        else:
            rows = [substring.reduce(number, part, len(shards)) for part in parts]
        counts.append(sum(table.num_rows for table in rows))
    return counts


def test_unique_texts_send_their_seeds_alone() -> None:
    (table,) = tables([document(0, " ".join(f"w{i}" for i in range(3000)))])
    seeds, *others = sent(Substring(SubstringConfig(partitions=1)), [table])
    assert seeds < 3000 * 0.09
    assert others == [0, 0, 0]


@pytest.mark.parametrize("keep", ["none", "first"])
@pytest.mark.parametrize("unit", ["same ", "one two ", "a b c d e f g "])
def test_a_text_of_one_short_period_is_a_few_rows(unit: str, keep: Any) -> None:
    text = unit * (200_000 // len(unit.split()))
    shards = tables([document(0, text), document(1, "other words " * 3)], 2)
    config = SubstringConfig(partitions=4, keep=keep, passes=1, min_remaining=0)
    assert sum(sent(Substring(config), shards)) < 3_000
    kept = [row for result in run_step(Substring(config), shards) for row in result.kept.to_pylist()]
    spared = unit.strip() if keep == "first" else ""  # what the first copy of each window does not share with the next
    assert {row["doc_id"]: row["text"][:99] for row in kept} == {doc_id(0): spared, doc_id(1): "other words " * 3}


@pytest.mark.parametrize("keep", ["none", "first"])
def test_copies_by_the_thousand_send_their_places_alone(keep: Any) -> None:
    text = " ".join(f"w{i}" for i in range(400))
    rows = [document(n, text) for n in range(3000)] + [document(3000, " ".join(f"v{i}" for i in range(400)))]
    shards = tables(rows, 3)
    config = SubstringConfig(partitions=4, keep=keep)
    seeds, fates, windows, decisions = sent(Substring(config), shards)
    assert seeds <= 4 * 50
    assert fates <= 3 * 50
    assert windows == decisions == 3000 - (keep == "first")  # one range a document that is cut
    kept = [row["doc_id"] for result in run_step(Substring(config), shards) for row in result.kept.to_pylist()]
    first = min((doc_id(n) for n in range(3000)), key=lambda name: hash64(name.encode()))
    assert sorted(kept) == sorted([doc_id(3000), *([first] if keep == "first" else [])])


@pytest.mark.parametrize("keep", ["none", "first"])
def test_copies_that_go_on_differently_send_each_window_once_a_shard(keep: Any) -> None:
    """The seeds at the ends have several contents: their windows are compared, but not once a document."""
    passage = [f"w{i}" for i in range(60)]
    texts = [[f"a{n % 7}"] * 60 + passage + [f"b{n % 5}"] * 60 for n in range(400)]
    shards = tables([document(n, " ".join(words)) for n, words in enumerate(texts)], 2)
    config = SubstringConfig(partitions=4, keep=keep, passes=1)
    substring = Substring(config)
    rows = [substring.map(table, n, 2) for n, table in enumerate(shards)]
    fates = [substring.reduce(0, part, 2) for part in exchanged(rows, 4)]
    windows = [substring.visit(1, part, shards[n], n, 2) for n, part in enumerate(exchanged(fates, 2))]
    compared = [row for table in windows for row in table.to_pylist() if row["state"] != 2]
    assert len(compared) < 2 * 35 * 60 * 2
    assert len({(row["shard"], row["key_high"], row["key_low"]) for row in compared}) == len(compared)
    kept = [row for result in run_step(substring, shards) for row in result.kept.to_pylist()]
    left = without(
        {doc_id(n): ("en", words) for n, words in enumerate(texts)},
        by_brute_force({doc_id(n): ("en", words) for n, words in enumerate(texts)}, keep, 50),
        50,
    )
    assert {row["doc_id"]: row["text"].split() for row in kept} == {
        name: words for name, (_, words) in left.items() if len(" ".join(words)) >= 20
    }
