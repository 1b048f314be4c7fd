from __future__ import annotations

import math
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

from corpusmill.core.documents import without_spans
from corpusmill.core.text import Text
from corpusmill.core.verdicts import StageResult
from corpusmill.stages.c4 import C4, C4Config

PROSE = "The council met on Monday. It talked for hours! Was it about the bridge? It was. All agreed."
JAPANESE = "市議会は月曜日の夜に集まった。新しい橋について話し合った。長い話だった。橋は要るか？要るという。"


def judged(text: str, language: str = "en", **config: Any) -> StageResult:
    return C4(C4Config(**config)).process(documents_of((text, language)))


def left(text: str, language: str = "en", **config: Any) -> tuple[str, list[str]]:
    """What is left of `text`, sentences or not, and the rules of its cuts."""
    measured = C4(C4Config(**config)).measure(Text(text, language))
    return without_spans(text, [(c.start, c.end) for c in measured.cuts]), [cut.rule for cut in measured.cuts]


def scored(text: str, language: str = "en", **config: Any) -> dict[str, float]:
    stage = C4(C4Config(**config))
    return dict(zip(stage.score_names, stage.measure(Text(text, language)).scores, strict=True))


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("He came to us.", None),
        ("He came to us?", None),
        ("He came to us!", None),
        ('He said "come to us"', None),
        ("He said 'come to us'", None),
        ("He came to us", "unterminated_line"),
        ("He came to us...", "unterminated_line"),
        ("He came to us…", "unterminated_line"),
        ("He came to us:", "unterminated_line"),
        ("He said “come to us”", "unterminated_line"),
        ("He came to us....", "unterminated_line"),
        ("He came.", "few_words_line"),
        ("He - came.", None),  # punctuation between spaces is a word
        ("Please enable JavaScript now.", "javascript_line"),
        ("JAVASCRIPTS are off here.", "javascript_line"),
        ("Read our Privacy Policy now.", "policy_line"),
        ("This site uses cookies here.", "policy_line"),
        ("We make use of cookies.", "policy_line"),
        ("These terms of  use hold.", None),  # two spaces
        ("a " + "b" * 1000 + " c.", None),
        ("a " + "b" * 1001 + " c.", "long_word_line"),
        ("b" * 1001, "long_word_line"),  # the first rule counts
        ("", "blank_line"),
        (" \t", "blank_line"),
    ],
)
def test_lines(line: str, rule: str | None) -> None:
    text = f"{PROSE}\n{line}\n{PROSE}"
    assert left(text) == ((f"{PROSE}\n{PROSE}", [rule]) if rule else (text, []))


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("He came[1] to us.[23]", "He came to us."),
        ("He came[] to[edit] us.", "He came to us."),
        ("He came[citation needed] to us.", "He came to us."),
        ("He came[a] to us[1 2].", None),
        ("He came to us. [1]", ""),  # "us. " does not end in a full stop
        ("He [1] [2].", "He  ."),  # three words, counted before
        ("[1] He came.", " He came."),
    ],
)
def test_citations(line: str, kept: str | None) -> None:
    text = f"{PROSE}\n{line}\n{PROSE}"
    expected = text if kept is None else f"{PROSE}\n{kept}\n{PROSE}" if kept else f"{PROSE}\n{PROSE}"
    assert left(text)[0] == expected
    assert left(text, remove_citations=False)[0] == (text if not line.endswith("]") else f"{PROSE}\n{PROSE}")


def test_whitespace_that_citations_leave_at_the_ends_goes() -> None:
    text = "[1] He came to us.\nHe went from us. [2]"
    kept, rules = left(text, terminal_punctuation=False)
    assert kept == "He came to us.\nHe went from us."
    assert rules == ["citation", "whitespace", "whitespace", "citation"]


def test_whitespace_around_lines_goes() -> None:
    text = f"\n  {PROSE}\r\n\n\t{PROSE} \n"
    assert left(text)[0] == f"{PROSE}\n{PROSE}"
    kept, rules = left(text, terminal_punctuation=False, min_line_words=None)
    assert kept == f"{PROSE}\n\n{PROSE}"  # blank lines are lines here
    assert set(rules) == {"whitespace"}


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("max_word_length", None, "a " + "b" * 1001 + " c."),
        ("terminal_punctuation", False, "He came to us"),
        ("min_line_words", None, "He came."),
        ("min_line_words", 2, "He came."),
        ("remove_javascript", False, "Please enable JavaScript now."),
        ("remove_policy", False, "This site uses cookies here."),
    ],
)
def test_rules_for_lines_can_be_switched_off(key: str, value: Any, line: str) -> None:
    text = f"{PROSE}\n{line}"
    assert left(text)[0] == PROSE
    assert left(text, **{key: value})[0] == text


