from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from reference_rules import reference_scores
from stage_tables import check_conservation, documents_of, gold_texts, japanese_news, made_bad_pages

from corpusmill.core.text import Text
from corpusmill.stages.repetition import RULES, Repetition, RepetitionConfig, Rule, Variant

# Gopher, Table A1; FineWeb-2, jpn_Jpan.
TABLE_A1 = [0.30, 0.30, 0.20, 0.20, 0.20, 0.18, 0.16, 0.15, 0.14, 0.13, 0.12, 0.11, 0.10]
JAPANESE = [0.328, None, None, None, 0.239, 0.196, 0.172, 0.243, 0.225, 0.207, 0.19, 0.175, 0.159]

DEFAULT = RepetitionConfig()


VARIANTS: tuple[Variant, ...] = ("paper", "datatrove", "dclm")


def scores(text: str, language: str, variant: Variant = "paper") -> dict[Rule, float]:
    stage = Repetition(RepetitionConfig(variant=variant))
    return dict(zip(RULES, stage.measure(Text(text, language)).scores, strict=True))


def distinct(number: int, start: int = 0) -> list[str]:
    """So many different words of four letters."""
    return [f"w{i:03d}" for i in range(start, start + number)]


def removed_by(text: str, language: str = "en", **config: Any) -> str | None:
    result = Repetition(RepetitionConfig(**config)).process(documents_of((text, language)))
    rules = result.removed.column("rule").to_pylist()
    return rules[0] if rules else None


def test_thresholds_are_the_published_ones() -> None:
    assert [DEFAULT.limit(rule, "en") for rule in RULES] == TABLE_A1
    assert [DEFAULT.limit(rule, "ja") for rule in RULES] == JAPANESE


def test_scores_of_duplicate_lines_and_paragraphs() -> None:
    found = scores("ab\n\nab\n\ncdef\n\nab\ngh", "en")
    assert found["duplicate_line_fraction"] == 2 / 5
    assert found["duplicate_line_character_fraction"] == 4 / 12
    assert found["duplicate_paragraph_fraction"] == 1 / 4
    assert found["duplicate_paragraph_character_fraction"] == 2 / 13


def test_one_paragraph_has_no_duplicate_paragraphs() -> None:
    found = scores("same line\nsame line\nsame line", "en")
    assert found["duplicate_line_fraction"] == 2 / 3
    assert found["duplicate_paragraph_fraction"] == 0


def copied_words(k: int) -> str:
    """100 words of equal length, of which k are the copy of k earlier ones."""
    first = distinct(100 - k)
    return " ".join([*first, *first[:k]])


