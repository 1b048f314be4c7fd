"""From patterns to shards: what is refused, and what makes a shard another one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from corpusmill.core.errors import InputError
from corpusmill.pipeline import inputs


def _write(path: Path, data: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)


def test_globs_and_names_are_sorted_and_counted_once(tmp_path: Path) -> None:
    b = _write(tmp_path / "b.warc.gz", b"b")
    a = _write(tmp_path / "a.warc.gz", b"a")
    assert inputs.expand([b, f"{tmp_path}/*.warc.gz", a], str(tmp_path)) == [a, b]


@pytest.mark.parametrize("pattern", ["none*.warc.gz", "none.warc.gz"])
def test_an_input_that_is_not_there(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(InputError, match="no file matches") as caught:
        inputs.expand([f"{tmp_path}/{pattern}"], str(tmp_path))
    assert pattern in caught.value.where
    assert caught.value.remedy


def test_no_input_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--input"):
        inputs.expand([], str(tmp_path))


def test_one_file_name_twice_is_refused(tmp_path: Path) -> None:
    one = _write(tmp_path / "x" / "a.warc.gz", b"1")
    two = _write(tmp_path / "y" / "a.warc.gz", b"2")
    with pytest.raises(InputError, match="same file name") as caught:
        inputs.expand([f"{tmp_path}/*/a.warc.gz"], str(tmp_path))
    assert one in caught.value.where
    assert two in caught.value.where


def test_two_files_that_give_one_shard_name_are_refused(tmp_path: Path) -> None:
    paths = [_write(tmp_path / name, b"1") for name in ("a b.warc", "a_b.warc")]
    with pytest.raises(InputError, match="one shard name"):
        inputs.plan_shards(paths, "", 100)


def test_files_that_differ_in_their_suffix_have_shards_of_their_own(tmp_path: Path) -> None:
    paths = [_write(tmp_path / name, b"1") for name in ("a.arc.gz", "a.warc", "a.warc.gz")]
    assert len({s.name for s in inputs.plan_shards(paths, "", 100)}) == 3


def test_slices_cover_the_file_once(tmp_path: Path) -> None:
    path = _write(tmp_path / "CC-MAIN 1.warc.gz", os.urandom(1000))
    shards = inputs.plan_shards([path], "CRAWL", 300)
    assert [s.name for s in shards] == [f"CC-MAIN_1.warc.gz--{i:04d}" for i in range(3)]
    assert [s.slice.start for s in shards] == [0, *[s.slice.end for s in shards[:-1]]]
    assert shards[-1].slice.end == 1000
    assert len({s.identity for s in shards}) == 3


@pytest.mark.parametrize("position", [0, 999])
def test_a_replaced_file_of_the_same_size_is_another(tmp_path: Path, position: int) -> None:
    data = bytearray(1000)
    path = _write(tmp_path / "a.warc.gz", bytes(data))
    (before,) = inputs.plan_shards([path], "", 2000)
    data[position] = 1
    _write(tmp_path / "a.warc.gz", bytes(data))
    (after,) = inputs.plan_shards([path], "", 2000)
    assert before.name == after.name
    assert before.identity != after.identity


def test_a_moved_file_is_the_same(tmp_path: Path) -> None:
    one = _write(tmp_path / "x" / "a.warc.gz", b"data")
    two = _write(tmp_path / "y" / "a.warc.gz", b"data")
    assert inputs.plan_shards([one], "", 100)[0].identity == inputs.plan_shards([two], "", 100)[0].identity


def test_shards_round_trip_through_the_run_folder(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.warc.gz", bytes(1000))
    shards = inputs.plan_shards([path], "CRAWL", 300)
    inputs.save(str(tmp_path), shards)
    assert inputs.load(str(tmp_path)) == shards
    with pytest.raises(InputError, match="not a run folder"):
        inputs.load(str(tmp_path / "elsewhere"))


def test_the_sample_is_built_once(tmp_path: Path) -> None:
    paths = inputs.expand(["sample"], str(tmp_path))
    assert len(paths) == 4
    times = [Path(p).stat().st_mtime_ns for p in paths]
    assert inputs.expand(["sample"], str(tmp_path)) == paths
    assert [Path(p).stat().st_mtime_ns for p in paths] == times
