"""`verify` passes on a finished run and names whatever was changed in a copy of it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sample_runs import Mill


@pytest.mark.parametrize("mode", [["--quick"], ["--sample", "3"], ["--full"], []])
def test_a_finished_run_is_proved(mill: Mill, finished_run: Path, mode: list[str]) -> None:
    result = mill("verify", finished_run, *mode, "--json")
    assert (result.code, result.err) == (0, "")
    body = result.json
    assert set(body) == {"ok", "checks", "order_root"}
    assert body["ok"]
    assert len(body["order_root"]) == 64
    assert all(set(check) == {"name", "ok", "detail"} and check["ok"] for check in body["checks"])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 10)


def _zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize(
    ("pattern", "damage"),
    [
        ("tokens/*.bin", _flip),
        ("tokens/*.bin", _truncate),
        ("tokens/documents.parquet", _truncate),
        ("order/table-00000.parquet", _truncate),
        ("order/table-00000.parquet", _zero),
        ("order/table-00000.parquet", Path.unlink),
        ("order/roots.parquet", _zero),
        ("stages/language/out/*.parquet", _zero),
        ("stages/quality/removed/*.parquet", _flip),
        ("stages/quality/removed/*.parquet", Path.unlink),
        ("stages/minhash/removed/*.parquet", _truncate),
        ("stages/substring/spans/*.parquet", _flip),
    ],
)
def test_damage_is_found_and_named(
    mill: Mill, finished_run: Path, tmp_path: Path, pattern: str, damage: Callable[[Path], None]
) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run", symlinks=True))
    victim = max(run.glob(pattern), key=lambda p: (p.stat().st_size, p.name))
    damage(victim)
    result = mill("verify", run, "--json")
    assert result.code == 1
    assert "checks failed" in result.err
    assert "Traceback" not in result.err
    failed = [check for check in result.json["checks"] if not check["ok"]]
    assert not result.json["ok"]
    named = victim.name if victim.parent.name in ("tokens", "order") else victim.stem
    assert any(named in check["detail"] for check in failed), failed


def test_a_run_without_its_order_is_not_proved(mill: Mill, finished_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run", symlinks=True))
    shutil.rmtree(run / "order")
    result = mill("verify", run)
    assert result.code == 1
    assert "order" in result.err


def test_a_document_without_scores_is_found(mill: Mill, finished_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run", symlinks=True))
    path = sorted((run / "stages" / "quality" / "shards").iterdir())[0]
    manifest = json.loads(path.read_text())
    manifest["files"]["scores"]["rows"] -= 1
    path.write_text(json.dumps(manifest))
    result = mill("verify", run, "--quick", "--json")
    assert result.code == 1
    (failed,) = [check for check in result.json["checks"] if not check["ok"]]
    assert failed["name"] == "stage quality"
    assert "documents in, but scores of" in failed["detail"]
