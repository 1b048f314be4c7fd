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
from corpusmill.stages.quality import RULES, Quality, QualityConfig, Variant
from corpusmill.stages.quality_scores import BULLETS

DEFAULT = QualityConfig()
ENGLISH = ("the", "be", "to", "of", "and", "that", "have", "with")
TEXTS = st.text() | st.lists(
    st.sampled_from(
        [
            "The",
            "THAT,",
            "(of)",
            "to-do",
            "tHe",
            "#",
            "...",
            "..",
            "……",
            "• a",
            "\n",
            "\n- ",
            "12",
            "é",
            "の",
            "ではない。",
        ]
    ),
    max_size=60,
).map(" ".join)


VARIANTS: tuple[Variant, ...] = ("paper", "datatrove", "dclm")


def scores(text: str, language: str = "en", variant: Variant = "paper", **config: Any) -> dict[str, float]:
    stage = Quality(QualityConfig(variant=variant, **config))
    return dict(zip(stage.score_names, stage.measure(Text(text, language)).scores, strict=True))


def removed_by(text: str, language: str = "en", **config: Any) -> str | None:
    result = Quality(QualityConfig(**config)).process(documents_of((text, language)))
    rules = result.removed.column("rule").to_pylist()
    return rules[0] if rules else None


def text_of(*counted: tuple[str, int]) -> str:
    """Words, each so many times."""
    return " ".join(word for word, times in counted for _ in range(times))


STOP = ("and", 1), ("the", 1)


@pytest.mark.parametrize(
    ("rule", "value", "inside", "outside"),
    [
        ("words_min", 49, text_of(*STOP, ("word", 48)), text_of(*STOP, ("word", 47))),
        ("words_max", 100_001, text_of(*STOP, ("word", 99_998)), text_of(*STOP, ("word", 99_999))),
        ("mean_word_length_min", 2.99, text_of(*STOP, ("big", 98)), text_of(*STOP, ("big", 97), ("an", 1))),
        (
            "mean_word_length_max",
            10.01,
            text_of(*STOP, ("a" * 10, 96), ("b" * 17, 2)),
            text_of(*STOP, ("a" * 10, 96), ("b" * 17, 1), ("b" * 18, 1)),
        ),
        ("hash_ratio", 0.11, text_of(*STOP, ("#word", 10), ("word", 88)), text_of(*STOP, ("#word", 11), ("word", 87))),
        (
            "ellipsis_ratio",
            0.11,
            text_of(*STOP, ("word...", 5), ("word…", 5), ("word", 88)),
            text_of(*STOP, ("word...", 5), ("word……", 6), ("word", 87)),
        ),
        (
            "bullet_lines",
            10 / 11,
            "the and of that are\n" + "- one two three four five\n" * 9,
            "the and of that are\n" + "• one two three four five\n" * 10,
        ),
        (
            "ellipsis_lines",
            4 / 10,
            "the and of that are one two three four\n" * 7 + "and then these went away...\n" * 3,
            "the and of that are one two three four\n" * 6 + "and then these went away…\n" * 4,
        ),
        (
            "alphabetic_words",
            0.79,
            text_of(*STOP, ("12.50", 20), ("word", 78)),
            text_of(*STOP, ("—––", 21), ("word", 77)),
        ),
        ("stop_words", 1, text_of(*STOP, ("word", 60)), text_of(("the", 2), ("THE", 2), ("word", 60))),
    ],
)
def test_at_the_limit_a_document_stays_beyond_it_goes(rule: str, value: float, inside: str, outside: str) -> None:
    assert removed_by(inside) is None
    removed = Quality(DEFAULT).process(documents_of((outside, "en"))).removed.to_pylist()[0]
    limit = next(limit for name, _, limit in RULES if name == rule)
    assert removed["rule"] == rule
    assert removed["value"] == pytest.approx(value)
    assert removed["threshold"] == getattr(DEFAULT, limit)
    assert removed_by(outside, **{limit: None}) != rule


def test_limits_are_the_published_ones() -> None:
    limits = [DEFAULT.limit(limit, "en") for _, _, limit in RULES]
    assert limits == [50, 100_000, 3, 10, 0.1, 0.1, None, 0.9, 0.3, 0.8, 2]
    assert DEFAULT.stop_words["en"] == ENGLISH
    assert [DEFAULT.limit(limit, "ja") for _, _, limit in RULES] == [
        50,
        100_000,
        1,
        6,
        0.1,
        0.1,
        None,
        0.9,
        0.3,
        0.759,
        2,
    ]
    assert [DEFAULT.limit(limit, "zh") for _, _, limit in RULES][2] is None


def test_fewer_words_can_be_asked_for() -> None:
    text = text_of(*STOP, ("word", 40))
    assert removed_by(text) == "words_min"
    assert removed_by(text, min_words=42) is None


def test_punctuation_is_part_of_the_word_before_it() -> None:
    text = ("“Well, the truth is: of all (who came), few — if any — stayed; and we, too, left...” " * 8).strip()
    found = scores(text, "en")
    assert found["words"] == 18 * 8
    assert found["alphabetic_words"] == 16 / 18
    assert removed_by(text) is None


