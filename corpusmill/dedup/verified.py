"""Verification of clusters: every member is compared with the document that would replace it.

Buckets make pairs and pairs make chains: in a cluster A ~ B ~ C the documents A and C may have nothing in common. So
the members of a cluster, in the order in which they would survive, are taken one after another: the first becomes
canonical and all that are similar enough to it go with it; then the first of the rest, and so on. What is similar to no
canonical document stays. The result depends on the set of members alone, not on the order of the pairs.

Similarity is the Jaccard similarity of the sets of shingles, exact for sets of at most SKETCH_SHINGLES; of larger ones
the smallest SKETCH_SHINGLES hashes of the union are compared (bottom-k sketch, standard error below 0.008).
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from corpusmill.core.hashing import Int64Array, UInt64Array

SKETCH_SHINGLES = 4096

Float64Array = npt.NDArray[np.float64]


class Sets(NamedTuple):
    """Sets of shingles one after another: set i is hashes[offsets[i] : offsets[i + 1]], ascending, distinct.

    hashes: uint64 (n,). offsets: int64 (k + 1,).
    """

    hashes: UInt64Array
    offsets: Int64Array


def sketch(shingles: UInt64Array) -> UInt64Array:
    """The distinct shingles, ascending, at most the SKETCH_SHINGLES smallest; uint64."""
    distinct: UInt64Array = np.unique(shingles)[:SKETCH_SHINGLES]
    return distinct


@numba.njit(cache=True, nogil=True)
def jaccard(hashes: UInt64Array, a: int, a_end: int, b: int, b_end: int) -> float:
    """Jaccard similarity of the sets hashes[a:a_end] and hashes[b:b_end], both ascending and not empty; 0..1.

    Of sketches only the smallest SKETCH_SHINGLES of the union are looked at.
    """
    common = 0
    union = 0
    is_sketch = a_end - a >= SKETCH_SHINGLES or b_end - b >= SKETCH_SHINGLES
    while a < a_end and b < b_end:
        if is_sketch and union == SKETCH_SHINGLES:
            return common / union
        x, y = hashes[a], hashes[b]
        if x == y:
            common += 1
        if x <= y:
            a += 1
        if y <= x:
            b += 1
        union += 1
    union += (a_end - a) + (b_end - b)
    if is_sketch:
        union = min(union, SKETCH_SHINGLES)
    return common / union


@numba.njit(cache=True, nogil=True)
def assign(
    clusters: Int64Array,
    sets: Int64Array,
    stays: npt.NDArray[np.bool_],
    hashes: UInt64Array,
    offsets: Int64Array,
    least: float,
    most_canonical: int,
) -> tuple[Int64Array, Float64Array]:
    """The canonical document of every member, and its similarity to it.

    Args:
        clusters: int64 (m + 1,), members of cluster c are clusters[c] .. clusters[c + 1] - 1, best first.
        sets: int64 (k,), number of the set of each member.
        stays: bool (k,), members that are canonical whatever they are similar to.
        hashes, offsets: the sets, see Sets.
        least: least similarity to the canonical document, 0..1.
        most_canonical: canonical documents of one cluster; members that are left after so many stay, each its own.

    Returns:
        int64 (k,), member number; float64 (k,), 1.0 for canonical documents.
    """
    canonical = np.full(len(sets), -1, dtype=np.int64)
    similarity = np.ones(len(sets), dtype=np.float64)
    for c in range(len(clusters) - 1):
        found = 0
        for i in range(clusters[c], clusters[c + 1]):
            if canonical[i] >= 0:
                continue
            canonical[i] = i
            found += 1
            if found > most_canonical:
                continue
            a, a_end = offsets[sets[i]], offsets[sets[i] + 1]
            for j in range(i + 1, clusters[c + 1]):
                if canonical[j] >= 0 or stays[j]:
                    continue
                if sets[j] == sets[i]:
                    canonical[j] = i
                    continue
                b, b_end = offsets[sets[j]], offsets[sets[j] + 1]
                shorter, longer = min(a_end - a, b_end - b), max(a_end - a, b_end - b)
                if longer < SKETCH_SHINGLES and shorter < least * longer:
                    continue  # even a subset would not be similar enough
                s = jaccard(hashes, a, a_end, b, b_end)
                if s >= least:
                    canonical[j] = i
                    similarity[j] = s
    return canonical, similarity
