"""The files of the extra sources of a run: found when it is started, written beside its shards.

RUN/sources.json lists them with their identities, so that `status`, `explain` and `verify` know the run where the files
are gone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from corpusmill.core import storage
from corpusmill.core.errors import InputError
from corpusmill.pipeline.inputs import Shard, identity_of
from corpusmill.tokenize.shards import token_shard_name
from corpusmill.tokenize.sources import SourcesConfig, extra_columns, file_stem

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True)
class ExtraFile:
    """A file of an extra source: one shard of the product `tokens`. stem: its name without folder and suffix."""

    source: str
    stem: str
    path: str
    identity: str

    @property
    def name(self) -> str:
        """Name of the shard and of its token shard."""
        return token_shard_name(self.source, self.stem)


def find(config: SourcesConfig, shards: Sequence[Shard]) -> list[ExtraFile]:
    """The files that the recipe names, sources in its order, files by name.

    Raises InputError where a pattern matches nothing, a file does not fit, or two would have one name.
    """
    found: list[ExtraFile] = []
    for source, patterns in config.extra.items():
        paths: list[str] = []
        for pattern in patterns:
            matched = [path for path in storage.glob(pattern) if storage.exists(path)]
            if not matched:
                raise InputError(
                    f"no file matches the extra source `{source}`", where=pattern, remedy="check the path and wildcards"
                )
            paths += matched
        files = [ExtraFile(source, _UNSAFE.sub("_", file_stem(p)), p, identity_of(p)) for p in sorted(set(paths))]
        found += sorted(files, key=lambda file: (file.stem, file.path))
    taken: dict[str, str] = {shard.name: shard.slice.path for shard in shards}
    for file in found:
        if file.name in taken:
            raise InputError(
                "two files would give one token shard",
                where=f"{taken[file.name]} and {file.path}",
                value=file.name,
                remedy="rename one of them",
            )
        taken[file.name] = file.path
        extra_columns(file.path)
    return found


def save(run: str, files: Sequence[ExtraFile]) -> None:
    """Writes RUN/sources.json."""
    storage.write_text(_path(run), json.dumps([asdict(file) for file in files], indent=1) + "\n")


def load(run: str) -> list[ExtraFile]:
    """The extra files of a run; none where it is of an older version."""
    if not storage.exists(_path(run)):
        return []
    return [ExtraFile(**each) for each in json.loads(storage.read_text(_path(run)))]


def _path(run: str) -> str:
    return storage.join(run, "sources.json")
