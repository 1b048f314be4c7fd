"""Frozen vectors: if one changes, every artifact ever written is stale."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpusmill.core import hashing
from corpusmill.core.words import codepoints

U64 = st.integers(0, 2**64 - 1)


def reference_mix64(value: int) -> int:
    value ^= value >> 33
    value = value * 0xFF51AFD7ED558CCD % 2**64
    value ^= value >> 33
    value = value * 0xC4CEB9FE1A85EC53 % 2**64
    return value ^ value >> 33


def reference_hash(text: str, seed: int = 0) -> int:
    h = 0xCBF29CE484222325 ^ reference_mix64(seed)
    for character in text:
        h = (h ^ ord(character)) * 0x100000001B3 % 2**64
    return reference_mix64(h ^ len(text))


def hash_of(text: str, seed: int = 0) -> int:
    span = np.array([0], np.int64), np.array([len(text)], np.int64)
    return int(hashing.hash_spans(codepoints(text), *span, seed)[0])


def test_content_hash_vectors() -> None:
    assert hashing.content_hash("").hex() == "cae66941d9efbd404e4d88758ea67670"
    assert hashing.content_hash("a").hex() == hashlib.blake2b(b"a", digest_size=16).hexdigest()
    assert hashing.content_hash("日本語 text\n").hex() == "3877a2269d6a5f119fab49b63733c9f4"
    assert len(hashing.content_hash("x" * 1000)) == 16


def test_digest_is_sha256() -> None:
    assert hashing.digest(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_hash64_vectors() -> None:
    assert hashing.hash64(b"") == 0xB4B2797457A0A6E4
    assert hashing.hash64(b"corpusmill") == 0xFC1C38949DBB7177


def test_canonical_json() -> None:
    assert hashing.canonical_json({"b": [1, 2.5, None], "a": "é"}) == '{"a":"é","b":[1,2.5,null]}'.encode()
    with pytest.raises(ValueError, match="JSON"):
        hashing.canonical_json({"a": float("nan")})


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (1, 0xB456BCFC34C2CB2C), (2**64 - 1, 0x64B5720B4B825F21)])
def test_mix64_vectors(value: int, expected: int) -> None:
    assert int(hashing.mix64(np.uint64(value))) == expected == reference_mix64(value)


@pytest.mark.parametrize(
    ("text", "seed", "expected"),
    [
        ("", 0, 0xEFD01F60BA992926),
        ("a", 0, 0x25AD9D1B70DE62D1),
        ("a", 1, 0x8228779056043A16),
        ("the", 0, 0xD4336BAB63B8964B),
        ("日本語", 0, 0xD5C932A5C4F0C878),
        ("\U0001f600", 7, 0x7AB3855DAE2AEFC0),
    ],
)
def test_hash_spans_vectors(text: str, seed: int, expected: int) -> None:
    assert hash_of(text, seed) == expected


@given(U64)
def test_mix64_is_the_murmur_finaliser(value: int) -> None:
    assert int(hashing.mix64(np.uint64(value))) == reference_mix64(value)


@given(st.text(), st.integers(0, 2**32))
def test_hash_spans_equals_the_definition(text: str, seed: int) -> None:
    assert hash_of(text, seed) == reference_hash(text, seed)


@given(st.lists(st.text(max_size=4), max_size=20))
def test_hash_spans_depends_on_the_span_alone(pieces: list[str]) -> None:
    ends = np.cumsum([len(p) for p in pieces], dtype=np.int64)
    starts = ends - np.array([len(p) for p in pieces], dtype=np.int64)
    hashes = hashing.hash_spans(codepoints("".join(pieces)), starts, ends)
    assert hashes.dtype == np.uint64
    assert hashes.tolist() == [reference_hash(p) for p in pieces]


def test_hash_spans_has_no_collisions_among_many_words() -> None:
    words = [f"{a}{b}{c}" for a in "abcdefghij" for b in "aeiou" for c in range(2000)]
    ends = np.cumsum([len(w) for w in words], dtype=np.int64)
    starts = ends - np.array([len(w) for w in words], dtype=np.int64)
    assert len(np.unique(hashing.hash_spans(codepoints("".join(words)), starts, ends))) == len(words)
