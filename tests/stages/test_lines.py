from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from reference_lines import outcome
from stage_tables import check_conservation, documents_of, gold_texts, japanese_news

from corpusmill.core import words
from corpusmill.core.documents import without_spans
from corpusmill.core.hashing import content_hash
from corpusmill.core.text import Text
from corpusmill.core.verdicts import StageResult
from corpusmill.stages.line_patterns import Patterns
from corpusmill.stages.lines import Corrections, Lines, LinesConfig, correct

DEFAULT = LinesConfig()
PATTERNS = DEFAULT.patterns()
PROSE = "The council met on Monday evening and talked for three hours about the new bridge."
JAPANESE = "市議会は月曜日の夜に集まり、新しい橋について三時間ほど話し合った。"


def corrected(
    text: str, language: str = "en", config: LinesConfig = DEFAULT, patterns: Patterns = PATTERNS
) -> tuple[str, list[str]]:
    """What is left of `text` and the rules of its cuts."""
    found = correct(Text(text, language), config, patterns)
    return without_spans(text, [(c.start, c.end) for c in found.cuts]), [cut.rule for cut in found.cuts]


def judged(text: str, language: str = "en", **config: Any) -> StageResult:
    return Lines(LinesConfig(**config)).process(documents_of((text, language)))


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("BREAKING NEWS TODAY", "uppercase_line"),
        ("ABCD Efgh", "uppercase_line"),  # 5 of 8
        ("ABCD efgh", None),  # 4 of 8
        ("12 34 5678", "numeric_line"),
        ("１２ ３４", "numeric_line"),
        ("12 of 34", None),
        ("3 likes", "counter_line"),
        ("(1,234 Views)", "counter_line"),
        ("1.2K comments", "counter_line"),
        ("Comments (12)", "counter_line"),
        ("3 likes and counting", None),
        ("It has 3 likes", None),
        ("3 bridges", None),
        ("| Posts | 4 |", None),
        ("Introduction", "one_word_line"),
        ("***", None),
        ("|---|---|", None),
        ("| --- |", None),
        ("Two words", None),
        ("", None),
    ],
)
def test_discarded_lines(line: str, rule: str | None) -> None:
    text = f"{PROSE}\n{line}\n{PROSE}"
    assert corrected(text) == ((f"{PROSE}\n{PROSE}", [rule]) if rule else (text, []))


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("5件のコメント", "counter_line"),
        ("3万回再生", "counter_line"),
        ("いいね！ 12", "counter_line"),
        ("2024", "numeric_line"),
        ("東京", "one_word_line"),
        ("＊＊＊", None),
        ("橋が新しくなった。", None),
        ("NHK BS", None),  # capitals mean nothing here
        ("令和六年", None),
    ],
)
def test_discarded_lines_of_japanese(line: str, rule: str | None) -> None:
    text = f"{JAPANESE}\n{line}\n{JAPANESE}"
    assert corrected(text, "ja") == ((f"{JAPANESE}\n{JAPANESE}", [rule]) if rule else (text, []))


@pytest.mark.parametrize(
    ("line", "left", "rules"),
    [
        ("Sign in | A new bridge", "A new bridge", ["pattern_start"]),
        ("Sign in | Sign up | A new bridge", "A new bridge", ["pattern_start"]),
        ("[Sign in] A new bridge", "A new bridge", ["pattern_start"]),
        ("The bridge opens today. Read more...", "The bridge opens today.", ["pattern_end"]),
        ("The bridge opens today [READ  MORE »]", "The bridge opens today", ["pattern_end"]),
        ("The bridge opens today Add to cart Buy now", "The bridge opens today", ["pattern_end"]),
        ("There are items in cart for you", "There are for you", ["pattern_anywhere"]),
        ("See it share on facebook follow us on twitter", "See it", ["pattern_anywhere"]),
        ("Sign in: bridge, all rights reserved today. Read more", "bridge, today.", ["S", "A", "E"]),
        ("They assign in time and read moreover", "They assign in time and read moreover", []),
        ("Read more books this year", "Read more books this year", []),
        ("We could not sign in", "We could not sign in", []),
    ],
)
def test_edited_lines(line: str, left: str, rules: list[str]) -> None:
    names = {"S": "pattern_start", "A": "pattern_anywhere", "E": "pattern_end"}
    assert corrected(line) == (left, [names.get(rule, rule) for rule in rules])


