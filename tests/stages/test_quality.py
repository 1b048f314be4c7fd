from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from stage_tables import check_conservation, documents_of, gold_texts, japanese_news, made_bad_pages

from corpusmill.core import words
from corpusmill.stages.quality import BULLETS, RULES, Quality, QualityConfig, StopWords, scores, verdict

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


def reference_scores(text: str, language: str, stop_words: tuple[str, ...]) -> dict[str, float]:
    """The definitions, with lists of strings."""
    tokens = text.split() if words.writes_spaces(language) else words.words(text, language).texts(text)
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    num_words, num_lines = len(tokens) or 1, len(lines) or 1
    inner = {re.sub(r"^[\W_]+|[\W_]+$", "", token) for token in tokens}
    return {
        "words": len(tokens),
        "mean_word_length": sum(map(len, tokens)) / num_words,
        "hash_ratio": len(re.findall("[#＃]", text)) / num_words,
        "ellipsis_ratio": len(re.findall(r"\.\.\.+|…+", text)) / num_words,
        "bullet_lines": sum(line.startswith(tuple(BULLETS)) for line in lines) / num_lines,
        "ellipsis_lines": sum(line.endswith(("...", "…")) for line in lines) / num_lines,
        "alphabetic_words": sum(any(map(str.isalpha, token)) for token in tokens) / num_words,
        "stop_words": sum(bool({word, word.capitalize(), word.upper()} & inner) for word in stop_words),
    }


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
    assert limits == [50, 100_000, 3, 10, 0.1, 0.1, 0.9, 0.3, 0.8, 2]
    assert DEFAULT.stop_words["en"] == ENGLISH
    assert [DEFAULT.limit(limit, "ja") for _, _, limit in RULES] == [50, 100_000, 1, 6, 0.1, 0.1, 0.9, 0.3, 0.759, 2]
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
    assert scores(text, "en", StopWords(ENGLISH))["stop_words"] == held


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
    assert scores(prose, "ja", StopWords(DEFAULT.stop_words["ja"]))["stop_words"] >= 6
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
@given(TEXTS)
def test_scores_equal_the_definitions(text: str) -> None:
    assert scores(text, "en", StopWords(ENGLISH)) == pytest.approx(reference_scores(text, "en", ENGLISH))


@settings(max_examples=40)
@given(TEXTS, st.sampled_from(["ja", "zh"]))
def test_scores_equal_the_definitions_without_spaces(text: str, language: str) -> None:
    listed = DEFAULT.stop_words["ja"]
    assert scores(text, language, StopWords(listed)) == pytest.approx(reference_scores(text, language, listed))


@pytest.mark.parametrize("text", ["", "\n \n", "x" * 1_000_000])
def test_texts_of_no_or_one_word(text: str) -> None:
    assert removed_by(text) == "words_min"
    assert verdict(scores(text, "en"), "en", QualityConfig(min_words=0)) is not None


def test_scores_of_real_pages_equal_the_definitions(shared_crawl: Path) -> None:
    pages = [*gold_texts(shared_crawl, every=9), *((text, "ja") for text in japanese_news(shared_crawl, 40))]
    for text, language in pages:
        listed = DEFAULT.stop_words.get(language, ())
        stop_words = StopWords(listed)
        assert scores(text, language, stop_words) == pytest.approx(reference_scores(text, language, listed))


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
    assert stage.process(table) == first
    check_conservation(table.slice(0, 0), stage.process(table.slice(0, 0)))
