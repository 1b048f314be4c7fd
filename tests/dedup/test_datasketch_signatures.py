"""Signatures against the installed datasketch, value for value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from datasketch import MinHash, MinHashLSH
from dedup_tables import doc_id, document, tables
from hypothesis import given, settings
from hypothesis import strategies as st

from corpusmill.core import storage
from corpusmill.core.normalise import normalised_letters, normalised_words
from corpusmill.dedup import datasketch_signatures as ours
from corpusmill.dedup import signatures as own
from corpusmill.dedup.datasketch_signatures import SCHEMES, Scheme
from corpusmill.dedup.minhash import MinHashConfig


@settings(max_examples=30)
@given(
    st.lists(st.binary(max_size=12), max_size=12),
    st.integers(1, 40),
    st.integers(0, 2**32 - 1),
    st.sampled_from(SCHEMES),
)
def test_values_are_those_of_datasketch(tokens: list[bytes], num_perm: int, seed: int, scheme: Scheme) -> None:
    theirs = MinHash(num_perm=num_perm, seed=seed, scheme=scheme)
    for token in tokens:
        theirs.update(token)
    maps = ours.permutations(num_perm, seed, scheme)
    assert [m.tolist() for m in maps] == [[int(v) for v in m] for m in theirs.permutations]
    values = ours.signature(ours.token_hashes(tokens, scheme), maps, scheme)
    assert values.dtype == theirs.hashvalues.dtype
    assert values.tolist() == theirs.hashvalues.tolist()


def test_vectors_of_datasketch_1() -> None:
    """Values that datasketch 1.6.5 gave: MinHash(num_perm=4, seed=1) of b"hello" and b"world"."""
    maps = ours.permutations(4, 1, "legacy")
    assert ours.signature(ours.token_hashes([b"hello", b"world"], "legacy"), maps, "legacy").tolist() == VECTOR


VECTOR = [228630785, 216833891, 617530111, 2362600675]

CONFIG = MinHashConfig()


def test_shingles_are_normalised_words_or_letters() -> None:
    assert ours.shingle_bytes("Ça va, très bien — et TOI?", "fr", CONFIG) == [
        b"ca va tres bien et",
        b"va tres bien et toi",
    ]
    assert ours.shingle_bytes("one two", "en", CONFIG) == [b"one two"]
    assert ours.shingle_bytes("...", "en", CONFIG) == []
    letters = ours.shingle_bytes("人口は千四百万。人口は", "zh", CONFIG)
    assert [s.decode() for s in letters] == ["人口は千四百万人", "口は千四百万人口", "は千四百万人口は"]


@given(st.text() | st.text(alphabet="ab é\u0301İß\n。が😀"), st.sampled_from(["en", "zh", "ja"]))
def test_shingles_are_equal_where_those_of_minhash_are(text: str, language: str) -> None:
    config = MinHashConfig(ngram=2, character_ngram=2)
    in_words = config.shingling.in_words(language)
    units = normalised_words(text, language) if in_words else normalised_letters(text)
    hashed = own.shingles(units.hashes, 2).tolist()
    spelled = ours.shingle_bytes(text, language, config)
    assert [hashed.index(h) for h in hashed] == [spelled.index(s) for s in spelled]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_tools_of_datasketch_read_what_is_written(tmp_path: Path, scheme: Scheme) -> None:
    words = [f"word{n}" for n in range(200)]
    rows = [
        document(1, " ".join(words)),
        document(2, " ".join(words[:195])),
        document(3, " ".join(words[::-1])),
        document(4, "!!!"),
    ]
    source = tmp_path / "documents" / "s0.parquet"
    source.parent.mkdir()
    storage.write_parquet(str(source), tables(rows)[0])
    (path,) = ours.write_signatures([str(source)], str(tmp_path / "signatures"), CONFIG, 64, 7, scheme)

    table = storage.read_parquet(path)
    facts = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert facts == {"num_perm": "64", "seed": "7", "scheme": scheme}
    index = MinHashLSH(threshold=0.7, num_perm=64)
    found = {}
    for row in table.to_pylist():
        found[row["doc_id"]] = MinHash(hashvalues=row["hashvalues"], seed=7, scheme=scheme)
        index.insert(row["doc_id"], found[row["doc_id"]])
    assert set(found) == {doc_id(1), doc_id(2), doc_id(3)}  # a document without words has no signature
    query = MinHash(num_perm=64, seed=7, scheme=scheme)
    query.update_batch([" ".join(words[i : i + 5]).encode() for i in range(196)])
    assert query.hashvalues.tolist() == found[doc_id(1)].hashvalues.tolist()
    assert set(index.query(query)) == {doc_id(1), doc_id(2)}
    assert query.jaccard(found[doc_id(2)]) == pytest.approx(191 / 196, abs=0.1)
    assert np.all(found[doc_id(3)].hashvalues != query.hashvalues) or query.jaccard(found[doc_id(3)]) < 0.1
