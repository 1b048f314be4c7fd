from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from corpusmill.dedup.windows import covered, multiply_modulo, window_keys

P = 2**61 - 1
BELOW_P = st.integers(0, P - 1)


@given(BELOW_P, BELOW_P)
@example(P - 1, P - 1)
@example(P - 1, 1)
@example(2**32, 2**32)
def test_multiply_modulo_against_long_integers(a: int, b: int) -> None:
    assert int(multiply_modulo(np.uint64(a), np.uint64(b))) == a * b % P


@given(st.lists(st.integers(0, 2), max_size=60), st.integers(1, 8))
def test_keys_are_equal_exactly_where_windows_are(items: list[int], length: int) -> None:
    units = np.array(items, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)  # large values, wrapped
    windows = [tuple(items[i : i + length]) for i in range(len(items) - length + 1)]
    for keys in window_keys(units, length, salt=0):
        hashed = keys.tolist()
        assert [windows.index(w) for w in windows] == [hashed.index(h) for h in hashed]


def test_keys_are_those_of_the_polynomial() -> None:
    """Frozen: a key is mixed from sum(unit * base^k); the same on any machine."""
    high, low = window_keys(np.array([1, 2, 3], dtype=np.uint64), 3, salt=1)
    assert (high.tolist(), low.tolist()) == VECTOR


VECTOR = ([1580523254285227150], [12292706512729171412])


def test_salts_part_the_windows() -> None:
    units = np.arange(10, dtype=np.uint64)
    assert not set(window_keys(units, 3, salt=0)[0].tolist()) & set(window_keys(units, 3, salt=1)[0].tolist())


def test_order_counts_at_any_distance() -> None:
    """Units 64 apart, swapped: hashes by rotation and xor would be equal."""
    units = np.arange(100, dtype=np.uint64)
    swapped = units.copy()
    swapped[[3, 67]] = swapped[[67, 3]]
    assert window_keys(units, 100, 0)[0] != window_keys(swapped, 100, 0)[0]


@pytest.mark.parametrize("length", [1, 50])
def test_documents_shorter_than_a_window_have_none(length: int) -> None:
    assert len(window_keys(np.arange(length - 1, dtype=np.uint64), length, 0)[0]) == 0


RANGES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40), st.integers(1, 9)), max_size=30)


@given(RANGES)
def test_covered_against_sets(ranges: list[tuple[int, int, int]]) -> None:
    columns = np.array(sorted(ranges), dtype=np.int64).reshape(-1, 3).T
    found = list(zip(*(column.tolist() for column in covered(*columns)), strict=True))
    expected = {(document, i) for document, start, length in ranges for i in range(start, start + length)}
    assert [(document, i) for document, start, end in found for i in range(start, end)] == sorted(expected)
    assert all(b < a or one != other for (one, _, b), (other, a, _) in pairwise(found))
