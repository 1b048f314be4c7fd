from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from reference_lines import reference_scores
from stage_tables import check_conservation, documents_of, gold_texts, japanese_news

from corpusmill.core.text import Text
from corpusmill.stages.fineweb import RULES, FineWeb, FineWebConfig, scores, stop_characters

DEFAULT = FineWebConfig()
STOPS = stop_characters()
NAMES = [rule for rule, _, _ in RULES]


def scored(text: str, language: str = "en", **config: Any) -> dict[str, float]:
    stage = FineWeb(FineWebConfig(**config))
    return dict(zip(NAMES, stage.measure(Text(text, language)).scores, strict=True))


def removed(text: str, language: str = "en", **config: Any) -> list[str]:
    result = FineWeb(FineWebConfig(**config)).process(documents_of((text, language)))
    return list(result.removed.column("rule").to_pylist())


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("One.\nTwo\nThree!\nFour", "line_punctuation", 0.5),
        ("One?\n\nTwo…\n", "line_punctuation", 0.5),  # an ellipsis of one character is no stop character
        ('He said "no."\nNo.', "line_punctuation", 0.5),  # nor is a quotation mark
        ("One. \nTwo.", "line_punctuation", 0.5),  # outer whitespace is part of a line
        ("終わり。\n終わり！\n終わり\n終わり？", "line_punctuation", 0.75),
        ("नमस्ते।\nआज", "line_punctuation", 0.5),
        ("a" * 30 + "\n" + "a" * 31, "short_lines", 0.5),
        ("a" * 29 + " \n" + "a" * 30 + " ", "short_lines", 0.5),
        ("abcd\nab\nabcd\nabcd", "duplicate_line_characters", 8 / 14),
        ("abcd\n abcd", "duplicate_line_characters", 0.0),
        (" \nabcd\n \nabcd", "duplicate_line_characters", 4 / 10),  # blank lines are in the denominator, only there
        ("one two\nthree\n\nfour", "newline_ratio", 3 / 4),
        ("今日は晴れ\nです", "newline_ratio", 1 / 7),  # seven letters
    ],
)
def test_known_scores(text: str, name: str, value: float) -> None:
    language = "zh" if name == "newline_ratio" and not text.isascii() else "en"
    assert scored(text, language)[name] == pytest.approx(value)


def test_a_text_without_lines_goes() -> None:
    for text in ("", " ", "\n\n \t\n"):
        assert list(scored(text).values()) == [0.0] * 4
        assert removed(text) == ["line_punctuation"]
    assert scored("。。", "ja") == {
        "line_punctuation": 1.0,
        "short_lines": 1.0,
        "duplicate_line_characters": 0.0,
        "newline_ratio": 0.0,
    }


LONG = "a long line of words that goes on for more than thirty characters"


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        (
            "\n".join([*[LONG + str(i) for i in range(22)], "x" * 31 + ".", "y" * 31 + ".", "z" * 31 + "."]),
            [],
        ),  # 3 / 25
        (
            "\n".join([*[LONG + str(i) for i in range(23)], "x" * 31 + ".", "y" * 31 + ".", "z" * 31 + "."]),
            ["line_punctuation"],
        ),  # 3 / 26
        (
            "\n".join([*[f"{LONG} {i}." for i in range(33)], *[f"{'s' * 27}{i}." for i in range(10, 77)]]),
            [],
        ),  # 67 of 100
        (
            "\n".join([*[f"{LONG} {i}." for i in range(32)], *[f"{'s' * 27}{i}." for i in range(10, 77)]]),
            ["short_lines"],
        ),  # 67 of 99
        ("\n".join(f"{'x' * 20} {'y' * 20}." + str(i) + "." for i in range(9)), ["newline_ratio"]),  # 8 of 18
    ],
)
def test_at_the_limits(text: str, rules: list[str]) -> None:
    assert removed(text) == rules


def test_duplicates_at_the_limit() -> None:
    line = "d" * 99 + "."
    body = ".\n".join(f"{'w ' * 499}w{i}" for i in range(9)) + "."
    rest = 10_000 - len(body.replace("\n", "")) - 200
    text = f"{line}\n{line}\n{body}\n{'r ' * ((rest - 1) // 2)}{'r' * ((rest - 1) % 2)}."
    assert len(text.replace("\n", "")) == 10_000
    assert scored(text)["duplicate_line_characters"] == 0.01
    assert removed(text) == []
    assert removed(text.removesuffix("r .") + ".") == ["duplicate_line_characters"]


