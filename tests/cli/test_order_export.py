"""`order export` on a finished run: what it prints, what it writes, what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sample_runs import Mill

from corpusmill.tokenize.exports.export import FORMATS
from corpusmill.tokenize.reader import Order


@pytest.mark.parametrize("name", FORMATS)
def test_prints_grade_root_and_setup(mill: Mill, finished_run: Path, name: str, tmp_path: Path) -> None:
    result = mill("order", "export", finished_run, "--to", name, "--out", tmp_path / "out")
    assert result.code == 0
    lines = result.out.splitlines()
    order = Order.open(str(finished_run))
    assert lines[0] == "grade: exact order"
    assert lines[1] == f"order root: {order.root}"
    assert sum(line.startswith("setup: part-0000:") for line in lines) == 1
    assert any(line.startswith("lost: loss mask") for line in lines) == (name == "nanoset")
    assert f"export to {name}, steps: done: {order.steps}/{order.steps}" in result.err


def test_json_is_export_json(mill: Mill, finished_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = mill("order", "export", finished_run, "--to", "nanoset", "--out", out, "--no-masks", "--quiet", "--json")
    assert (result.code, result.json) == (0, json.loads((out / "export.json").read_bytes()))
    order = Order.open(str(finished_run))
    tokens = np.fromfile(out / "part-0000/00000_rows.ds", order.rule.tokenizer.dtype)
    assert np.array_equal(tokens, np.concatenate([order.step(n).tokens.ravel() for n in range(order.steps)]))


def test_refusals(mill: Mill, finished_run: Path, tmp_path: Path) -> None:
    for arguments, message in (
        (["--to", "parquet", "--out", tmp_path / "out"], "choose one of"),
        (["--to", "mds", "--out", finished_run], "not empty"),
        (["--to", "mds", "--out", finished_run, "--overwrite"], "files that no export wrote"),
    ):
        result = mill("order", "export", finished_run, *arguments)
        assert result.code == 2
        assert message in result.err
        assert "steps" not in result.err  # said before any work is done
    assert (finished_run / "order/order.json").exists()


def test_overwrite(mill: Mill, finished_run: Path, tmp_path: Path) -> None:
    arguments = ["order", "export", finished_run, "--to", "olmo", "--out", tmp_path / "out"]
    assert [mill(*arguments).code, mill(*arguments).code, mill(*arguments, "--overwrite").code] == [0, 2, 0]


def test_damaged_tokens_are_not_exported(mill: Mill, finished_run: Path, tmp_path: Path) -> None:
    run_copy = tmp_path / "run"
    for name in ("tokens", "order"):
        shutil.copytree(finished_run / name, run_copy / name)
    path = next(p for p in sorted((run_copy / "tokens").glob("*.bin")) if p.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    result = mill("order", "export", run_copy, "--to", "mds", "--out", tmp_path / "out")
    assert result.code == 1
    assert str(path) in result.err
    assert not (tmp_path / "out").exists()
