"""Exports, read by the trainers' own packages (bench/exports.py does more of it, on larger orders).

megatron-core and datatrove come with the extra `dev`. The others are read in the environments that
bench/peers/setup_readers makes, where they are.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_orders import made_order

from corpusmill.tokenize.exports.export import export_order

REPOSITORY = Path(__file__).resolve().parents[3]
PEERS = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "corpusmill/peers"
READERS = {
    "megatron": ("megatron", "readers"),
    "nanoset": ("datatrove", "readers"),
    "olmo": ("olmo_core", "readers"),
    "mds": ("streaming", "readers-mds"),
}


def python_with(format_name: str) -> str:
    """A Python that has the reader of a format."""
    module, environment = READERS[format_name]
    if importlib.util.find_spec(module) is not None:
        return sys.executable
    python = PEERS / environment / "bin/python"
    if not python.exists():
        pytest.skip(f"{module} is not installed: bench/peers/setup_readers makes an environment that has it")
    return str(python)


@pytest.mark.parametrize("name", READERS)
def test_the_trainers_own_reader_reads_the_order(name: str, tmp_path: Path) -> None:
    python = python_with(name)
    order = made_order((3, 4, 24), (2, 6, 9), vocab_size=60_000)
    export = export_order(order, name, str(tmp_path / "out"))
    read = tmp_path / "read"
    read.mkdir()
    command = [python, str(REPOSITORY / "bench/peers/read_export.py"), str(tmp_path / "out"), str(read)]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout.splitlines()[-1])) == {"package", "version"}
    for part in export.parts:
        got = np.load(read / f"{part.folder}.npz")
        steps = [order.step(n) for n in range(part.first_step, part.first_step + part.steps)]
        assert np.array_equal(got["tokens"], np.concatenate([s.tokens for s in steps]))
        assert ("loss_mask" in got) == (name != "nanoset")
        if "loss_mask" in got:
            assert np.array_equal(got["loss_mask"], np.concatenate([s.loss_mask for s in steps]))
        assert ("positions" in got) == (name != "olmo")
        if "positions" in got:
            ids = np.concatenate([s.segment_ids for s in steps])[:, : got["positions"].shape[1]]
            anew = got["positions"] == 0
            assert np.array_equal(anew[:, 1:], ids[:, 1:] != ids[:, :-1])
            assert np.array_equal(got["positions"][:, 1:][~anew[:, 1:]], got["positions"][:, :-1][~anew[:, 1:]] + 1)
        for rows in (got[n].reshape(part.steps, part.batch_size, -1) for n in got if n.startswith("ranks_")):
            for step, of_ranks in zip(steps, rows, strict=True):
                assert sorted(of_ranks.tolist()) == sorted(step.tokens.tolist())
