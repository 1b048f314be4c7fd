"""Substring and MinHash on real texts in some 500 languages, against the oracle of the benchmark."""

from __future__ import annotations

import gzip
import importlib.util
import json
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from dedup_tables import document, tables
from hypothesis import given
from hypothesis import strategies as st

from corpusmill.dedup.local import run_step
from corpusmill.dedup.minhash import MinHash, MinHashConfig
from corpusmill.dedup.substring import Substring, SubstringConfig


def _oracle() -> Any:
    path = Path(__file__).resolve().parents[2] / "bench" / "substring_oracle.py"
    spec = importlib.util.spec_from_file_location("substring_oracle", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


oracle = _oracle()


@pytest.fixture(scope="module")
def rows(shared_crawl: Path) -> list[dict[str, Any]]:
    """Declarations of Human Rights, whose scripts and variants repeat one another, and Japanese news."""
    with gzip.open(shared_crawl / "text" / "udhr.jsonl.gz", "rt") as file:
        rights = [json.loads(line) for line in islice(file, 0, None, 2)]
    with gzip.open(shared_crawl / "text" / "livedoor_news_ja.jsonl.gz", "rt") as file:
        news = [json.loads(line) for line in islice(file, 300)]
    texts = [("\n\n".join(r["paragraphs"]), r["bcp47"].split("-")[0]) for r in rights]
    texts += [(n["text"], "ja") for n in news]
    return [document(i, text, language=language) for i, (text, language) in enumerate(texts)]


def test_cuts_in_real_texts_are_those_of_the_oracle(rows: list[dict[str, Any]]) -> None:
    config = SubstringConfig(min_words=8, min_characters=20, min_remaining=0, passes=1)
    texts = {r["doc_id"]: (r["text"], r["language"]) for r in rows}
    expected = {name: set(spans) for name, spans in oracle.oracle_cuts(texts, config).items()}
    assert sum(len(spans) for spans in expected.values()) > 10_000
    cut: dict[str, set[int]] = {}
    for result in run_step(Substring(config), tables(rows, 3)):
        for span in result.spans.to_pylist():
            assert span["text"] == texts[span["doc_id"]][0][span["start"] : span["end"]]
            cut.setdefault(span["doc_id"], set()).update(range(span["start"], span["end"]))
    assert set(cut) == set(expected)
    known: dict[str, str] = {}
    for name, flags in cut.items():
        for start, end in oracle.oracle_units(*texts[name], known)[1]:
            assert flags.isdisjoint(range(start, end)) == ((start, end) not in expected[name])
            assert flags.issuperset(range(start, end)) == ((start, end) in expected[name])


def test_the_split_into_shards_changes_nothing_in_real_texts(rows: list[dict[str, Any]]) -> None:
    for step, other in (
        (MinHash(MinHashConfig(partitions=1)), MinHash(MinHashConfig(partitions=7))),
        (
            Substring(SubstringConfig(min_words=20, partitions=1)),
            Substring(SubstringConfig(min_words=20, partitions=7)),
        ),
    ):
        assert kept(step, tables(rows, 1)) == kept(other, tables(rows[::-1], 4))


def kept(step: Any, shards: list[pa.Table]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for result in run_step(step, shards):
        columns = (result.kept.column(c).to_pylist() for c in ("doc_id", "content_hash"))
        found.update(zip(*columns, strict=True))
    return found


@given(st.lists(st.lists(st.sampled_from("ab"), max_size=12), max_size=5), st.integers(1, 6))
def test_the_oracle_itself(units: list[list[str]], length: int) -> None:
    windows = [tuple(one[i : i + length]) for one in units for i in range(len(one) - length + 1)]
    expected = [
        [i for i in range(len(one) - length + 1) if windows.count(tuple(one[i : i + length])) > 1] for one in units
    ]
    assert [marked.tolist() for marked in oracle.repeated_windows(units, length)] == expected
