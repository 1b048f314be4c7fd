from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from corpusmill.dedup.components import components

EDGES = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=20)


def labels(num_nodes: int, edges: list[tuple[int, int]]) -> list[int]:
    ends = np.array(edges, dtype=np.int64).reshape(-1, 2)
    return components(num_nodes, ends[:, 0].copy(), ends[:, 1].copy()).tolist()


def by_search(num_nodes: int, edges: list[tuple[int, int]]) -> list[int]:
    label = list(range(num_nodes))
    for root in range(num_nodes):
        if label[root] != root:
            continue
        reached = {root}
        while True:
            more = {y for a, b in edges for x, y in ((a, b), (b, a)) if x in reached} - reached
            if not more:
                break
            reached |= more
        for node in reached:
            label[node] = root
    return label


@given(EDGES, st.randoms())
def test_against_search_in_any_order_of_edges(edges: list[tuple[int, int]], random: object) -> None:
    expected = by_search(12, edges)
    assert labels(12, edges) == expected
    random.shuffle(edges)  # type: ignore[attr-defined]
    assert labels(12, [(b, a) for a, b in edges]) == expected


def test_a_long_chain_is_one_component() -> None:
    chain = np.arange(300_000, dtype=np.int64)
    backwards = chain[::-1].copy()
    assert (components(300_000, backwards[:-1].copy(), backwards[1:].copy()) == 0).all()


def test_no_nodes_and_no_edges() -> None:
    assert labels(0, []) == []
    assert labels(3, []) == [0, 1, 2]
