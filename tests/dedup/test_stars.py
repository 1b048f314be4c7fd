"""Large-star and small-star against union-find."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpusmill.dedup.components import components, contracted
from corpusmill.dedup.stars import Links, labels, large_star, small_star

Edges = list[tuple[int, int]]
EDGES = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)).filter(lambda e: e[0] != e[1]), max_size=25)


def arrays(edges: Edges) -> tuple[np.ndarray, np.ndarray]:
    ends = np.array(edges, dtype=np.int64).reshape(-1, 2)
    return ends[:, 0].copy(), ends[:, 1].copy()


def rows(links: Links) -> list[tuple[int, int, bool]]:
    return list(zip(*(column.tolist() for column in links), strict=True))


def by_union_find(edges: Edges) -> dict[int, int]:
    a, b = arrays(edges)
    nodes = sorted({n for edge in edges for n in edge})
    label = components(max(nodes, default=-1) + 1, a, b)
    return {n: int(label[n]) for n in nodes}


def by_stars(edges: Edges, partitions: int) -> tuple[dict[int, int], int]:
    """Labels and the number of turns, with the nodes dealt out to `partitions` tasks."""
    both = [pair for a, b in edges for pair in ((a, b), (b, a))]
    turns = 0
    while True:
        turns += 1
        links = []
        for part in range(partitions):
            links += rows(large_star(*arrays([e for e in both if e[0] % partitions == part])))
        after = []
        for part in range(partitions):
            mine = [link for link in links if link[0] % partitions == part]
            flags = np.array([link[2] for link in mine], dtype=bool)
            after += rows(small_star(*arrays([(a, b) for a, b, _ in mine]), flags))
        both = [pair for a, b, _ in after for pair in ((a, b), (b, a))]
        if not any(link[2] for link in after):
            break
    found: dict[int, int] = {}
    for part in range(partitions):
        nodes, smallest = labels(*arrays([e for e in both if e[0] % partitions == part]))
        assert not set(nodes.tolist()) & set(found)
        found.update(zip(nodes.tolist(), smallest.tolist(), strict=True))
    return found, turns


@given(EDGES, st.sampled_from([1, 2, 5]))
def test_labels_are_those_of_union_find(edges: Edges, partitions: int) -> None:
    assert by_stars(edges, partitions)[0] == by_union_find(edges)


def chain(size: int) -> Edges:
    return [(n, n + 1) for n in range(size - 1)]


def grid(side: int) -> Edges:
    across = [(r * side + c, r * side + c + 1) for r in range(side) for c in range(side - 1)]
    return across + [(r * side + c, (r + 1) * side + c) for r in range(side - 1) for c in range(side)]


def star(size: int) -> Edges:
    return [(size // 2, n) for n in range(size) if n != size // 2]


def drawn(size: int, edges: int) -> Edges:
    chooser = random.Random(1)
    return [
        pair for pair in ((chooser.randrange(size), chooser.randrange(size)) for _ in range(edges)) if len({*pair}) > 1
    ]


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("partitions", [1, 7])
@pytest.mark.parametrize(
    "edges",
    [chain(3000), grid(40), star(2000), drawn(3000, 2000), drawn(2000, 6000)],
    ids=["chain", "grid", "star", "sparse", "dense"],
)
def test_graphs(edges: Edges, partitions: int, shuffled: bool) -> None:
    if shuffled:
        names = list(range(1 + max(n for edge in edges for n in edge)))
        random.Random(0).shuffle(names)
        edges = [(names[a], names[b]) for a, b in edges]
    found, turns = by_stars(edges, partitions)
    assert found == by_union_find(edges)
    assert turns <= 2 + math.log2(len(found))  # the paper proves log^2 and sees log


@given(EDGES)
def test_large_and_small_star_keep_the_components(edges: Edges) -> None:
    both = [pair for a, b in edges for pair in ((a, b), (b, a))]
    links = large_star(*arrays(both))
    assert (links.nodes > links.smaller).all()
    pairs = list(zip(links.nodes.tolist(), links.smaller.tolist(), strict=True))
    assert by_union_find(pairs) == by_union_find(edges)
    links = small_star(*links)
    pairs = list(zip(links.nodes.tolist(), links.smaller.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    assert by_union_find(pairs) == by_union_find(edges)


def test_small_star_passes_on_what_large_star_changed() -> None:
    """A path 1-2-3-4: large-star gives 2-1, 3-1, 4-2, which small-star leaves as it is, and it is no star yet."""
    edges = chain(5)[1:]
    links = large_star(*arrays([pair for a, b in edges for pair in ((a, b), (b, a))]))
    assert rows(links) == [(2, 1, False), (3, 1, True), (4, 2, True)]
    after = small_star(*links)
    assert after.smaller.tolist() == [1, 1, 2]
    assert after.changed.tolist() == [False, True, True]


@given(EDGES)
def test_contracted_edges_have_the_same_components(edges: Edges) -> None:
    nodes, smallest = contracted(*arrays(edges))
    expected = by_union_find(edges)
    assert dict(zip(nodes.tolist(), smallest.tolist(), strict=True)) == {n: s for n, s in expected.items() if n != s}
    assert len(nodes) <= len(edges)


def test_nothing() -> None:
    empty = np.empty(0, dtype=np.int64)
    assert [len(c) for c in large_star(empty, empty)] == [0, 0, 0]
    assert [len(c) for c in small_star(empty, empty, empty.astype(bool))] == [0, 0, 0]
    assert [len(c) for c in labels(empty, empty)] == [0, 0]
    assert [len(c) for c in contracted(empty, empty)] == [0, 0]
