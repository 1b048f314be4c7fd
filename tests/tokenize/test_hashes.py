from __future__ import annotations

import hashlib

import pytest
from oracle_order import tree

from corpusmill.tokenize import hashes


def leaves(count: int) -> list[bytes]:
    return [hashlib.sha256(bytes([i])).digest() for i in range(count)]


@pytest.mark.parametrize("count", [*range(1, 36), 64, 65, 100])
def test_merkle_root_equals_the_recursive_definition(count: int) -> None:
    assert hashes.merkle_root(iter(leaves(count))) == tree(leaves(count))


def test_rfc6962_empty_tree() -> None:
    assert hashes.merkle_root([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_certificate_transparency_vector() -> None:
    # Test vectors of the Certificate Transparency reference code: root over its eight inputs.
    inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    hashed = [hashlib.sha256(b"\0" + bytes.fromhex(i)).digest() for i in inputs]
    assert hashes.merkle_root(hashed).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def test_swapped_leaves_change_the_root() -> None:
    a = leaves(6)
    assert hashes.step_root(a) != hashes.step_root([a[1], a[0], *a[2:]])


def test_leaf_binds_slot_and_commitments() -> None:
    a, b = leaves(2)
    different = {hashes.leaf_hash(0, [a, b]), hashes.leaf_hash(1, [a, b]), hashes.leaf_hash(0, [b, a])}
    assert len(different) == 3


def test_commitment_binds_every_part() -> None:
    base = (bytes(16), b"\1\0\2\0", b"\0\1", 3, 2)
    changed = [
        (b"x" + bytes(15), *base[1:]),
        (base[0], b"\1\0\3\0", *base[2:]),
        (*base[:2], b"\0\0", *base[3:]),
        (*base[:3], 4, 2),
    ]
    assert len({hashes.segment_commitment(*c) for c in [base, *changed]}) == 5


def test_frozen_vectors() -> None:
    commitment = hashes.segment_commitment(bytes(range(16)), b"\1\0\2\0", b"\0\1", 3, 2)
    leaf = hashes.leaf_hash(7, [commitment])
    head = hashes.chain_head([leaf])
    found = [
        commitment,
        leaf,
        hashes.CHAIN_START,
        head,
        hashes.document_leaf(bytes(16), 1, 2),
        hashes.order_root(b"{}", head, leaf),
        hashes.salt_of("secret", "a.warc.gz:1"),
    ]
    assert [f.hex()[:16] for f in found] == [
        "ecf2cf6aaec45ba2",
        "5306a13033aa7f31",
        "95731f118c191303",
        "b449479864c66cb1",
        "55c12c1f6d0685be",
        "b2c03041d9cde43a",
        "3e7104003c47d174",
    ]


def test_salts_depend_on_key_and_document() -> None:
    salts = {hashes.salt_of(key, doc) for key in ("", "a", "b" * 200) for doc in ("x:1", "x:2")}
    assert len(salts) == 6
    assert {len(s) for s in salts} == {16}
