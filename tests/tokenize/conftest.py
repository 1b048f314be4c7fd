"""One small run for all tests of this folder, and copies of it to damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from token_runs import make_run, small_config


@pytest.fixture(scope="session")
def token_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with tokens and an order; read only."""
    run = tmp_path_factory.mktemp("token-run")
    make_run(run, small_config())
    return run


@pytest.fixture
def own_run(token_run: Path, tmp_path: Path) -> Path:
    """A copy of `token_run` that a test may change."""
    shutil.copytree(token_run, tmp_path / "run")
    return tmp_path / "run"
