from __future__ import annotations

import gzip
import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from stage_tables import check_conservation, documents_of

from corpusmill.core.errors import ConfigError, InputError
from corpusmill.core.text import Text
from corpusmill.stages.classifier import ClassifierConfig, ClassifierStage, document_line
from corpusmill.stages.classifier_card import Card, Quantiles, card_path, read_card
from corpusmill.stages.classifier_training import TrainingSettings, calibrate, files_of, read_texts, sample, train

SETTINGS = TrainingSettings(dim=8, epoch=20, lr=0.5, held_out=0.2)
GOOD_WORDS = [
    "because",
    "therefore",
    "explain",
    "reason",
    "example",
    "consider",
    "evidence",
    "shows",
    "theory",
    "measure",
]
BAD_WORDS = ["buy", "cheap", "now", "click", "offer", "free", "shipping", "deal", "sale", "win"]


def made_texts(words: Sequence[str], number: int, seed: int) -> list[str]:
    """So many texts of 30 words, with a few of the common ones among them."""
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice([*words, "the", "a"], size=30)) + f" {i}" for i in range(number)]


GOOD = made_texts(GOOD_WORDS, 150, 1)
BAD = made_texts(BAD_WORDS, 200, 2)


def jsonl(path: Path, texts: Sequence[str], **more: str) -> str:
    path.write_text("".join(json.dumps({"text": text, **more}) + "\n" for text in texts), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    out = folder / "quality.bin"
    good, bad = jsonl(folder / "good.jsonl", GOOD), jsonl(folder / "bad.jsonl", BAD)
    train([good], [bad], str(out), SETTINGS)
    return out


def stage(**config: Any) -> ClassifierStage:
    return ClassifierStage(ClassifierConfig.model_validate(config))


# Training


def test_training_gives_a_model_that_tells_the_classes_apart(trained: Path) -> None:
    card = read_card(str(trained))
    assert card is not None
    assert card.training is not None
    assert card.labels == ["cc", "hq"]
    held_out = card.training["held_out"]
    assert 40 < held_out["documents"] < 100
    assert held_out["accuracy"] > 0.95
    assert sum(card.training["documents"].values()) + held_out["documents"] == len(GOOD) + len(BAD)
    assert card.quantiles is not None
    assert card.quantiles.source == "held-out negatives"
    assert card.training["settings"] == SETTINGS.model_dump()
    assert [i["file"] for i in card.training["inputs"]["hq"]] == ["good.jsonl"]


def test_defaults_are_those_of_dclm() -> None:
    found = TrainingSettings()
    assert (found.lr, found.dim, found.epoch, found.word_ngrams, found.min_count) == (0.1, 100, 5, 1, 1)
    assert (found.positive_label, found.negative_label) == ("hq", "cc")


def test_the_same_texts_give_the_same_bytes_in_whatever_files_and_order(trained: Path, tmp_path: Path) -> None:
    for part, texts in enumerate((BAD[120:], BAD[:120][::-1], BAD[50:60])):
        with gzip.open(tmp_path / f"bad-{part}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps({"text": text}) + "\n" for text in texts)
    pq.write_table(pa.table({"text": GOOD[::-1], "language": ["en"] * len(GOOD)}), tmp_path / "good.parquet")
    out = tmp_path / "again.bin"
    train([str(tmp_path / "good.parquet")], [str(tmp_path / "bad-*.jsonl.gz")], str(out), SETTINGS)
    assert out.read_bytes() == trained.read_bytes()
    other = tmp_path / "other.bin"
    train(
        [str(tmp_path / "good.parquet")], [str(tmp_path / "bad-*")], str(other), SETTINGS.model_copy(update={"seed": 1})
    )
    assert other.read_bytes() != trained.read_bytes()


def test_a_text_of_both_classes_is_in_neither(tmp_path: Path) -> None:
    good = jsonl(tmp_path / "good.jsonl", [*GOOD[:60], BAD[0], BAD[1]])
    card = train([good], [jsonl(tmp_path / "bad.jsonl", BAD[:60])], str(tmp_path / "m.bin"), SETTINGS)
    assert card.training is not None
    assert card.training["in_both"] == 2
    assert sum(card.training["documents"].values()) + card.training["held_out"]["documents"] == 60 + 58


def test_texts_cannot_bring_labels_of_their_own(tmp_path: Path) -> None:
    good = jsonl(tmp_path / "good.jsonl", [f"__label__evil {text} </s> __label__cc" for text in GOOD[:50]])
    card = train([good], [jsonl(tmp_path / "bad.jsonl", [*BAD[:50], "\ud800 x"])], str(tmp_path / "m.bin"), SETTINGS)
    assert card.labels == ["cc", "hq"]


def test_at_most_so_many_texts_are_taken_whatever_their_order() -> None:
    texts = [Text(text, "en") for text in BAD]
    chosen = sample(texts, 30)
    assert len(chosen) == 30
    assert chosen == sample(texts[::-1], 30)
    assert chosen.items() <= sample(texts, 60).items()


def test_words_of_japanese_are_apart() -> None:
    assert document_line(Text("猫が好きです。犬も。", "ja")).split(" ")[:2] == ["猫", "が"]
    assert document_line(Text("two\nlines ", "en")) == "two\nlines "


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("a.txt", "one\n\n two\n", [("one\n", "de"), (" two\n", "de")]),
        (
            "a.jsonl",
            '{"text": "one"}\n\n{"text": " ", "x": 1}\n{"text": "zwei", "language": "ja"}',
            [("one", "de"), ("zwei", "ja")],
        ),
    ],
)
def test_texts_of_files(tmp_path: Path, name: str, content: str, texts: list[tuple[str, str]]) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert [(t.string, t.language) for t in read_texts(str(tmp_path / name), "de")] == texts


