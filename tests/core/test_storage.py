"""Atomic writes, listings, and Parquet bytes that depend on nothing but the table."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpusmill.core import storage
from corpusmill.core.errors import InfrastructureError, InputError


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = str(tmp_path / "a.txt")
    storage.write_text(path, "old")

    def write_half() -> None:
        with storage.open_write(path) as file:
            file.write(b"half of the n")
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        write_half()
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert storage.read_text(path) == "old"


def test_nothing_is_seen_before_the_end_of_the_block(tmp_path: Path) -> None:
    path = str(tmp_path / "deep" / "er" / "a.bin")
    with storage.open_write(path) as file:
        file.write(b"abc")
        file.flush()
        assert not storage.exists(path)
        assert storage.list_files(str(tmp_path / "deep" / "er")) == []  # the temporary file is not listed
    assert storage.read_bytes(path) == b"abc"


def test_a_disk_error_becomes_an_infrastructure_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InfrastructureError, match="free space") as caught:
        storage.write_bytes(str(tmp_path / "a"), b"x")
    assert caught.value.where == str(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_file_urls_are_local(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/a.txt"
    storage.write_text(url, "日本")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "日本"
    assert storage.size_bytes(url) == 6
    assert storage.exists(url)
    storage.remove(url)
    storage.remove(url)
    assert not storage.exists(url)


def test_object_stores_are_written_through_fsspec() -> None:
    url = "memory:///test-storage/folder/a.bin"
    storage.write_bytes(url, b"abc")
    assert storage.read_bytes(url) == b"abc"
    assert storage.size_bytes(url) == 3
    assert storage.list_files("memory:///test-storage/folder", ".bin") == ["memory:///test-storage/folder/a.bin"]
    assert storage.glob("memory:///test-storage/*/*.bin") == ["memory:///test-storage/folder/a.bin"]
    storage.remove(url)
    assert not storage.exists(url)


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    path = str(tmp_path / "none")
    for read in (storage.read_bytes, storage.size_bytes, storage.sha256_file):
        with pytest.raises(InputError, match="no such file"):
            read(path)
    assert storage.list_files(path) == []


def test_sha256_of_a_file_larger_than_one_chunk(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    storage.write_bytes(str(tmp_path / "a"), data)
    assert storage.sha256_file(str(tmp_path / "a")) == hashlib.sha256(data).hexdigest()


def test_glob_is_sorted_and_leaves_plain_names_alone(tmp_path: Path) -> None:
    for name in ("b.warc.gz", "a.warc.gz", "sub/c.warc.gz", "x.txt"):
        storage.write_text(str(tmp_path / name), "")
    assert storage.glob(f"{tmp_path}/*.warc.gz") == [f"{tmp_path}/a.warc.gz", f"{tmp_path}/b.warc.gz"]
    assert f"{tmp_path}/sub/c.warc.gz" in storage.glob(f"{tmp_path}/**/*.warc.gz")
    assert storage.glob(f"{tmp_path}/none.warc.gz") == [f"{tmp_path}/none.warc.gz"]
    assert storage.glob(f"{tmp_path}/none*") == []


@pytest.mark.parametrize(
    ("path", "name"),
    [("a/b.gz", "b.gz"), ("https://example.org/x/b.gz?token=1/2", "b.gz"), ("s3://bucket/b.gz/", "b.gz"), ("b", "b")],
)
def test_file_name(path: str, name: str) -> None:
    assert storage.file_name(path) == name


def test_join() -> None:
    assert storage.join("s3://b/run/", "stages", "x") == "s3://b/run/stages/x"
    assert storage.join("/", "x") == "/x"


@given(st.lists(st.integers(0, 5), max_size=40), st.data())
def test_parquet_bytes_do_not_show_how_a_table_was_put_together(values: list[int], data: st.DataObject) -> None:
    whole = pa.table({"a": pa.array(values, pa.int64()), "b": pa.array([str(v) * v for v in values], pa.string())})
    cut = data.draw(st.integers(0, len(values)))
    pieces = pa.concat_tables([whole.slice(0, cut), whole.slice(cut)])
    assert storage.parquet_bytes(pieces) == storage.parquet_bytes(whole)


def test_parquet_round_trip_and_no_columns_out_of_the_path(tmp_path: Path) -> None:
    table = pa.table({"a": [3, 1, 2], "b": ["x", None, "z"]})
    path = str(tmp_path / "language=ja" / "t.parquet")
    storage.write_parquet(path, table, row_group_rows=2)
    assert storage.read_parquet(path).equals(table)
    assert storage.read_parquet(path, ["b"]).column_names == ["b"]
    assert storage.read_parquet(path, ["a"], filters=[("a", ">", 1)]).column("a").to_pylist() == [3, 2]


def test_leftovers_of_killed_writers_go_and_nothing_else(tmp_path: Path) -> None:
    leftover = tmp_path / "out" / f".a.parquet.{'0' * 32}.tmp"
    others = [tmp_path / "out" / "a.parquet", tmp_path / ".notes.tmp", tmp_path / "b.tmp"]
    leftover.parent.mkdir()
    for path in (leftover, *others):
        path.write_bytes(b"x")
    storage.remove_leftovers(str(tmp_path))
    assert not leftover.exists()
    assert all(path.exists() for path in others)
