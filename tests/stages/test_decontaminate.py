from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from stage_tables import check_conservation, documents_of, gold_texts

from corpusmill.core import documents
from corpusmill.core.errors import ConfigError, InputError
from corpusmill.core.hashing import content_hash
from corpusmill.core.text import Text
from corpusmill.core.verdicts import StageResult
from corpusmill.stages.decontaminate import Decontaminate, DecontaminateConfig, read_items

QUESTION = "Which of the two bridges over the river Main was built by the monks of the abbey in 1311?"
ANSWER = "The upper one, which the flood of 1342 carried away"  # ten words
SENTENCES = [
    f"Sentence number {i} of this text is about the {i}th town on the river and its market." for i in range(60)
]


@pytest.fixture
def evaluation(tmp_path: Path) -> str:
    lines = [
        {"question": QUESTION, "choices": ["Yes", ANSWER], "id": 7},
        {"question": "Too short?", "answer": {"text": "次の文章を読み、筆者が最も伝えたいことを一つ選びなさい。"}},
    ]
    path = tmp_path / "quiz.jsonl"
    path.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n\n", encoding="utf-8")
    return str(path)


def judged(evaluation: str, *texts: str, **config: Any) -> StageResult:
    table = documents_of(*((text, "en") for text in texts))
    result = Decontaminate(DecontaminateConfig(evaluations=(evaluation,), **config)).process(table)
    check_conservation(table, result)
    return result


def text_with(passage: str, at: int = 30) -> str:
    return " ".join([*SENTENCES[:at], passage, *SENTENCES[at:]])


def test_items_are_named_by_file_line_and_field(evaluation: str) -> None:
    assert [item.name for item in read_items([evaluation], [])] == [
        "quiz.jsonl:1 question",
        "quiz.jsonl:1 choices[0]",
        "quiz.jsonl:1 choices[1]",
        "quiz.jsonl:2 question",
        "quiz.jsonl:2 answer.text",
    ]
    assert [item.name for item in read_items([evaluation], ["answer", "choices"])] == [
        "quiz.jsonl:1 choices[0]",
        "quiz.jsonl:1 choices[1]",
        "quiz.jsonl:2 answer.text",
    ]