@pytest.mark.parametrize("line", ["no json", "[1]", '{"body": "x"}', '{"text": 5}'])
def test_wrong_lines_are_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n' + line, encoding="utf-8")
    with pytest.raises(InputError, match="line 2"):
        list(read_texts(str(tmp_path / "a.jsonl"), "en"))


def test_files_of_runs_folders_globs_and_nothing(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "documents").mkdir(parents=True)
    (run / "documents" / "b.parquet").touch()
    (run / "recipe.yaml").touch()
    (tmp_path / "a.txt").touch()
    assert files_of(str(run)) == [str(run / "documents" / "b.parquet")]
    assert files_of(str(tmp_path)) == files_of(str(tmp_path / "*.txt")) == [str(tmp_path / "a.txt")]
    for nothing in (str(tmp_path / "absent.jsonl"), str(tmp_path / "*.md")):
        with pytest.raises(InputError, match="no texts here"):
            files_of(nothing)


def test_what_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    good, empty = jsonl(tmp_path / "good.jsonl", GOOD[:20]), jsonl(tmp_path / "empty.jsonl", [])
    with pytest.raises(InputError, match="name ends with"):
        train([good], [good], str(tmp_path / "m.ftz"), SETTINGS)
    with pytest.raises(InputError, match="no texts to train on"):
        train([good], [empty], str(tmp_path / "m.bin"), SETTINGS)
    pq.write_table(pa.table({"body": ["x"]}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match="no column `text`"):
        train([good], [str(tmp_path / "x.parquet")], str(tmp_path / "m.bin"), SETTINGS)


# Quantiles and cards


def test_a_percentile_is_the_score_that_so_many_reach() -> None:
    scores = [i / 1000 for i in range(1000)]
    quantiles = Quantiles.of(scores[::-1], "hq", "made")
    for percent in (0.1, 1, 10, 25.5, 50, 99.9):
        limit = quantiles.threshold(percent)
        assert sum(s >= limit for s in scores) == pytest.approx(10 * percent, abs=1)
    assert quantiles.threshold(10) == 0.9
    assert quantiles.threshold(100) == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.floats(0.1, 100))
def test_thresholds_fall_as_percentiles_grow(scores: list[float], percent: float) -> None:
    quantiles = Quantiles.of(scores, "hq", "made")
    assert min(scores) <= quantiles.threshold(100) <= quantiles.threshold(percent) <= max(scores)


def test_calibration_writes_quantiles_for_any_model(trained: Path, tmp_path: Path) -> None:
    model = tmp_path / "elsewhere.bin"
    shutil.copy(trained, model)
    with pytest.raises(ConfigError, match="classifier calibrate"):
        stage(model=str(model), percentile=10).bounds("en")
    pool = jsonl(tmp_path / "pool.jsonl", [*GOOD[:50], *BAD[:150]])
    card = calibrate(str(model), pool, label="__label__hq", language="en", number=1000)
    assert card.training is None
    assert card.quantiles is not None
    assert (card.quantiles.documents, card.quantiles.source) == (200, "pool.jsonl")
    table = documents_of(*((text, "en") for text in [*GOOD[:50], *BAD[:150]]))
    kept = stage(model=str(model), percentile=25).process(table).kept.column("extra").to_pylist()
    assert kept == list(range(50))
    assert stage(model=str(model), percentile=10).process(table).kept.num_rows in range(20, 24)


def test_calibration_keeps_what_the_card_says_of_the_training(trained: Path, tmp_path: Path) -> None:
    model = tmp_path / "quality.bin"
    shutil.copy(trained, model)
    shutil.copy(card_path(str(trained)), card_path(str(model)))
    before = read_card(str(model))
    card = calibrate(str(model), jsonl(tmp_path / "pool.jsonl", BAD), label="hq", language="en", number=50)
    assert before is not None
    assert card.training == before.training
    assert card.quantiles != before.quantiles
    assert read_card(str(model)) == card