@pytest.mark.parametrize(
    ("line", "left", "rule"),
    [
        ("橋が新しくなった。続きを読む", "橋が新しくなった。", "pattern_end"),
        ("橋が新しくなった（もっと見る）", "橋が新しくなった", "pattern_end"),
        ("新しい橋の模型をカートに入れる", "新しい橋の模型を", "pattern_end"),
        ("ログイン｜橋が新しくなった", "橋が新しくなった", "pattern_start"),
        ("橋が今すぐFacebookでシェアできる", "橋が今すぐできる", "pattern_anywhere"),
        ("ログイン 会員登録 橋が新しくなった", "橋が新しくなった", "pattern_start"),
        ("【関連記事】橋が新しくなった", "橋が新しくなった", "pattern_start"),
    ],
)
def test_edited_lines_of_japanese(line: str, left: str, rule: str) -> None:
    assert corrected(line, "ja") == (left, [rule])


@pytest.mark.parametrize("line", ["ログインする方法を述べる", "利用規約を改める", "関連記事を消す", "市場のシェア"])
def test_japanese_that_goes_on_after_a_phrase_is_prose(line: str) -> None:
    assert corrected(line, "ja") == (line, [])


@pytest.mark.parametrize("line", ["3 items in cart", "(0) items in cart", "Read more...", "Sign in | Sign up"])
def test_an_edited_line_without_letters_goes_whole(line: str) -> None:
    left, rules = corrected(f"{PROSE}\n{line}\n{PROSE}")
    assert left == f"{PROSE}\n{PROSE}"
    assert len(rules) == 1
    assert rules[0].startswith("pattern_")


def test_only_short_lines_are_edited() -> None:
    ten, eleven = (
        "one two three four five six seven eight read more",
        "zero one two three four five six seven eight read more",
    )
    assert corrected(ten)[1] == ["pattern_end"]
    assert corrected(eleven) == (eleven, [])
    assert corrected(eleven, config=LinesConfig(max_edited_words=11))[1] == ["pattern_end"]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Alone\nkept line", "kept line"),
        ("kept line\nAlone", "kept line"),
        ("kept line\nAlone\n", "kept line\n"),
        ("kept line\n\nAlone\n\nkept line", "kept line\n\n\nkept line"),
        ("kept line\nAlone\nAlone", "kept line"),
        ("  Alone \r\n  kept line \r\n", "  kept line \r\n"),
        ("Alone\nAlone", ""),
        ("Alone\n\nAlone", ""),  # the blank line, now the only one
    ],
)
def test_a_line_goes_with_one_newline(text: str, left: str) -> None:
    assert corrected(text)[0] == left


def document(flagged: int, total: int) -> str:
    """A document of `total` words (a multiple of `flagged`), of which `flagged` are alone on their lines."""
    body = total - flagged
    return "\n".join([*["Alone"] * flagged, " ".join(["word"] * body)])


def test_at_five_percent_a_document_stays_above_it_goes() -> None:
    assert judged(document(5, 100)).removed.num_rows == 0
    removed = judged(document(6, 100)).removed.to_pylist()[0]
    assert (removed["rule"], removed["value"], removed["threshold"]) == ("corrected_words", 0.06, 0.05)
    assert removed["detail"] == "one_word_line 6"
    assert judged(document(6, 100), max_corrected_words=0.06).removed.num_rows == 0


def test_what_is_counted() -> None:
    text = "The new bridge opens today read more\n" + " ".join(["word"] * 93)
    assert correct(Text(text, "en"), DEFAULT, PATTERNS)[1:] == Corrections([], words=100, flagged=7, removed=2)[1:]
    assert judged(text).removed.column("value").to_pylist() == [0.07]
    assert judged(text, count="removed").removed.num_rows == 0
    assert judged(text, count="removed", max_corrected_words=0.01).removed.column("value").to_pylist() == [0.02]


def test_a_document_of_which_nothing_is_left_goes() -> None:
    result = judged("Alone\n \nAlone", max_corrected_words=1)
    assert result.removed.column("rule").to_pylist() == ["empty_after_lines"]
    assert result.spans.num_rows == 0


