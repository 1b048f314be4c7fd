from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from stage_tables import check_conservation, documents_of, japanese_news
from swallow_reference import reference

from corpusmill.core.text import Text
from corpusmill.stages.swallow import RULES, NgWords, Swallow, SwallowConfig, punctuation, scores

# Thirty different sentences of 26 characters: nothing repeats much.
_KANA = "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわをん"
_HAN = "山川海空町村道駅本紙花木石火水金土日月年春夏秋冬朝昼夜東西南"


def sentence(number: int, length: int = 26) -> str:
    """A sentence that shares no four characters in a row with others."""
    letters = [_HAN[number % 30]]
    state = number * 7919 + 1
    while len(letters) < length - 1:
        state = (state * 1103515245 + 12345) % (1 << 31)
        letters.append(_KANA[(state >> 8) % len(_KANA)])
    return "".join(letters) + "。"


GOOD = "\n".join("".join(sentence(10 * line + i) for i in range(4)) for line in range(6))


def removed_by(text: str, language: str = "ja", **config: Any) -> str | None:
    result = Swallow(SwallowConfig(**config)).process(documents_of((text, language)))
    rules = result.removed.column("rule").to_pylist()
    return rules[0] if rules else None


def only(setting: str, **values: Any) -> dict[str, Any]:
    """A config in which no rule but those of `setting` is on."""
    return {rule.setting: None for rule in RULES if rule.setting != setting} | values


def test_limits_are_the_published_ones() -> None:
    limits = {bound.rule: (bound.removes, bound.limit) for bound in Swallow(SwallowConfig()).bounds("ja")}
    assert limits == {
        "letters": ("<", 400),
        "duplicate_paragraph_fraction": (">", 0.30),
        "duplicate_sentence_fraction": (">", 0.30),
        "duplicate_paragraph_character_fraction": (">", 0.20),
        "duplicate_sentence_character_fraction": (">", 0.20),
        "top_2_gram_fraction": (">", 0.20),
        "top_3_gram_fraction": (">", 0.18),
        "top_4_gram_fraction": (">", 0.16),
        "duplicate_5_gram_fraction": (">", 0.15),
        "duplicate_6_gram_fraction": (">", 0.14),
        "duplicate_7_gram_fraction": (">", 0.13),
        "duplicate_8_gram_fraction": (">", 0.12),
        "duplicate_9_gram_fraction": (">", 0.11),
        "duplicate_10_gram_fraction": (">", 0.10),
        "hiragana_fraction": ("<", 0.2),
        "katakana_fraction": (">", 0.5),
        "japanese_fraction": ("<", 0.5),
        "japanese_letters": ("<", 400),
        "mean_sentence_length_min": ("<", 20),
        "mean_sentence_length_max": (">", 90),
        "max_sentence_length": (">", 200),
        "ellipsis_sentences": (">", 0.2),
        "ng_words": (">=", 0.05),
    }


def test_known_scores() -> None:
    found = scores(Text("山の上。山の上。\nカタ，テスト！！abc…\n\n山の上。", "ja"))
    assert found["letters"] == 27
    assert found["japanese_letters"] == 20
    assert found["hiragana_fraction"] == 3 / 20
    assert found["katakana_fraction"] == 5 / 20
    assert found["japanese_fraction"] == 20 / 27
    assert found["duplicate_sentence_fraction"] == 2 / 5
    assert found["duplicate_sentence_character_fraction"] == 8 / (4 * 3 + 7 + 4)
    assert found["duplicate_paragraph_fraction"] == 0
    assert found["max_sentence_length"] == 7
    assert found["mean_sentence_length"] == 23 / 5
    assert found["ellipsis_sentences"] == 1 / 5


def test_good_prose_stays() -> None:
    assert removed_by(GOOD) is None


def test_other_languages_are_not_judged() -> None:
    table = documents_of(("short", "en"), ("短い。", "zh"))
    result = Swallow(SwallowConfig()).process(table)
    assert result.removed.num_rows == 0
    assert result.scores is not None
    assert all(math.isnan(v) for name in Swallow.score_names for v in result.scores.column(name).to_pylist())


def of_length(letters: int) -> str:
    return (GOOD * 2)[:letters]


REPEATED = sentence(1) * 3 + sentence(2)
KATAKANA = "アイウエオカキクケコ"


