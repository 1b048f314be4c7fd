from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpusmill.core.errors import InfrastructureError, VerificationFailed
from corpusmill.core.key_table import FOLDER_VARIABLE, KeyTable, keys_of, open_or_make, tables_folder

U64 = st.integers(0, 2**64 - 1) | st.integers(0, 3) | st.integers(2**64 - 3, 2**64 - 1)


def test_keys_are_frozen() -> None:
    """If one changes, every table ever made is stale."""
    expected = [
        0xEFD01F60BA992926,
        0x25AD9D1B70DE62D1,
        0xD366714A71E0E50E,
        0xC188C035E77DF4A6,
        0xB9C9732B8B0D380C,
    ]
    found = keys_of(["", "a", "bad.example", "//a.example/x?y=1", "日本語"]).tolist()
    assert found == expected


def test_keys_of_nothing() -> None:
    assert keys_of([]).tolist() == []
    assert keys_of([""]).tolist() == keys_of(["", ""]).tolist()[:1]


@given(st.sets(U64), st.lists(U64))
def test_a_table_is_a_set(inside: set[int], asked: list[int]) -> None:
    table = KeyTable([*inside, *inside])
    assert len(table) == len(inside)
    wanted = [*inside, *asked, *(key ^ 1 for key in inside)]
    assert table.have(np.array(wanted, np.uint64)).tolist() == [key in inside for key in wanted]


@given(st.sets(st.text(max_size=12)), st.sets(st.text(max_size=12)))
def test_strings_are_found_again(inside: set[str], asked: set[str]) -> None:
    table = KeyTable(keys_of(sorted(inside)))
    every = sorted(inside | asked)
    assert table.have(keys_of(every)).tolist() == [entry in inside for entry in every]


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 5000])
def test_a_saved_table_is_the_same(tmp_path: Path, size: int) -> None:
    keys = np.random.default_rng(size).integers(0, 2**64, size, np.uint64)
    made = KeyTable(keys, {"lists": ["é", 1]})
    path = str(tmp_path / "new" / "x.keys")
    made.save(path)
    opened = KeyTable.open(path)
    assert len(opened) == size
    assert opened.notes == {"lists": ["é", 1]}
    assert opened.arrays.shift == made.arrays.shift
    assert opened.have(keys).all()
    assert not opened.have(keys ^ np.uint64(1 << 40)).any()
    first = Path(path).read_bytes()
    KeyTable(keys[::-1].copy(), {"lists": ["é", 1]}).save(path)
    assert Path(path).read_bytes() == first


def test_the_file_is_small(tmp_path: Path) -> None:
    """At most 10 bytes a key: 45 MB for UT1's 4.6 million."""
    keys = np.random.default_rng(0).integers(0, 2**64, 200_000, np.uint64)
    KeyTable(keys).save(str(tmp_path / "x.keys"))
    assert (tmp_path / "x.keys").stat().st_size < 10.1 * len(keys)


def test_no_part_of_a_file_is_taken_for_a_table(tmp_path: Path) -> None:
    path = tmp_path / "x.keys"
    KeyTable(keys_of(["a", "b", "c"])).save(str(path))
    whole = path.read_bytes()
    for damaged in [
        *(whole[:size] for size in range(len(whole))),
        *(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :] for at in range(len(whole))),
        whole + b"x",
        b"x" * 100,
    ]:
        path.write_bytes(damaged)
        with pytest.raises(VerificationFailed, match="damaged"):
            KeyTable.open(str(path))
    with pytest.raises(FileNotFoundError):
        KeyTable.open(str(tmp_path / "absent"))


# The tables of a machine


def test_made_once_and_again_when_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "tables"))
    made = []

    def make() -> KeyTable:
        made.append(1)
        return KeyTable(keys_of(["a"]))

    assert len(open_or_make("one", make)) == 1
    assert len(open_or_make("one", make)) == 1
    assert len(made) == 1
    path = tmp_path / "tables" / "one.keys"
    path.write_bytes(path.read_bytes()[:-1])
    assert open_or_make("one", make).have(keys_of(["a"])).all()
    assert len(made) == 2
    open_or_make("other", make)
    assert len(made) == 3


def test_makers_at_the_same_time_do_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    together = threading.Barrier(4)
    sizes = []

    def make() -> KeyTable:
        together.wait(timeout=20)  # all have seen that there is no table
        return KeyTable(range(1000))

    threads = [threading.Thread(target=lambda: sizes.append(len(open_or_make("x", make)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sizes == [1000] * 4
    assert [p.name for p in tmp_path.iterdir()] == ["x.keys"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "file" / "tables"))
    with pytest.raises(InfrastructureError, match=FOLDER_VARIABLE):
        open_or_make("x", lambda: KeyTable([1]))


def test_the_folder_of_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    assert tables_folder().endswith("/.cache/corpusmill/tables")
    monkeypatch.setenv(FOLDER_VARIABLE, "/somewhere")
    assert tables_folder() == "/somewhere"