@pytest.mark.parametrize("bullet", BULLETS)
def test_bullets(bullet: str) -> None:
    assert scores(f"  {bullet} one\ntwo\n\n{bullet}three\nfo{bullet}ur", "en")["bullet_lines"] == 0.5


def test_ellipses_are_counted_by_their_runs() -> None:
    assert scores("a... b…… c.. d.…", "en")["ellipsis_ratio"] == 3 / 4


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("The end", 1),
        ("THE AND", 2),
        ("(that), of!", 2),
        ("the the the", 1),
        ("to-do; others; betoken", 0),
        ("tHe", 0),
        ("“With” ‘have’", 2),
    ],
)
def test_stop_words_are_distinct_whole_words(text: str, held: int) -> None:
    assert scores(text)["stop_words"] == held


def test_stop_words_are_asked_for_where_there_is_a_list() -> None:
    text = text_of(("wort", 60))
    assert removed_by(text, "de") is None
    assert removed_by(text, "de", stop_words={"de": ["der", "und", "die"]}) == "stop_words"
    assert removed_by(text, "en", stop_words={"de": ["der", "und", "die"]}) == "stop_words"
    assert removed_by(text, "en", stop_words={"en": []}) is None
    assert removed_by(text_of(("wort", 60), ("Der", 1), ("und", 1)), "de", stop_words={"de": ["der", "und"]}) is None


def test_japanese_prose_stays_and_a_list_of_nouns_goes() -> None:
    prose = "私は昨日、東京の大きな図書館で古い本を読みました。とても静かな場所でしたが、人は多かったです。" * 3
    assert removed_by(prose, "ja") is None
    assert scores(prose, "ja")["stop_words"] >= 6
    assert removed_by("文化番組方法経済料理旅行方法意味音楽。" * 10, "ja") == "stop_words"
    assert removed_by(prose, "en") == "words_min"


def test_configs_can_be_written_and_read_again() -> None:
    config = QualityConfig.model_validate({"languages": {"ja": {"min_words": 30}}, "stop_words": {"fr": ["le", "la"]}})
    assert config.limit("min_words", "ja") == 30
    assert config.limit("max_mean_word_length", "ja") == 6
    assert sorted(config.stop_words) == ["en", "fr", "ja"]
    assert QualityConfig.model_validate(config.model_dump()) == config
    assert QualityConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("config", [{"min_word": 1}, {"max_bullet_lines": 1.1}, {"languages": {"ja": {"words": 5}}}])
def test_wrong_configs_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        QualityConfig.model_validate(config)


@settings(max_examples=200)
@given(TEXTS, st.sampled_from(VARIANTS))
def test_scores_equal_the_definitions(text: str, variant: Variant) -> None:
    assert scores(text, "en", variant) == pytest.approx(
        reference_scores("quality", text, "en", variant), rel=0, abs=0, nan_ok=True
    )


@settings(max_examples=40)
@given(TEXTS, st.sampled_from(["ja", "zh"]), st.sampled_from(VARIANTS))
def test_scores_equal_the_definitions_without_spaces(text: str, language: str, variant: Variant) -> None:
    assert scores(text, language, variant) == pytest.approx(
        reference_scores("quality", text, language, variant), rel=0, abs=0, nan_ok=True
    )


@pytest.mark.parametrize("text", ["", "\n \n", "x" * 1_000_000])
@pytest.mark.parametrize("variant", VARIANTS)
def test_texts_of_no_or_one_word(text: str, variant: Variant) -> None:
    assert removed_by(text, variant=variant) == "words_min"
    assert removed_by(text, variant=variant, min_words=0) is not None


@pytest.mark.parametrize("variant", VARIANTS)
def test_ten_megabytes_take_linear_time(variant: Variant) -> None:
    for text in ("a b #.\n" * 1_500_000, "'." * 5_000_000):
        assert scores(text, "en", variant)["words"] >= 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_lone_surrogates_do_no_harm(variant: Variant) -> None:
    assert scores("a \ud800 b\n\udfff" * 20, "en", variant)["stop_words"] == 0


