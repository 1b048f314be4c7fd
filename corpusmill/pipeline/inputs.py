"""From what the user names to the list of shards: WARC files, cut in slices, each with its identity."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from corpusmill.core import storage
from corpusmill.core.errors import InputError
from corpusmill.core.hashing import digest
from corpusmill.pipeline.recipe import BUILT_IN_SAMPLE
from corpusmill.stages.warc import Slice, plan_slices

_SAMPLED_BYTES = 65_536
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True)
class Shard:
    """A slice of a WARC as the unit of work. `identity` tells its content without reading all of it."""

    name: str
    identity: str
    slice: Slice


def expand(patterns: Sequence[str], run: str) -> list[str]:
    """Paths of the WARC files that `patterns` name, sorted; the sample crawl is built under RUN/input first."""
    if not patterns:
        raise InputError(
            "no input",
            remedy="name WARC files with --input, or write `input: sample` in the recipe for the sample crawl",
        )
    paths: list[str] = []
    for pattern in patterns:
        if pattern == BUILT_IN_SAMPLE:
            paths += build_sample(run)
            continue
        found = [p for p in storage.glob(pattern) if storage.exists(p)]
        if not found:
            raise InputError("no file matches the input", where=pattern, remedy="check the path; quote wildcards")
        paths += found
    paths = sorted(set(paths))
    names: dict[str, str] = {}
    for path in paths:
        name = storage.file_name(path)
        if name in names:
            raise InputError(
                "two inputs have the same file name, and doc_id is made of it",
                where=f"{names[name]} and {path}",
                remedy="rename one of them, or run them apart",
            )
        names[name] = path
    return paths


def plan_shards(paths: Sequence[str], crawl: str, slice_bytes: int) -> list[Shard]:
    """The shards of `paths`, sorted by name."""
    shards = []
    for path in paths:
        identity = identity_of(path)
        stem = _UNSAFE.sub("_", storage.file_name(path))  # with its suffixes: a.warc.gz and a.arc.gz are two files
        for piece in plan_slices(path, crawl, slice_bytes):
            shards.append(Shard(f"{stem}--{piece.index:04d}", f"{identity}:{piece.start}-{piece.end}", piece))
    shards.sort(key=lambda shard: shard.name)
    doubled = [a.name for a, b in pairwise(shards) if a.name == b.name]
    if doubled:
        raise InputError("two inputs give one shard name", where=doubled[0], remedy="rename one of the files")
    return shards


def identity_of(path: str) -> str:
    """Hash of name, size, and the first and last 64 KiB: tells replaced files apart without reading them whole."""
    size = storage.size_bytes(path)
    with storage.open_read(path) as file:
        head = file.read(_SAMPLED_BYTES)
        file.seek(max(0, size - _SAMPLED_BYTES))
        tail = file.read(_SAMPLED_BYTES)
    return digest(f"{storage.file_name(path)}\0{size}\0".encode() + head + tail)


def save(run: str, shards: Sequence[Shard]) -> None:
    """Writes RUN/inputs.json, from which `status`, `stage` and `explain` know the shards."""
    body = [{"name": s.name, "identity": s.identity, "slice": asdict(s.slice)} for s in shards]
    storage.write_text(storage.join(run, "inputs.json"), json.dumps(body, indent=1) + "\n")


def load(run: str) -> list[Shard]:
    """The shards of a run. Raises InputError when `run` is not a run folder."""
    path = storage.join(run, "inputs.json")
    if not storage.exists(path):
        raise InputError("not a run folder: it has no inputs.json", where=run, remedy="corpusmill run RECIPE --out RUN")
    return [Shard(s["name"], s["identity"], Slice(**s["slice"])) for s in json.loads(storage.read_text(path))]


def build_sample(run: str) -> list[str]:
    """Builds the sample crawl under RUN/input if it is not there yet; paths of its WARC files."""
    folder = Path(storage.local_path(storage.join(run, "input")))
    if not (folder / "truth.jsonl").exists():
        package = Path(__file__).resolve().parents[2] / "examples" / "crawl" / "sample_crawl"
        if not package.is_dir():
            raise InputError(
                "the sample crawl is only part of a source checkout",
                where=str(package),
                remedy="clone the repository, or name WARC files with --input",
            )
        spec = importlib.util.spec_from_file_location("sample_crawl", package / "__init__.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Built aside and moved in one step: an interrupted build must not look like a whole one.
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            module.build(Path(scratch) / "input")
            (Path(scratch) / "input").rename(folder)
    return sorted(str(p) for p in folder.glob("*.warc.gz"))