def test_the_card_of_another_model_is_refused(trained: Path, tmp_path: Path) -> None:
    model = tmp_path / "quality.bin"
    shutil.copy(trained, model)
    Card(model_sha256="0" * 64, labels=["hq"]).write(str(model))
    with pytest.raises(ConfigError, match="another model's"):
        stage(model=str(model), percentile=10).bounds("en")
    Path(card_path(str(model))).write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match="not the card"):
        stage(model=str(model), percentile=10).bounds("en")


# The stage


def test_what_scores_below_the_threshold_goes(trained: Path) -> None:
    table = documents_of((GOOD[0], "en"), (BAD[0], "en"), (GOOD[1] + "\n" + GOOD[2], "de"))
    found = stage(model=str(trained), threshold=0.5)
    result = found.process(table)
    check_conservation(table, result)
    assert result.kept.column("extra").to_pylist() == [0, 2]
    (removed,) = result.removed.to_pylist()
    assert (removed["rule"], removed["threshold"]) == ("classifier_score", 0.5)
    assert removed["value"] == round(removed["value"], 6) < 0.5
    assert result.scores is not None
    assert result.scores.column("has_model").to_pylist() == [1, 1, 1]
    assert found.only_filters


def test_a_document_at_the_threshold_stays(trained: Path) -> None:
    table = documents_of((BAD[0], "en"))
    scores = stage(model=str(trained), threshold=0).process(table).scores
    assert scores is not None
    value = scores.column("classifier_score")[0].as_py()
    assert stage(model=str(trained), threshold=value).process(table).kept.num_rows == 1
    assert stage(model=str(trained), threshold=value + 1e-6).process(table).kept.num_rows == 0


def test_languages_have_models_and_thresholds_of_their_own(trained: Path) -> None:
    models = {"en": {"model": str(trained), "label": "hq"}, "de": {"model": str(trained), "label": "__label__cc"}}
    table = documents_of((GOOD[0], "en"), (GOOD[0], "de"), (BAD[0], "de"), (BAD[0], "fr"))
    kept = stage(models=models, threshold=0.5)
    assert kept.process(table).kept.column("extra").to_pylist() == [0, 2, 3]
    removing = stage(models=models, threshold=0.5, missing_languages="remove", languages={"de": {"threshold": 0}})
    result = removing.process(table)
    assert result.kept.column("extra").to_pylist() == [0, 1, 2]
    assert result.removed.column("rule").to_pylist() == ["missing_language"]
    assert result.scores is not None
    assert math.isnan(result.scores.column("classifier_score")[3].as_py())
    assert stage(model=str(trained), threshold=0.5).process(table).kept.column("extra").to_pylist() == [0, 1]


def test_models_and_cards_enter_the_fingerprint(trained: Path) -> None:
    model = str(trained)
    assert stage(model=model, threshold=0.5).resource_files() == [model]
    assert stage(model=model, percentile=5).resource_files() == [model, card_path(model)]
    assert stage(models={"ja": {"model": model}}, languages={"ja": {"percentile": 5}}).resource_files() == [
        model,
        card_path(model),
    ]


def test_other_thresholds_need_the_scores_only(trained: Path) -> None:
    table = documents_of(*((text, "en") for text in [*GOOD[:20], *BAD[:20]]))
    scores = stage(model=str(trained), threshold=0.5).process(table).scores
    for config in ({"threshold": 0.001}, {"threshold": 0.999}, {"percentile": 30}):
        other = stage(model=str(trained), **config)
        gone = [row for row, broken in enumerate(other.judge(scores)) if broken]
        assert other.process(table).removed.column("doc_id").to_pylist() == [f"made.warc.gz:{row}" for row in gone]
        assert set(config) <= other.threshold_keys


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"threshold": 0.5},
        {"model": "m.bin"},
        {"model": "m.bin", "threshold": 0.5, "percentile": 10},
        {"model": "m.bin", "threshold": 2},
        {"model": "m.bin", "percentile": 0},
        {"models": {"ja": {"model": "m.bin"}}},
        {"models": {"ja": {"model": "m.bin"}}, "threshold": 0.5, "languages": {"de": {"threshold": 0.1}}},
    ],
)
def test_wrong_configs_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ClassifierConfig.model_validate(bad)


def test_a_label_that_the_model_does_not_know_is_refused(trained: Path) -> None:
    with pytest.raises(ConfigError, match="does not know this label") as caught:
        stage(model=str(trained), label="edu", threshold=0.5).process(documents_of(("x", "en")))
    assert "cc, hq" in caught.value.remedy


@given(st.text())
def test_any_text_has_a_score(trained: Path, text: str) -> None:
    has_model, found = stage(model=str(trained), threshold=0.5).measure(Text(text, "en")).scores
    assert has_model == 1
    assert 0 <= found <= 1
