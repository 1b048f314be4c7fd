"""Connected components by union-find, for edges that one task can hold. dedup/stars.py does it for more."""

from __future__ import annotations

import numba
import numpy as np

from corpusmill.core.hashing import Int64Array


@numba.njit(cache=True, nogil=True)
def components(num_nodes: int, a: Int64Array, b: Int64Array) -> Int64Array:
    """Smallest node of the component of every node.

    The smaller root becomes the parent, so roots are the minima whatever the order of the edges; path halving keeps
    the depth logarithmic (amortised). One pass over the edges: nothing to iterate until convergence.

    Args:
        num_nodes: nodes are 0..num_nodes-1.
        a, b: int64 (e,), ends of the edges.

    Returns:
        int64 (num_nodes,).
    """
    parent = np.arange(num_nodes)
    for i in range(len(a)):
        x, y = a[i], b[i]
        while parent[x] != x:
            parent[x] = parent[parent[x]]
            x = parent[x]
        while parent[y] != y:
            parent[y] = parent[parent[y]]
            y = parent[y]
        if x < y:
            parent[y] = x
        else:
            parent[x] = y
    for x in range(num_nodes):  # a parent is smaller than its child, so it is final when its child is reached
        parent[x] = parent[parent[x]]
    return parent


def contracted(a: Int64Array, b: Int64Array) -> tuple[Int64Array, Int64Array]:
    """A star for every component of the edges a - b, whatever their nodes: fewer edges of the same components.

    a, b: int64 (e,), ends of the edges. Returns the nodes that are not the smallest of their component, ascending, and
    the smallest of each, int64 (k,) each; k is at most e.
    """
    nodes, ends = np.unique(np.concatenate([a, b]), return_inverse=True)
    smallest = nodes[components(len(nodes), ends[: len(a)], ends[len(a) :])]
    leaf = smallest != nodes
    return nodes[leaf], smallest[leaf]
