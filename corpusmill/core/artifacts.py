"""A stage's output on disk: fingerprints, atomic commit, per-shard manifests, the ledger, resume.

    RUN/stages/<name>/
        out/<shard>.parquet         kept documents, where the stage is materialised
        removed/<shard>.parquet     REMOVAL rows
        quarantine/<shard>.parquet  QUARANTINE rows
        spans/<shard>.parquet       SPAN rows, only from stages that cut text
        clusters/<shard>.parquet    duplicate clusters, only from dedup
        scores/<shard>.parquet      one row for every document that entered the stage, only from stages that score
        shards/<shard>.json         ShardManifest, written last: a shard without one does not exist
        manifest.json, ledger.parquet   written when every shard is there

A shard is done when its manifest carries the fingerprint that the plan asks for and its files have the sizes written
there. Number of workers, machines, retries and times are in none of these files.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, ValidationError

from corpusmill.core import documents, storage
from corpusmill.core.errors import ConservationError
from corpusmill.core.hashing import canonical_json, digest

KINDS = ("out", "removed", "quarantine", "spans", "clusters", "scores")

LEDGER = pa.schema(
    [
        pa.field("stage", pa.string(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),  # in, kept, removed, quarantined
        pa.field("rule", pa.string(), nullable=False),  # rule or reason, "" for in and kept
        pa.field("documents", pa.int64(), nullable=False),
        pa.field("characters", pa.int64(), nullable=False),
    ]
)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Tally(_Frozen):
    """Documents and characters (code points) under one heading."""

    documents: int = 0
    characters: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(documents=self.documents + other.documents, characters=self.characters + other.characters)


class Counts(_Frozen):
    """What went into a stage and what became of it. `into` = kept + removed + quarantined, in documents."""

    into: Tally = Tally()
    kept: Tally = Tally()
    removed: dict[str, Tally] = {}
    quarantined: dict[str, Tally] = {}

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            into=self.into + other.into,
            kept=self.kept + other.kept,
            removed=_merge(self.removed, other.removed),
            quarantined=_merge(self.quarantined, other.quarantined),
        )

    def check(self, where: str) -> None:
        """Raises ConservationError unless documents in = kept + removed + quarantined."""
        removed = sum(t.documents for t in self.removed.values())
        quarantined = sum(t.documents for t in self.quarantined.values())
        if self.into.documents != self.kept.documents + removed + quarantined:
            raise ConservationError(
                f"{self.into.documents} documents in, but {self.kept.documents} kept + {removed} removed"
                f" + {quarantined} quarantined",
                where=where,
                remedy="this is a bug of the stage: please report it with the recipe and the shard",
            )

    @staticmethod
    def of(documents_in: int, characters_in: int, kept: Tally, removed: pa.Table, quarantined: pa.Table) -> Counts:
        """Counts from the REMOVAL and QUARANTINE tables of one shard."""
        return Counts(
            into=Tally(documents=documents_in, characters=characters_in),
            kept=kept,
            removed=_by(removed, "rule"),
            quarantined=_by(quarantined, "reason"),
        )


def _by(table: pa.Table, column: str) -> dict[str, Tally]:
    if table.num_rows == 0:
        return {}
    groups = table.group_by(column).aggregate([("characters", "sum"), ("characters", "count")]).to_pylist()
    tallies = {g[column]: Tally(documents=g["characters_count"], characters=g["characters_sum"]) for g in groups}
    return dict(sorted(tallies.items()))


def _merge(a: Mapping[str, Tally], b: Mapping[str, Tally]) -> dict[str, Tally]:
    return {k: a.get(k, Tally()) + b.get(k, Tally()) for k in sorted({*a, *b})}


class FileEntry(_Frozen):
    """One file of a shard; `path` is relative to the stage's folder."""

    path: str
    bytes: int
    sha256: str
    rows: int


class ShardManifest(_Frozen):
    """The commit record of one shard of one stage."""

    stage: str
    shard: str
    fingerprint: str
    files: dict[str, FileEntry]
    counts: Counts
    facts: dict[str, Any] = {}  # small, deterministic, e.g. where the next slice begins


def fingerprint(**parts: Any) -> str:
    """SHA-256 (hexadecimal) of the canonical JSON of `parts`."""
    return digest(canonical_json(parts))


def package_versions(names: Sequence[str]) -> dict[str, str]:
    """Installed versions of the distributions `names`, for the fingerprints of stages whose results they decide."""
    return {name: metadata.version(name) for name in names}


