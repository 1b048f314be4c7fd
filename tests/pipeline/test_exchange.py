"""What a task writes for a partition is what the partition reads, in the same order."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_bytes_depend_on_rows_alone(tmp_path: Path) -> None:
    rows = _rows([3, 0, 3, 1])
    exchange.write(str(tmp_path / "a"), rows, 4, "f")
    exchange.write(str(tmp_path / "b"), pa.concat_tables([rows.slice(0, 1), rows.slice(1)]), 4, "f")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_only_the_wanted_fingerprint_counts_as_written(tmp_path: Path) -> None:
    file = str(tmp_path / "a.parquet")
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