def test_files_of_one_name_are_told_apart_and_may_be_compressed(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.jsonl.gz").write_bytes(gzip.compress(b'"one string"\n["two", "three"]\n'))
    names = [item.name for item in read_items([str(tmp_path / f / "x.jsonl.gz") for f in "ab"], [])]
    assert names[:3] == [
        f"{tmp_path}/a/x.jsonl.gz:1",
        f"{tmp_path}/a/x.jsonl.gz:2 [0]",
        f"{tmp_path}/a/x.jsonl.gz:2 [1]",
    ]
    stage = Decontaminate(DecontaminateConfig(evaluations=(f"{tmp_path}/*/*.gz",)))
    assert list(stage.resource_files()) == [str(tmp_path / f / "x.jsonl.gz") for f in "ab"]


@pytest.mark.parametrize(
    ("content", "fields", "message"),
    [
        (b'{"a": "b"}\n{"a": ', (), "not a line of JSON"),
        (b'{"a": "\xff"}\n', (), "not a line of JSON"),
        (b"\n", (), "holds no text"),
        (b'{"a": 1}\n', (), "holds no text"),
        (b'{"a": "b"}\n', ("question",), "holds no text"),
    ],
)
def test_files_that_cannot_be_used_are_named(
    tmp_path: Path, content: bytes, fields: tuple[str, ...], message: str
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        list(read_items([str(path)], fields))
    assert "bad.jsonl" in error.value.where
    with pytest.raises(ConfigError, match="no evaluation file"):
        Decontaminate(DecontaminateConfig(evaluations=(f"{tmp_path}/*.none",)))


def test_drop_names_the_items(evaluation: str) -> None:
    clean, bad = text_with("Nothing to see here."), text_with(f"{QUESTION} {ANSWER}")
    result = judged(evaluation, clean, bad, text_with(QUESTION[:-30]))
    removed = result.removed.to_pylist()[0]
    assert result.kept.column("text").to_pylist() == [clean, text_with(QUESTION[:-30])]
    words = len(QUESTION.split()) + len(ANSWER.split())
    assert removed["rule"] == "contaminated"
    assert removed["value"] == pytest.approx(words / len(bad.split()))
    assert removed["threshold"] == 0
    assert removed["detail"] == "quiz.jsonl:1 question, quiz.jsonl:1 choices[1]"
    assert judged(evaluation, bad, max_share=0.1).removed.num_rows == 0
    assert result.scores is not None
    assert result.scores.column("contaminated_ngrams").to_pylist() == [0, len(QUESTION.split()) - 12 + 1, 0]


def test_report_marks_and_changes_nothing(evaluation: str) -> None:
    text = text_with(f"“{QUESTION}”")
    result = judged(evaluation, text, "clean", mode="report")
    assert result.kept.column("text").to_pylist() == [text, "clean"]
    assert result.kept.column("content_hash").to_pylist() == [content_hash(text), content_hash("clean")]
    (span,) = result.spans.to_pylist()
    assert span["text"] == span["replacement"] == QUESTION.rstrip("?")
    assert (span["rule"], span["detail"]) == ("contaminated", "quiz.jsonl:1 question")
    assert text[span["start"] : span["end"]] == span["text"]


def test_cut_takes_the_passage_and_its_margins(evaluation: str) -> None:
    text = text_with(QUESTION)
    result = judged(evaluation, text, mode="cut")
    (span,) = result.spans.to_pylist()
    kept = result.kept.column("text")[0].as_py()
    assert documents.with_replacements(text, [(span["start"], span["end"], span["replacement"])]) == kept
    at = text.index(QUESTION)
    assert at - 220 < span["start"] <= at - 200
    assert at + len(QUESTION) + 199 <= span["end"] < at + len(QUESTION) + 220
    assert set(kept.split()) <= set(text.split())  # no half words
    assert "  " not in kept
    assert span["detail"] == "quiz.jsonl:1 question"


def test_short_pieces_go_and_many_pieces_take_the_document_along(evaluation: str) -> None:
    near_start = text_with(QUESTION, at=4)
    result = judged(evaluation, near_start, mode="cut", min_piece_characters=400)
    rules = result.spans.column("rule").to_pylist()
    assert rules == ["short_piece", "contaminated"]
    spans = [(s["start"], s["end"], s["replacement"]) for s in result.spans.to_pylist()]
    assert documents.with_replacements(near_start, spans) == result.kept.column("text")[0].as_py()

    often = " ".join(f"{' '.join(SENTENCES)} {QUESTION}" for _ in range(11)) + " " + " ".join(SENTENCES)
    result = judged(evaluation, often, mode="cut")
    removed = result.removed.to_pylist()[0]
    assert (removed["rule"], removed["value"], removed["threshold"]) == ("contaminated_pieces", 12, 10)
    assert removed["detail"] == "quiz.jsonl:1 question"
    assert judged(evaluation, often, mode="cut", max_pieces=12).kept.num_rows == 1
    assert judged(evaluation, QUESTION, mode="cut").removed.column("rule").to_pylist() == ["empty_after_decontaminate"]


def test_japanese_items_are_found_in_any_document(evaluation: str) -> None:
    text = "模擬試験の問題です。次の文章を読み、筆者が最も伝えたいことを一つ選びなさい。解答は次のページにあります。"
    for language in ("ja", "en", ""):
        result = Decontaminate(DecontaminateConfig(evaluations=(evaluation,))).process(documents_of((text, language)))
        assert result.removed.column("detail").to_pylist() == ["quiz.jsonl:2 answer.text"]


@pytest.mark.parametrize(
    "config",
    [{}, {"evaluations": []}, {"evaluations": ["x"], "min_words": 14}, {"evaluations": ["x"], "mode": "mark"}],
)
def test_wrong_configs_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DecontaminateConfig.model_validate(config)


def test_configs_can_be_written_and_read_again() -> None:
    config = DecontaminateConfig(evaluations=("x.jsonl",))
    assert DecontaminateConfig.model_validate(config.model_dump(mode="json")) == config


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([QUESTION, ANSWER, *SENTENCES[:3], "\n", "　", "", "—", "漢字。"]), max_size=12))
def test_text_before_with_its_spans_replaced_is_text_after(evaluation: str, parts: list[str]) -> None:
    text = " ".join(parts)
    for mode in ("report", "drop", "cut"):
        result = judged(evaluation, text, mode=mode, margin_characters=40, min_piece_characters=20)
        spans = [(s["start"], s["end"], s["replacement"]) for s in result.spans.to_pylist()]
        assert result.kept.column("text").to_pylist() in ([documents.with_replacements(text, spans)], [])


def test_lone_surrogates_are_no_trouble(evaluation: str) -> None:
    stage = Decontaminate(DecontaminateConfig(evaluations=(evaluation,)))
    assert stage.measure(Text(f"\ud800 {QUESTION}\udfff", "en")).scores[1] > 0


def test_the_stage_is_pure(evaluation: str) -> None:
    table = documents_of((text_with(QUESTION), "en"), ("", "ja"), ("clean", "de"), (text_with(ANSWER), "en"))
    for mode in ("report", "drop", "cut"):
        stage = Decontaminate(DecontaminateConfig(evaluations=(evaluation,), mode=mode))
        first = stage.process(table)
        assert stage.process(table) == first
        again = Decontaminate(DecontaminateConfig(evaluations=(evaluation,), mode=mode)).process(table)
        assert again == first
        check_conservation(table.slice(0, 0), stage.process(table.slice(0, 0)))


def test_no_real_page_is_touched_by_foreign_items_and_each_by_its_own(shared_crawl: Path, tmp_path: Path) -> None:
    pages = [page for page in gold_texts(shared_crawl, every=30) if len(page[0].split()) > 200]
    path = tmp_path / "own.jsonl"
    middle = pages[0][0].split()[80:110]
    path.write_text(json.dumps({"text": " ".join(middle)}) + "\n", encoding="utf-8")
    result = Decontaminate(DecontaminateConfig(evaluations=(str(path),))).process(documents_of(*pages))
    assert result.removed.column("detail").to_pylist() == ["own.jsonl:1 text"]
    assert result.removed.column("excerpt").to_pylist() == [pages[0][0][:200]]
