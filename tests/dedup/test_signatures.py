from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpusmill.core.documents import utf8
from corpusmill.core.hashing import UInt64Array
from corpusmill.core.normalise import folds, normalised_words
from corpusmill.dedup import signatures
from corpusmill.dedup.signatures import band_keys, lsh_probability, permutations, shingles, signature

# Table of published settings: (rows a band, bands): probabilities at 0.50 0.60 0.65 0.70 0.75 0.80 0.85 0.90 0.95.
S_CURVES = {
    (20, 450): (0.0004, 0.0163, 0.0783, 0.302, 0.760, 0.9946, 1.0, 1.0, 1.0),
    (20, 20): (2e-5, 0.0007, 0.0036, 0.016, 0.062, 0.207, 0.546, 0.925, 1.0),
    (8, 14): (0.053, 0.211, 0.364, 0.564, 0.772, 0.923, 0.988, 1.0, 1.0),
    (11, 26): (0.013, 0.090, 0.204, 0.405, 0.674, 0.903, 0.991, 1.0, 1.0),
    (13, 9): (0.0011, 0.012, 0.033, 0.084, 0.195, 0.399, 0.686, 0.929, 0.999),
    (5, 20): (0.470, 0.802, 0.915, 0.975, 0.996, 1.0, 1.0, 1.0, 1.0),
}


@pytest.mark.parametrize(("rows", "bands"), S_CURVES)
def test_s_curve_of_published_settings(rows: int, bands: int) -> None:
    at = (0.50, 0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.90, 0.95)
    for similarity, expected in zip(at, S_CURVES[rows, bands], strict=True):
        assert lsh_probability(similarity, bands, rows) == pytest.approx(expected, abs=6e-4, rel=0.02)


def test_s_curve_ends_and_the_swapped_setting_of_the_paper() -> None:
    assert lsh_probability(0.0, 14, 8) == 0.0
    assert lsh_probability(1.0, 14, 8) == 1.0
    # "20 buckets of 450 hashes", as the paper's main text has it, would find nothing.
    assert lsh_probability(0.8, 20, 450) == pytest.approx(5e-43, rel=0.1)


def test_vectors() -> None:
    """Frozen: signatures on disk and the results of old runs depend on them."""
    multipliers, increments = permutations(2, seed=0)
    words = np.array([1, 2, 3, 4, 5, 6], dtype=np.uint64)
    values = signature(shingles(words, 5), multipliers, increments)
    high, low = band_keys(values, 2, 1)
    assert multipliers.tolist() == VECTOR_MULTIPLIERS
    assert increments.tolist() == VECTOR_INCREMENTS
    assert shingles(words, 5).tolist() == VECTOR_SHINGLES
    assert values.tolist() == VECTOR_SIGNATURE
    assert high.tolist() == VECTOR_HIGH
    assert low.tolist() == VECTOR_LOW


VECTOR_MULTIPLIERS = [328096623, 2604755977]
VECTOR_INCREMENTS = [3454099533, 2479916885]
VECTOR_SHINGLES = [8443977919662432462, 11277748959744993315]
VECTOR_SIGNATURE = [3133254160, 2244544426]
VECTOR_HIGH = [12075754911863667181, 3166659011583979944]
VECTOR_LOW = [1057811493978823029, 3755787964766680029]


def test_permutations_do_not_depend_on_how_many_there_are() -> None:
    few, many = permutations(3, 7), permutations(10, 7)
    assert few[0].tolist() == many[0][:3].tolist()
    assert few[1].tolist() == many[1][:3].tolist()
    assert permutations(3, 8)[0].tolist() != few[0].tolist()


@given(st.lists(st.integers(0, 3), max_size=12), st.integers(1, 5))
def test_shingles_are_runs_of_words(items: list[int], ngram: int) -> None:
    words = np.array(items, dtype=np.uint64)
    width = min(ngram, len(items))
    runs = [tuple(items[i : i + width]) for i in range(len(items) - width + 1)] if items else []
    hashed = shingles(words, ngram).tolist()
    assert len(hashed) == len(runs)
    assert [runs.index(r) for r in runs] == [hashed.index(h) for h in hashed]


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=30))
def test_signature_is_the_minimum_whatever_the_order_and_repeats(items: list[int]) -> None:
    multipliers, increments = permutations(5, 1)
    expected = [
        min((a * (x >> 32) + b) % 2**32 for x in items)
        for a, b in zip(multipliers.tolist(), increments.tolist(), strict=True)
    ]
    twice = np.array(items[::-1] + items, dtype=np.uint64)
    assert signature(twice, multipliers, increments).tolist() == expected