@pytest.mark.parametrize(
    ("setting", "at", "beyond"),
    [
        ("min_letters", of_length(400), of_length(399)),
        ("min_japanese_letters", "あ" * 400 + "x", "あ" * 399 + "xx"),
        ("min_hiragana_fraction", "あ山川海空", "あ山川海空町"),
        ("max_katakana_fraction", "あアいイ", "あアイ"),
        ("min_japanese_fraction", "あいab", "あいabc"),
        ("min_mean_sentence_length", "あ" * 19 + "。", "あ" * 18 + "。"),
        ("max_mean_sentence_length", "あ" * 89 + "。", "あ" * 90 + "。"),
        ("max_sentence_length", "あ" * 199 + "。い", "あ" * 200 + "。い"),
        ("max_ellipsis_sentences", "あ…\nい。う。え。お。", "あ・ \nい。う。え。"),
        ("duplicate_paragraph_fraction", "\n".join("あいうえおかきあああ"), "\n".join("あいうえおかああああ")),
        ("duplicate_sentence_fraction", "。".join("あいうえおかきあああ"), "。".join("あいうえおかああああ") + "。"),
        (
            "duplicate_paragraph_character_fraction",
            "\n".join("あいうえおかきくああ"),
            "\n".join("あいうえおかきあああ"),
        ),
        (
            "duplicate_sentence_character_fraction",
            "！".join("あいうえおかきくああ") + "！",
            "！".join("あいうえおかきあああ"),
        ),
        ("top_2_gram_fraction", "あいうえおあ", "ああえああ"),
        ("duplicate_5_gram_fraction", "あいうえおか", "あいうえおあいうえお"),
        ("duplicate_10_gram_fraction", _KANA, _KANA[:14] * 2),
    ],
)
def test_at_the_limit_a_document_stays_beyond_it_goes(setting: str, at: str, beyond: str) -> None:
    rules = {rule.name for rule in RULES if rule.setting == setting}
    assert removed_by(at, **only(setting)) is None
    assert removed_by(beyond, **only(setting)) in rules
    assert removed_by(beyond, **only("")) is None


def test_ngram_fractions_by_hand() -> None:
    found = scores(Text("ababab", "ja"))
    assert found["top_2_gram_fraction"] == 3 / 5
    assert found["top_3_gram_fraction"] == 2 / 4
    assert found["top_4_gram_fraction"] == 2 / 3
    assert found["duplicate_5_gram_fraction"] == 0
    found = scores(Text("abcdefabcdefg", "ja"))
    assert found["duplicate_5_gram_fraction"] == 2 / 7  # abcde and bcdef, of 7 different ones in 9 places
    assert found["duplicate_6_gram_fraction"] == 1 / 7
    assert found["duplicate_7_gram_fraction"] == 0


def test_blank_lines_are_no_paragraphs() -> None:
    for between in ("\n\n", "\n\t\t\n", " \n\u3000\n"):
        spaced = GOOD.replace("\n", between)
        found = scores(Text(spaced, "ja"))
        assert found["duplicate_paragraph_fraction"] == found["duplicate_sentence_fraction"] == 0
        assert found["mean_sentence_length"] == 26
        assert removed_by(spaced) is None


TEXT = st.text() | st.lists(
    st.sampled_from(["あ", "い", "山", "ア", "。", "！", "!", "\n", " ", "…", "・", "、", "a", "𠮷"])
).map("".join)


@settings(max_examples=300)
@given(TEXT)
def test_scores_equal_the_definitions(text: str) -> None:
    found = scores(Text(text, "ja"))
    assert math.isnan(found.pop("ng_words"))
    assert found == pytest.approx(reference(text), abs=1e-12)


@pytest.mark.parametrize("text", ["", " ", "\n\n", "。", "。。。\n！", "あ", "\ud800", "あ" * 20_000, "あい" * 5_000])
def test_odd_texts_equal_the_definitions(text: str) -> None:
    found = scores(Text(text, "ja"))
    assert math.isnan(found.pop("ng_words"))
    assert found == pytest.approx(reference(text), abs=1e-12)
    result = Swallow(SwallowConfig()).process(
        documents_of((text, "ja")) if text != "\ud800" else documents_of(("x", "ja"))
    )
    assert result.removed.num_rows == 1


def test_scores_of_real_texts_equal_the_definitions(shared_crawl: Path) -> None:
    for text in japanese_news(shared_crawl, 60):
        found = scores(Text(text, "ja"))
        del found["ng_words"]
        assert found == pytest.approx(reference(text), abs=1e-12)


def test_a_page_of_2000_characters_takes_less_than_a_millisecond(shared_crawl: Path) -> None:
    texts = [text[:2000] for text in japanese_news(shared_crawl, 200) if len(text) > 1000]
    scores(Text(texts[0], "ja"))
    best = math.inf
    for _ in range(3):
        start = time.process_time()
        for text in texts:
            scores(Text(text, "ja"))
        best = min(best, (time.process_time() - start) / len(texts))
    assert best < 0.001


# Words of a list


def ng(folder: Path, *listed: str) -> str:
    path = folder / "ng.txt"
    path.write_text("\n".join(["# comment", *listed]), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("listed", "text", "characters"),
    [
        (["悪い"], "悪い子と悪い人", 4),
        (["悪", "悪い子"], "悪い子と悪", 4),
        (["ああ"], "あああ", 2),
        (["悪い"], "良い", 0),
        ([], "悪い", 0),
        (["𠮷野"], "x𠮷野", 2),
    ],
)
def test_characters_of_listed_words(tmp_path: Path, listed: list[str], text: str, characters: int) -> None:
    assert NgWords(ng(tmp_path, *listed)).characters(Text(text, "ja").points) == characters


