"""Connected components of a graph that no machine holds: alternating large-star and small-star.

Kiveris, Lattanzi, Mirrokni, Rastogi and Vassilvitskii 2014, "Connected Components in MapReduce and Beyond", section 3.
Both operations see a node with its neighbours, keep the components as they are and bring every node nearer to the
smallest node of its own. They alternate until neither changes an edge; then every component is a star around its
smallest node: a node with a larger neighbour has no smaller one (else large-star would change that edge), and no node
has two smaller ones (else small-star would).

Edges are pairs of int64 arrays (e,). All functions look at the set of edges alone: order and repeats do not matter, and
their results are sorted and distinct.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from corpusmill.core.hashing import Int64Array

Bools = npt.NDArray[np.bool_]


class Links(NamedTuple):
    """Edges from a node to a smaller one, int64 (k,) each; whether an operation changed it, bool (k,)."""

    nodes: Int64Array
    smaller: Int64Array
    changed: Bools


def large_star(nodes: Int64Array, others: Int64Array) -> Links:
    """Links every neighbour of a node that is larger than it to the smallest of its neighbours and itself.

    nodes, others: both directions of every edge of the nodes that are looked at.
    """
    nodes, others, starts, sizes = _grouped(nodes, others)
    smallest = np.repeat(np.minimum(nodes[starts], others[starts]), sizes)
    larger = others > nodes
    return _distinct(others[larger], smallest[larger], (smallest < nodes)[larger])


def small_star(nodes: Int64Array, smaller: Int64Array, changed: Bools) -> Links:
    """Links a node and those of its neighbours that are smaller to the smallest of these.

    nodes, smaller: every edge of the nodes that are looked at, from its larger end. `changed` goes on to what becomes
    of a node.
    """
    nodes, smaller, changed = _distinct(nodes, smaller, changed)
    nodes, smaller, starts, sizes = _grouped(nodes, smaller)
    centres = smaller[starts]
    any_changed = (np.add.reduceat(changed, starts, dtype=np.int64) > 0) | (sizes > 1) if len(starts) else changed
    leaf = smaller != np.repeat(centres, sizes)
    return _distinct(
        np.concatenate([nodes[starts], smaller[leaf]]),
        np.concatenate([centres, np.repeat(centres, sizes)[leaf]]),
        np.concatenate([any_changed, np.repeat(any_changed, sizes)[leaf]]),
    )


def labels(nodes: Int64Array, others: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Every node of `nodes` once, ascending, and the smallest of its component, when all components are stars.

    nodes, others: both directions of every edge of the nodes that are looked at.
    """
    nodes, others, starts, _ = _grouped(nodes, others)
    return nodes[starts], np.minimum(nodes[starts], others[starts])


def _grouped(nodes: Int64Array, others: Int64Array) -> tuple[Int64Array, Int64Array, Int64Array, Int64Array]:
    """The edges sorted by node, then other end; where each node begins and how many edges it has."""
    order = np.lexsort((others, nodes))
    nodes, others = nodes[order], others[order]
    starts = np.flatnonzero(np.diff(nodes, prepend=nodes[0] - 1)) if len(nodes) else np.empty(0, dtype=np.int64)
    return nodes, others, starts, np.diff(starts, append=len(nodes))


def _distinct(nodes: Int64Array, smaller: Int64Array, changed: Bools) -> Links:
    """Links sorted, each once, changed where any of its copies was."""
    order = np.lexsort((~changed, smaller, nodes))
    nodes, smaller = nodes[order], smaller[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (nodes[1:] != nodes[:-1]) | (smaller[1:] != smaller[:-1])
    return Links(nodes[first], smaller[first], changed[order][first])
