"""The chain of a run: its steps with fingerprints, what of it is committed, and the documents between two steps.

A step that only filters stores no output: its output is that of the nearest stored step before it, without the
documents removed or quarantined since. So a changed threshold reruns its own stage and those after it, and nothing is
stored twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from corpusmill.core import artifacts, storage
from corpusmill.core.artifacts import ShardManifest, StageFolder
from corpusmill.core.hashing import canonical_json
from corpusmill.dedup.base import CorpusStep
from corpusmill.pipeline.inputs import Shard
from corpusmill.pipeline.recipe import Recipe
from corpusmill.pipeline.registry import CORPUS_STEPS, DOCUMENT_STAGES, WARC
from corpusmill.stages.base import DocumentStage
from corpusmill.stages.warc import WarcStage


@dataclass(frozen=True)
class Step:
    """One step of the chain.

    fingerprint: of name, version, config, model files and everything before; for a corpus step also of the inputs.
    stored: whether kept documents are written to `out/`.
    """

    name: str
    corpus_wide: bool
    config: Mapping[str, Any]
    fingerprint: str
    stored: bool


@lru_cache(maxsize=32)
def _instance(name: str, config_json: bytes) -> Any:
    if name == WARC:
        return WarcStage(WarcStage.Config.model_validate_json(config_json))
    kinds: dict[str, Any] = {**DOCUMENT_STAGES, **CORPUS_STEPS}
    return kinds[name](kinds[name].Config.model_validate_json(config_json))


def document_stage(name: str, config: Mapping[str, Any]) -> DocumentStage[Any]:
    """The stage, made once in each process: stages are pure, so sharing one changes nothing but the loading time."""
    stage: DocumentStage[Any] = _instance(name, canonical_json(config))
    return stage


def warc_stage(config: Mapping[str, Any]) -> WarcStage:
    """The WARC stage, made once in each process."""
    stage: WarcStage = _instance(WARC, canonical_json(config))
    return stage


def corpus_step(name: str, config: Mapping[str, Any]) -> CorpusStep[Any]:
    """The corpus step, made once in each process."""
    step: CorpusStep[Any] = _instance(name, canonical_json(config))
    return step


@dataclass(frozen=True)
class Chain:
    """All document stages and corpus steps of a run over its shards. Picklable; tasks carry it."""

    run: str
    steps: tuple[Step, ...]
    shards: tuple[Shard, ...]

    @staticmethod
    def of(run: str, recipe: Recipe, shards: Sequence[Shard]) -> Chain:
        """The chain that `recipe` asks for."""
        steps: list[Step] = []
        parent = ""
        last = list(recipe.stages)[-1]
        for name, config in recipe.stages.items():
            stored = name == last
            if name == WARC:
                parts: dict[str, Any] = {"version": WarcStage.version, "config": warc_stage(config).identity()}
            elif name in DOCUMENT_STAGES:
                stage = document_stage(name, config)
                resources = [storage.sha256_file(path) for path in stage.resource_files()]
                parts = {
                    "version": stage.version,
                    "config": dict(config),
                    "resources": resources,
                    "packages": artifacts.package_versions(stage.packages),
                }
                stored = stored or not stage.only_filters
            else:
                step = corpus_step(name, config)
                inputs = [[s.name, s.identity] for s in shards]
                parts = {
                    "version": step.version,
                    "config": step.config.identity(),
                    "inputs": inputs,
                    "resources": [storage.sha256_file(path) for path in step.resource_files()],
                    "packages": artifacts.package_versions(step.packages),
                }
                stored = stored or step.edits_text
            parent = artifacts.fingerprint(stage=name, parent=parent, **parts)
            steps.append(Step(name, name in CORPUS_STEPS, dict(config), parent, stored))
        return Chain(run, tuple(steps), tuple(shards))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Step names in running order."""
        return tuple(step.name for step in self.steps)

    @property
    def documents_end(self) -> int:
        """Number of leading steps that look at one document at a time."""
        return sum(not step.corpus_wide for step in self.steps)

    def index(self, name: str) -> int:
        """Position of the step `name`."""
        return self.names.index(name)

    def folder(self, index: int) -> StageFolder:
        """Folder of step `index`."""
        return StageFolder(self.run, self.steps[index].name)

    def fingerprint(self, index: int, shard: Shard) -> str:
        """What the manifest of `shard` at step `index` must carry."""
        return artifacts.fingerprint(step=self.steps[index].fingerprint, shard=shard.name, identity=shard.identity)

    def committed(self, index: int, shard: Shard) -> ShardManifest | None:
        """The manifest of `shard` at step `index` if it is up to date."""
        return self.folder(index).committed(shard.name, self.fingerprint(index, shard))

    def first_stale(self, shard: Shard, end: int) -> int:
        """First step before `end` at which `shard` is not committed; `end` when all are."""
        for index in range(end):
            if self.committed(index, shard) is None:
                return index
        return end

    def stored_at(self, index: int) -> int | None:
        """Nearest step at or before `index` whose output is stored; None when that would be a WARC."""
        for i in range(index, -1, -1):
            if self.steps[i].stored:
                return i
        return None

    def dropped(self, start: int, end: int, shard: str) -> pa.Array:
        """doc_ids that steps start..end-1 removed or quarantined in `shard`."""
        ids = [
            self.folder(i).read(kind, shard, ["doc_id"]).column("doc_id").combine_chunks()
            for i in range(start, end)
            for kind in ("removed", "quarantine")
        ]
        return pa.concat_arrays(ids) if ids else pa.array([], pa.string())

    def without_dropped(self, table: pa.Table, start: int, end: int, shard: str) -> pa.Table:
        """`table`, which entered step `start`, as it left step end-1, if those steps only filter."""
        gone = self.dropped(start, end, shard)
        if len(gone) == 0:
            return table
        return table.filter(pc.invert(pc.is_in(table.column("doc_id"), value_set=gone)))

    def kept(self, index: int, shard: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Documents of `shard` as they left step `index`, which must be committed and at or behind a stored step."""
        source = self.stored_at(index)
        assert source is not None, "no stored step before this one"
        wanted = None if columns is None else list(dict.fromkeys(["doc_id", *columns]))
        table = self.folder(source).read("out", shard, wanted)
        table = self.without_dropped(table, source + 1, index + 1, shard)
        return table if columns is None else table.select(list(columns))
