from __future__ import annotations

import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from dedup_tables import doc_id, document, tables
from hypothesis import given, settings
from hypothesis import strategies as st

from corpusmill.core.normalise import normalised_words
from corpusmill.dedup import signatures, verified
from corpusmill.dedup.local import run_step
from corpusmill.dedup.minhash import MinHash, MinHashConfig

MANY = verified.SKETCH_SHINGLES


def flattened(sets: list[set[int]]) -> tuple[Any, Any]:
    arrays = [np.array(sorted(s), dtype=np.uint64) for s in sets]
    offsets = np.append(0, np.cumsum([len(a) for a in arrays])).astype(np.int64)
    return np.concatenate([*arrays, np.empty(0, np.uint64)]), offsets


def slow_assign(clusters: list[list[int]], sets: list[set[int]], least: float, most: int) -> list[tuple[int, float]]:
    """By the definition: members (set numbers) of each cluster in order, lists and sets."""
    found: list[tuple[int, float]] = []
    for members in clusters:
        base = len(found)
        found += [(-1, 1.0)] * len(members)
        canonical = 0
        for i, a in enumerate(members):
            if found[base + i][0] >= 0:
                continue
            found[base + i] = (base + i, 1.0)
            canonical += 1
            if canonical > most:
                continue
            for j in range(i + 1, len(members)):
                b = members[j]
                similarity = len(sets[a] & sets[b]) / len(sets[a] | sets[b])
                if found[base + j][0] < 0 and similarity >= least:
                    found[base + j] = (base + i, similarity)
    return found


SETS = st.lists(st.sets(st.integers(0, 12), min_size=1), min_size=1, max_size=6)


@settings(max_examples=300)
@given(SETS, st.data(), st.sampled_from([0.0, 0.3, 0.5, 0.8, 1.0]), st.integers(1, 3))
def test_members_are_assigned_as_the_definition_says(
    sets: list[set[int]], data: st.DataObject, least: float, most: int
) -> None:
    member = st.integers(0, len(sets) - 1)
    clusters = data.draw(st.lists(st.lists(member, min_size=1, max_size=8), min_size=1, max_size=3))
    starts = np.append(0, np.cumsum([len(c) for c in clusters])).astype(np.int64)
    flat = np.array([m for c in clusters for m in c], dtype=np.int64)
    canonical, similarity = verified.assign(starts, flat, *flattened(sets), least, most)
    expected = slow_assign(clusters, sets, least, most)
    assert canonical.tolist() == [e[0] for e in expected]
    assert similarity.tolist() == pytest.approx([e[1] for e in expected])


@given(st.sets(st.integers(0, 40), min_size=1), st.sets(st.integers(0, 40), min_size=1))
def test_jaccard_is_exact_for_small_sets(a: set[int], b: set[int]) -> None:
    hashes, offsets = flattened([a, b])
    assert verified.jaccard(hashes, 0, offsets[1], offsets[1], offsets[2]) == len(a & b) / len(a | b)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.9])
def test_jaccard_of_large_sets_is_estimated(share: float) -> None:
    chooser = random.Random(3)
    common = [chooser.getrandbits(64) for _ in range(int(40_000 * share))]
    a, b = ([chooser.getrandbits(64) for _ in range((40_000 - len(common)) // 2)] for _ in range(2))
    sketches = [verified.sketch(np.array(common + own, dtype=np.uint64)) for own in (a, b)]
    assert [len(s) for s in sketches] == [MANY, MANY]
    hashes = np.concatenate(sketches)
    estimate = verified.jaccard(hashes, 0, MANY, MANY, 2 * MANY)
    assert estimate == pytest.approx(share, abs=4 * (share * (1 - share) / MANY) ** 0.5)


def jaccard(a: str, b: str) -> float:
    sets = [set(signatures.shingles(normalised_words(t, "en").hashes, 5).tolist()) for t in (a, b)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def chain(links: int) -> list[str]:
    """Texts of which neighbours share most of their words and the first and last none."""
    words = [f"word{i}" for i in range(2000)]
    return [" ".join(words[i * 20 : i * 20 + 300]) for i in range(links)]


def test_a_chain_of_pairs_does_not_carry_away_what_has_nothing_in_common() -> None:
    texts = chain(16)
    (table,) = tables([document(n, t) for n, t in enumerate(texts)])
    config = MinHashConfig(bands=40, rows=4)
    (result,) = run_step(MinHash(config), [table])
    assert result.clusters is not None
    rows = {r["doc_id"]: r for r in result.clusters.to_pylist()}
    assert {r["cluster_size"] for r in rows.values()} == {16}  # one component
    kept = result.kept.column("doc_id").to_pylist()
    assert 3 <= len(kept) < 16
    by_id = {doc_id(n): text for n, text in enumerate(texts)}
    for name, row in rows.items():
        exact = jaccard(by_id[name], by_id[row["canonical"]])
        assert row["similarity"] == pytest.approx(exact)
        assert exact >= 0.7
        assert row["canonical"] in kept
    for removal in result.removed.to_pylist():
        assert removal["value"] == rows[removal["doc_id"]]["similarity"]
        assert removal["threshold"] == 0.7
    (unverified,) = run_step(MinHash(config.model_copy(update={"min_similarity": None})), [table])
    assert unverified.kept.num_rows == 1


def test_what_is_left_after_the_last_canonical_document_stays() -> None:
    (table,) = tables([document(n, t) for n, t in enumerate(chain(16))])
    (result,) = run_step(MinHash(MinHashConfig(bands=40, rows=4, max_canonical=1)), [table])
    assert result.clusters is not None
    removed = result.removed.column("twin").to_pylist()
    assert len(set(removed)) == 1
    assert result.kept.num_rows == 16 - len(removed)


def test_many_copies_ship_one_set_a_shard() -> None:
    shipped = []

    class Watched(MinHash):
        def visit(self, round_number: int, rows: pa.Table, table: pa.Table, shard: int, shards: int) -> pa.Table:
            shipped.append(super().visit(round_number, rows, table, shard, shards))
            return shipped[-1]

    shards = tables([document(n, " ".join(chain(1))) for n in range(200)], 4)
    results = run_step(Watched(MinHashConfig(partitions=2)), shards)
    assert [(t.num_rows, t.column("shingles").null_count) for t in shipped] == [(50, 49)] * 4
    assert sum(r.kept.num_rows for r in results) == 1
