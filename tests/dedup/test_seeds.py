from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpusmill.dedup.seeds import minimizers, seed_length


def slow_minimizers(hashes: list[int], windows: int, width: int) -> list[int]:
    return [min(range(i, i + width), key=lambda p: (hashes[p], p)) for i in range(windows)]


@settings(max_examples=200)
@given(st.lists(st.integers(0, 3), max_size=60), st.integers(1, 12))
def test_minimizers_are_the_first_smallest_seeds(items: list[int], length: int) -> None:
    units = np.array(items, dtype=np.uint64)
    hashes, of_windows = minimizers(units, length, 0)
    k = seed_length(length)
    assert len(hashes) == max(0, len(items) - k + 1)
    windows = max(0, len(items) - length + 1)
    assert of_windows.tolist() == slow_minimizers(hashes.tolist(), windows, length - k + 1)
    assert (np.diff(of_windows) >= 0).all()


@given(st.lists(st.integers(0, 2), max_size=80), st.integers(1, 9))
def test_equal_windows_have_their_minimizer_at_the_same_place(items: list[int], length: int) -> None:
    _, of_windows = minimizers(np.array(items, dtype=np.uint64), length, 1)
    places: dict[tuple[int, ...], int] = {}
    for i, at in enumerate(of_windows.tolist()):
        assert places.setdefault(tuple(items[i : i + length]), at - i) == at - i


@pytest.mark.parametrize(("length", "density"), [(50, 2 / 36), (100, 2 / 69)])
def test_few_seeds_are_minimizers(length: int, density: float) -> None:
    chooser = random.Random(1)
    units = np.array([chooser.getrandbits(64) for _ in range(100_000)], dtype=np.uint64)
    _, of_windows = minimizers(units, length, 0)
    assert len(np.unique(of_windows)) / len(units) == pytest.approx(density, rel=0.03)


def test_words_and_letters_have_other_seeds() -> None:
    units = np.arange(20, dtype=np.uint64)
    assert not set(minimizers(units, 6, 0)[0].tolist()) & set(minimizers(units, 6, 1)[0].tolist())


def test_seeds_are_frozen() -> None:
    hashes, of_windows = minimizers(np.arange(8, dtype=np.uint64), 6, 1)
    assert (hashes.tolist()[:2], of_windows.tolist()) == VECTOR


VECTOR = ([12966458536602334147, 7532192024049823870], [4, 4, 4])