def test_limits_of_languages() -> None:
    config = FineWebConfig(languages={"ja": {"max_short_lines": 0.5}, "de": {"min_line_punctuation": None}})
    assert config.limit("max_short_lines", "ja") == 0.5
    assert config.limit("min_line_punctuation", "ja") == 0.096
    assert config.limit("min_line_punctuation", "de") is None
    assert config.limit("max_newline_ratio", "de") == 0.3
    stage = FineWeb(FineWebConfig())
    assert [(b.rule, b.limit) for b in stage.bounds("ja")] == [
        ("line_punctuation", 0.096),
        ("duplicate_line_characters", 0.1),
        ("newline_ratio", 0.13),
    ]
    assert [b.limit for b in stage.bounds("en")] == [0.12, 0.67, 0.01, 0.3]
    assert removed("no stop\nno stop at all", "de", languages={"de": dict.fromkeys(("min_line_punctuation",))}) == [
        "short_lines"
    ]


def test_texts_without_stop_characters_stay_on_demand() -> None:
    text = f"{LONG} one\n{LONG} two"
    assert removed(text) == ["line_punctuation"]
    assert removed(text, keep_unpunctuated=True) == []
    assert math.isnan(scored(text, keep_unpunctuated=True)["line_punctuation"])


def test_words_of_datatrove() -> None:
    text = "He came, she went.\nIt's over."
    assert scored(text)["newline_ratio"] == 1 / 6
    assert scored(text, variant="datatrove")["newline_ratio"] == 1 / 10  # two full stops, a comma, "'s"


def test_other_stop_characters_and_short_lines() -> None:
    assert scored("one;\ntwo.", stop_characters=";:")["line_punctuation"] == 0.5
    assert scored("one;\ntwo.", stop_characters="")["line_punctuation"] == 0
    assert scored("four\nfive5", short_line_characters=4)["short_lines"] == 0.5


def test_stop_characters_are_those_of_all_scripts() -> None:
    listed = "".join(map(chr, STOPS.tolist()))
    assert len(listed) == len(set(listed)) == 159
    assert listed == "".join(sorted(listed))
    assert set(".?!。．！？｡؟۔।።") <= set(listed)
    assert not set(",;:…\"'") & set(listed)


PIECES = st.sampled_from(
    ["A line of text.", "a", "\n", "\n\n", " ", "終わり。", "\u3000", "\r", "\u2028", "!", "x" * 31, "𝕏?", "\ud800"]
)
TEXTS = st.text() | st.lists(PIECES, max_size=30).map("".join)


@settings(max_examples=300)
@given(TEXTS, st.sampled_from(["en", "zh", ""]), st.sampled_from(["paper", "datatrove"]))
def test_scores_are_those_of_the_reference(text: str, language: str, variant: Literal["paper", "datatrove"]) -> None:
    expected = reference_scores("fineweb", text, language, variant)
    config = FineWebConfig(variant=variant)
    assert scores(Text(text, language), STOPS, config) == pytest.approx([expected[name] for name in NAMES])


@settings(max_examples=100)
@given(st.lists(TEXTS, max_size=5))
def test_nothing_is_lost(texts: list[str]) -> None:
    clean = [text.encode("utf-8", "replace").decode() for text in texts]
    table = documents_of(*((text, "en") for text in clean))
    check_conservation(table, FineWeb(FineWebConfig()).process(table))


@pytest.mark.parametrize("text", ["a" * 10_000_000, "a b.\n" * 2_000_000, "\n" * 10_000_000])
def test_ten_megabytes_take_time_in_proportion(text: str) -> None:
    scores(Text("warm up", "en"), STOPS, DEFAULT)
    start = time.process_time()
    scores(Text(text, "en"), STOPS, DEFAULT)
    assert time.process_time() - start < 5


@pytest.mark.parametrize("config", [{"min_line_punctuation": -1}, {"languages": {"ja": {"unknown": 1}}}])
def test_wrong_configs_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FineWebConfig.model_validate(config)


def test_real_texts(shared_crawl: Path) -> None:
    texts = gold_texts(shared_crawl, every=12) + [(text, "ja") for text in japanese_news(shared_crawl, 10)]
    for text, language in texts:
        expected = reference_scores("fineweb", text, language)
        assert scores(Text(text, language), STOPS, DEFAULT) == pytest.approx([expected[name] for name in NAMES])
    table = documents_of(*texts)
    result = FineWeb(FineWebConfig()).process(table)
    check_conservation(table, result)
