"""What a task writes for a partition is what the partition reads, in the same order."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpusmill.core import storage
from corpusmill.core.artifacts import StageFolder
from corpusmill.core.errors import InternalError
from corpusmill.dedup.base import MAP
from corpusmill.pipeline import exchange


def _rows(partitions: list[int]) -> pa.Table:
    return pa.table(
        {
            "partition": pa.array(partitions, pa.int32()),
            "key": pa.array([f"k{i}" for i in range(len(partitions))], pa.string()),
            "hashes": pa.array([[i] * (i % 3) for i in range(len(partitions))], pa.list_(pa.uint64())),
        }
    )


@given(st.lists(st.lists(st.integers(0, 4), max_size=30), min_size=1, max_size=4))
def test_read_returns_what_was_written_in_the_order_of_files_and_rows(tasks: list[list[int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = [f"{folder}/{i}.parquet" for i in range(len(tasks))]
        tables = [_rows(task) for task in tasks]
        for file, table in zip(files, tables, strict=True):
            exchange.write(file, table, 5, "f")
        for partition in range(5):
            wanted = [
                row
                for task, table in zip(tasks, tables, strict=True)
                for number, row in zip(task, table.drop_columns(["partition"]).to_pylist(), strict=True)
                if number == partition
            ]
            read = exchange.read(files, partition)
            assert read.to_pylist() == wanted
            assert read.schema == tables[0].drop_columns(["partition"]).schema


def test_numbers_come_back_however_they_are_stored(tmp_path: Path) -> None:
    """Sorted and unsorted hashes, positions, constants, with the extreme values."""
    draw = np.random.default_rng(0)
    hashes = np.append(
        draw.integers(1 << 63, size=3000, dtype=np.uint64) * np.uint64(2) + np.uint64(1),
        np.array([0, 2**64 - 1], dtype=np.uint64),
    )
    columns = {
        "unsorted": hashes.astype(np.uint64),
        "sorted": np.sort(hashes).astype(np.uint64),
        "descending": -np.arange(len(hashes), dtype=np.int32),
        "position": np.tile(np.arange(len(hashes) // 2, dtype=np.int32), 2),
        "constant": np.full(len(hashes), np.iinfo(np.int32).min, dtype=np.int32),
        "flag": hashes % 3 == 0,
    }
    body = pa.table({name: pa.array(values) for name, values in columns.items()})
    partitions = draw.integers(3, size=len(hashes)).astype(np.int32)
    exchange.write(str(tmp_path / "a"), body.append_column("partition", pa.array(partitions)), 3, "f")
    for partition in range(3):
        assert exchange.read([str(tmp_path / "a")], partition).equals(body.filter(pa.array(partitions == partition)))


def test_bytes_depend_on_rows_alone(tmp_path: Path) -> None:
    rows = _rows([3, 0, 3, 1])
    exchange.write(str(tmp_path / "a"), rows, 4, "f")
    exchange.write(str(tmp_path / "b"), pa.concat_tables([rows.slice(0, 1), rows.slice(1)]), 4, "f")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_partition_is_read_without_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read of a file does not grow with the number of its partitions."""
    read: list[int] = []

    class Counting(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(-1 if size is None else size)
            read.append(len(data))
            return data

    monkeypatch.setattr(storage, "open_read", Counting)
    totals = []
    for partitions in (10, 1000):
        file = str(tmp_path / str(partitions))
        exchange.write(file, _rows(list(range(partitions))), partitions, "f")
        read.clear()
        assert exchange.read([file], 7).num_rows == 1
        totals.append(sum(read))
    assert abs(totals[1] - totals[0]) < 16
    assert totals[0] < Path(file).stat().st_size / 50


def test_all_partitions_in_order(tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in "ab"]
    for file in files:
        exchange.write(file, _rows([2, 0, 2]), 4, "f")
    assert exchange.read(files, None).column("key").to_pylist() == ["k1", "k0", "k2"] * 2


@pytest.mark.parametrize("data", [b"", b"PAR1", bytes(100)])
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "a.chunks"
    file.write_bytes(data)
    with pytest.raises(InternalError, match="not a file of the exchange"):
        exchange.read([str(file)], 0)


def test_only_the_wanted_fingerprint_counts_as_written(tmp_path: Path) -> None:
    file = str(tmp_path / "a.chunks")
    assert not exchange.is_written(file, "f")
    exchange.write(file, _rows([]), 4, "f")
    assert exchange.is_written(file, "f")
    assert not exchange.is_written(file, "g")
    assert exchange.read([file], 2).num_rows == 0


@pytest.mark.parametrize("partition", [-1, 4])
def test_a_partition_that_does_not_exist_is_a_bug(tmp_path: Path, partition: int) -> None:
    with pytest.raises(InternalError, match="partition"):
        exchange.write(str(tmp_path / "a"), _rows([0, partition]), 4, "f")
    assert list(tmp_path.iterdir()) == []


def test_drop_removes_the_whole_exchange(tmp_path: Path) -> None:
    folder = StageFolder(str(tmp_path), "minhash")
    exchange.write(exchange.path(folder, MAP, "s0"), _rows([0]), 1, "f")
    exchange.drop(folder)
    exchange.drop(folder)
    assert not (tmp_path / "stages" / "minhash" / "exchange").exists()
