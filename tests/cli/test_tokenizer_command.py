"""`corpusmill tokenizer`."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pyarrow as pa
import pytest
from sample_runs import Mill

from corpusmill.core import storage

ENGLISH = ["The river runs past the old mill.", "A bridge crosses the river.", "Nobody lives in the mill now."] * 8
JAPANESE = ["東京は日本の首都です。", "川の水は冷たい。", "橋を渡ると山が見える。"] * 8


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    rows = [
        (f"w.warc.gz:{i}", lang, text)
        for i, (lang, text) in enumerate([*(("en", t) for t in ENGLISH), *(("ja", t) for t in JAPANESE)])
    ]
    write(tmp_path / "run" / "documents" / "a.parquet", rows)
    return tmp_path / "run"


def write(path: Path, rows: list[tuple[str, str, str]]) -> None:
    columns = {name: [row[i] for row in rows] for i, name in enumerate(("doc_id", "language", "text"))}
    storage.write_parquet(str(path), pa.table(columns))


def train(mill: Mill, documents: Path, out: Path, *more: str) -> dict[str, object]:
    result = mill("tokenizer", "train", documents, "--out", out, "--num-threads", "1", "--json", *more)
    assert result.code == 0, result.err
    assert isinstance(result.json, dict)
    return result.json


def test_train_report_and_extend(mill: Mill, documents: Path, tmp_path: Path) -> None:
    model, larger = tmp_path / "m.model", tmp_path / "m2.model"
    made = train(
        mill, documents, model, "--vocab-size", "320", "--sample-language", "en=1", "--user-symbol", "mill",
        "--control-symbol", "<|end|>", "--model-type", "bpe",
    )  # fmt: skip
    assert made["vocab_size"] == 320
    assert made["sample"] == {"documents": 24, "bytes": {"en": 712}, "seen_bytes": {"en": 712}, "scarce": None}

    shown = mill("tokenizer", "report", model, documents)
    assert (shown.code, "round trips that fail: 0 of 48" in shown.out) == (0, True)
    found = mill("tokenizer", "report", model, documents, "--json", "--sample-bytes", "0").json
    assert found["languages"]["ja"]["documents"] == 24
    assert found["languages"]["ja"]["byte_share"] > 0.9

    result = mill(
        "tokenizer", "extend", documents, "--base", model, "--pieces", "12", "--out", larger,
        "--sample-language", "ja=1", "--num-threads", "1", "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert len(result.json["pieces"]) == 12
    before, after = (result.json[when]["languages"]["ja"]["tokens_per_character"] for when in ("before", "after"))
    assert after < before / 2
    assert mill("tokenizer", "report", larger, documents, "--json").json["vocab_size"] == 332


def test_data_alone_on_stdout_and_progress_on_stderr(mill: Mill, documents: Path, tmp_path: Path) -> None:
    result = mill("tokenizer", "train", documents, "--out", tmp_path / "m.model", "--vocab-size", "316", "--json")
    assert result.code == 0, result.err
    json.loads(result.out)
    assert "sample: 48 documents" in result.err
    assert "training" in result.err
    quiet = mill("tokenizer", "report", tmp_path / "m.model", documents, "--quiet", "--json")
    assert quiet.err == ""


def test_scarce_languages_are_told(mill: Mill, documents: Path, tmp_path: Path) -> None:
    result = mill(
        "tokenizer", "train", documents, "--out", tmp_path / "m.model", "--vocab-size", "315",
        "--sample-language", "ja=1/4", "--sample-language", "en=3/4",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert "warning: en has only 712 bytes" in result.err


def test_report_leaves_with_1_where_a_text_does_not_come_back(mill: Mill, tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.normalizer = tokenizers.normalizers.NFC()
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, special_tokens=["</s>"], initial_alphabet=alphabet, show_progress=False
    )
    model.train_from_iterator(ENGLISH, trainer)
    model.save(str(tmp_path / "tokenizer.json"))
    path = tmp_path / "x.parquet"
    write(path, [("a", "fr", "déjà"), ("b", "fr", unicodedata.normalize("NFD", "déjà"))])
    result = mill("tokenizer", "report", tmp_path / "tokenizer.json", path)
    assert result.code == 1
    assert "round trips that fail: 1 of 2\n  b\n" in result.out
    assert "decomposed characters (NFC)" in result.out
    write(path, [("a", "fr", "déjà </s>")])
    assert mill("tokenizer", "report", tmp_path / "tokenizer.json", path).code == 0


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (["--model-type", "wordy"], "--model-type: "),
        (["--vocab-size", "10"], "--vocab-size: "),
        (["--vocab-size", "30000"], "set vocab_size to at most"),
        (["--sample-language", "ja"], "--sample-language is LANGUAGE=SHARE"),
        (["--sample-language", "ja=2"], "--sample-language: shares are above 0 and add up to 1"),
        (["--sample-language", "de=1"], "no text in a language"),
        (["--user-symbol", "a", "--control-symbol", "a"], "named twice"),
    ],
)
def test_wrong_options_are_user_errors(
    mill: Mill, documents: Path, tmp_path: Path, options: list[str], shown: str
) -> None:
    result = mill("tokenizer", "train", documents, "--out", tmp_path / "m.model", "--quiet", *options)
    assert result.code == 2
    assert shown in result.err
    assert not (tmp_path / "m.model").exists()


def test_no_documents_and_no_model(mill: Mill, documents: Path, tmp_path: Path) -> None:
    absent = mill("tokenizer", "train", tmp_path / "absent", "--out", tmp_path / "m.model")
    assert (absent.code, "no documents here" in absent.err) == (2, True)
    (tmp_path / "bad.model").write_bytes(b"nothing")
    bad = mill("tokenizer", "report", tmp_path / "bad.model", documents)
    assert (bad.code, "not a SentencePiece model" in bad.err) == (2, True)
    gone = mill("tokenizer", "report", tmp_path / "gone.model", documents)
    assert gone.code == 2
