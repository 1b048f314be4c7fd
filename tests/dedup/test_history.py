"""Histories: what is found in them, what is refused, and that a snapshot at a time gives what all at once would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from dedup_tables import doc_id, document, tables
from hypothesis import given, settings
from hypothesis import strategies as st

from corpusmill.core import storage
from corpusmill.core.errors import ConfigError, InputError
from corpusmill.dedup import groups, history
from corpusmill.dedup.exact import ExactDedup
from corpusmill.dedup.history import HISTORY, NO_PAST, HistoryTable, Past
from corpusmill.dedup.keyed import KEYS, KeyedDedupConfig
from corpusmill.dedup.local import remember, run_step
from corpusmill.dedup.url import UrlDedup

Row = dict[str, Any]
KEY_PARTS = st.sampled_from([0, 1, 2, 1 << 63, (1 << 64) - 1])
KEY_LISTS = st.lists(st.tuples(KEY_PARTS, KEY_PARTS), max_size=12)


def rows_of(keys: list[tuple[int, int]]) -> pa.Table:
    high, low = (np.array([key[i] for key in keys], dtype=np.uint64) for i in (0, 1))
    return pa.table([pa.array(high), pa.array(low), [f"{h}-{k}" for h, k in keys]], schema=KEYS.schema)


def written(folder: Path, step: Any, kept: list[tuple[int, int]], table: HistoryTable = KEYS, parts: int = 1) -> str:
    """A history of the keys `kept` in `parts` files; its folder."""
    rows = rows_of(kept)
    numbers = groups.partition_of(rows.column(0).to_numpy(), parts)
    root = str(folder / step.name)
    files = [history.write_part(root, table, p, rows.filter(pa.array(numbers == p))) for p in range(parts)]
    history.commit(root, step, "A", "", {"keys": files}, NO_PAST)
    return str(folder)


@settings(max_examples=40)
@given(st.lists(KEY_LISTS, min_size=1, max_size=3), KEY_LISTS, st.sampled_from([1, 2, 8]), st.sampled_from([1, 3]))
def test_the_rows_of_wanted_keys_are_found(
    tmp_path_factory: pytest.TempPathFactory,
    kept: list[list[tuple[int, int]]],
    wanted: list[tuple[int, int]],
    parts: int,
    rows_a_group: int,
) -> None:
    step = UrlDedup(KeyedDedupConfig())
    table = KEYS._replace(rows_a_group=rows_a_group)
    folder = tmp_path_factory.mktemp("history")
    paths = [written(folder / str(n), step, keys, table, parts) for n, keys in enumerate(kept)]
    past = history.named(paths, step)
    found = past.matching(table, *groups.key_columns(rows_of(wanted)))
    expected = sorted((*key, n) for n, keys in enumerate(kept) for key in set(keys) & set(wanted))
    assert list(zip(*(found.column(c).to_pylist() for c in ("key_high", "key_low", HISTORY)), strict=True)) == expected
    assert found.column("doc_id").to_pylist() == [f"{h}-{k}" for h, k, _ in expected]


def test_only_row_groups_in_reach_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = UrlDedup(KeyedDedupConfig())
    keys = [(i << 54, 0) for i in range(1000)]
    past = history.named([written(tmp_path, step, keys, KEYS._replace(rows_a_group=10), parts=4)], step)
    opened = []
    original = storage.open_read
    monkeypatch.setattr(storage, "open_read", lambda path: opened.append(path) or original(path))
    wanted = np.array([5 << 54, 7 << 54, (7 << 54) + 1], dtype=np.uint64)
    read = list(past.histories[0].row_groups(KEYS, wanted))
    assert [table.num_rows for table in read] == [10]
    assert [path.rpartition("/")[2] for path in opened] == ["manifest.json", "00000.parquet"]
    assert past.matching(KEYS, wanted, np.zeros(3, dtype=np.uint64)).num_rows == 2


def snapshots(drawn: list[list[tuple[str, str, int | None]]]) -> list[list[Row]]:
    """Documents of every snapshot; doc_ids ascend."""
    out, number = [], 0
    for rows in drawn:
        out.append([])
        for text, url, day in rows:
            out[-1].append(document(number, text, url="https://site.example" + url, day=day))
            number += 1
    return out


def incremental(folder: Path, make: Any, crawls: list[list[Row]], shards: int) -> list[dict[str, str]]:
    """doc_id -> twin of what goes from each snapshot, one after another, each against all before it."""
    gone = []
    for n, rows in enumerate(crawls):
        step = make(history.named([str(folder / str(k)) for k in range(n)], make(NO_PAST)))
        results = remember(step, tables(rows, shards), str(folder / str(n)), f"snapshot-{n}")
        removed = [row for result in results for row in result.removed.to_pylist()]
        gone.append({row["doc_id"]: row["twin"] for row in removed})
        earlier = {row["doc_id"]: k for k in range(n) for row in crawls[k]}
        for row in removed:
            label = row["twin_history"] and row["twin_history"].partition("@")[0]
            assert label == (f"snapshot-{earlier[row['twin']]}" if row["twin"] in earlier else None)
    return gone


DRAWN = st.lists(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["/x", "/y", "/z"]), st.sampled_from([None, 0, 1])),
        max_size=6,
    ),
    min_size=2,
    max_size=3,
)


@settings(max_examples=25)
@given(DRAWN, st.integers(1, 3), st.sampled_from([1, 5]), st.sampled_from(["latest", "first"]))
def test_keys_a_snapshot_at_a_time_are_those_of_all_at_once(
    tmp_path_factory: pytest.TempPathFactory, drawn: Any, shards: int, partitions: int, keep: Any
) -> None:
    """By the definition: in a group of equal keys the earliest snapshot is preferred, and in it what `keep` says."""
    crawls = snapshots(drawn)
    config = KeyedDedupConfig(keep=keep, partitions=partitions)
    for kind, key in ((ExactDedup, "text"), (UrlDedup, "url")):
        expected: list[dict[str, str]] = []
        best: dict[str, str] = {}
        for rows in crawls:
            expected.append({})
            here: dict[str, Row] = {}
            for row in sorted(rows, key=lambda r: r["doc_id"], reverse=True):
                old = here.get(row[key])
                days = [None if r is None else r["fetched_at"] for r in (row, old)]
                worse = old is not None and days[1] is not None and days[0] is None
                if old is not None and None not in days and days[0] != days[1]:
                    worse = (days[0] < days[1]) == (keep == "latest")  # type: ignore[operator]
                here[row[key]] = old if worse and old is not None else row
            for row in rows:
                twin = best.get(row[key], here[row[key]]["doc_id"])
                if twin != row["doc_id"]:
                    expected[-1][row["doc_id"]] = twin
            best = {k: r["doc_id"] for k, r in here.items()} | best
        folder = tmp_path_factory.mktemp("snapshots")
        assert incremental(folder, lambda past, k=kind: k(config, past), crawls, shards) == expected


def test_one_run_over_both_leaves_the_same(tmp_path: Path) -> None:
    """Where the earlier snapshot has the earlier dates, `first` in one run over both is what the history gives."""
    old = [document(n, f"text {n % 4}", day=n % 3) for n in range(9)]
    new = [document(100 + n, f"text {n % 7}", day=5 + n % 3) for n in range(20)]
    config = KeyedDedupConfig(keep="first")
    (both,) = run_step(ExactDedup(config), tables(old + new))
    gone = incremental(tmp_path, lambda past: ExactDedup(config, past), [old, new], 2)
    assert {r["doc_id"]: r["twin"] for r in both.removed.to_pylist()} == gone[0] | gone[1]
    assert len(gone[1]) > 10


def test_a_document_that_the_history_has_goes_too(tmp_path: Path) -> None:
    rows = [document(1, "text")]
    gone = incremental(tmp_path, lambda past: ExactDedup(KeyedDedupConfig(), past), [rows, rows], 1)
    assert gone == [{}, {doc_id(1): doc_id(1)}]


def test_bytes_do_not_depend_on_shards_and_partitions(tmp_path: Path) -> None:
    rows = [document(n, f"text {n % 40}") for n in range(100)]
    made = []
    for n, (shards, partitions) in enumerate([(1, 1), (3, 7), (10, 64)]):
        folder = tmp_path / str(n)
        remember(ExactDedup(KeyedDedupConfig(partitions=partitions)), tables(rows, shards), str(folder), "A")
        made.append({p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()})
    assert made[0] == made[1] == made[2]
    assert len(made[0]) == 2


def test_the_number_of_files_follows_the_documents() -> None:
    table = KEYS._replace(documents_a_part=10)
    assert [table.parts(n) for n in (0, 1, 10, 11, 20, 21, 80, 81)] == [1, 1, 1, 2, 2, 4, 8, 16]


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    step = UrlDedup(KeyedDedupConfig())
    with pytest.raises(InputError, match="no history of `url_dedup`") as none:
        history.named([str(tmp_path)], step)
    assert "history_steps" in none.value.remedy
    path = written(tmp_path, step, [(1, 2)])

    class Newer(UrlDedup):
        history_version = 2

        def history_settings(self) -> dict[str, object]:
            return {"form": "b"}

    with pytest.raises(ConfigError, match="another `form`") as other:
        history.named([path], Newer(KeyedDedupConfig()))
    assert "history: None, this recipe: b" in str(other.value)
    Newer.history_settings = UrlDedup.history_settings  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="another `version`"):
        history.named([path], Newer(KeyedDedupConfig()))


def test_a_history_needs_those_that_it_builds_on(tmp_path: Path) -> None:
    rows = [document(1, "text")]
    make = lambda past: ExactDedup(KeyedDedupConfig(), past)  # noqa: E731
    incremental(tmp_path, make, [rows, rows], 1)
    first, second = str(tmp_path / "0"), str(tmp_path / "1")
    assert len(history.named([first, second], make(NO_PAST)).histories) == 2
    for paths in ([second], [second, first]):
        with pytest.raises(ConfigError, match="not named before it") as caught:
            history.named(paths, make(NO_PAST))
        assert "the earliest first" in caught.value.remedy


def test_damage_is_noticed(tmp_path: Path) -> None:
    step = UrlDedup(KeyedDedupConfig())
    past = history.named([written(tmp_path, step, [(1, 2), (3, 4)])], step)
    root = past.histories[0].root
    manifest = past.histories[0].manifest
    assert history.problems(root, manifest, hashes=True) == []
    (part,) = (tmp_path / "url_dedup" / "keys").iterdir()
    whole = part.read_bytes()
    part.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    assert history.problems(root, manifest, hashes=False) == []
    assert "sha256" in history.problems(root, manifest, hashes=True)[0]
    part.write_bytes(whole[:-1])
    assert "another size" in history.problems(root, manifest, hashes=False)[0]
    written(tmp_path, step, [(1, 3)])
    changed = Past((history.History(root, past.histories[0].label, past.histories[0].fingerprint),))
    with pytest.raises(InputError, match="gone or has changed"):
        changed.matching(KEYS, np.array([1], dtype=np.uint64), np.array([2], dtype=np.uint64))