@pytest.mark.parametrize("similarity", [0.2, 0.5, 0.8])
def test_share_of_equal_values_estimates_jaccard(similarity: float) -> None:
    random = np.random.default_rng(1)
    estimates = []
    for seed in range(20):
        a, b = sets_of_similarity(random, similarity)
        maps = permutations(500, seed)
        estimates.append(np.mean(signature(a, *maps) == signature(b, *maps)))
    error = np.sqrt(similarity * (1 - similarity) / (500 * 20))
    assert abs(np.mean(estimates) - similarity) < 4 * error


def test_share_of_pairs_that_meet_follows_the_s_curve() -> None:
    random = np.random.default_rng(2)
    met = 0
    for seed in range(300):
        a, b = sets_of_similarity(random, 0.7)
        maps = permutations(14 * 8, seed)
        high_a, _ = band_keys(signature(a, *maps), 14, 8)
        high_b, _ = band_keys(signature(b, *maps), 14, 8)
        met += bool((high_a == high_b).any())
    assert met / 300 == pytest.approx(lsh_probability(0.7, 14, 8), abs=4 * np.sqrt(0.25 / 300))


@pytest.mark.parametrize(("similarity", "pairs", "union"), [(0.5, 3000, 200), (0.7, 3000, 200), (0.85, 3000, 30)])
def test_the_default_maps_follow_the_s_curve(similarity: float, pairs: int, union: int) -> None:
    """One draw of 112 maps, as every run has it, over many pairs of sets: within four standard errors."""
    random = np.random.default_rng(3)
    maps = permutations(14 * 8, 0)
    met = 0
    for _ in range(pairs):
        a, b = sets_of_similarity(random, similarity, union)
        agree = signature(a, *maps) == signature(b, *maps)
        met += bool(agree.reshape(14, 8).all(axis=1).any())
    expected = lsh_probability(round(union * similarity) / union, 14, 8)
    assert met / pairs == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / pairs))


def test_one_shingle_is_seldom_smallest_under_two_maps() -> None:
    """The only way in which the family of maps reaches the S-curve: about once in n for n shingles."""
    random = np.random.default_rng(4)
    maps = permutations(14 * 8, 0)
    shared = 0
    for _ in range(300):
        shingles_of_one = random.integers(0, 2**64, 500, dtype=np.uint64)
        images = maps[0] * (shingles_of_one >> np.uint64(32)).astype(np.uint32)[:, None] + maps[1]
        smallest = images.argmin(axis=0).reshape(14, 8)
        shared += sum(8 - len(set(row)) for row in smallest.tolist())
    # 28 pairs of rows a band, each the same shingle with a chance of 1 / 500
    assert shared / (300 * 14) == pytest.approx(28 / 500, rel=0.25)


def sets_of_similarity(
    random: np.random.Generator, similarity: float, size: int = 200
) -> tuple[UInt64Array, UInt64Array]:
    union = random.integers(0, 2**64, size, dtype=np.uint64)
    shared = round(size * similarity)
    half = shared + (size - shared) // 2
    return union[:half], np.concatenate([union[:shared], union[half:]])


def test_equal_values_in_different_bands_do_not_meet() -> None:
    high, low = band_keys(np.full(12, 5, dtype=np.uint64), 4, 3)
    assert len(set(high.tolist())) == len(set(low.tolist())) == 4


@settings(max_examples=200)
@given(st.lists(st.text() | st.text(alphabet="ab é\u0301\ufb01İß \n\u3000-…が😀"), max_size=6), st.integers(0, 2))
def test_the_kernel_over_a_column_gives_what_the_text_gives(texts: list[str], skip: int) -> None:
    column = pa.array(texts, pa.large_string()).slice(min(skip, len(texts)))
    texts = texts[skip:]
    maps = signatures.permutations(6, 1)
    rows = np.arange(len(texts), dtype=np.int64)[::-1].copy()
    has, high, low = signatures.band_keys_of_texts(*utf8(column), rows, folds(), 2, *maps, 3, 2)
    for k, row in enumerate(rows.tolist()):
        words = normalised_words(texts[row], "en").hashes
        assert bool(has[k]) == (len(words) > 0)
        if len(words):
            expected = signatures.band_keys(signatures.signature(signatures.shingles(words, 2), *maps), 3, 2)
            assert (high[k].tolist(), low[k].tolist()) == (expected[0].tolist(), expected[1].tolist())