@pytest.mark.parametrize(
    ("text", "rule", "value", "off"),
    [
        (f"{PROSE}\nHere is Lorem Ipsum text.", "lorem_ipsum", 1, {"max_lorem_ipsum": None}),
        (f"{PROSE}\nHere is {{ some }} code.", "curly_bracket", 1, {"max_curly_brackets": None}),
        ("One two three. Four. Five! Six?", "sentences", 4, {"min_sentences": None}),
        ("One two three. Four. Five! Six?", "sentences", 4, {"min_sentences": 4}),
        (f"{PROSE}\nA {{ and lorem ipsum here.", "lorem_ipsum", 1, {"max_lorem_ipsum": 1, "max_curly_brackets": 1}),
    ],
)
def test_documents(text: str, rule: str, value: float, off: dict[str, Any]) -> None:
    removed = judged(text).removed.to_pylist()
    assert [(row["rule"], row["value"]) for row in removed] == [(rule, value)]
    assert judged(text, **off).removed.num_rows == 0
    assert judged(PROSE).removed.num_rows == 0


@pytest.mark.parametrize(
    "line",
    [
        "lorem ipsum",  # too short
        "Here is lorem ipsum text",  # unterminated
        "{ } is code",
        "Javascript has { here.",
    ],
)
def test_lines_that_went_before_do_not_count(line: str) -> None:
    result = judged(f"{PROSE}\n{line}")
    assert result.kept.column("text").to_pylist() == [PROSE]


def test_a_policy_line_with_a_bracket_counts() -> None:
    assert scored(f"{PROSE}\nOur privacy policy {{here}} is long.")["curly_bracket"] == 1
    assert scored(f"{PROSE}\nlorem ipsum and javascript here.")["lorem_ipsum"] == 1


def test_sentences_are_counted_in_what_is_left() -> None:
    assert scored(PROSE)["sentences"] == 5
    assert scored(f"{PROSE}\nThis site uses cookies. Yes. No.")["sentences"] == 5
    assert scored("He came to us.[1] She went.\nIt was so.")["sentences"] == 3
    assert scored("")["sentences"] == 0
    assert scored(JAPANESE, "ja")["sentences"] == 5


def test_words_of_languages_without_spaces() -> None:
    text = f"{JAPANESE}\n東京。\n「橋が新しくなった」\n利用規約"
    assert left(text, "ja") == (f"{JAPANESE}\n「橋が新しくなった」", ["few_words_line", "unterminated_line"])


def test_paragraphs_of_mc4() -> None:
    line = "word " * 39 + "word."  # 200 code points
    text = f"{line}\n{line}\n{PROSE}\n{line[1:]}"
    assert scored(text)["long_paragraphs"] == 2
    assert judged(text).removed.num_rows == 0
    assert judged(text, min_paragraphs=3).removed.column("rule").to_pylist() == ["paragraphs"]
    assert judged(text, min_paragraphs=3, paragraph_characters=199).removed.num_rows == 0
    assert scored(f"{line[1:]} \n x")["long_paragraphs"] == 1  # outer whitespace is part of a line


def words(folder: Path, *listed: str) -> str:
    path = folder / "words.txt"
    path.write_text("\n".join(listed), encoding="utf-8")
    return str(path)


def test_bad_words(tmp_path: Path) -> None:
    listed = {"en": words(tmp_path, "darn", "heck of", "sm"), "ja": words(tmp_path, "darn", "heck of", "sm")}
    text = f"{PROSE}\nWhat the DARN heck of that!"
    removed = judged(text, bad_words=listed).removed.to_pylist()[0]
    assert (removed["rule"], removed["threshold"], removed["detail"]) == ("bad_words", 0, "bad words: darn, heck of")
    assert scored(text, bad_words=listed)["bad_words"] == 2
    assert judged(text, "de", bad_words=listed).removed.num_rows == 0
    assert math.isnan(scored(text, "de", bad_words=listed)["bad_words"])
    assert scored(PROSE, bad_words=listed)["bad_words"] == 0
    assert math.isnan(scored(PROSE, bad_words=listed)["bad_words_draw"])
    assert scored("ismなど", "ja", bad_words=listed)["bad_words"] == 0  # passed over in Japanese
    assert scored("ismなど", "ja", bad_words=listed, bad_words_allowed={"ja": []})["bad_words"] == 1
    assert C4(C4Config(bad_words=listed)).resource_files() == list(listed.values())