@given(st.lists(st.text("あいう", min_size=1, max_size=4), max_size=5), st.text("あいうえ", max_size=40))
def test_listed_words_are_found_from_the_left_the_longest_first(listed: list[str], text: str) -> None:
    expected, i = 0, 0
    while i < len(text):
        match = max((len(word) for word in listed if text.startswith(word, i)), default=0)
        expected += match
        i += max(1, match)
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        assert NgWords(ng(Path(folder), *listed)).characters(Text(text, "ja").points) == expected


def test_a_document_goes_when_listed_words_reach_the_limit(tmp_path: Path) -> None:
    path = ng(tmp_path, "悪")
    at, below = "悪" + "あ" * 19, "悪" + "あ" * 20
    assert removed_by(at, ng_words=path, **only("max_ng_words")) == "ng_words"
    assert removed_by(below, ng_words=path, **only("max_ng_words")) is None
    assert removed_by(at, **only("max_ng_words")) is None
    assert Swallow(SwallowConfig(ng_words=path)).resource_files() == [path]


# Edits


def edited(text: str, **config: Any) -> str:
    result = Swallow(SwallowConfig(**only("", **config))).process(documents_of((text, "ja")))
    check_conservation(documents_of((text, "ja")), result)
    return str(result.kept.column("text")[0].as_py())


def test_edits_are_off_by_default_and_then_nothing_is_stored() -> None:
    assert Swallow(SwallowConfig()).only_filters
    assert not Swallow(SwallowConfig(footer="cut")).only_filters
    assert not Swallow(SwallowConfig(punctuation="unify")).only_filters


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("本文です。\n続きです。\nコメント トラックバック\n2020年", "本文です。\n続きです。"),
        ("本文です。\nコメントを読む人は少ないという話を書きます。", None),
        ("本文です。", None),
        ("関連記事\n" + "長い本文の行です。\n" * 10 + "終わり", None),
        ("本文です。\n\nお問い合わせ", "本文です。\n"),
    ],
)
def test_the_footer_is_cut(before: str, after: str | None) -> None:
    assert edited(before, footer="cut") == (before if after is None else after)
    assert edited(before) == before


def test_the_cut_footer_is_recorded() -> None:
    result = Swallow(SwallowConfig(**only("", footer="cut"))).process(documents_of(("本文です。\nログイン", "ja")))
    (span,) = result.spans.to_pylist()
    assert (span["rule"], span["start"], span["end"], span["text"]) == ("footer", 5, 10, "\nログイン")


def test_a_text_that_is_all_footer_goes() -> None:
    assert removed_by("ログイン\n会社概要", footer="cut", **only("")) == "empty_after_swallow"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("文の句点，読点を直す。", "文の句点、読点を直す。"),
        ("文の句点、読点を直す．", "文の句点、読点を直す。"),
        ("文の句点，読点を直す．", "文の句点、読点を直す。"),
        ("Ｈｉ，のような英語でも、悪影響を、与えない。", None),
        ("Ｈｉ，のような英語でも，与えない．", "Ｈｉ，のような英語でも、与えない。"),
        ("円周率は３．１４と習った．", "円周率は３．１４と習った。"),
        ("待つ．．．", "待つ。。。"),
        ("一つ，二つ、三つ", None),
        ("，", None),
    ],
)
def test_punctuation_is_unified(before: str, after: str | None) -> None:
    assert edited(before, punctuation="unify") == (before if after is None else after)


@given(st.text("あア山，．、。Ａ１」\n"))
def test_unified_punctuation_keeps_its_length_and_unifying_again_changes_nothing(text: str) -> None:
    if not text.strip():
        return
    once = edited(text, punctuation="unify")
    assert len(once) == len(text)
    assert punctuation(once) == []


@pytest.mark.parametrize("bad", [{"min_letters": -1}, {"top_2_gram_fraction": 2}, {"footer": "trim"}, {"letters": 5}])
def test_wrong_configs_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SwallowConfig.model_validate(bad)


def test_the_stage_is_pure_and_loses_nothing() -> None:
    texts = [(GOOD, "ja"), (REPEATED * 9, "ja"), ("", "ja"), ("x", "en"), (KATAKANA * 60, "ja")]
    table, stage = documents_of(*texts), Swallow(SwallowConfig())
    first = stage.process(table)
    check_conservation(table, first)
    assert first.kept.column("extra").to_pylist() == [0, 3]
    again = stage.process(table)
    assert (again.kept, again.removed, str(again.scores)) == (first.kept, first.removed, str(first.scores))
    order = [4, 2, 0, 3, 1]
    assert stage.process(table.take(order)).removed.sort_by("doc_id") == first.removed.sort_by("doc_id")
    check_conservation(table.slice(0, 0), stage.process(table.slice(0, 0)))
