from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracle_order import permutation_key as strangers_key
from oracle_order import permute, siphash24
from shuffle_statistics import (
    LAGS,
    MODULI,
    distinct_residues,
    residue_scores,
    serial_scores,
    threshold,
    weak_feistel,
    worst,
)

from corpusmill.tokenize.permutation import ROUNDS, Permutation, WindowPermutation, permutation_key, siphash24_word

KEY = bytes(range(16))


def test_siphash_paper_vector() -> None:
    # Aumasson & Bernstein, "SipHash: a fast short-input PRF", appendix A: 15 bytes 00..0e.
    assert siphash24(KEY, bytes(range(15))) == 0xA129CA6149BE45E5


@pytest.mark.parametrize(
    ("length", "expected"),  # of the reference implementation's vectors_sip64
    [(0, 0x726FDB47DD0E0E31), (1, 0x74F839C593DC67FD), (7, 0xAB0200F58B01D137), (8, 0x93F5F5799A932462)],
)
def test_siphash_reference_vectors(length: int, expected: int) -> None:
    assert siphash24(KEY, bytes(range(length))) == expected


@given(st.binary(min_size=16, max_size=16), st.integers(0, 2**64 - 1))
@settings(max_examples=50, deadline=None)
def test_siphash_kernel_equals_the_general_one(key: bytes, word: int) -> None:
    k0, k1 = (np.uint64(int.from_bytes(key[i : i + 8], "little")) for i in (0, 8))
    assert int(siphash24_word(k0, k1, np.uint64(word))) == siphash24(key, word.to_bytes(8, "little"))


# Frozen: a change of any of these would make every published order underivable.
VECTORS = [
    (10, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
    (1000, [0, 1, 2, 500, 999]),
    (2**32 - 5, [0, 1, 2**16, 2**31, 2**32 - 6]),
    (2**40 + 7, [0, 1, 2**20, 2**39, 2**40 + 6]),
]
IMAGES = [
    [2, 5, 0, 1, 3, 6, 8, 4, 7, 9],
    [552, 685, 452, 469, 442],
    [2967257983, 1891096554, 442122867, 2953702271, 4257113030],
    [391739191702, 552903607354, 41844911361, 1007456641929, 242746990999],
]


def test_frozen_vectors() -> None:
    assert [Permutation(n, KEY).forward(np.array(at)).tolist() for n, at in VECTORS] == IMAGES


def test_frozen_keys() -> None:
    assert permutation_key("k", 0, "crawl", 0).hex() == "459ccf24a7d4fa281afdcedffebb7a29"
    assert permutation_key("k", 0, "crawl", 1) != permutation_key("k", 0, "crawl", 0)
    assert permutation_key("k", 1, "crawl", 0) != permutation_key("k", 0, "crawl", 0)
    assert permutation_key("k", 0, "crawl2", 0) != permutation_key("k2", 0, "crawl", 0)
    assert permutation_key("鍵", 3, "日本語", 12) == strangers_key("鍵", 3, "日本語", 12)


@pytest.mark.parametrize("n", [*range(1, 70), 127, 128, 129, 1000, 4095, 4096, 4097, 65_537])
def test_bijection(n: int) -> None:
    permutation = Permutation(n, KEY)
    images = permutation.forward(np.arange(n))
    assert np.array_equal(np.sort(images), np.arange(n))
    assert np.array_equal(permutation.inverse(images), np.arange(n))


@given(st.integers(1, 2**62 - 1), st.binary(min_size=16, max_size=16), st.data())
@settings(max_examples=60, deadline=None)
def test_images_equal_the_strangers_and_come_back(n: int, key: bytes, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, n - 1))
    permutation = Permutation(n, key)
    image = permutation.forward(np.array([index]))
    assert image.tolist() == [permute(index, n, key, ROUNDS)]
    assert 0 <= image[0] < n
    assert permutation.inverse(image).tolist() == [index]


