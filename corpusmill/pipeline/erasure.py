"""The texts of documents in the files of a run: where they are, and how they go.

Every Parquet file with a column doc_id loses the words of the documents' rows (core/erasing.py); rows, counts and
identities stay. Other files are searched for the texts themselves. Token shards and documents.parquet are those of
tokenize/erase.py.
"""

from __future__ import annotations

import html
import json
import os
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpusmill.core import storage
from corpusmill.core.artifacts import ShardManifest
from corpusmill.core.erasing import erased
from corpusmill.core.errors import VerificationFailed
from corpusmill.core.hashing import UInt64Array, canonical_json

WINDOW_BYTES = 32  # a run of 63 bytes of a text holds a whole window
_DISTINCT_BYTES = 8  # a window with fewer says nothing of the text that it is from: spaces, dashes
_CHUNK_BYTES = 1 << 20
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd
_INVERSE = np.uint64(pow(0x9E3779B97F4A7C15, -1, 1 << 64))

_SLOTS = 1 << 24
_SLOT_SHIFT = np.uint64(40)

_CRAWL = "input"  # RUN/input: the sample crawl, input of the run
DERIVED = ("report.html",)  # made from the corpus, and made again from it; folders end with a slash


@dataclass
class Places:
    """Files of a run that quote documents, by path relative to the run.

    tables: Parquet files with rows of the documents that are not blank. derived: others that quote them and can be made
    again. others: files that quote them and that nothing here knows.
    """

    tables: list[str] = field(default_factory=list)
    derived: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def find_places(
    run: str, doc_ids: Sequence[str], passages: Passages, skip: Iterable[str], derived: Iterable[str]
) -> Places:
    """Looks through all files of a local run.

    passages: gets the texts that the tables hold, and is what other files are searched for; tokens may be in it.
    skip: files that are not looked into, by relative path: those that tokenize/erase.py rewrites.
    derived: files that can be made again where they quote the documents, and folders ("name/") that are not needed.
    """
    places = Places()
    known = set(skip)
    folders = tuple(name for name in derived if name.endswith("/"))
    files = set(derived) - set(folders)
    wanted = pa.array(sorted(doc_ids), pa.string())
    others = []
    for path in run_files(run):
        name = posixpath.relpath(path, run)
        if name in known:
            continue
        if name.startswith(folders):
            places.derived.append(name)
            continue
        if path.endswith(".parquet") and "doc_id" in pq.read_schema(path).names:
            if _rows_to_blank(path, wanted, passages):
                places.tables.append(name)
        else:
            others.append((path, name))
    for path, name in others:
        if passages.are_in(path):
            (places.derived if name in files else places.others).append(name)
    return places


def run_files(run: str) -> Iterator[str]:
    """Paths of the files of a local run, but the crawl in RUN/input and checkpoints; links are not followed."""
    root = storage.local_path(run)
    for folder, folders, names in os.walk(root):
        if Path(folder) == root:
            folders[:] = [name for name in folders if name != _CRAWL]
        if Path(folder) == root / "train":
            folders[:] = [name for name in folders if not name.startswith("checkpoint")]
        folders.sort()
        for name in sorted(names):
            path = Path(folder) / name
            if not path.is_symlink():
                yield str(path)


def _rows_to_blank(path: str, doc_ids: pa.Array, passages: Passages) -> bool:
    found = False
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            chosen = pc.is_in(file.read_row_group(group, columns=["doc_id"]).column("doc_id"), value_set=doc_ids)
            if pc.any(chosen).as_py():
                rows = file.read_row_group(group).filter(chosen)
                if not erased(rows, doc_ids).equals(rows):
                    found = True
                    for name in ("text", "excerpt"):
                        for text in rows.column(name).to_pylist() if name in rows.column_names else ():
                            passages.add_text(text)
    return found


def blank_rows(run: str, name: str, doc_ids: Sequence[str]) -> None:
    """Blanks the rows of the documents in a Parquet file of the run, which is replaced; its row groups stay."""
    path = storage.join(run, name)
    wanted = pa.array(sorted(doc_ids), pa.string())
    with pq.ParquetFile(path) as file, storage.open_write(path) as target:
        schema = file.schema_arrow
        with pq.ParquetWriter(
            target, schema, compression="zstd", compression_level=3, version="2.6", write_page_index=True
        ) as writer:
            for group in range(file.num_row_groups):
                table = erased(file.read_row_group(group), wanted)
                writer.write_table(table.cast(schema), row_group_size=max(1, table.num_rows))


def check_manifests(run: str, names: Iterable[str]) -> None:
    """Raises VerificationFailed when one of these files is not as its manifest states: its damage would be hidden."""
    wanted = set(names)
    for _, manifest, root in _manifests(run):
        for entry in manifest.files.values():
            name = posixpath.normpath(posixpath.join(root, entry.path))
            if name in wanted and storage.sha256_file(storage.join(run, name)) != entry.sha256:
                raise VerificationFailed(
                    "a file that would be rewritten does not have the SHA-256 of its manifest",
                    where=storage.join(run, name),
                    remedy="restore it, or make its stage again, before the takedown (`corpusmill verify RUN`)",
                )


