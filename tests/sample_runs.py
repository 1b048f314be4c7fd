"""Runs of the quickstart recipe on the sample crawl, without training, for tests of the pipeline and the command."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from corpusmill.core import storage
from corpusmill.pipeline import recipe
from corpusmill.pipeline.chain import Chain
from corpusmill.pipeline.recipe import Recipe
from corpusmill.pipeline.runner import Selection, run_recipe
from corpusmill.pipeline.status import open_run

REPOSITORY = Path(__file__).resolve().parent.parent
RECIPE = str(REPOSITORY / "recipes" / "quickstart.yaml")
DOCUMENT_STAGES = ["warc", "url_filter", "extract", "language", "repetition", "quality", "lines"]
CORPUS_STEPS = ["url_dedup", "exact_dedup", "minhash", "substring"]
PRODUCTS = ["tokenizer", "tokens", "order"]


def load(*overrides: str) -> Recipe:
    """The quickstart recipe without training."""
    return recipe.load(RECIPE, ["train=null", *overrides])


def run(folder: Path, *overrides: str, workers: int = 2, selection: Selection | None = None) -> None:
    """Runs it in this process."""
    run_recipe(load(*overrides), str(folder), [], selection or Selection(), workers=workers, quiet=True)


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs `corpusmill` with `arguments` in a process of its own."""
    line = [sys.executable, "-m", "corpusmill", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def split(folder: Path, workers: int) -> None:
    """Makes the products of a finished run anew, with a tenth held out, in a process of its own."""
    settings = ["--set", "train=null", "--set", "held_out={key: corpusmill, share: 1/10}"]
    done = command("run", RECIPE, "--out", folder, "--workers", str(workers), *settings)
    assert done.returncode == 0, done.stderr


def chain(folder: Path) -> Chain:
    """The chain of a run."""
    return open_run(str(folder))[1]


def rows(folder: Path, stage: str, kind: str) -> list[dict[str, Any]]:
    """Rows of the table `kind` of `stage`, all shards."""
    files = storage.list_files(str(folder / "stages" / stage / kind), ".parquet")
    return [row for file in files for row in storage.read_parquet(file).to_pylist()]


def truth(folder: Path) -> dict[str, dict[str, Any]]:
    """What the sample crawl says about every record, by doc_id."""
    lines = (folder / "input" / "truth.jsonl").read_text(encoding="utf-8").splitlines()
    return {f"{r['warc_file']}:{r['offset']}": r for r in map(json.loads, lines)}


def events(folder: Path) -> list[dict[str, Any]]:
    """Lines of the run's event log."""
    return [json.loads(line) for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]


def load_script(path: str) -> ModuleType:
    """A script of the repository as a module."""
    name = Path(path).stem
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Result:
    """What one call of the command line gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout, which must be JSON and nothing else."""
        assert self.code in (0, 1), self.err
        return json.loads(self.out)


Mill = Callable[..., Result]


kill_run = load_script("bench/kill_run.py")


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every result file of a run, by path."""
    files: dict[str, str] = kill_run.digests(folder)
    assert len(files) > 100
    return files
