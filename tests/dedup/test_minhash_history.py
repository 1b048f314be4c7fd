"""`minhash` a snapshot at a time: what goes is what the definition says over all documents of all snapshots."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dedup_tables import document, tables
from hypothesis import given, settings
from hypothesis import strategies as st

from corpusmill.core.errors import ConfigError
from corpusmill.core.normalise import normalised_words
from corpusmill.dedup import groups, history, signatures
from corpusmill.dedup.history import NO_PAST
from corpusmill.dedup.local import remember, run_step
from corpusmill.dedup.minhash import MinHash, MinHashConfig

Row = dict[str, Any]
Gone = dict[str, tuple[str, float | None, str | None]]  # doc_id -> twin, similarity, snapshot of the twin


def incremental(folder: Path, config: MinHashConfig, crawls: list[list[Row]], shards: int) -> tuple[list[Gone], Any]:
    """What goes from each snapshot, one after another, each against all before it; the last one's clusters."""
    gone = []
    clusters: dict[str, str] = {}
    for n, rows in enumerate(crawls):
        past = history.named([str(folder / str(k)) for k in range(n)], MinHash(config))
        results = remember(MinHash(config, past), tables(rows, shards), str(folder / str(n)), str(n))
        gone.append(
            {
                row["doc_id"]: (
                    row["twin"],
                    row["value"],
                    row["twin_history"] and row["twin_history"].partition("@")[0],
                )
                for result in results
                for row in result.removed.to_pylist()
            }
        )
        clusters = {}
        for result in results:
            assert result.clusters is not None
            clusters |= {row["doc_id"]: row["cluster_id"] for row in result.clusters.to_pylist()}
    return gone, clusters


def buckets_of(step: MinHash, row: Row) -> set[tuple[int, int]]:
    """Keys of the buckets of a document."""
    mapped = step.map(tables([row])[0].select(list(step.columns)), 0, 1)
    return set(zip(*(key.tolist() for key in groups.key_columns(mapped)), strict=True))


def by_definition(config: MinHashConfig, crawls: list[list[Row]]) -> tuple[list[Gone], dict[str, str]]:
    """Lists and sets: components over all documents so far; what stayed of earlier snapshots stays and comes first."""
    rows = [(n, row) for n, crawl in enumerate(crawls) for row in crawl]
    step = MinHash(config)
    buckets = [buckets_of(step, row) for _, row in rows]
    sets = [set(signatures.shingles(normalised_words(r["text"], "en").hashes, config.ngram).tolist()) for _, r in rows]

    def rank(i: int) -> tuple[Any, ...]:
        day = rows[i][1]["fetched_at"].timestamp()
        by = {"latest": (-day,), "first": (day,), "longest": (-len(rows[i][1]["text"]), -day)}[config.keep]
        return (rows[i][0], *by, rows[i][1]["doc_id"])

    stayed: set[int] = set()
    gone: list[Gone] = []
    named: dict[str, str] = {}
    for n in range(len(crawls)):
        here = [i for i in range(len(rows)) if rows[i][0] <= n]
        label = {i: i for i in here}
        for i in here:
            for j in here:
                if buckets[i] & buckets[j] and label[i] != label[j]:
                    old, new = label[i], label[j]
                    label = {k: new if v == old else v for k, v in label.items()}
        gone.append({})
        named = {}
        for component in set(label.values()):
            members = [i for i in here if label[i] == component]
            order = sorted((i for i in members if i in stayed or rows[i][0] == n), key=rank)
            if len(members) > 1:
                name = min(rows[i][1]["doc_id"] for i in members)
                named |= {rows[i][1]["doc_id"]: name for i in order if rows[i][0] == n}
            left, canonical = list(order), 0
            while left:
                first = left.pop(0)
                stayed.add(first)
                canonical += 1
                if config.min_similarity is not None and canonical > config.max_canonical:
                    continue
                for other in list(left):
                    similarity = len(sets[first] & sets[other]) / max(1, len(sets[first] | sets[other]))
                    if rows[other][0] == n and (config.min_similarity is None or similarity >= config.min_similarity):
                        left.remove(other)
                        value = None if config.min_similarity is None else pytest.approx(similarity)
                        where = None if rows[first][0] == n else str(rows[first][0])
                        gone[-1][rows[other][1]["doc_id"]] = (rows[first][1]["doc_id"], value, where)
    return gone, named


