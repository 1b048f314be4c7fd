"""One Ray session for the runs that these tests make in their own process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from corpusmill.pipeline.engine import Engine
from corpusmill.pipeline.progress import Reporter


@pytest.fixture(scope="module")
def ray_session() -> Iterator[None]:
    """Runs of this process use this session instead of starting one each."""
    with Engine(Reporter(quiet=True), workers=2):
        yield


@pytest.fixture
def copied_run(finished_run: Path, tmp_path: Path, ray_session: None) -> Path:
    """A copy of the finished run, to be changed."""
    return Path(shutil.copytree(finished_run, tmp_path / "run", symlinks=True))
