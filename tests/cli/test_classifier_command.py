"""`classifier train` and `classifier calibrate`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sample_runs import Mill


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    for name, words in (("good", "because therefore explain"), ("bad", "buy cheap now")):
        lines = [json.dumps({"text": f"{words} {name}{i} " * 5}) for i in range(60)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


def train(mill: Mill, texts: Path, *more: str) -> str:
    result = mill(
        "classifier", "train", "--positives", texts / "good.jsonl", "--negatives", texts / "bad*.jsonl",
        "--out", texts / "q.bin", "--dim", "8", "--epoch", "20", "--lr", "0.5", "--held-out", "0.2", *more,
    )  # fmt: skip
    assert result.code == 0, result.err
    return result.out


def test_train_prints_the_accuracy_on_held_out_texts(mill: Mill, texts: Path) -> None:
    shown = train(mill, texts)
    assert "accuracy 1.0000" in shown
    assert "percentile" in shown
    assert (texts / "q.bin").is_file()
    assert json.loads((texts / "q.bin.json").read_text(encoding="utf-8"))["labels"] == ["cc", "hq"]


def test_json_is_the_card(mill: Mill, texts: Path) -> None:
    card = json.loads(train(mill, texts, "--json"))
    assert card == json.loads((texts / "q.bin.json").read_text(encoding="utf-8"))
    assert len(card["quantiles"]["values"]) == 1001


def test_calibrate(mill: Mill, texts: Path) -> None:
    train(mill, texts)
    result = mill("classifier", "calibrate", texts / "q.bin", texts / "good.jsonl", "--sample", "40", "--json")
    assert result.json["quantiles"]["documents"] == 40
    assert "good.jsonl" in mill("classifier", "calibrate", texts / "q.bin", texts / "good.jsonl").out


def test_wrong_sources_and_labels_are_user_errors(mill: Mill, texts: Path) -> None:
    train(mill, texts)
    absent = mill("classifier", "calibrate", texts / "q.bin", texts / "absent.jsonl")
    assert (absent.code, "no texts here" in absent.err) == (2, True)
    label = mill("classifier", "calibrate", texts / "q.bin", texts / "bad.jsonl", "--label", "edu")
    assert (label.code, "cc, hq" in label.err) == (2, True)
    model = mill("classifier", "calibrate", texts / "bad.bin", texts / "bad.jsonl")
    assert (model.code, "no such model file" in model.err) == (2, True)