def test_kept_documents_have_the_new_text_its_hash_and_spans() -> None:
    text = f"{document(2, 100)}\nThe bridge 𝕏 opens. Read more..."
    table = documents_of((PROSE, "en"), (text, "en"), ("GONE " * 9, "en"))
    result = Lines(LinesConfig(max_corrected_words=0.2)).process(table)
    check_conservation(table, result)
    kept = result.kept.to_pylist()
    assert kept[0] == table.to_pylist()[0]
    assert kept[1]["text"] == text[12:-13]
    assert kept[1]["content_hash"] == content_hash(kept[1]["text"])
    assert kept[1]["extra"] == 1
    spans = result.spans.to_pylist()
    assert [(span["rule"], span["text"]) for span in spans] == [
        ("one_word_line", "Alone\n"),
        ("one_word_line", "Alone\n"),
        ("pattern_end", " Read more..."),
    ]
    assert {span["doc_id"] for span in spans} == {kept[1]["doc_id"]}
    assert all(text[span["start"] : span["end"]] == span["text"] for span in spans)


PIECES = st.sampled_from(
    [
        PROSE,
        JAPANESE,
        "Alone",
        "A",
        "12",
        "3 likes",
        "\n",
        "\n\n",
        " ",
        "Sign in",
        "read more...",
        "items in cart",
        "share on facebook",
        "|",
        "続きを読む",
        "\u2028",
        "\r",
    ]
)
TEXTS = st.text() | st.lists(PIECES, max_size=25).map("".join) | st.lists(PIECES, max_size=25).map(" ".join)


@settings(max_examples=300)
@given(TEXTS, st.sampled_from(["en", "ja", "zh", ""]))
def test_the_kept_text_is_the_text_less_its_spans(text: str, language: str) -> None:
    table = documents_of((text, language))
    result = Lines(LinesConfig(max_corrected_words=1)).process(table)
    check_conservation(table, result)
    left, at = "", 0
    for span in result.spans.to_pylist():
        assert at <= span["start"] < span["end"] <= len(text)
        assert span["text"] == text[span["start"] : span["end"]]
        left, at = left + text[at : span["start"]], span["end"]
    if result.kept.num_rows:
        row = result.kept.to_pylist()[0]
        assert row["text"] == left + text[at:]
        assert row["content_hash"] == content_hash(row["text"])
        assert row["text"].strip() or not text.strip()


@settings(max_examples=100)
@given(TEXTS)
def test_blank_lines_and_long_lines_stay(text: str) -> None:
    left, _ = corrected(text)
    assert [line for line in left.split("\n") if len(line.split()) > 10] == [
        line for line in text.split("\n") if len(line.split()) > 10 and corrected(line)[0]
    ]
    found = correct(Text(text, "en"), DEFAULT, PATTERNS)
    assert 0 <= found.removed <= found.flagged <= found.words == len(text.split())


@settings(max_examples=100)
@given(TEXTS, TEXTS)
def test_lines_are_judged_one_by_one(first: str, second: str) -> None:
    both, one, two = (correct(Text(text, "en"), DEFAULT, PATTERNS) for text in (f"{first}\n{second}", first, second))
    assert both.flagged == one.flagged + two.flagged
    assert both.removed == one.removed + two.removed
    assert len(both.cuts) == len(one.cuts) + len(two.cuts)


@settings(max_examples=300)
@given(TEXTS, st.sampled_from(["en", "zh", ""]))
def test_as_the_reference(text: str, language: str) -> None:
    expected = outcome("lines", text, language)
    found = correct(Text(text, language), DEFAULT, PATTERNS)
    assert without_spans(text, [(c.start, c.end) for c in found.cuts]) == expected.text
    assert Counter(cut.rule for cut in found.cuts) == expected.rules
    assert Lines(DEFAULT).measure(Text(text, language)).scores == pytest.approx(list(expected.scores.values()))


DCLM = LinesConfig(variant="dclm")
DCLM_PATTERNS = DCLM.patterns()


