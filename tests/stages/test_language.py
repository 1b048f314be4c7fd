from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from corpusmill.core import documents, fasttext_model
from corpusmill.core.errors import ConfigError, InputError
from corpusmill.core.fasttext_model import FastTextModel
from corpusmill.core.hashing import content_hash
from corpusmill.stages.language import SCORES, LanguageConfig, LanguageStage

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
def model(lid_model: Path) -> FastTextModel:
    return fasttext_model.load(str(lid_model))


def identified(*texts: str, **config: Any) -> list[dict[str, Any]]:
    """The rows of scores of `texts`."""
    scores = LanguageStage(LanguageConfig(**config)).process(table_of(list(texts))).scores
    assert scores is not None
    assert scores.schema == SCORES
    return scores.to_pylist()


def test_every_document_has_the_scores_of_its_likeliest_languages(lid_model: Path) -> None:
    rows = identified(ENGLISH, JAPANESE, GERMAN, UNSURE, "")
    assert [row["language"] for row in rows[:3]] == ["en", "ja", "de"]
    assert [row["characters"] for row in rows] == [len(t) for t in (ENGLISH, JAPANESE, GERMAN, UNSURE, "")]
    for row in rows:
        assert len(row["labels"]) == len(row["label_scores"]) == 3
        assert row["labels"][0] == row["language"]
        assert row["label_scores"][0] == row["language_score"] == round(row["language_score"], 4)
        assert row["label_scores"] == sorted(row["label_scores"], reverse=True)
    assert all(row["language_score"] > 0.8 for row in rows[:3])
    assert len(identified(ENGLISH, top_k=1)[0]["labels"]) == 1
    assert identified(ENGLISH, top_k=500)[0]["labels"][:3] == rows[0]["labels"]


def test_other_thresholds_need_the_scores_only(lid_model: Path) -> None:
    table = table_of([ENGLISH, JAPANESE, UNSURE, GERMAN, ENGLISH[:20], ""])
    scores = LanguageStage(LanguageConfig()).process(table).scores
    for config in ({"languages": {"en": 0.1}}, {"threshold": 0.99}, {"languages": {"de": None, "ja": 1.0}}):
        other = LanguageStage(LanguageConfig.model_validate(config))
        gone = [row for row, broken in enumerate(other.judge(scores)) if broken]
        assert other.process(table).removed["doc_id"].to_pylist() == [f"a.warc.gz:{row}" for row in gone]
        assert set(config) <= other.threshold_keys


def test_a_tag_that_ends_fasttexts_reading_does_not_hide_the_text(lid_model: Path) -> None:
    plain, tagged = identified("hello " + JAPANESE, "hello </s> " + JAPANESE)
    assert tagged["language"] == "ja"
    assert tagged["language_score"] == plain["language_score"]


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


def test_a_language_may_have_its_own_threshold(lid_model: Path, model: FastTextModel) -> None:
    score = model.predict([ENGLISH], 1, 4)[0].scores[0]
    exactly = LanguageStage(LanguageConfig(languages={"en": score, "ja": None}))
    assert exactly.process(table_of([ENGLISH, JAPANESE])).kept.num_rows == 2
    above = LanguageStage(LanguageConfig(languages={"en": score + 0.0001, "ja": None}))
    result = above.process(table_of([ENGLISH, JAPANESE]))
    assert result.kept["language"].to_pylist() == ["ja"]
    assert result.removed["threshold"].to_pylist() == [score + 0.0001]


@settings(max_examples=50, deadline=None)
@given(text=st.text(max_size=300))
def test_any_text_gets_a_language_and_a_score_between_0_and_1(model: FastTextModel, text: str) -> None:
    (prediction,) = model.predict([text], 2, 4)
    assert set(prediction.labels) <= set(model.labels)
    assert all(0 <= score <= 1 for score in prediction.scores)


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
    assert fasttext_model.load(str(lid_model)) is fasttext_model.load(str(lid_model))


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


@pytest.fixture(scope="module")
def glot(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model whose labels are made as those of GlotLID and OpenLID are."""
    import fasttext

    folder = tmp_path_factory.mktemp("glot")
    texts = {
        "eng_Latn": ENGLISH,
        "jpn_Jpan": JAPANESE,
        "deu_Latn": GERMAN,
        "zho_Hans": "我们明天再谈",
        "zho_Hant": "我們明天再談",
    }
    lines = [f"__label__{label} {line}" for label, text in texts.items() for line in text.split("\n")]
    (folder / "train.txt").write_text("\n".join(lines * 20), encoding="utf-8")
    model = fasttext.train_supervised(
        str(folder / "train.txt"), minn=1, maxn=2, dim=8, epoch=20, lr=0.5, bucket=5000, thread=1, verbose=0
    )
    model.save_model(str(folder / "glot.bin"))
    return str(folder / "glot.bin")


def test_labels_of_other_models_become_the_codes_of_the_chain(glot: str) -> None:
    stage = LanguageStage(LanguageConfig(model=glot, threshold=0.2))
    result = stage.process(table_of([ENGLISH, JAPANESE, GERMAN, "我们明天再谈", "我們明天再談"]))
    assert result.kept["language"].to_pylist() == ["en", "ja", "de", "zh", "zh"]
    assert result.scores is not None
    assert [labels[0] for labels in result.scores["labels"].to_pylist()] == [
        "eng_Latn",
        "jpn_Jpan",
        "deu_Latn",
        "zho_Hans",
        "zho_Hant",
    ]


@pytest.mark.parametrize("key", ["ja", "jpn_Jpan"])
def test_a_recipe_names_a_language_by_its_code_or_by_the_models_label(glot: str, key: str) -> None:
    stage = LanguageStage(LanguageConfig(model=glot, languages={key: 0.1}, threshold=0.2))
    result = stage.process(table_of([ENGLISH, JAPANESE]))
    assert result.kept["language"].to_pylist() == ["ja"]
    assert result.removed["detail"].to_pylist() == ["eng_Latn"]


def test_one_script_of_a_language_may_be_wanted_alone(glot: str) -> None:
    stage = LanguageStage(LanguageConfig(model=glot, languages={"zho_Hant": None}, threshold=0.2))
    result = stage.process(table_of(["我们明天再谈", "我們明天再談"]))
    assert result.kept["doc_id"].to_pylist() == ["a.warc.gz:1"]
    stage = LanguageStage(LanguageConfig(model=glot, languages={"zh": 0.2, "zho_Hant": 1.0}))
    assert stage.process(table_of(["我们明天再谈", "我們明天再談"])).kept["doc_id"].to_pylist() == ["a.warc.gz:0"]


@pytest.mark.parametrize("bad", [{"threshold": 1.1}, {"languages": {}}, {"languages": {"en": -1}}, {"lang": "en"}])
def test_config_refuses(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LanguageConfig.model_validate(bad)