SEEDS = ["a", "b", "c", "d"]
SIZES = [2**20 - 1, 2**28 - 12_345, 400_000_000]
SAMPLE = 1 << 17


def of_seed(n: int, seed: str, rounds: int = ROUNDS) -> Permutation:
    return Permutation(n, permutation_key(seed, 0, "crawl", 0), rounds)


def stretch(n: int, seed: str, count: int = SAMPLE) -> np.ndarray:
    """Consecutive indices, somewhere."""
    return int.from_bytes(seed.encode()) * 7_654_321 % (n - count) + np.arange(count)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n", SIZES)
def test_residues_are_uniform(n: int, seed: str) -> None:
    """Neighbours must not share low bits: residues modulo 2..1024 of long and of short stretches."""
    images = of_seed(n, seed).forward(stretch(n, seed))
    limit = threshold(len(SEEDS) * len(SIZES) * (len(MODULI) + 32 * 10))
    assert worst(residue_scores(images, n)) < limit
    powers = [2**k for k in range(1, 11)]
    assert worst(score for i in range(32) for score in residue_scores(images[1024 * i :][:1024], n, powers)) < limit
    assert distinct_residues(images, 16) == 16


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n", SIZES)
def test_no_serial_correlation(n: int, seed: str) -> None:
    """Of images and of their differences, at lags 1..16 and where one half of the network is the same; all of 2^20."""
    permutation = of_seed(n, seed)
    limit = threshold(len(SEEDS) * len(SIZES) * 2 * (len(LAGS) + 4))
    indices = np.arange(n) if n < 1 << 21 else stretch(n, seed)
    halves = [2**k for k in (8, 9, 10, 14)]
    assert worst(serial_scores(permutation.forward(indices), n, [*LAGS, *halves])) < limit