# Few words, many of them shared: components that chain, meet in a later snapshot, and hold what is not similar.
TEXTS = st.lists(st.sampled_from("abcdefghij"), min_size=0, max_size=6).map(" ".join)
CRAWLS = st.lists(st.lists(st.tuples(TEXTS, st.integers(0, 2)), max_size=7), min_size=2, max_size=4)


@settings(max_examples=25)
@given(
    CRAWLS,
    st.booleans(),
    st.integers(1, 3),
    st.sampled_from([1, 5]),
    st.sampled_from([0, 1000]),
    st.sampled_from([None, 0.5, 0.8]),
    st.sampled_from([1, 2, 1000]),
    st.sampled_from(["longest", "latest", "first"]),
)
def test_a_snapshot_at_a_time_is_what_the_definition_says(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: list[list[tuple[str, int]]],
    descending: bool,
    shards: int,
    partitions: int,
    max_edges: int,
    least: float | None,
    most: int,
    keep: Any,
) -> None:
    crawls: list[list[Row]] = []
    number = 500
    for rows in drawn:
        crawls.append([])
        for text, day in rows:
            number += -1 if descending else 1  # names of components change when a smaller doc_id joins
            crawls[-1].append(document(number, text, day=day))
    config = MinHashConfig(
        bands=6, rows=2, ngram=1, min_similarity=least, max_canonical=most, keep=keep, partitions=partitions,
        max_edges=max_edges,
    )  # fmt: skip
    gone, clusters = incremental(tmp_path_factory.mktemp("snapshots"), config, crawls, shards)
    expected, named = by_definition(config, crawls)
    assert gone == expected
    if not descending:
        assert clusters == named


def words(first: int, number: int = 300) -> str:
    return " ".join(f"word{i}" for i in range(first, first + number))


def test_a_component_is_found_by_documents_that_went(tmp_path: Path) -> None:
    """In the first snapshot b went for a; c of the second meets b alone, and is compared with a all the same."""
    a, b, c = document(1, words(0)), document(2, words(45)), document(3, words(90))
    for seed in range(40):
        config = MinHashConfig(bands=20, rows=10, min_similarity=0.5, keep="first", seed=seed)
        going = [set(by_definition(config, [rows])[0][0]) for rows in ([a, b], [b, c], [a, c])]
        if going == [{b["doc_id"]}, {c["doc_id"]}, set()]:
            gone, clusters = incremental(tmp_path, config, [[a, b], [c]], 1)
            assert gone[1][c["doc_id"]][0] == a["doc_id"]
            assert clusters == {c["doc_id"]: a["doc_id"]}
            return
    raise AssertionError("no seed makes just these two pairs")


def test_one_run_over_both_leaves_the_same_without_verification(tmp_path: Path) -> None:
    """Where the earlier snapshot has the earlier dates, `first` in one run over both prefers it."""
    chooser = np.random.default_rng(5)
    old = [document(n, words(int(chooser.integers(0, 12000))), day=n % 3) for n in range(30)]
    new = [document(100 + n, words(int(chooser.integers(0, 12000))), day=5 + n % 3) for n in range(30)]
    config = MinHashConfig(bands=30, rows=3, min_similarity=None, keep="first")
    (both,) = run_step(MinHash(config), tables(old + new))
    gone, clusters = incremental(tmp_path, config, [old, new], 2)
    ids = {row["doc_id"] for row in new}
    assert {r["doc_id"] for r in both.removed.to_pylist() if r["doc_id"] in ids} == set(gone[1])
    assert both.clusters is not None
    assert clusters == {r["doc_id"]: r["cluster_id"] for r in both.clusters.to_pylist() if r["doc_id"] in ids}
    assert 5 < len(gone[1]) < 30