@pytest.mark.parametrize(("variant", "every"), [("paper", 9), ("datatrove", 37), ("dclm", 37)])
def test_scores_of_real_pages_equal_the_definitions(shared_crawl: Path, variant: Variant, every: int) -> None:
    pages = [*gold_texts(shared_crawl, every), *((text, "ja") for text in japanese_news(shared_crawl, 360 // every))]
    for text, language in pages:
        assert scores(text, language, variant) == pytest.approx(
            reference_scores("quality", text, language, variant), rel=0, abs=0, nan_ok=True
        )


# Variants: what they read otherwise, by hand.


def test_punctuation_is_a_word_in_datatrove_and_counts_where_shares_are_asked_for() -> None:
    found = scores("Well, don't go: it's 5 p.m.!", "en", "datatrove")
    # Well | , | do | n't | go | : | it | 's | 5 | p.m. | !
    assert found["words"] == 8
    assert found["mean_word_length"] == (4 + 2 + 3 + 2 + 2 + 2 + 1 + 4) / 8
    assert found["alphabetic_words"] == 7 / 11


def test_words_of_dclm_begin_with_a_letter_or_digit_after_ascii_whitespace() -> None:
    found = scores("“Quoted” text\u00a0here (and) 12th -", "en", "dclm")
    assert found["words"] == 2  # text\u00a0here, 12th
    assert found["mean_word_length"] == (8 + 4 + 4 + 5 + 4 + 1) / 6


def test_ellipses_of_the_variants() -> None:
    text = "a...... b…… c. . . d . . . . ."
    assert scores(text, "en", "paper")["ellipsis_ratio"] == 2 / 11
    assert scores(text, "en", "dclm")["ellipsis_ratio"] == (2 + 2 + 2) / 11
    # a | ...... | b | …… | c. | . | . | d | . | . | . | . | .
    assert scores(text, "en", "datatrove")["ellipsis_ratio"] == (2 + 2) / 13


def test_bullets_of_the_variants() -> None:
    lines = "\n".join(f"{bullet} one" for bullet in "•-*●○")
    assert scores(lines, "en", "paper")["bullet_lines"] == 1
    assert scores(lines, "en", "dclm")["bullet_lines"] == 4 / 5
    assert scores(lines, "en", "datatrove")["bullet_lines"] == 2 / 5


def test_lines_of_datatrove_may_be_blank() -> None:
    text = "- one\n\n  - two...\r\nthree \u2026 \x0bfour"
    assert scores(text, "en", "datatrove")["bullet_lines"] == 2 / 5
    assert scores(text, "en", "datatrove")["ellipsis_lines"] == 2 / 5
    assert scores("one . . .\ntwo", "en", "dclm")["ellipsis_lines"] == 1 / 2


@pytest.mark.parametrize(
    ("text", "paper", "datatrove", "dclm"),
    [
        ("the the the", 1, 1, 3),
        ("The THE (the)", 1, 1, 2),
        ("That, with.", 2, 1, 0),
        ("tHe wITH", 0, 0, 2),
    ],
)
def test_stop_words_of_the_variants(text: str, paper: int, datatrove: int, dclm: int) -> None:
    found = [scores(text, "en", variant)["stop_words"] for variant in VARIANTS]
    assert found == [paper, datatrove, dclm]


def test_dclm_judges_hashes_and_ellipses_together() -> None:
    text = text_of(*STOP, ("#word", 6), ("word...", 6), ("word", 86))
    assert removed_by(text) is None
    assert removed_by(text, variant="dclm") == "symbol_ratio"
    assert removed_by(text, variant="dclm", max_symbol_ratio=0.2) is None
    assert removed_by(text, max_symbol_ratio=0.1) == "symbol_ratio"
    config = QualityConfig(variant="dclm")
    assert (config.max_hash_ratio, config.max_ellipsis_ratio, config.max_symbol_ratio) == (None, None, 0.1)
    assert QualityConfig.model_validate(config.model_dump()) == config


def test_few_main_texts_of_real_pages_are_removed(shared_crawl: Path) -> None:
    pages = [(text, language) for text, language in gold_texts(shared_crawl, every=5) if len(text.split()) >= 50]
    pages += [(text, "ja") for text in japanese_news(shared_crawl, 100)]
    table = documents_of(*pages)
    result = Quality(DEFAULT).process(table)
    check_conservation(table, result)
    assert result.removed.num_rows < 0.1 * table.num_rows


def test_pages_made_to_break_a_rule_are_removed_by_it(shared_crawl: Path) -> None:
    rules = {
        "bullets_only": "bullet_lines",
        "ellipsis_lines": "ellipsis_lines",
        "symbol_heavy": "hash_ratio",
        "no_stop_words": "stop_words",
        "too_short": "words_min",
        "javascript_required": "words_min",
        "digits_table": "alphabetic_words",
        "long_garbage_words": "mean_word_length_max",
    }
    pages = [page for page in made_bad_pages(shared_crawl) if page[0] in rules]
    assert len(pages) == len(rules) * 12
    for kind, language, text in pages:
        # Sudachi cuts hexadecimal digits into short words.
        rule = "alphabetic_words" if (kind, language) == ("long_garbage_words", "ja") else rules[kind]
        assert (kind, language, removed_by(text, language)) == (kind, language, rule)


def test_the_stage_is_pure_and_loses_nothing() -> None:
    texts = [(text_of(*STOP, ("word", 60)), "en"), ("", "ja"), ("short", "en"), (text_of(("wort", 60)), "de")]
    table, stage = documents_of(*texts), Quality(DEFAULT)
    assert stage.only_filters
    first = stage.process(table)
    check_conservation(table, first)
    assert first.kept.column("extra").to_pylist() == [0, 3]
    assert stage.process(table.take([2, 0, 3, 1])).removed.sort_by("doc_id") == first.removed.sort_by("doc_id")
    again = stage.process(table)
    assert (again.kept, again.removed) == (first.kept, first.removed)
    assert str(again.scores) == str(first.scores)  # NaN is not equal to itself
    check_conservation(table.slice(0, 0), stage.process(table.slice(0, 0)))