def refresh_manifests(run: str, names: Iterable[str]) -> None:
    """States sizes and SHA-256 of these files in the manifests of the stages they belong to, as they are now."""
    wanted = set(names)
    for path, manifest, root in _manifests(run):
        files = dict(manifest.files)
        for kind, entry in files.items():
            name = posixpath.normpath(posixpath.join(root, entry.path))
            if name in wanted:
                full = storage.join(run, name)
                now = {"bytes": storage.size_bytes(full), "sha256": storage.sha256_file(full)}
                files[kind] = entry.model_copy(update=now)
        if files != manifest.files:
            changed = manifest.model_copy(update={"files": files})
            storage.write_text(path, changed.model_dump_json(indent=1) + "\n")
        _refresh_stage(storage.join(run, root, "manifest.json"), {e.path: e.sha256 for e in files.values()})


def _refresh_stage(path: str, files: dict[str, str]) -> None:
    """Puts the hashes of a shard's files into the manifest of its stage."""
    if not storage.exists(path):
        return
    body = json.loads(storage.read_bytes(path))
    changed = {name: sha256 for name, sha256 in files.items() if body["files"].get(name) != sha256}
    if changed:
        body["files"].update(changed)
        storage.write_bytes(path, canonical_json(body) + b"\n")


def _manifests(run: str) -> Iterator[tuple[str, ShardManifest, str]]:
    """(path, manifest, folder of its stage relative to the run) of every committed shard."""
    stages = storage.local_path(storage.join(run, "stages"))
    for stage in sorted(stages.iterdir()) if stages.is_dir() else ():
        for path in storage.list_files(str(stage / "shards"), ".json"):
            yield path, ShardManifest.model_validate_json(storage.read_bytes(path)), f"stages/{stage.name}"


class Passages:
    """Windows of WINDOW_BYTES bytes of texts and tokens, as hashes; to find where else they are written.

    A text is looked for as UTF-8, as JSON writes it and as HTML does. A copy of 63 bytes in a row is found.
    """

    def __init__(self) -> None:
        self._hashes: list[UInt64Array] = []
        self._sorted: UInt64Array | None = None
        self._known = np.zeros(_SLOTS, np.bool_)  # by the upper bits of a hash: whether there is one

    def add_text(self, text: str) -> None:
        """Adds the windows of a text."""
        forms = {text, html.escape(text), json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
        for form in sorted(forms):
            self.add_bytes(form.encode("utf-8", "surrogatepass"))

    def add_bytes(self, data: bytes) -> None:
        """Adds the windows of bytes, e.g. of tokens."""
        values = np.frombuffer(data, np.uint8)
        count = len(values) // WINDOW_BYTES
        windows = values[: count * WINDOW_BYTES].reshape(count, WINDOW_BYTES)
        ordered = np.sort(windows, axis=1)
        telling = 1 + np.count_nonzero(np.diff(ordered, axis=1), axis=1) >= _DISTINCT_BYTES
        powers = _powers(WINDOW_BYTES, _MULTIPLIER)
        self._hashes.append((windows[telling].astype(np.uint64) * powers).sum(axis=1, dtype=np.uint64))
        self._sorted = None

    def are_in(self, path: str) -> bool:
        """Whether a file has one of the windows; of a Parquet file the words of its columns are looked into."""
        return any(self._match(part) for part in _parts(path))

    def _match(self, data: npt.NDArray[np.uint8]) -> bool:
        if self._sorted is None:
            self._sorted = np.unique(np.concatenate([np.empty(0, np.uint64), *self._hashes]))
            self._known[:] = False
            self._known[self._sorted >> _SLOT_SHIFT] = True
        if not len(self._sorted) or len(data) < WINDOW_BYTES:
            return False
        hashes = _rolling(data)
        hashes = hashes[self._known[hashes >> _SLOT_SHIFT]]  # most of them are none
        if not len(hashes):
            return False
        at = np.minimum(np.searchsorted(self._sorted, hashes), len(self._sorted) - 1)
        return bool(np.any(self._sorted[at] == hashes))


@lru_cache(maxsize=8)  # the parts of files have a few lengths
def _powers(count: int, base: np.uint64) -> UInt64Array:
    powers = np.full(count, base, np.uint64)
    powers[:1] = 1
    return np.cumprod(powers, dtype=np.uint64)


def _rolling(data: npt.NDArray[np.uint8]) -> UInt64Array:
    """Hash of the window at every place: sum of data[i + k] * M^k mod 2^64 over k < WINDOW_BYTES, from prefix sums."""
    sums = np.zeros(len(data) + 1, np.uint64)
    np.cumsum(data.astype(np.uint64) * _powers(len(data), _MULTIPLIER), out=sums[1:])
    count = len(data) - WINDOW_BYTES + 1
    return (sums[WINDOW_BYTES:] - sums[:count]) * _powers(count, _INVERSE)


def _parts(path: str) -> Iterator[npt.NDArray[np.uint8]]:
    """The bytes of a file in parts that overlap by a window."""
    if path.endswith(".parquet"):
        with pq.ParquetFile(path) as file:
            names = [f.name for f in file.schema_arrow if str(f.type).removeprefix("large_") in ("string", "binary")]
            for group in range(file.num_row_groups if names else 0):
                for column in file.read_row_group(group, columns=names).columns:
                    for value in column.to_pylist():
                        data = value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else b""
                        yield np.frombuffer(data, np.uint8)
        return
    with open(path, "rb") as handle:
        tail = b""
        while data := handle.read(_CHUNK_BYTES):
            yield np.frombuffer(tail + data, np.uint8)
            tail = (tail + data)[-(WINDOW_BYTES - 1) :]
