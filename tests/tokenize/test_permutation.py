from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle_order import permutation_key as strangers_key
from oracle_order import permute, siphash24

from corpusmill.tokenize.permutation import ROUNDS, Permutation, permutation_key, siphash24_word

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


@pytest.mark.parametrize("modulus", [2, 4, 16, 64, 256])
@pytest.mark.parametrize("n", [1_000_000, 2**20])
def test_residues_are_uniform(n: int, modulus: int) -> None:
    """Neighbours must not share low bits: chi-square of the images of many stretches of 1,024 indices."""
    permutation = Permutation(n, permutation_key("residues", 0, "crawl", 0))
    statistics = []
    for start in range(0, n - 1024, n // 50):
        counts = np.bincount(permutation.forward(np.arange(start, start + 1024)) % modulus, minlength=modulus)
        statistics.append(((counts - 1024 / modulus) ** 2).sum() / (1024 / modulus))
    degrees = modulus - 1
    deviation = np.sqrt(2 * degrees / len(statistics))  # of the mean of chi-square statistics
    assert abs(np.mean(statistics) - degrees) < 5 * deviation
    assert np.max(statistics) < degrees + 8 * np.sqrt(2 * degrees) + 16


@pytest.mark.parametrize("lag", [1, 2, 16, 1024])
def test_no_serial_correlation(lag: int) -> None:
    n = 200_000
    images = Permutation(n, permutation_key("serial", 0, "crawl", 0)).forward(np.arange(n)).astype(np.float64)
    correlation = np.corrcoef(images[:-lag], images[lag:])[0, 1]
    assert abs(correlation) < 5 / np.sqrt(n)


def test_another_key_is_another_shuffle() -> None:
    a, b = (Permutation(10_000, permutation_key(k, 0, "crawl", 0)).forward(np.arange(10_000)) for k in "ab")
    assert (a == b).sum() < 10  # a random pair agrees in one place on average
