"""Commits of shards: what is there after a crash at any point, conservation, ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpusmill.core import artifacts, documents, storage
from corpusmill.core.artifacts import Counts, StageFolder, Tally
from corpusmill.core.errors import ConservationError
from corpusmill.core.verdicts import Verdicts

KEPT = pa.table({"doc_id": ["a:1", "a:2"], "text": pa.array(["one", "three"], pa.large_string())})


def _tables(**extra: pa.Table) -> dict[str, pa.Table]:
    gone = pa.table({"doc_id": ["a:3"], "url": ["u"], "warc_file": ["a"], "warc_offset": [3]})
    verdicts = Verdicts("quality", gone)
    verdicts.remove(0, "words_min", text="gone")
    result = verdicts.result()
    return {"out": KEPT, "removed": result.removed, "quarantine": result.quarantined, **extra}


def _counts(tables: dict[str, pa.Table], into: int = 3) -> Counts:
    kept = Tally(documents=2, characters=8)
    return Counts.of(into, 12, kept, tables["removed"], tables["quarantine"])


def _commit(folder: StageFolder, fingerprint: str = "f1", **extra: pa.Table) -> dict[str, pa.Table]:
    tables = _tables(**extra)
    folder.commit("s0", fingerprint, tables, _counts(tables), {"next_offset": 7})
    return tables


@pytest.fixture
def folder(tmp_path: Path) -> StageFolder:
    return StageFolder(str(tmp_path), "quality")


def test_commit_and_read_back(folder: StageFolder) -> None:
    tables = _commit(folder)
    manifest = folder.committed("s0", "f1")
    assert manifest is not None
    assert manifest.facts == {"next_offset": 7}
    assert manifest.files["out"].rows == 2
    assert folder.committed("s0", "f2") is None
    assert folder.committed("s1", "f1") is None
    for kind, table in tables.items():
        assert folder.read(kind, "s0").equals(table)
        assert storage.sha256_file(folder.path(kind, "s0")) == manifest.files[kind].sha256


def test_the_manifest_goes_first_and_comes_last(folder: StageFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    _commit(folder)
    operations: list[tuple[str, str]] = []

    def spy(name: str) -> None:
        real = getattr(storage, name)

        def call(path: str, *args: Any) -> None:
            operations.append((name, path))
            real(path, *args)

        monkeypatch.setattr(storage, name, call)

    for name in ("remove", "write_bytes", "write_text"):
        spy(name)
    _commit(folder, "f2")
    manifest = folder.manifest_path("s0")
    assert operations[0] == ("remove", manifest)
    writes = [path for name, path in operations if name != "remove"]
    assert writes[-1] == manifest
    assert writes.count(manifest) <= 2  # write_text may itself call write_bytes


@pytest.mark.parametrize("survived", range(4))
def test_a_crash_between_two_files_leaves_no_shard(
    folder: StageFolder, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    _commit(folder)
    real = storage.write_bytes
    written = 0

    def dies(path: str, data: bytes) -> None:
        nonlocal written
        if written == survived:
            raise KeyboardInterrupt
        written += 1
        real(path, data)

    monkeypatch.setattr(storage, "write_bytes", dies)
    with pytest.raises(KeyboardInterrupt):
        _commit(folder, "f2")
    assert folder.committed("s0", "f1") is None, "files of two fingerprints lie side by side"
    assert folder.committed("s0", "f2") is None
    monkeypatch.undo()
    _commit(folder, "f2")
    assert folder.committed("s0", "f2") is not None


def test_truncated_missing_and_foreign_files_are_not_committed(folder: StageFolder) -> None:
    _commit(folder)
    path = Path(folder.path("out", "s0"))
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    assert folder.committed("s0", "f1") is None
    path.write_bytes(data)
    assert folder.committed("s0", "f1") is not None
    path.unlink()
    assert folder.committed("s0", "f1") is None


@pytest.mark.parametrize("body", ["", "{}", "{ half", '{"stage": "quality", "unknown": 1}', "\x00" * 40])
def test_an_unreadable_manifest_is_no_manifest(folder: StageFolder, body: str) -> None:
    _commit(folder)
    Path(folder.manifest_path("s0")).write_text(body)
    assert folder.manifest("s0") is None
    assert folder.committed("s0", "f1") is None


def test_a_table_that_is_no_longer_made_goes(folder: StageFolder) -> None:
    _commit(folder, spans=documents.empty(documents.SPAN))
    assert storage.exists(folder.path("spans", "s0"))
    _commit(folder, "f2")
    assert not storage.exists(folder.path("spans", "s0"))


def test_nothing_is_written_when_documents_do_not_add_up(folder: StageFolder, tmp_path: Path) -> None:
    tables = _tables()
    with pytest.raises(ConservationError, match="4 documents in, but 2 kept \\+ 1 removed \\+ 0 quarantined"):
        folder.commit("s0", "f1", tables, _counts(tables, into=4))
    assert list(tmp_path.rglob("*")) == []


def test_the_same_shard_gives_the_same_bytes(tmp_path: Path) -> None:
    files = []
    for name in ("one", "two"):
        folder = StageFolder(str(tmp_path / name), "quality")
        _commit(folder)
        folder.finish("f", {"min_words": 50}, ["s0"])
        root = Path(folder.root)
        files.append({p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()})
    assert files[0] == files[1]


def test_finish_writes_the_ledger_and_drops_other_shards(folder: StageFolder) -> None:
    _commit(folder)
    tables = _tables()
    folder.commit("old", "f0", tables, _counts(tables))
    folder.finish("f", {"min_words": 50}, ["s0"])
    left = {p.name for p in Path(folder.root).rglob("*") if p.is_file()}
    assert left == {"s0.parquet", "s0.json", "manifest.json", "ledger.parquet"}
    ledger = storage.read_parquet(storage.join(folder.root, "ledger.parquet"))
    assert ledger.schema == artifacts.LEDGER
    assert [(r["kind"], r["rule"], r["documents"], r["characters"]) for r in ledger.to_pylist()] == [
        ("in", "", 3, 12),
        ("kept", "", 2, 8),
        ("removed", "words_min", 1, 4),
    ]


tallies = st.builds(Tally, documents=st.integers(0, 99), characters=st.integers(0, 9999))
counts = st.builds(
    Counts,
    into=tallies,
    kept=tallies,
    removed=st.dictionaries(st.sampled_from("abc"), tallies),
    quarantined=st.dictionaries(st.sampled_from("xyz"), tallies),
)


@given(counts, counts, counts)
def test_counts_add_in_any_order(a: Counts, b: Counts, c: Counts) -> None:
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a + Counts() == a
    assert list((a + b).removed) == sorted({*a.removed, *b.removed})


def test_fingerprints_do_not_depend_on_the_order_of_keys() -> None:
    assert artifacts.fingerprint(a=1, b={"x": 1, "y": 2}) == artifacts.fingerprint(b={"y": 2, "x": 1}, a=1)
    assert artifacts.fingerprint(a=1) != artifacts.fingerprint(a=1.5)


def test_a_doc_id_twice_is_found() -> None:
    artifacts.check_distinct(pa.chunked_array([["a:1"], ["a:2"]]), "here")
    with pytest.raises(ConservationError, match="a:2"):
        artifacts.check_distinct(pa.chunked_array([["a:1", "a:2"], ["a:2"]]), "here")