def test_a_share_of_documents_with_bad_words_stays(tmp_path: Path) -> None:
    listed = {"en": words(tmp_path, "darn")}
    table = documents_of(*((f"{PROSE} Darn number {i}.", "en") for i in range(400)))

    def kept(**config: Any) -> set[str]:
        return set(C4(C4Config(bad_words=listed, **config)).process(table).kept.column("doc_id").to_pylist())

    assert kept() == set()
    assert len(kept(bad_words_keep=1)) == 400
    few, more, other = kept(bad_words_keep=0.1), kept(bad_words_keep=0.5), kept(bad_words_keep=0.5, seed=1)
    assert 20 < len(few) < 60
    assert 160 < len(more) < 240
    assert few < more
    assert more != other


PIECES = st.sampled_from(
    [
        PROSE,
        "He came to us.",
        "He came. [1]",
        "[citation needed]",
        "\n",
        "\n\n",
        " ",
        "javascript ",
        "{",
        "lorem ipsum",
        "cookie policy.",
        "...",
        "”",
        "b" * 1001,
        "東京。",
        "\u2028",
        "\r",
        "\ud800",
    ]
)
TEXTS = st.text() | st.lists(PIECES, max_size=20).map("".join) | st.lists(PIECES, max_size=20).map(" ".join)


@settings(max_examples=400)
@given(TEXTS, st.sampled_from(["en", "zh", ""]), st.booleans())
def test_as_the_reference(text: str, language: str, terminal: bool) -> None:
    stage = C4(C4Config(terminal_punctuation=terminal))
    expected = outcome("c4", text, language, "paper" if terminal else "datatrove")
    measured = stage.measure(Text(text, language))
    values = dict(zip(stage.score_names, measured.scores, strict=True))
    assert values == pytest.approx(expected.scores, nan_ok=True)
    at = 0
    for cut in measured.cuts:
        assert at <= cut.start < cut.end <= len(text)
        at = cut.end
    assert without_spans(text, [(c.start, c.end) for c in measured.cuts]) == expected.text
    rules = Counter(cut.rule for cut in measured.cuts if cut.rule not in ("whitespace", "blank_line"))
    assert rules == Counter({rule: n for rule, n in expected.rules.items() if rule != "blank_line"})


@settings(max_examples=100)
@given(st.lists(TEXTS, max_size=5))
def test_nothing_is_lost_and_once_is_enough(texts: list[str]) -> None:
    clean = [text.encode("utf-8", "replace").decode() for text in texts]
    stage = C4(C4Config(remove_citations=False))
    table = documents_of(*((text, "en") for text in clean))
    result = stage.process(table)
    check_conservation(table, result)
    again = stage.process(result.kept)
    assert again.kept == result.kept
    assert again.spans.num_rows == 0


@pytest.mark.parametrize(
    "text", ["a" * 10_000_000, "He came to us. " * 600_000, "He came to us.\n" * 600_000, "[1] " * 2_500_000]
)
def test_ten_megabytes_take_time_in_proportion(text: str) -> None:
    stage = C4(C4Config())
    stage.measure(Text("warm up", "en"))
    start = time.process_time()
    stage.measure(Text(text, "en"))
    assert time.process_time() - start < 20


@pytest.mark.parametrize(
    "config", [{"min_sentences": -1}, {"bad_words_keep": 2}, {"terminal_punctuation": None}, {"policy": []}]
)
def test_wrong_configs_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        C4Config.model_validate(config)


def test_real_texts(shared_crawl: Path) -> None:
    pages = gold_texts(shared_crawl, every=12) + [(text, "ja") for text in japanese_news(shared_crawl, 10)]
    for config, variant in ((C4Config(), "paper"), (C4Config(terminal_punctuation=False), "datatrove")):
        stage = C4(config)
        for text, language in pages:
            expected = outcome("c4", text, language, variant)
            measured = stage.measure(Text(text, language))
            assert dict(zip(stage.score_names, measured.scores, strict=True)) == pytest.approx(
                expected.scores, nan_ok=True
            )
            assert without_spans(text, [(c.start, c.end) for c in measured.cuts]) == expected.text
    table = documents_of(*pages)
    check_conservation(table, C4(C4Config()).process(table))
