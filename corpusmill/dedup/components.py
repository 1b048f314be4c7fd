"""Connected components by union-find: exact, iterative, independent of the order of the edges."""

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