def top_ngram(n: int, k: int) -> str:
    """100 words, of which k are occurrences of one n-gram (k divisible by n), with different words between."""
    gram, between = distinct(n, 900), iter(distinct(100))
    pieces = [word for _ in range(k // n) for word in [*gram, next(between)]]
    return " ".join([*pieces, *(next(between) for _ in range(100 - len(pieces)))])


@pytest.mark.parametrize(
    ("rule", "at", "above"),
    [
        ("top_2_gram_character_fraction", top_ngram(2, 20), top_ngram(2, 22)),
        ("top_3_gram_character_fraction", top_ngram(3, 18), top_ngram(3, 21)),
        ("top_4_gram_character_fraction", top_ngram(4, 16), top_ngram(4, 20)),
        ("duplicate_5_gram_character_fraction", copied_words(15), copied_words(16)),
        ("duplicate_6_gram_character_fraction", copied_words(14), copied_words(15)),
        ("duplicate_7_gram_character_fraction", copied_words(13), copied_words(14)),
        ("duplicate_8_gram_character_fraction", copied_words(12), copied_words(13)),
        ("duplicate_9_gram_character_fraction", copied_words(11), copied_words(12)),
        ("duplicate_10_gram_character_fraction", copied_words(10), copied_words(11)),
        ("duplicate_line_fraction", "\n".join("abcdefgaaa"), "\n".join("abcdefaaaa")),
        ("duplicate_line_character_fraction", "\n".join("abcdefghaa"), "\n".join("abcdefgaaa")),
        ("duplicate_paragraph_fraction", "\n\n".join("abcdefgaaa"), "\n\n".join("abcdefaaaa")),
        ("duplicate_paragraph_character_fraction", "\n\n".join("abcdefghaa"), "\n\n".join("abcdefgaaa")),
    ],
)
def test_at_the_threshold_a_document_stays_above_it_goes(rule: Rule, at: str, above: str) -> None:
    only: dict[str, Any] = {other: None for other in RULES if other != rule}
    threshold = TABLE_A1[RULES.index(rule)]
    assert scores(at, "en")[rule] == pytest.approx(threshold)
    assert scores(above, "en")[rule] > threshold
    assert removed_by(at, **only) is None
    assert removed_by(above, **only) == rule
    assert removed_by(above, **(only | {rule: None})) is None


def test_the_first_rule_of_the_table_is_reported_with_its_value() -> None:
    text = "\n".join(["the same line of words again"] * 10)
    removed = Repetition(DEFAULT).process(documents_of((text, "en"))).removed.to_pylist()[0]
    assert (removed["rule"], removed["value"], removed["threshold"]) == ("duplicate_line_fraction", 0.9, 0.30)
    assert removed["stage"] == "repetition"
    assert removed["characters"] == len(text)
    assert removed["excerpt"] == text[:200]
    assert removed_by(text, duplicate_line_fraction=None) == "duplicate_line_character_fraction"


def test_japanese_has_its_own_thresholds() -> None:
    text = copied_words(16)  # 0.16: above Gopher's 0.15 for 5-grams, below all of Japanese
    assert removed_by(text, "en") == "duplicate_5_gram_character_fraction"
    broken = [b for b in Repetition(DEFAULT).bounds("ja") if scores(text, "en")[b.rule] > b.limit]
    assert [(b.rule, b.limit) for b in broken] == [("duplicate_10_gram_character_fraction", 0.159)]


def test_a_value_given_for_a_language_leaves_its_other_values() -> None:
    config = RepetitionConfig.model_validate(
        {"languages": {"ja": {"duplicate_line_fraction": 0.5}, "de": {RULES[4]: 0.3}}}
    )
    assert [config.limit(rule, "ja") for rule in RULES] == [0.5, *JAPANESE[1:]]
    assert [config.limit(rule, "de") for rule in RULES] == [*TABLE_A1[:4], 0.3, *TABLE_A1[5:]]
    assert RepetitionConfig.model_validate(config.model_dump()) == config
    assert RepetitionConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    "config", [{"dupline": 1}, {RULES[0]: 1.5}, {"languages": {"ja": {"no_rule": 0.5}}}, {"variant": "gopher"}]
)
def test_wrong_configs_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RepetitionConfig.model_validate(config)


def test_letters_that_stand_for_words_are_not_judged_by_duplicate_ngrams() -> None:
    assert [DEFAULT.limit(rule, "zh") for rule in RULES] == [*TABLE_A1[:7], *[None] * 6]


@pytest.mark.parametrize("text", ["", " ", "\n\n\n", "word", "…", "a" * 10_000])
@pytest.mark.parametrize("language", ["en", "ja", ""])
def test_nothing_repeats_in_nothing_and_in_one_word(text: str, language: str) -> None:
    assert set(scores(text, language).values()) == {0}
    assert removed_by(text, language) is None


_PIECES = st.sampled_from(["a", "bb", "ccc", "\n", "\n\n", "日本", "。", "a.", "don't"])
REPETITIVE = st.lists(_PIECES, max_size=80).map(" ".join) | st.lists(_PIECES, max_size=80).map("".join)


@settings(max_examples=200)
@given(st.text() | REPETITIVE, st.sampled_from(VARIANTS))
def test_scores_equal_the_definitions(text: str, variant: Variant) -> None:
    assert scores(text, "en", variant) == reference_scores("repetition", text, "en", variant)


@settings(max_examples=30)
@given(REPETITIVE, st.sampled_from(["ja", "zh"]), st.sampled_from(VARIANTS))
def test_scores_equal_the_definitions_without_spaces(text: str, language: str, variant: Variant) -> None:
    assert scores(text, language, variant) == reference_scores("repetition", text, language, variant)


@given(st.text() | REPETITIVE)
def test_scores_are_fractions(text: str) -> None:
    assert all(0 <= score <= 1 for score in scores(text, "en").values())


# Variants: what they read otherwise, by hand.


def test_dclm_counts_every_occurrence_of_a_repeated_line() -> None:
    found = scores("ab\n\nab\n\ncdef\n\nab\ngh", "en", "dclm")
    assert found["duplicate_line_fraction"] == 3 / 5
    assert found["duplicate_line_character_fraction"] == 6 / 12
    assert found["duplicate_paragraph_fraction"] == 2 / 4
    assert found["duplicate_paragraph_character_fraction"] == 4 / 13


def test_datatrove_splits_lines_without_stripping_them() -> None:
    text = "\nab\n ab\n\n\nab\n"  # "", "ab", " ab", "ab", ""; stripped: "ab\n ab", "ab"
    found = scores(text, "en", "datatrove")
    assert found["duplicate_line_fraction"] == 2 / 5
    assert found["duplicate_line_character_fraction"] == 2 / len(text)
    assert found["duplicate_paragraph_fraction"] == 0


def test_tops_of_the_variants() -> None:
    text = "ha ha ha ha x long words y long words"
    assert scores(text, "en")["top_2_gram_character_fraction"] == 8 / 28
    assert scores(text, "en", "dclm")["top_2_gram_character_fraction"] == 3 * 4 / 28
    assert scores(text, "en", "datatrove")["top_2_gram_character_fraction"] == 3 * 5 / len(text)


def test_of_equally_frequent_tops_dclm_takes_the_longest_and_datatrove_the_first() -> None:
    text = "a b x a b y long words z long words"
    assert scores(text, "en", "dclm")["top_2_gram_character_fraction"] == 2 * 9 / 25
    assert scores(text, "en", "datatrove")["top_2_gram_character_fraction"] == 2 * 3 / len(text)


def test_a_top_that_occurs_once_counts_in_datatrove_alone() -> None:
    text = "one two three four"
    assert scores(text, "en", "datatrove")["top_2_gram_character_fraction"] == len("one two") / len(text)
    assert scores(text, "en", "datatrove")["top_4_gram_character_fraction"] == 1
    assert set(scores(text, "en", "dclm").values()) == {0}
    assert set(scores("one", "en", "datatrove").values()) == {0}


def test_duplicate_ngrams_of_the_variants() -> None:
    text = "q w e r t . q w e r t"
    assert scores(text, "en")["duplicate_5_gram_character_fraction"] == 5 / 11
    assert scores(text, "en", "dclm")["duplicate_5_gram_character_fraction"] == 1  # the dot is no word
    assert scores(text, "en", "datatrove")["duplicate_5_gram_character_fraction"] == 5 / len(text)


def test_the_greedy_scan_of_datatrove_jumps() -> None:
    text = "a a a a a a a a a a a a"  # from word 1 on: copies at 1 and 6, then too few words are left
    assert scores(text, "en", "datatrove")["duplicate_5_gram_character_fraction"] == 10 / len(text)
    assert scores("a bc d e f x ab c d e f", "en", "datatrove")["duplicate_5_gram_character_fraction"] == 6 / 23


def test_words_of_the_variants() -> None:
    text = "Yes, no. Yes, no. Yes, no."
    assert scores(text, "en")["top_2_gram_character_fraction"] == 1
    assert scores(text, "en", "dclm")["top_2_gram_character_fraction"] == 3 * 5 / 15
    assert scores(text, "en", "datatrove")["top_2_gram_character_fraction"] == 3 * len("Yes ,") / len(text)


@pytest.mark.parametrize("variant", ["datatrove", "dclm"])
def test_the_variants_remove_an_empty_text(variant: str) -> None:
    expected = {"datatrove": "duplicate_paragraph_fraction", "dclm": "duplicate_line_fraction"}[variant]
    assert removed_by("", variant=variant) == expected


def test_the_variants_report_in_their_own_order() -> None:
    text = "\n\n".join(["the same line of words again"] * 10)
    assert removed_by(text) == removed_by(text, variant="dclm") == "duplicate_line_fraction"
    assert removed_by(text, variant="datatrove") == "duplicate_paragraph_fraction"
    only_lines = "\n".join(["the same line of words again"] * 10)
    assert removed_by(only_lines, variant="datatrove") == "duplicate_line_fraction"


@pytest.mark.parametrize("variant", VARIANTS)
def test_ten_megabytes_take_linear_time(variant: Variant) -> None:
    stage = Repetition(RepetitionConfig(variant=variant))
    for text in ("a b\n" * 2_500_000, "\u0301'." * 3_500_000):
        assert len(stage.measure(Text(text, "en")).scores) == len(RULES)


@pytest.mark.parametrize("variant", VARIANTS)
def test_lone_surrogates_do_no_harm(variant: Variant) -> None:
    assert len(scores("a \ud800 b\n\udfff" * 20, "en", variant)) == len(RULES)


def test_scores_of_real_pages_equal_the_definitions(shared_crawl: Path) -> None:
    pages = [*gold_texts(shared_crawl, every=11), *((text, "ja") for text in japanese_news(shared_crawl, 40))]
    assert len(pages) > 150
    for text, language in pages:
        assert scores(text, language) == reference_scores("repetition", text, language)


@pytest.mark.parametrize("variant", VARIANTS[1:])
def test_scores_of_real_pages_equal_the_definitions_of_variants(shared_crawl: Path, variant: Variant) -> None:
    pages = [page for page in gold_texts(shared_crawl, every=67) if len(page[0]) < 8000]
    assert len(pages) > 15
    for text, language in pages:
        assert scores(text, language, variant) == reference_scores("repetition", text, language, variant)


def test_few_main_texts_of_real_pages_are_removed(shared_crawl: Path) -> None:
    table = documents_of(*gold_texts(shared_crawl, every=5))
    result = Repetition(DEFAULT).process(table)
    check_conservation(table, result)
    assert result.removed.num_rows < 0.25 * table.num_rows  # a third of them are manual pages of much the same lines
    news = documents_of(*((text, "ja") for text in japanese_news(shared_crawl, 100)))
    assert Repetition(DEFAULT).process(news).removed.num_rows <= 5


def test_pages_made_to_repeat_are_removed(shared_crawl: Path) -> None:
    found: dict[str, set[str | None]] = {}
    for kind, language, text in made_bad_pages(shared_crawl):
        found.setdefault(kind, set()).add(removed_by(text, language))
    assert found["repeated_lines"] == {"duplicate_line_fraction"}
    assert found["keyword_stuffing"] == {"top_2_gram_character_fraction"}
    assert None not in found["repeated_ngrams"] | found["lorem_ipsum"]
    assert found["digits_table"] == found["ellipsis_lines"] == found["too_short"] == {None}


def test_the_stage_is_pure_and_loses_nothing() -> None:
    texts = [("\n".join(["again"] * 5), "en"), (" ".join(distinct(60)), "en"), ("", "ja"), (copied_words(40), "")]
    table, stage = documents_of(*texts), Repetition(DEFAULT)
    assert stage.only_filters
    first = stage.process(table)
    check_conservation(table, first)
    assert first.kept.column("extra").to_pylist() == [1, 2]
    assert first.spans.num_rows == 0
    order = [3, 1, 0, 2]
    again = stage.process(table.take(order))
    assert again.removed.sort_by("doc_id") == first.removed.sort_by("doc_id")
    assert stage.process(table) == first
    check_conservation(table.slice(0, 0), stage.process(table.slice(0, 0)))
