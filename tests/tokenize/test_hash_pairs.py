from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpusmill.core.errors import VerificationFailed
from corpusmill.tokenize.hash_pairs import PAIR, PairIndex, PairWriter, file_bytes, prefix_bits


def written(folder: Path, hashes: list[int], *, sorted_rows: int = 1 << 21, step: int = 7) -> Path:
    path = folder / "file.pairs"
    with PairWriter(folder / "scratch", len(hashes), sorted_rows) as writer:
        for first in range(0, len(hashes), step):
            writer.add(np.array(hashes[first : first + step], np.uint64), first)
        writer.write(str(path))
    assert sorted(p.name for p in folder.iterdir()) == ["file.pairs"]
    return path


EXTREMES = st.sampled_from([0, 1, 2**63 - 1, 2**63, 2**64 - 1, 0xABCDEF0123456789])


@given(
    hashes=st.lists(st.integers(0, 2**64 - 1) | EXTREMES, max_size=300),
    sorted_rows=st.sampled_from([2, 20, 1 << 21]),
)
@settings(max_examples=25)
def test_equals_sorting_in_memory(
    tmp_path_factory: pytest.TempPathFactory, hashes: list[int], sorted_rows: int
) -> None:
    """Whatever fits in memory: partitions of two rows are split until all hashes of one are the same."""
    path = written(tmp_path_factory.mktemp("pairs"), hashes, sorted_rows=sorted_rows)
    expected = sorted((h, i) for i, h in enumerate(hashes))
    assert path.stat().st_size == file_bytes(len(hashes))
    assert np.fromfile(path, PAIR, len(hashes)).tolist() == expected
    index = PairIndex(str(path), len(hashes))
    for value in {*hashes, 0, 5, 2**64 - 1}:
        assert index.find(value).tolist() == [i for h, i in expected if h == value]


@pytest.mark.parametrize("rows", [0, 1, 255, 256, 257, 5000])
def test_table_at_the_borders_of_its_size(tmp_path: Path, rows: int) -> None:
    hashes = np.random.default_rng(rows).integers(0, 2**64, rows, np.uint64).tolist()
    index = PairIndex(str(written(tmp_path, hashes, step=1000)), rows)
    assert prefix_bits(rows) == {0: 0, 1: 0, 255: 0, 256: 1, 257: 1, 5000: 5}[rows]
    assert all(index.find(h).tolist() == [i] for i, h in enumerate(hashes))
    assert not len(index.find(12345))


def test_one_value_of_all_rows_is_not_split_for_ever(tmp_path: Path) -> None:
    index = PairIndex(str(written(tmp_path, [77 << 50] * 1000, sorted_rows=10, step=64)), 1000)
    assert np.array_equal(index.find(77 << 50), np.arange(1000))


def test_a_file_of_another_size_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, [3, 1, 2])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(VerificationFailed, match="another size"):
        PairIndex(str(path), 3)


def test_rows_that_were_not_added_are_noticed(tmp_path: Path) -> None:
    with PairWriter(tmp_path / "scratch", 2) as writer:
        writer.add(np.array([1], np.uint64), 0)
        with pytest.raises(AssertionError):
            writer.write(str(tmp_path / "file.pairs"))
    assert not list(tmp_path.iterdir())
