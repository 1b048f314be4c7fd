from __future__ import annotations

from pathlib import Path

import fasttext
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpusmill.core import fasttext_model
from corpusmill.core.errors import ConfigError
from corpusmill.core.fasttext_model import FastTextModel, one_line


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "train.txt").write_text("__label__hq good fine text\n__label__cc buy cheap now\n" * 10, encoding="utf-8")
    model = fasttext.train_supervised(str(folder / "train.txt"), dim=4, epoch=20, thread=1, verbose=0)
    model.save_model(str(folder / "tiny.bin"))
    return folder / "tiny.bin"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\nb\r\nc", "a b  c"),
        ("a </s> b", "a  b"),
        ("</s>", ""),
        ("x</s> </sub>", "x</s> </sub>"),
        ("a __label__hq b", "a  b"),
        ("a__label__hq", "a__label__hq"),
        ("\u3000</s>", "\u3000</s>"),
        ("日本\ud800語", "日本?語"),
    ],
)
def test_one_line(text: str, line: str) -> None:
    assert one_line(text) == line


@given(st.text(st.characters()) | st.lists(st.sampled_from(["</s>", "__label__hq", " ", "\n", "a", "\0"])).map("".join))
def test_one_line_is_what_fasttext_reads_whole(text: str) -> None:
    line = one_line(text)
    assert "\n" not in line
    tokens = line.replace("\0", " ").replace("\t", " ").replace("\v", " ").replace("\f", " ").split(" ")
    assert "</s>" not in tokens
    assert not any(token.startswith("__label__") for token in tokens)
    line.encode()


def test_predictions_are_best_first_and_rounded(tiny: Path) -> None:
    model = fasttext_model.load(str(tiny))
    assert model.labels == ["cc", "hq"]
    found = model.predict(["good text", "cheap\nnow", "unknown words", ""], 2, 3)
    assert [p.labels[0] for p in found[:2]] == ["hq", "cc"]
    for prediction in found:
        assert sorted(prediction.labels) == ["cc", "hq"]
        assert prediction.scores[0] >= prediction.scores[1]
        assert all(score == round(score, 3) <= 1 for score in prediction.scores)
    assert model.predict(["good text"], 9, 3)[0] == found[0]
    assert model.predict([], 1, 3) == []


def test_what_is_no_classifier_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.bin").write_bytes(b"x" * 50)
    with pytest.raises(ConfigError, match="not a fastText model"):
        FastTextModel(str(tmp_path / "bad.bin"))
    (tmp_path / "text.txt").write_text("some words and some words\n" * 20, encoding="utf-8")
    vectors = fasttext.train_unsupervised(
        str(tmp_path / "text.txt"), dim=4, minCount=1, bucket=100, thread=1, verbose=0
    )
    vectors.save_model(str(tmp_path / "vectors.bin"))
    with pytest.raises(ConfigError, match="word vectors"):
        FastTextModel(str(tmp_path / "vectors.bin"))
