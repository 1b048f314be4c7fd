"""The S-curve against datasketch's integrals and the published table."""

from __future__ import annotations

import pytest
from datasketch import lsh
from hypothesis import given
from hypothesis import strategies as st

from corpusmill.dedup.s_curve import s_curve, similarity_at
from corpusmill.dedup.signatures import lsh_probability

# (rows, bands): the similarity of which half of the pairs are found, as published tables have it.
HALVES = {(20, 450): 0.723, (20, 40): 0.816, (8, 14): 0.685, (11, 26): 0.718, (13, 20): 0.771, (5, 20): 0.509}


@pytest.mark.parametrize(("rows", "bands"), HALVES)
def test_half_of_the_pairs(rows: int, bands: int) -> None:
    assert s_curve(bands, rows, None).half == pytest.approx(HALVES[rows, bands], abs=6e-4)


@given(st.integers(1, 500), st.integers(1, 30), st.floats(0.01, 0.99))
def test_similarity_at_is_the_inverse_of_the_curve(bands: int, rows: int, probability: float) -> None:
    similarity = similarity_at(probability, bands, rows)
    assert lsh_probability(similarity, bands, rows) == pytest.approx(probability, rel=1e-6)


@pytest.mark.parametrize(("bands", "rows", "threshold"), [(14, 8, 0.7), (26, 11, 0.8), (9, 13, 0.8), (20, 5, 0.5)])
def test_areas_are_those_of_datasketch(bands: int, rows: int, threshold: float) -> None:
    curve = s_curve(bands, rows, threshold)
    assert curve.threshold == threshold
    assert curve.false_positives == pytest.approx(lsh._false_positive_probability(threshold, bands, rows), abs=5e-4)
    assert curve.false_negatives == pytest.approx(lsh._false_negative_probability(threshold, bands, rows), abs=5e-4)


def test_ends() -> None:
    """One band of one row: the probability is the similarity, both areas are triangles."""
    curve = s_curve(1, 1, 0.5)
    assert curve.half == 0.5
    assert curve.false_positives == pytest.approx(0.125)
    assert curve.false_negatives == pytest.approx(0.125)
    assert all(p == pytest.approx(s) for s, p in curve.points)
    assert s_curve(14, 8, 1.0).false_negatives == pytest.approx(0.0, abs=1e-12)
    assert s_curve(14, 8, 0.0).false_positives == 0.0
