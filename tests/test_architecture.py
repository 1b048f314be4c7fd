"""The direction of imports, and who may import Ray and torch (docs/architecture.md)."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "corpusmill"
ROOMS = ("core", "stages", "dedup", "tokenize", "training_hook", "audit", "pipeline", "cli")
MAY_IMPORT = {
    "core": set(),
    "stages": {"core"},
    "dedup": {"core"},
    "tokenize": {"core"},
    "training_hook": {"core", "tokenize"},
    "audit": {"core", "tokenize"},
    "pipeline": {"core", "stages", "dedup", "tokenize", "training_hook", "audit"},
    "cli": {"core", "stages", "dedup", "tokenize", "training_hook", "audit", "pipeline"},
}
MODULES = sorted(p for p in PACKAGE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def room_of(path: Path) -> str | None:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else None


def test_every_folder_is_a_known_room() -> None:
    folders = {p.name for p in PACKAGE.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert folders == set(ROOMS)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    room = room_of(path)
    if room is None:
        return
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "corpusmill" and len(parts) > 1 and parts[1] in ROOMS and parts[1] != room:
            assert parts[1] in MAY_IMPORT[room], f"{room} must not import {name}"
        if parts[0] == "ray":
            assert room == "pipeline", f"only pipeline imports ray, not {path}"
        if parts[0] == "torch":
            assert room == "training_hook", f"only training_hook imports torch, not {path}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_stay_readable_in_one_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 600


def test_everything_but_the_engine_and_the_trainer_imports_without_ray_and_torch() -> None:
    modules = [
        ".".join(("corpusmill", *p.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        for p in MODULES
        if room_of(p) in {"core", "stages", "dedup", "tokenize", "audit"}
    ]
    code = (
        "import sys, importlib\n"
        "sys.modules['ray'] = None\n"
        "sys.modules['torch'] = None\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_refinement_imports_without_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; import corpusmill.pipeline.runner, corpusmill.cli.main"
    subprocess.run([sys.executable, "-c", code], check=True)