@pytest.mark.parametrize(
    ("line", "left", "rules"),
    [
        ("BREAKING NEWS IN it", "", ["uppercase_line"]),  # 14 of 19
        ("BREAKING news in it", "BREAKING news in it", []),  # 8 of 19
        ("12345", "", ["numeric_line"]),
        ("12 345", "12 345", []),  # a space is no digit
        ("3 likes", "", ["counter_line"]),
        ("(1,234K VIEWS)", "", ["counter_line"]),
        ("1.2k views!", "", ["counter_line"]),
        ("3 like", "3 like", []),
        ("Comments 12", "Comments 12", []),
        ("Introduction", "", ["one_word_line"]),
        ("|---|---|", "", ["one_word_line"]),
        ("3 items in cart", "3", ["pattern_anywhere"]),
        ("See items in cart now", "See now", ["pattern_anywhere"]),
        ("Items in cart", "", ["pattern_anywhere"]),
        ("The bridge opens. Read more...", "The bridge opens.", ["pattern_end"]),
        ("The bridge opens. read more now", "The bridge opens. read more now", []),  # four characters more
        ("The bridge opens. read moreno!", "The bridge opens.", ["pattern_end"]),  # dots match any character
        ("The bridge opens. Read more", "The bridge opens. Read more", []),
        ("Sign-in to see it", "to see it", ["pattern_start"]),
        ("Sign-insign-in to see it", "sign-in to see it", ["pattern_start"]),
        ("sign-initems in cart now", "now", ["pattern_start", "pattern_anywhere", "pattern_start"]),
        ("a b c d e f g h i items in cart", "a b c d e f g h i items in cart", []),  # twelve words
    ],
)
def test_lines_as_dclm_reads_them(line: str, left: str, rules: list[str]) -> None:
    text = f"{PROSE}\n{line}\n{PROSE}"
    expected = f"{PROSE}\n{left}\n{PROSE}" if left else f"{PROSE}\n{PROSE}"
    assert corrected(text, config=DCLM, patterns=DCLM_PATTERNS) == (expected, rules)


def test_dclm_divides_capitals_by_all_characters_and_counts_words_that_are_left() -> None:
    assert corrected("A B C D E f", config=DCLM, patterns=DCLM_PATTERNS)[1] == []  # 5 of 11
    assert corrected("A B C D E f")[1] == ["uppercase_line"]  # 5 of 6
    text = 'Alone\n"Quoted words and - dashes are not counted', "en"
    found = correct(Text(*text), DCLM, DCLM_PATTERNS)
    assert (found.words, found.flagged, found.removed) == (7, 1, 1)
    removed = judged(*text, variant="dclm").removed.to_pylist()[0]
    assert removed["value"] == 1 / 7
    assert judged("...", variant="dclm").removed.to_pylist()[0]["value"] == 1  # no word at all


def test_at_five_percent_a_document_stays_for_dclm_too() -> None:
    assert judged(document(5, 100), variant="dclm").removed.num_rows == 0
    assert judged(document(6, 100), variant="dclm").removed.num_rows == 1
    text = "The new bridge opens today items in cart\n" + " ".join(["word"] * 92)
    assert judged(text, variant="dclm", max_corrected_words=0.03).removed.num_rows == 0
    assert judged(text, variant="dclm", max_corrected_words=0.02).removed.column("value").to_pylist() == [0.03]
    assert judged(text, variant="dclm", count="flagged").removed.column("value").to_pylist() == [0.08]


DCLM_PIECES = st.sampled_from(
    [PROSE, "Alone", "A", "12", "3 likes", " ", " ", "Sign-in", "read more...", "items in cart", "|", "UPPER", "東京"]
)


@settings(max_examples=300)
@given(st.lists(st.lists(DCLM_PIECES, min_size=1, max_size=8).map("".join), max_size=8))
def test_as_dclm_line_by_line(lines: list[str]) -> None:
    text = "\n".join(line.strip() for line in lines if line.strip())
    expected = outcome("lines", text, "en", "dclm")
    found = correct(Text(text, "en"), DCLM, DCLM_PATTERNS)
    assert without_spans(text, [(c.start, c.end) for c in found.cuts]) == expected.text
    assert Lines(DCLM).measure(Text(text, "en")).scores == pytest.approx(list(expected.scores.values()))


def test_dclm_reads_no_lists() -> None:
    assert Lines(DCLM).resource_files() == ()
    assert len(Lines(DEFAULT).resource_files()) == 4