@pytest.mark.parametrize("n", SIZES)
def test_weak_rounds_are_rejected(n: int) -> None:
    """The statistics can fail: on round functions that leak low bits, on too few rounds, on no shuffle."""
    indices = stretch(n, "a")
    limit = 3 * threshold(10**6)
    weak = weak_feistel(indices, n)
    assert len(np.unique(weak)) == len(weak)
    assert worst(residue_scores(weak, n)) > limit
    assert distinct_residues(weak_feistel(np.arange(1024), 2**28), 16) < 9  # without cycle walking
    half = 1 << -(-(n - 1).bit_length() // 2)
    assert worst(serial_scores(of_seed(n, "a", 2).forward(indices), n, [half])) > limit
    affine = indices * 1_000_003 % n
    assert worst(residue_scores(affine, n)) > limit
    assert worst(serial_scores(affine, n)) > limit
    assert worst(serial_scores(indices, n)) > limit


def strangers_window(index: int, n: int, key: bytes, chunk: int, window_chunks: int) -> int:
    """WindowPermutation as its module describes it."""
    window = chunk * window_chunks
    j = index // window
    words = [siphash24(key, (255 << 56 | 2 * j + i).to_bytes(8, "little")) for i in (0, 1)]
    own = b"".join(word.to_bytes(8, "little") for word in words)
    q = j * window + permute(index - j * window, min(window, n - j * window), own, ROUNDS)
    chunks = n // chunk
    return permute(q // chunk, chunks, key, ROUNDS) * chunk + q % chunk if q // chunk < chunks else q


# Frozen as those above: n, chunk, window_chunks, indices.
WINDOW_VECTORS = [
    (10, 2, 2, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
    (11, 4, 8, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
    (1000, 7, 5, [0, 1, 34, 35, 500, 994, 999]),
    (2**32 - 5, 256, 64, [0, 1, 2**16, 2**31, 2**32 - 6]),
    (2**62 - 1, 65_536, 1024, [0, 1, 2**20, 2**61, 2**62 - 2]),
]
WINDOW_IMAGES = [
    [0, 1, 6, 7, 2, 3, 9, 8, 4, 5],
    [4, 0, 7, 3, 2, 9, 8, 6, 1, 5, 10],
    [367, 368, 369, 479, 175, 794, 997],
    [1753672626, 3432055294, 727241492, 1825944779, 1973121722],
    [1085039691883394675, 395249115371204426, 3386825100160580601, 4349457384987070696, 173049033545834497],
]


def test_frozen_window_vectors() -> None:
    images = [WindowPermutation(n, KEY, c, w).forward(np.array(at)).tolist() for n, c, w, at in WINDOW_VECTORS]
    assert images == WINDOW_IMAGES


@pytest.mark.parametrize("n", [1, 2, 3, 10, 63, 64, 65, 1000, 4097])
@pytest.mark.parametrize(("chunk", "window_chunks"), [(1, 1), (1, 8), (4, 1), (5, 3), (64, 4), (10_000, 2)])
def test_windows_are_a_bijection(n: int, chunk: int, window_chunks: int) -> None:
    permutation = WindowPermutation(n, KEY, chunk, window_chunks)
    images = permutation.forward(np.arange(n))
    assert np.array_equal(np.sort(images), np.arange(n))
    assert np.array_equal(permutation.inverse(images), np.arange(n))


@given(
    st.integers(1, 2**62 - 1),
    st.binary(min_size=16, max_size=16),
    st.integers(1, 2**20),
    st.integers(1, 2**12),
    st.data(),
)
def test_window_images_equal_the_strangers_and_come_back(
    n: int, key: bytes, chunk: int, window_chunks: int, data: st.DataObject
) -> None:
    assume(n // (chunk * window_chunks) < 1 << 54)
    indices = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=5))
    permutation = WindowPermutation(n, key, chunk, window_chunks)
    images = permutation.forward(np.array(indices))
    assert images.tolist() == [strangers_window(i, n, key, chunk, window_chunks) for i in indices]
    assert permutation.inverse(images).tolist() == indices


def test_a_window_reads_whole_chunks_from_far_apart() -> None:
    n, chunk, window_chunks = 1_000_003, 128, 32
    images = WindowPermutation(n, KEY, chunk, window_chunks).forward(np.arange(n))
    window = chunk * window_chunks
    for start in range(0, n // chunk // window_chunks * window, window):
        inside = np.sort(images[start : start + window]).reshape(window_chunks, chunk)
        assert np.all(inside % chunk == np.arange(chunk))
        assert inside.max() - inside.min() > n / 2
    assert n // chunk * chunk in images[-(n % window) :]  # the shorter chunk is in the last window


@pytest.mark.parametrize("seed", SEEDS)
def test_windows_are_uniform_and_independent(seed: str) -> None:
    n, chunk, window_chunks = 400_000_000, 1024, 64
    window = chunk * window_chunks
    key = permutation_key(seed, 0, "crawl", 0)
    permutation = WindowPermutation(n, key, chunk, window_chunks)
    limit = threshold(len(SEEDS) * (2 * len(MODULI) + 64 * 17))
    whole = permutation.forward(np.arange(2 * window))
    residues = (residue_scores(images[: 1 << 13], window) for images in (whole[:window], whole[window:]))
    assert worst(score for scores in residues for score in scores) < limit
    # Places inside their window, before chunks are put elsewhere: within a window, and between neighbours.
    places = permutation._in_windows(np.arange(64 * window), True).reshape(64, window) % window
    assert worst(score for row in places for score in serial_scores(row, window)[:16]) < limit
    between = [12 * np.dot(a / window - 0.5, b / window - 0.5) / np.sqrt(window) for a, b in pairwise(places)]
    assert worst(between) < limit
    assert len({tuple(row[:8]) for row in places}) == 64


def test_another_key_is_another_shuffle() -> None:
    a, b = (Permutation(10_000, permutation_key(k, 0, "crawl", 0)).forward(np.arange(10_000)) for k in "ab")
    assert (a == b).sum() < 10  # a random pair agrees in one place on average