class StageFolder:
    """The folder of one stage of one run."""

    def __init__(self, run: str, name: str) -> None:
        self.name = name
        self.root = storage.join(run, "stages", name)

    def path(self, kind: str, shard: str) -> str:
        """Where the table `kind` (see KINDS) of `shard` is."""
        return storage.join(self.root, kind, f"{shard}.parquet")

    def manifest_path(self, shard: str) -> str:
        """Where the manifest of `shard` is."""
        return storage.join(self.root, "shards", f"{shard}.json")

    def manifest(self, shard: str) -> ShardManifest | None:
        """The manifest of `shard`, whatever its fingerprint; None when there is none or it cannot be read."""
        path = self.manifest_path(shard)
        if not storage.exists(path):
            return None
        try:
            return ShardManifest.model_validate_json(storage.read_bytes(path))
        except ValidationError:
            return None  # of an older layout: the shard is made again

    def committed(self, shard: str, expected: str) -> ShardManifest | None:
        """The manifest of `shard` if it was committed under `expected` and its files have their sizes."""
        manifest = self.manifest(shard)
        if manifest is None or manifest.fingerprint != expected:
            return None
        for entry in manifest.files.values():
            path = storage.join(self.root, entry.path)
            if not storage.exists(path) or storage.size_bytes(path) != entry.bytes:
                return None
        return manifest

    def commit(
        self,
        shard: str,
        fingerprint: str,
        tables: Mapping[str, pa.Table],
        counts: Counts,
        facts: Mapping[str, Any] | None = None,
    ) -> ShardManifest:
        """Writes the tables, then the manifest. Checks conservation first.

        The old manifest goes first: while files of two fingerprints may lie side by side, the shard does not exist.
        """
        counts.check(f"stage {self.name}, shard {shard}")
        if "scores" in tables and tables["scores"].num_rows != counts.into.documents:
            raise ConservationError(
                f"{counts.into.documents} documents in, but scores of {tables['scores'].num_rows}",
                where=f"stage {self.name}, shard {shard}",
                remedy="this is a bug of the stage: please report it with the recipe and the shard",
            )
        storage.remove(self.manifest_path(shard))
        files: dict[str, FileEntry] = {}
        for kind in KINDS:
            if kind not in tables:
                storage.remove(self.path(kind, shard))
                continue
            data = storage.parquet_bytes(tables[kind])
            storage.write_bytes(self.path(kind, shard), data)
            files[kind] = FileEntry(
                path=f"{kind}/{shard}.parquet",
                bytes=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
                rows=tables[kind].num_rows,
            )
        manifest = ShardManifest(
            stage=self.name,
            shard=shard,
            fingerprint=fingerprint,
            files=files,
            counts=counts,
            facts=dict(facts or {}),
        )
        storage.write_text(self.manifest_path(shard), manifest.model_dump_json(indent=1) + "\n")
        return manifest

    def read(self, kind: str, shard: str, columns: list[str] | None = None) -> pa.Table:
        """Table `kind` of a committed shard."""
        return storage.read_parquet(self.path(kind, shard), columns)

    def finish(self, fingerprint: str, config: Mapping[str, Any], shards: Sequence[str]) -> None:
        """Writes manifest.json and ledger.parquet of a stage whose shards are committed; drops other shards' files."""
        manifests = [m for m in (self.manifest(s) for s in shards) if m is not None]
        keep = set(shards)
        for kind in ("shards", *KINDS):
            suffix = ".json" if kind == "shards" else ".parquet"
            for path in storage.list_files(storage.join(self.root, kind), suffix):
                if storage.file_name(path).removesuffix(suffix) not in keep:
                    storage.remove(path)
        total = sum((m.counts for m in manifests), Counts())
        body = {
            "stage": self.name,
            "fingerprint": fingerprint,
            "config": dict(config),
            "shards": list(shards),
            "counts": total.model_dump(),
            "files": {e.path: e.sha256 for m in manifests for e in m.files.values()},
        }
        data = canonical_json(body) + b"\n"
        path = storage.join(self.root, "manifest.json")
        if storage.exists(path) and storage.read_bytes(path) == data:
            return  # finished before, and nothing has changed since
        storage.write_parquet(storage.join(self.root, "ledger.parquet"), ledger(manifests))
        storage.write_bytes(path, data)


def ledger(manifests: Iterable[ShardManifest]) -> pa.Table:
    """LEDGER rows of the shards: in, kept, one row a removal rule, one a quarantine reason."""
    rows = []
    for m in manifests:
        lines = [("in", "", m.counts.into), ("kept", "", m.counts.kept)]
        lines += [("removed", rule, tally) for rule, tally in m.counts.removed.items()]
        lines += [("quarantined", reason, tally) for reason, tally in m.counts.quarantined.items()]
        rows += [
            {
                "stage": m.stage,
                "shard": m.shard,
                "kind": kind,
                "rule": rule,
                "documents": tally.documents,
                "characters": tally.characters,
            }
            for kind, rule, tally in lines
        ]
    return documents.table_of(rows, LEDGER)


def check_distinct(doc_ids: pa.ChunkedArray, where: str) -> None:
    """Raises ConservationError when a doc_id occurs twice."""
    if pc.count_distinct(doc_ids).as_py() != len(doc_ids):
        twice = [k for k, n in Counter(doc_ids.to_pylist()).items() if n > 1]
        raise ConservationError("a doc_id occurs more than once", where=where, value=twice[0])
