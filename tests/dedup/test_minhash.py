from __future__ import annotations

import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from dedup_tables import doc_id, document, tables
from hypothesis import given, settings
from hypothesis import strategies as st

from corpusmill.dedup.base import remarks_of
from corpusmill.dedup.local import run_step
from corpusmill.dedup.minhash import CLUSTER, MinHash, MinHashConfig

WORDS = ["time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school", "state"]


def article(seed: int, words: int = 200) -> list[str]:
    return [w + str(n % 7) for n, w in enumerate(random.Random(seed).choices(WORDS, k=words))]


def edited(words: list[str], share: float, seed: int) -> list[str]:
    chooser = random.Random(seed)
    return ["edited" if chooser.random() < share else w for w in words]


def clusters(crawl: list[dict[str, Any]], shards: int = 1, **config: Any) -> dict[str, tuple[str, int, str]]:
    """doc_id -> (cluster_id, size, canonical); checks that removals and clusters agree."""
    found = {}
    for table, result in zip(
        tables(crawl, shards), run_step(MinHash(MinHashConfig(**config)), tables(crawl, shards)), strict=True
    ):
        assert result.clusters is not None
        assert result.clusters.schema == CLUSTER
        members = {
            c["doc_id"]: (c["cluster_id"], c["cluster_size"], c["canonical"]) for c in result.clusters.to_pylist()
        }
        removed = {r["doc_id"]: (r["rule"], r["detail"], r["twin"]) for r in result.removed.to_pylist()}
        assert removed == {i: ("near_duplicate", m[0], m[2]) for i, m in members.items() if m[2] != i}
        order = table.column("doc_id").to_pylist()
        assert result.kept.column("doc_id").to_pylist() == [i for i in order if i not in removed]
        found |= members
    return found


def test_near_duplicates_are_one_cluster_and_others_are_none() -> None:
    original = article(1)
    rows = [
        document(1, " ".join(edited(original, 0.01, 5))),
        document(2, " ".join(original) + " and one more word"),
        document(3, " ".join(article(2))),
        document(4, "  ".join(original).upper() + "!"),
    ]
    member = (doc_id(1), 3, doc_id(4))  # the longest survives; the smallest doc_id names the cluster
    assert clusters(rows) == {doc_id(1): member, doc_id(2): member, doc_id(4): member}


def test_keep_rules() -> None:
    text = " ".join(article(1))
    rows = [
        document(1, text, day=3),
        document(2, text + "!!", day=2),
        document(3, text, day=1),
        document(4, text, day=None),
    ]
    assert clusters(rows)[doc_id(1)][2] == doc_id(2)
    assert clusters(rows, keep="latest")[doc_id(1)][2] == doc_id(1)
    assert clusters(rows, keep="first")[doc_id(1)][2] == doc_id(3)


def test_a_chain_of_pairs_is_one_cluster() -> None:
    """As in RefinedWeb, without verification: both ends of a chain go together, though they share little."""
    words = article(1, 400)
    steps = [words[i * 12 : i * 12 + 300] for i in range(8)]
    found = clusters([document(n, " ".join(w)) for n, w in enumerate(steps)], bands=40, rows=4)
    assert {c[1] for c in found.values()} == {8}


def test_short_documents_meet_only_when_all_their_words_are_equal() -> None:
    """Texts shorter than a shingle: neither all merged nor never compared."""
    rows = [
        document(1, "Read more"),
        document(2, "read MORE!"),
        document(3, "Read less"),
        document(4, "Read"),
        document(5, "Read more now"),
        document(6, "more read"),
    ]
    assert set(clusters(rows)) == {doc_id(1), doc_id(2)}


def test_documents_without_words_are_kept() -> None:
    assert clusters([document(n, text) for n, text in enumerate(["", "", "!!!", "😀", "😀"])]) == {}


@pytest.mark.parametrize("language", ["ja", "zh"])
def test_languages_without_spaces(language: str) -> None:
    text = "東京都は日本の首都である。人口は千四百万人を超え、世界最大の都市圏の中心をなす。" * 2
    other = "犬は人に飼われる動物で、鼻がよくきく。散歩が好きなものが多い。猫とは性格が違うと言われる。"
    rows = [document(n, t, language=language) for n, t in enumerate([text, other, text.replace("。", "")])]
    assert set(clusters(rows)) == {doc_id(0), doc_id(2)}


def test_shingles_of_letters() -> None:
    """One word of 13 is replaced; n-grams of n letters lose about n + 1 of the sets, whatever the segmentation."""
    text = "".join(chr(0x4E00 + 37 * i % 5000) for i in range(400))
    rows = [document(1, text, language="zh"), document(2, text[:200] + "編集" + text[202:], language="zh")]
    for n, similarity in ((5, (396 - 6) / (396 + 6)), (8, (393 - 9) / (393 + 9)), (40, (361 - 41) / (361 + 41))):
        (result,) = run_step(MinHash(MinHashConfig(character_ngram=n, ngram=3)), tables(rows))
        assert result.removed.column("value").to_pylist() == [pytest.approx(similarity)]


