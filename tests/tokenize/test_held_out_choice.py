from __future__ import annotations

import hashlib
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from corpusmill.tokenize.held_out import HeldOutConfig, held_out_hash

DOC_IDS = [f"CC-MAIN-{n % 7}.warc.gz:{n * 977}" for n in range(20_000)]


def config(share: Any, key: str = "k") -> HeldOutConfig:
    return HeldOutConfig(key=key, share=share)


@pytest.mark.parametrize(
    ("key", "doc_id", "expected"),
    [
        ("k", "a.warc.gz:0", 0xE6DB557D9C8228F1),
        ("k", "a.warc.gz:1", 0x343F7DC06B49C57E),
        ("corpusmill", "CC-MAIN-20260801000000-20260801030000-00000.warc.gz:48213077", 0x0F06CA4A1316FC44),
        ("鍵", "日本.warc.gz:7", 0xE8D5C20DA5F64DC2),
        ("x" * 200, "a.warc.gz:0", 0x89C371FE4F8302D2),
        ("k", "", 0xC6F6F1431747D90F),
    ],
)
def test_the_hash_is_frozen(key: str, doc_id: str, expected: int) -> None:
    assert held_out_hash(key, doc_id) == expected


def test_the_hash_is_what_its_docstring_says() -> None:
    key = hashlib.blake2b(b"secret").digest()
    wanted = hashlib.blake2b(b"a.warc.gz:0", digest_size=8, key=key, person=b"held-out").digest()
    assert held_out_hash("secret", "a.warc.gz:0") == int.from_bytes(wanted, "little")


def test_the_chosen_are_those_whose_hash_is_below_the_share() -> None:
    for share in ("1/1000", "1/3", "99/100"):
        expected = [Fraction(held_out_hash("k", doc_id), 1 << 64) < Fraction(share) for doc_id in DOC_IDS[:2000]]
        assert config(share).chosen(DOC_IDS[:2000]).tolist() == expected
        assert [config(share).is_chosen(doc_id) for doc_id in DOC_IDS[:200]] == expected[:200]
    assert config("1/2").chosen([]).tolist() == []


@given(
    st.fractions(min_value="1/1000000", max_value="999/1000"), st.fractions(min_value="1/1000000", max_value="999/1000")
)
def test_a_larger_share_keeps_those_chosen_before(a: Fraction, b: Fraction) -> None:
    few, many = sorted((a, b))
    chosen = config(str(few)).chosen(DOC_IDS[:300])
    assert np.all(config(str(many)).chosen(DOC_IDS[:300])[chosen])


def test_about_the_share_is_chosen() -> None:
    # 20,000 documents: five standard deviations around the mean
    for share in (Fraction(1, 100), Fraction(1, 10), Fraction(1, 2)):
        number = int(config(str(share)).chosen(DOC_IDS).sum())
        deviation = float(len(DOC_IDS) * share * (1 - share)) ** 0.5
        assert abs(number - len(DOC_IDS) * share) < 5 * deviation


def test_another_key_makes_an_independent_choice() -> None:
    first, second = config("1/10", "one").chosen(DOC_IDS), config("1/10", "two").chosen(DOC_IDS)
    both = int((first & second).sum())
    assert 140 < both < 260  # 200 expected; all 2,000 if the key had no effect


@pytest.mark.parametrize(
    ("given_as", "share"),
    [("1/1000", "1/1000"), (0.001, "1/1000"), ("0.001", "1/1000"), ("2/2000", "1/1000"), (1e-6, "1/1000000")],
)
def test_shares_are_rationals_in_lowest_terms(given_as: Any, share: str) -> None:
    assert config(given_as).share == share
    assert HeldOutConfig.model_validate(config(given_as).model_dump()) == config(share)


@pytest.mark.parametrize(
    "share", [0, 1, "0/5", "3/2", -0.1, "1/0", "ten", "", None, True, float("nan"), float("inf"), [1]]
)
def test_what_is_no_share_is_refused(share: Any) -> None:
    with pytest.raises(ValidationError, match="share"):
        config(share)


def test_an_empty_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="key"):
        config("1/10", "")
