from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from corpusmill.core import documents
from corpusmill.core.errors import ConfigError, InputError
from corpusmill.core.hashing import content_hash
from corpusmill.stages.language import LanguageConfig, LanguageModel, LanguageStage, load

ENGLISH = "The committee will meet again next week to discuss the budget.\nNobody expects an agreement before May."
JAPANESE = "委員会は来週また開かれ、予算について話し合う予定です。\n五月までに合意に達すると考える人はいません。"
GERMAN = "Der Ausschuss tritt nächste Woche wieder zusammen und berät über den Haushalt für das kommende Jahr."
UNSURE = "12345"


def table_of(texts: list[str]) -> pa.Table:
    rows = [
        {
            "doc_id": f"a.warc.gz:{i}",
            "url": f"https://example.org/{i}",
            "domain": "example.org",
            "warc_file": "a.warc.gz",
            "warc_offset": i,
            "warc_length": 1,
            "crawl": "",
            "fetched_at": datetime(2026, 8, 1, tzinfo=UTC),
            "charset": "utf-8",
            "text": text,
            "content_hash": content_hash(text),
        }
        for i, text in enumerate(texts)
    ]
    return documents.table_of(rows, documents.DOCUMENT)


@pytest.fixture(scope="module")
def model(lid_model: Path) -> LanguageModel:
    return load(str(lid_model))


def test_top_language_and_score(model: LanguageModel) -> None:
    for text, language in [(ENGLISH, "en"), (JAPANESE, "ja"), (GERMAN, "de")]:
        found, score = model.identify(text)
        assert found == language
        assert 0.8 < score <= 1.0
        assert score == round(score, 4)


def test_refinedweb_keeps_english_from_065_on(lid_model: Path) -> None:
    stage = LanguageStage(LanguageConfig(languages={"en": None}))
    result = stage.process(table_of([ENGLISH, JAPANESE, UNSURE, GERMAN, ENGLISH + " again"]))
    assert result.kept["doc_id"].to_pylist() == ["a.warc.gz:0", "a.warc.gz:4"]
    assert result.kept.schema == documents.DOCUMENT_WITH_LANGUAGE
    assert result.kept["language"].to_pylist() == ["en", "en"]
    removed = result.removed.to_pylist()
    assert [(r["doc_id"], r["rule"], r["detail"]) for r in removed] == [
        ("a.warc.gz:1", "language", "ja"),
        ("a.warc.gz:2", "language_score", "en"),
        ("a.warc.gz:3", "language", "de"),
    ]
    assert [r["threshold"] for r in removed] == [None, 0.65, None]
    assert all(0 < r["value"] <= 1 for r in removed)
    assert removed[0]["excerpt"] == JAPANESE
    assert removed[0]["characters"] == len(JAPANESE)


def test_without_a_list_every_language_is_kept(lid_model: Path) -> None:
    result = LanguageStage(LanguageConfig()).process(table_of([ENGLISH, JAPANESE, GERMAN]))
    assert result.kept["language"].to_pylist() == ["en", "ja", "de"]
    assert result.removed.num_rows == 0


def test_a_language_may_have_its_own_threshold(lid_model: Path, model: LanguageModel) -> None:
    _, score = model.identify(ENGLISH)
    exactly = LanguageStage(LanguageConfig(languages={"en": score, "ja": None}))
    assert exactly.process(table_of([ENGLISH, JAPANESE])).kept.num_rows == 2
    above = LanguageStage(LanguageConfig(languages={"en": score + 0.0001, "ja": None}))
    result = above.process(table_of([ENGLISH, JAPANESE]))
    assert result.kept["language"].to_pylist() == ["ja"]
    assert result.removed["threshold"].to_pylist() == [score + 0.0001]


@settings(max_examples=50, deadline=None)
@given(text=st.text(max_size=300))
def test_any_text_gets_a_language_and_a_score_between_0_and_1(model: LanguageModel, text: str) -> None:
    language, score = model.identify(text)
    assert language in model.languages
    assert 0 <= score <= 1


def test_scores_do_not_depend_on_batch_or_order(lid_model: Path) -> None:
    texts = [ENGLISH, JAPANESE, GERMAN, UNSURE, ENGLISH[:40], "", JAPANESE[:9]] * 3
    stage = LanguageStage(LanguageConfig(threshold=0.0))
    whole = stage.process(table_of(texts)).kept
    expected = {r["text"]: (r["language"], r["language_score"]) for r in whole.to_pylist()}
    order = np.random.default_rng(7).permutation(len(texts))
    for row in order:
        alone = stage.process(table_of([texts[row]])).kept
        assert (alone["language"][0].as_py(), alone["language_score"][0].as_py()) == expected[texts[row]]


def test_a_table_without_rows(lid_model: Path) -> None:
    result = LanguageStage(LanguageConfig()).process(documents.empty(documents.DOCUMENT))
    assert result.kept.schema == documents.DOCUMENT_WITH_LANGUAGE
    assert result.kept.num_rows == 0


def test_the_model_enters_the_fingerprint_and_is_loaded_once(lid_model: Path) -> None:
    assert list(LanguageStage(LanguageConfig()).resource_files()) == [str(lid_model)]
    assert load(str(lid_model)) is load(str(lid_model))


def test_an_unknown_language_is_refused_with_a_near_one(lid_model: Path) -> None:
    with pytest.raises(ConfigError, match="does not know this language") as caught:
        LanguageStage(LanguageConfig(languages={"eng": None})).process(table_of([ENGLISH]))
    assert "en" in caught.value.remedy


def test_a_model_that_is_not_there_or_not_a_model(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        LanguageStage(LanguageConfig(model=str(tmp_path / "absent.bin"))).resource_files()
    (tmp_path / "bad.bin").write_bytes(b"x" * 100)
    with pytest.raises(ConfigError, match="not a fastText model"):
        LanguageStage(LanguageConfig(model=str(tmp_path / "bad.bin"))).process(table_of([ENGLISH]))


@pytest.mark.parametrize("bad", [{"threshold": 1.1}, {"languages": {}}, {"languages": {"en": -1}}, {"lang": "en"}])
def test_config_refuses(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LanguageConfig.model_validate(bad)
