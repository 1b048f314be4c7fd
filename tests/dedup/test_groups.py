from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from corpusmill.dedup import groups

KEYS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=20)


@given(KEYS)
def test_repeated_finds_the_rows_of_keys_that_occur_twice(keys: list[tuple[int, int]]) -> None:
    array = np.array(keys, dtype=np.uint64).reshape(-1, 2)
    found = groups.repeated(array[:, 0], array[:, 1])
    counts = Counter(keys)
    assert sorted(found.rows.tolist()) == [i for i, key in enumerate(keys) if counts[key] > 1]
    of_group: dict[int, set[tuple[int, int]]] = {}
    for row, number in zip(found.rows.tolist(), found.numbers.tolist(), strict=True):
        of_group.setdefault(number, set()).add(keys[row])
    assert list(of_group) == list(range(sum(n > 1 for n in counts.values())))
    assert all(len(members) == 1 for members in of_group.values())


def test_split_digests_and_partitions() -> None:
    high, low = groups.split_digests([bytes(range(16)), b"\xff" * 16])
    assert high.tolist() == [int.from_bytes(bytes(range(8)), "little"), 2**64 - 1]
    assert low.tolist() == [int.from_bytes(bytes(range(8, 16)), "little"), 2**64 - 1]
    assert groups.partition_of(high, 7).tolist() == [h % 7 for h in high.tolist()]
    assert groups.split_digests([])[0].tolist() == []


def test_ranked_puts_the_survivor_first() -> None:
    dates = pa.array([None, 5, 7, 7, 1], pa.timestamp("us", tz="UTC"))
    members = pa.table(
        {
            "doc_id": ["a", "b", "d", "c", "e"],
            "fetched_at": dates,
            "characters": pa.array([9, 9, 2, 2, 1], pa.int64()),
            "quality_score": [None, 0.1, 0.5, 0.5, 0.9],
        }
    )
    group = np.array([0, 0, 0, 0, 1])
    survivors = {}
    for keep in groups.KEEP_ORDERS:
        table, survivor, sizes = groups.ranked(members, group, keep)
        survivors[keep] = table.column("doc_id")[survivor[0]].as_py()
        assert sizes.tolist() == [4, 4, 4, 4, 1]
        assert survivor.tolist() == [0, 0, 0, 0, 4]
    assert survivors == {"latest": "c", "first": "b", "longest": "b", "best": "c"}
