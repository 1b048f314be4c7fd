"""Fixtures that every folder of tests may use."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from corpusmill.core import models

# No deadline: the first call of a kernel compiles it, and machines of continuous integration are slow at times.
settings.register_profile("corpusmill", deadline=None)
settings.load_profile("corpusmill")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_crawl() -> Path:
    """Folder of real pages beside the repository; tests that need it are skipped where it is absent."""
    folder = REPOSITORY.parent / "shared" / "data" / "crawl"
    if not folder.is_dir():
        pytest.skip("real pages are absent: ../shared/data/crawl")
    return folder


@pytest.fixture(scope="session")
def lid_model() -> Path:
    """The language model, fetched once into the user's folder of models."""
    return Path(models.fetch("lid.176"))


@pytest.fixture(scope="session")
def split_run(tmp_path_factory: pytest.TempPathFactory, finished_run: Path) -> Path:
    """The finished run with a tenth held out, two workers. Shared: tests only read it."""
    import sample_runs

    run = Path(shutil.copytree(finished_run, tmp_path_factory.mktemp("split") / "run", symlinks=True))
    sample_runs.split(run, 2)
    return run


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, lid_model: Path) -> Path:
    """The quickstart recipe on the sample crawl, without training, two workers. Shared: tests only read it."""
    import sample_runs

    run = tmp_path_factory.mktemp("finished") / "run"
    done = sample_runs.command("run", sample_runs.RECIPE, "--out", run, "--workers", "2", "--set", "train=null")
    assert done.returncode == 0, done.stderr
    return run
