"""Blending of sources: targets, periods, prefixes, random access."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpusmill.core.errors import ConfigError
from corpusmill.tokenize.blend import MAX_PERIOD, Blend, integer_weights

AMOUNTS = st.lists(st.integers(1, 60), min_size=1, max_size=9)


def blend_of(*amounts: int) -> Blend:
    return Blend([Fraction(a) for a in amounts])


def by_rule(amounts: list[int], steps: int) -> list[int]:
    """The docstring's rule, with fractions."""
    total = sum(amounts)
    share = [Fraction(a, total) for a in amounts]
    taken = [0] * len(amounts)
    chosen = []
    for t in range(steps):
        eligible = [i for i in range(len(amounts)) if taken[i] < share[i] * (t + 1)]
        best = min(eligible, key=lambda i: (-(-(taken[i] + 1) // share[i]), i))
        taken[best] += 1
        chosen.append(best)
    return chosen


def test_even_weights_alternate() -> None:
    assert blend_of(1, 1).sources(0, 8).tolist() == [0, 1, 0, 1, 0, 1, 0, 1]


def test_ninety_to_ten_takes_every_tenth_from_the_smaller() -> None:
    drawn = blend_of(90, 10).sources(0, 1000)
    assert np.bincount(drawn).tolist() == [900, 100]
    assert np.diff(np.flatnonzero(drawn == 1)).tolist() == [10] * 99


@given(AMOUNTS)
def test_no_source_ever_strays_by_a_sequence(amounts: list[int]) -> None:
    blend = blend_of(*amounts)
    length = 3 * blend.period
    taken = np.zeros((length + 1, len(amounts)), np.int64)
    taken[1:] = np.cumsum(blend.sources(0, length)[:, None] == np.arange(len(amounts)), axis=0)
    t = np.arange(length + 1)[:, None]
    strays = np.abs(taken * sum(amounts) - t * np.array(amounts))
    assert np.all(strays < sum(amounts))
    assert taken[blend.period].tolist() == blend.amounts.tolist()


def test_the_largest_deficit_would_stray() -> None:
    """Why the rule is another one: docs/decisions/0033."""
    amounts = np.array([50, 50, 3, 50, 1, 3, 1])
    total = int(amounts.sum())
    taken = np.zeros(len(amounts), np.int64)
    strays = 0
    for t in range(1, total + 1):
        taken[np.argmax(amounts * t - taken * total)] += 1
        strays = max(strays, int(np.abs(amounts * t - taken * total).max()))
    assert strays > 1.2 * total


@given(AMOUNTS)
def test_the_kernel_follows_the_rule(amounts: list[int]) -> None:
    assert blend_of(*amounts).sources(0, 150).tolist() == by_rule(amounts, 150)


@given(AMOUNTS, st.integers(0, 10**12), st.integers(0, 300))
def test_any_stretch_and_its_counts(amounts: list[int], first: int, length: int) -> None:
    blend = blend_of(*amounts)
    drawn = blend.sources(first, first + length)
    before, after = blend.taken(first), blend.taken(first + length)
    assert (after - before).tolist() == np.bincount(drawn, minlength=len(amounts)).tolist()
    for source in range(len(amounts)):
        numbers = np.arange(before[source], after[source])
        assert (blend.positions(source, numbers) - first).tolist() == np.flatnonzero(drawn == source).tolist()


def test_weights_are_proportions() -> None:
    weights = [Fraction("0.5"), Fraction(1, 4), Fraction(1, 4)]
    assert integer_weights(weights).tolist() == [2, 1, 1]
    assert Blend(weights).sources(0, 40).tolist() == blend_of(20, 10, 10).sources(0, 40).tolist()


@pytest.mark.parametrize("weight", [Fraction(0), Fraction(-1, 2)])
def test_a_weight_that_is_not_positive_is_refused(weight: Fraction) -> None:
    with pytest.raises(ConfigError, match="not positive"):
        Blend([Fraction(1), weight])


def test_a_period_that_is_too_long_is_refused() -> None:
    with pytest.raises(ConfigError, match="round the weights"):
        Blend([Fraction(1), Fraction(1, MAX_PERIOD)])
