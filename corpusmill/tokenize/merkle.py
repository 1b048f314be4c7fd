"""Audit paths in the Merkle trees of an order (RFC 6962, section 2.1.1): what shows that a leaf is in a tree.

The path of a leaf holds one node for every level, from the leaf up: the root of the subtree beside the one that holds
the leaf. Index and size of the tree say on which side each stands, so that a path proves the leaf's place too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from corpusmill.tokenize.hashes import inner_node, merkle_root


def sibling_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """The leaves [first, stop) under each node of the path of leaf `index` in a tree of `size` leaves, leaf upwards."""
    assert 0 <= index < size, (index, size)
    first, stop = 0, size
    ranges = []
    while stop - first > 1:
        middle = first + (1 << ((stop - first - 1).bit_length() - 1))  # the largest power of two below the size
        if index < middle:
            ranges.append((middle, stop))
            stop = middle
        else:
            ranges.append((first, middle))
            first = middle
    return ranges[::-1]


def audit_path(index: int, size: int, root_of: Callable[[int, int], bytes]) -> list[bytes]:
    """The path of leaf `index` in a tree of `size` leaves; root_of(first, stop): root over the leaves [first, stop)."""
    return [root_of(first, stop) for first, stop in sibling_ranges(index, size)]


def audit_path_of(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """The path of leaf `index` among leaf hashes that are all at hand."""
    return audit_path(index, len(leaves), lambda first, stop: merkle_root(leaves[first:stop]))


def root_of_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root that a leaf hash, its place and its path give; None when the path does not fit place and size."""
    if not 0 <= index < size:
        return None
    ranges = sibling_ranges(index, size)
    if len(ranges) != len(path):
        return None
    node = leaf
    for (first, _), beside in zip(ranges, path, strict=True):
        node = inner_node(node, beside) if first > index else inner_node(beside, node)
    return node
