import json
from pathlib import Path

import pytest

from corpusmill.core import storage
from corpusmill.core.errors import InputError
from corpusmill.training_hook.checkpoint import Progress
from corpusmill.training_hook.config import TrainConfig
from corpusmill.training_hook.fed import FED, FedLog, Lineage, merge


def table(run: Path) -> list[dict[str, object]]:
    merged = storage.read_parquet(str(run / "train" / "fed.parquet"))
    assert merged.schema == FED
    return merged.to_pylist()


def test_lines_of_all_attempts_are_merged(tmp_path: Path) -> None:
    loss = 0.1 + 0.2
    with FedLog(str(tmp_path), 1) as log:
        log.append(3, 8, b"\2" * 32, "spike: loss", float("nan"), float("inf"))
    with FedLog(str(tmp_path), 0) as log:
        log.append(3, 8, b"\1" * 32, "", loss, 1.5)
        merge(str(tmp_path))  # before the file is closed: every line is flushed
        assert len(table(tmp_path)) == 2
    first, second = table(tmp_path)
    assert first == {
        "attempt": 0,
        "step": 3,
        "slots": 8,
        "hash": b"\1" * 32,
        "applied": True,
        "reason": "",
        "loss": loss,
        "grad_norm": 1.5,
    }
    assert (second["attempt"], second["applied"], second["reason"]) == (1, False, "spike: loss")
    assert second["loss"] is second["grad_norm"] is None


def test_half_a_last_line_is_left_out(tmp_path: Path) -> None:
    with FedLog(str(tmp_path), 0) as log:
        log.append(0, 8, bytes(32), "", 1.0, 1.0)
    file = next((tmp_path / "train" / "fed").iterdir())
    file.write_text(file.read_text() + '{"attempt": 0, "st')
    merge(str(tmp_path))
    assert len(table(tmp_path)) == 1


def test_no_attempt_is_an_empty_table(tmp_path: Path) -> None:
    merge(str(tmp_path))
    assert table(tmp_path) == []


def test_an_attempt_is_never_written_over(tmp_path: Path) -> None:
    with FedLog(str(tmp_path), 0), pytest.raises(FileExistsError):
        FedLog(str(tmp_path), 0)


def at(next_step: int, attempt: int, config: TrainConfig) -> Progress:
    return Progress(
        order_root="ab",
        tokenizer_sha256="cd",
        sequence_length=32,
        batch_size=8,
        phase=0,
        next_step=next_step,
        attempt=attempt,
        optimizer_steps=next_step,
        guard={},
        model=config.model,
        world_size=1,
    )


def test_lineage_names_the_attempts_behind_the_weights(tmp_path: Path, tiny: TrainConfig) -> None:
    run, path = str(tmp_path), tmp_path / "train" / "lineage.json"
    first = Lineage(run)
    assert len(first) == 0
    first.begin("ab", None, tiny, 2)
    assert json.loads(path.read_text())["weights"] == []
    first.saved(at(5, 0, tiny))
    Lineage(run).begin("ab", at(5, 0, tiny), tiny, 2)  # fed some steps, saved nothing
    third = Lineage(run)
    third.begin("ab", at(5, 0, tiny), tiny, 1)
    third.saved(at(10, 2, tiny))
    body = json.loads(path.read_text())
    assert [(a["first_step"], a["from_attempt"], a["world_size"]) for a in body["attempts"]] == [
        (0, None, 2),
        (5, 0, 2),
        (5, 0, 1),
    ]
    assert body["checkpoint"] == {"attempt": 2, "next_step": 10}
    assert body["weights"] == [
        {"attempt": 0, "first_step": 0, "end_step": 5},
        {"attempt": 2, "first_step": 5, "end_step": 10},
    ]
    assert body["attempts"][0]["config_sha256"] == tiny.digest()


def test_a_broken_lineage_is_an_error_not_a_new_beginning(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "lineage.json").write_text("{")
    with pytest.raises(InputError, match="lineage"):
        Lineage(str(tmp_path))
