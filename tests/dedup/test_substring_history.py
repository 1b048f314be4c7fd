"""`substring` a snapshot at a time: what is cut is what brute force says, and what one run over all would cut."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dedup_tables import document, tables
from hypothesis import given, settings
from hypothesis import strategies as st
from test_substring import MIN_CHARACTERS, MIN_WORDS, TEXTS, Corpus, by_brute_force, corpus, forms, step, without

from corpusmill.core.errors import ConfigError
from corpusmill.dedup import groups, history
from corpusmill.dedup.local import remember, run_step
from corpusmill.dedup.substring import Substring, SubstringConfig

Row = dict[str, Any]
DRAWN = st.lists(st.lists(TEXTS, max_size=4), min_size=2, max_size=3)


def rows_of(drawn: list[list[tuple[str, str]]]) -> list[list[Row]]:
    return [
        [document(100 * n + m, text, language=language) for m, (text, language) in enumerate(texts)]
        for n, texts in enumerate(drawn)
    ]


def against(folder: Path, config: SubstringConfig, n: int) -> Substring:
    """The step of snapshot `n`, with the histories of those before it."""
    return Substring(config, history.named([str(folder / str(k)) for k in range(n)], Substring(config)))


def left_of(results: list[Any]) -> Corpus:
    kept = [row for result in results for row in result.kept.to_pylist()]
    return {row["doc_id"]: (row["language"], forms(row["text"], row["language"])) for row in kept}


def incremental(folder: Path, config: SubstringConfig, crawls: list[list[Row]], shards: int) -> list[Corpus]:
    """What is left of each snapshot, one after another, each against all before it."""
    return [
        left_of(remember(against(folder, config, n), tables(rows, shards), str(folder / str(n)), str(n)))
        for n, rows in enumerate(crawls)
    ]


def windows(documents: Corpus) -> set[tuple[str, ...]]:
    found = set()
    for language, units in documents.values():
        length = MIN_CHARACTERS if language == "ja" else MIN_WORDS
        found |= {(language, *units[i : i + length]) for i in range(len(units) - length + 1)}
    return found


def by_definition(crawls: list[list[Row]], keep: str, passes: int) -> list[Corpus]:
    """From all windows of all documents: those of texts that entered earlier go in every copy."""
    known: set[tuple[str, ...]] = set()
    out = []
    for rows in crawls:
        left = corpus(rows)
        entered = windows(left)
        for _ in range(passes):
            marked = by_brute_force(left, keep)
            for name, (language, units) in left.items():
                length = MIN_CHARACTERS if language == "ja" else MIN_WORDS
                here = [i for i in range(len(units) - length + 1) if (language, *units[i : i + length]) in known]
                marked[name] = sorted({*marked.get(name, []), *here})
            left = without(left, marked)
        out.append(left)
        known |= entered
    return out


@settings(max_examples=40)
@given(DRAWN, st.integers(1, 3), st.sampled_from([1, 3]), st.sampled_from(["none", "first"]), st.integers(1, 3))
def test_a_snapshot_at_a_time_against_brute_force(
    tmp_path_factory: pytest.TempPathFactory, drawn: Any, shards: int, partitions: int, keep: Any, passes: int
) -> None:
    crawls = rows_of(drawn)
    config = step(partitions, keep, passes=passes).config
    found = incremental(tmp_path_factory.mktemp("snapshots"), config, crawls, shards)
    assert found == by_definition(crawls, keep, passes)


@settings(max_examples=20)
@given(DRAWN, st.integers(1, 3))
def test_one_run_over_all_cuts_the_same_of_the_last(
    tmp_path_factory: pytest.TempPathFactory, drawn: Any, shards: int
) -> None:
    """One pass that cuts all copies; no preference is needed."""
    crawls = rows_of(drawn)
    config = step().config
    *_, last = incremental(tmp_path_factory.mktemp("snapshots"), config, crawls, shards)
    together = left_of(run_step(Substring(config), tables([row for rows in crawls for row in rows], shards)))
    assert last == {name: left for name, left in together.items() if name in last}


def test_the_history_has_every_window_once(tmp_path: Path) -> None:
    rows = [document(n, " ".join(f"w{(n + i) % 13}" for i in range(20))) for n in range(9)]
    config = step().config
    (left,) = incremental(tmp_path, config, [rows], 4)
    assert windows(left) == set()
    manifest = against(tmp_path, config, 1).past.histories[0].manifest
    entered = windows(corpus(rows))
    assert Counter({name: sum(e.rows for e in entries) for name, entries in manifest.tables.items()})["windows"] == len(
        entered
    )


def test_bytes_do_not_depend_on_shards_and_partitions(tmp_path: Path) -> None:
    rows = [document(n, " ".join(f"w{(n * k) % 31}" for k in range(30))) for n in range(40)]
    made = []
    for n, (shards, partitions) in enumerate([(1, 1), (3, 7), (10, 64)]):
        incremental(tmp_path / str(n), step(partitions).config, [rows[:20], rows[20:]], shards)
        made.append({p.relative_to(tmp_path / str(n)): p.read_bytes() for p in (tmp_path / str(n)).rglob("*.*")})
    assert made[0] == made[1] == made[2]
    assert len(made[0]) == 6


def test_seeds_are_spread_over_all_partitions() -> None:
    text = " ".join(f"w{i}" for i in range(4000))
    (table,) = tables([document(1, text)])
    partitions = step(8).map(table.select(["doc_id", "language", "text"]), 0, 1).column("partition").to_numpy()
    counts = np.bincount(partitions, minlength=8)
    assert counts.min() > 0.7 * counts.mean()
    assert groups.partition_of(np.array([1 << 47], dtype=np.uint64), 8).tolist() == [0]


def test_other_windows_are_refused(tmp_path: Path) -> None:
    config = step().config
    incremental(tmp_path, config, [[document(1, "a b c")]], 1)
    for key in ("min_words", "min_characters", "min_tokens"):
        other = config.model_copy(update={key: 77})
        with pytest.raises(ConfigError, match=f"another `{key}`"):
            against(tmp_path, other, 1)
    assert against(tmp_path, config.model_copy(update={"keep": "first", "passes": 9}), 1).past