def test_japanese_in_words_or_characters() -> None:
    text = "東京都は日本の首都である。人口は千四百万人を超え、世界最大の都市圏の中心をなす。" * 2
    edited = text.replace("日本の首都", "ある国の古都")
    rows = [document(1, text, language="ja"), document(2, edited, language="ja")]
    values = []
    for config in ({}, {"ngram": 4}, {"character_ngram": 4}):
        for japanese in ("words", "characters"):
            (result,) = run_step(
                MinHash(MinHashConfig(japanese=japanese, min_similarity=0.1, bands=99, rows=1, **config)), tables(rows)
            )
            values.append(result.removed.column("value").to_pylist()[0])
    words_5, letters_8, words_4, same_8, same_5, letters_4 = values
    assert (words_5, letters_8) == (same_5, same_8)
    assert len({words_5, letters_8, words_4, letters_4}) == 4


def test_a_thousand_copies_make_a_star() -> None:
    """Edges grow with the bucket, not with its square."""
    rows = [document(n, "one short notice of six words") for n in range(1000)]
    step = MinHash(MinHashConfig(partitions=1, bands=2))
    (table,) = tables(rows)
    edges = step.reduce(0, step.map(table, 0, 1).drop_columns(["partition"]), 1)
    assert edges.num_rows == 2 * 999  # once at either end, though the documents meet in both bands
    (result,) = run_step(step, [table])
    assert result.kept.num_rows == 1


def test_another_seed_gives_other_signatures_and_the_same_copies() -> None:
    rows = [document(n, " ".join(article(n % 3))) for n in range(6)]
    assert clusters(rows, seed=0) == clusters(rows, seed=1)


def test_random_documents_are_not_merged() -> None:
    """A wrong mask or seed would merge distinct documents."""
    chooser = random.Random(0)
    rows = [document(n, " ".join(chooser.choices(WORDS, k=chooser.randrange(5, 60)))) for n in range(400)]
    assert clusters(rows) == {}


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from([0.0, 0.02, 0.1]), st.sampled_from([None, 0, 1])), max_size=10
    ),
    st.randoms(use_true_random=False),
    st.integers(1, 4),
    st.sampled_from([1, 3, 16]),
)
def test_result_does_not_depend_on_split_order_or_partitions(
    drawn: list[tuple[int, float, int | None]], chooser: random.Random, shards: int, partitions: int
) -> None:
    rows = [
        document(n, " ".join(edited(article(seed, 60), share, n)), day=day)
        for n, (seed, share, day) in enumerate(drawn)
    ]
    expected = clusters(rows, partitions=2)
    chooser.shuffle(rows)
    assert clusters(rows, shards, partitions=partitions) == expected
    assert clusters(rows, shards, partitions=partitions, max_edges=0) == expected


@pytest.mark.parametrize("verified", [True, False])
def test_components_are_the_same_in_one_task_and_in_many(verified: bool) -> None:
    """Chains of documents, of which only neighbours share a bucket."""
    words = article(100, 1200)
    rows = [document(n, " ".join(words[n * 12 : n * 12 + 300])) for n in range(60)]
    rows += [document(100 + n, " ".join(article(n % 7))) for n in range(30)]
    random.Random(3).shuffle(rows)
    config: dict[str, Any] = {"bands": 40, "rows": 4} | ({} if verified else {"min_similarity": None})
    expected = clusters(rows, **config)
    assert max(c[1] for c in expected.values()) == 60
    for partitions in (1, 3):
        assert clusters(rows, 4, partitions=partitions, max_edges=0, **config) == expected


def test_remarks_name_the_largest_buckets_and_their_first_documents() -> None:
    """Whatever the order of the rows; nodes below 0 are no documents of the run."""
    sizes = [2 + n % 60 for n in range(120)]
    rows = [(key, node) for key, size in enumerate(sizes) for node in range(-1, size - 1)]
    random.Random(1).shuffle(rows)
    keys, nodes = np.array(rows, dtype=np.int64).T.copy()
    table = pa.table({"key_high": keys.astype(np.uint64), "key_low": (keys * 3).astype(np.uint64), "node": nodes})
    remarks = remarks_of(MinHash(MinHashConfig()).reduce(0, table, 1))
    expected = sorted(enumerate(sizes), key=lambda item: (-item[1], item[0]))[:50]
    assert remarks == [
        {"key": f"{key:016x}{key * 3:016x}", "documents": size, "nodes": [0, 1, 2][: size - 1]}
        for key, size in expected
    ]