def test_thresholds_act_on_scores_alone() -> None:
    assert Lines(DEFAULT).bounds("en")[0].score == "flagged_words"
    assert Lines(LinesConfig(count="removed")).bounds("en")[0].score == "removed_words"
    assert Lines(DCLM).bounds("en")[0].score == "removed_words"
    assert Lines(LinesConfig(max_corrected_words=None)).bounds("en") == []


def test_lists_are_files_that_can_be_replaced(tmp_path: Path) -> None:
    listed = tmp_path / "end.txt"
    listed.write_text("# comment\n\nweiter lesen\n", encoding="utf-8")
    empty = tmp_path / "none.txt"
    empty.write_text("# nothing\n", encoding="utf-8")
    stage = Lines(LinesConfig(end_list=str(listed), anywhere_list=str(empty), max_corrected_words=1))
    assert stage.resource_files()[1:3] == (str(listed), str(empty))
    assert all(Path(path).is_file() for path in stage.resource_files())
    kept = stage.process(documents_of(("Die neue Brücke: weiter lesen", "de"), ("The bridge. Read more", "en"))).kept
    assert kept.column("text").to_pylist() == ["Die neue Brücke", "The bridge. Read more"]


def test_every_listed_phrase_is_found() -> None:
    for number, (path, line) in enumerate(
        zip(DEFAULT.list_files(), ("{} a new bridge", "a new bridge {}", "a {} bridge", "12 {}"), strict=True)
    ):
        phrases = [p for p in Path(path).read_text(encoding="utf-8").splitlines() if p and not p.startswith("#")]
        assert len(phrases) == len(set(phrases)) > 10
        for phrase in phrases:
            assert phrase == phrase.strip()
            text = line.format(phrase.upper())
            assert PATTERNS.is_counter(text) if number == 3 else PATTERNS.cuts(text, 255), phrase
            assert corrected(text)[1] or len(text.split()) > 10, phrase


@pytest.mark.parametrize("config", [{"count": "both"}, {"max_uppercase": 2}, {"patterns": []}])
def test_wrong_configs_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LinesConfig.model_validate(config)


@pytest.mark.parametrize(
    "line",
    [
        "a b " + "." * 100_000 + " c",
        "a b (" + " " * 100_000 + "c",
        "1" * 100_000 + " a",
        "1 " + "," * 100_000,
        "sign in" + "|" * 100_000,
        "|" * 1_000_000 + "sign inx",
        "read more" + "." * 1_000_000 + " x",
        "." * 1_000_000 + "3 likes x",
        "1" + "," * 1_000_000 + "x likes",
        "a b " * 2_500_000,
    ],
)
def test_long_lines_take_time_in_proportion(line: str) -> None:
    start = time.process_time()
    corrected(line)
    assert time.process_time() - start < 5


def test_the_stage_is_pure() -> None:
    texts = [
        (document(3, 100), "en"),
        (JAPANESE + "\n東京\n" + JAPANESE * 4, "ja"),
        (document(9, 100), "en"),
        (PROSE, ""),
    ]
    table, stage = documents_of(*texts), Lines(DEFAULT)
    assert stage.edits_text
    assert not stage.only_filters
    first = stage.process(table)
    check_conservation(table, first)
    assert first.kept.column("extra").to_pylist() == [0, 1, 3]
    again = stage.process(table.take([2, 0, 3, 1]))
    assert again.kept.sort_by("extra") == first.kept
    assert again.spans.sort_by([("doc_id", "ascending"), ("start", "ascending")]) == first.spans
    assert stage.process(table) == first
    check_conservation(table.slice(0, 0), stage.process(table.slice(0, 0)))


def test_real_texts_keep_their_sentences(shared_crawl: Path) -> None:
    pages = [(text, "ja") for text in japanese_news(shared_crawl, 60)] + gold_texts(shared_crawl, every=12)
    table = documents_of(*pages)
    result = Lines(DEFAULT).process(table)
    check_conservation(table, result)
    assert result.removed.num_rows < 0.15 * table.num_rows
    originals = dict(zip(table.column("doc_id").to_pylist(), table.column("text").to_pylist(), strict=True))
    for row in result.kept.to_pylist():
        before, after = originals[row["doc_id"]], row["text"]
        assert len(after) <= len(before)
        long = [line for line in words.lines(before).texts(before) if len(line) > 120 and not line.isupper()]
        assert all(line in after for line in long)
