from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from corpusmill.tokenize.hashes import merkle_root
from corpusmill.tokenize.merkle import audit_path_of, root_of_path, sibling_ranges


def leaves_of(count: int) -> list[bytes]:
    return [hashlib.sha256(bytes([i % 256, i // 256])).digest() for i in range(count)]


def own_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, 2.1, as it is written there."""
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return hashlib.sha256(b"\1" + own_root(leaves[:k]) + own_root(leaves[k:])).digest()


def own_path(m: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 6962, 2.1.1, as it is written there."""
    if len(leaves) == 1:
        return []
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    if m < k:
        return [*own_path(m, leaves[:k]), own_root(leaves[k:])]
    return [*own_path(m - k, leaves[k:]), own_root(leaves[:k])]


def test_every_path_of_every_small_tree() -> None:
    for size in range(1, 70):
        leaves = leaves_of(size)
        root = merkle_root(leaves)
        assert root == own_root(leaves)
        for index in range(size):
            path = audit_path_of(index, leaves)
            assert path == own_path(index, leaves)
            assert root_of_path(leaves[index], index, size, path) == root


@given(st.integers(2, 300), st.data())
def test_a_path_shows_its_own_place_only(size: int, data: st.DataObject) -> None:
    leaves = leaves_of(size)
    root = merkle_root(leaves)
    index = data.draw(st.integers(0, size - 1))
    path = audit_path_of(index, leaves)
    for other in {index - 1, index + 1, 0, size - 1, size, -1, data.draw(st.integers(0, size - 1))} - {index}:
        assert root_of_path(leaves[index], other, size, path) != root
    assert root_of_path(leaves[index], index, size, path[:-1]) is None
    assert root_of_path(leaves[index], index, size, [*path, path[0]]) is None
    changed = data.draw(st.integers(0, len(path) - 1))
    assert root_of_path(leaves[index], index, size, [*path[:changed], bytes(32), *path[changed + 1 :]]) != root


@given(st.integers(1, 10**9), st.data())
def test_siblings_and_leaf_are_the_whole_tree(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    ranges = sibling_ranges(index, size)
    assert len(ranges) <= size.bit_length()
    covered = sorted([*ranges, (index, index + 1)])
    assert [a for a, _ in covered] == [0, *(b for _, b in covered[:-1])]
    assert covered[-1][1] == size