def test_a_document_that_the_history_has_goes_too(tmp_path: Path) -> None:
    rows = [document(1, words(0))]
    gone, _ = incremental(tmp_path, MinHashConfig(), [rows, rows], 1)
    assert gone == [{}, {rows[0]["doc_id"]: (rows[0]["doc_id"], 1.0, "0")}]


def test_bytes_do_not_depend_on_shards_and_partitions(tmp_path: Path) -> None:
    rows = [document(n, words(n * 7 % 100, 40)) for n in range(60)]
    made = []
    for n, (shards, partitions) in enumerate([(1, 1), (3, 7), (10, 64)]):
        config = MinHashConfig(partitions=partitions)
        incremental(tmp_path / str(n), config, [rows[:30], rows[30:]], shards)
        made.append({p.relative_to(tmp_path / str(n)): p.read_bytes() for p in (tmp_path / str(n)).rglob("*.*")})
    assert made[0] == made[1] == made[2]
    assert len(made[0]) == 8


def test_other_settings_are_refused(tmp_path: Path) -> None:
    incremental(tmp_path, MinHashConfig(), [[document(1, words(0))]], 1)
    for change in ({"bands": 13}, {"rows": 9}, {"ngram": 4}, {"seed": 1}, {"min_similarity": None}, {"keep": "first"}):
        with pytest.raises(ConfigError, match=f"another `{next(iter(change))}`"):
            history.named([str(tmp_path / "0")], MinHash(MinHashConfig(**change), NO_PAST))
    assert history.named([str(tmp_path / "0")], MinHash(MinHashConfig(partitions=3, max_edges=0)))


def test_of_many_that_stayed_only_those_are_kept_that_can_be_compared(tmp_path: Path) -> None:
    rows = [document(n, words(n * 40)) for n in range(20)]
    config = MinHashConfig(bands=60, rows=3, max_canonical=4)
    incremental(tmp_path, config, [rows], 2)
    past = history.named([str(tmp_path / "0")], MinHash(config))
    (entry,) = past.histories[0].manifest.tables["survivors"]
    assert entry.rows == 4


def test_components_that_a_later_snapshot_joined_are_one(tmp_path: Path) -> None:
    """d meets the component of y alone, but b of the second snapshot joined it to that of x, which d is similar to."""
    config = MinHashConfig(bands=3, rows=1, ngram=1, min_similarity=0.3)
    chooser = random.Random(1)
    pool = [" ".join(chooser.sample("abcdefghijkl", chooser.randint(2, 6))) for _ in range(80)]
    buckets = {text: buckets_of(MinHash(config), document(1, text)) for text in pool}

    def meet(a: str, b: str) -> bool:
        return bool(buckets[a] & buckets[b])

    def alike(a: str, b: str) -> bool:
        return len({*a.split()} & {*b.split()}) >= 0.3 * len({*a.split()} | {*b.split()})

    texts = next(
        (x, y, b, d)
        for x, y in itertools.permutations(pool, 2)
        if not meet(x, y) and not alike(x, y)
        for d in pool
        if meet(d, y) and not meet(d, x) and alike(d, x) and not alike(d, y)
        for b in pool
        if meet(b, x) and meet(b, y) and not meet(b, d) and not any(alike(b, other) for other in (x, y, d))
    )
    x, y, b, d = (document(n, text) for n, text in enumerate(texts))
    apart, _ = incremental(tmp_path / "apart", config, [[x, y], [], [d]], 1)
    assert apart == [{}, {}, {}]
    joined, _ = incremental(tmp_path / "joined", config, [[x, y], [b], [d]], 1)
    assert {doc_id: gone[0] for doc_id, gone in joined[2].items()} == {d["doc_id"]: x["doc_id"]}
    assert joined == by_definition(config, [[x, y], [b], [d]])[0]
