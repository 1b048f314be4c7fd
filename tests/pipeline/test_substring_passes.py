"""Passes of `substring` as tasks of the engine: the same for any shards and partitions, and after any kill."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from step_runs import InProcess, Killed, refine, run_of

from corpusmill.core import storage
from corpusmill.pipeline.chain import Chain
from corpusmill.pipeline.corpus_tasks import read_reported

# Cutting "c d e" out of the second and third brings "a b f g" of the second together; what is then cut brings the next.
TEXTS = [
    "x a b f y",
    "p a b c d e f q",
    "r c d e s t",
    "u p q v",
    "one two three four",
    "one two three four",
    "z " * 40,
    "no repeat at all here",
]
SETTINGS: dict[str, Any] = {"min_words": 3, "passes": 9, "min_remaining": 0}


def made(chain: Chain) -> dict[str, list[Any]]:
    """doc_id -> text and spans."""
    found: dict[str, list[Any]] = {}
    for shard in chain.shards:
        for row in chain.kept(1, shard.name).to_pylist():
            found[row["doc_id"]] = [row["text"]]
        if not storage.exists(chain.folder(1).path("spans", shard.name)):
            continue
        for row in chain.folder(1).read("spans", shard.name).to_pylist():
            found[row["doc_id"]].append((row["start"], row["end"], row["text"]))
    return found


def digests(run: Path) -> dict[str, str]:
    files = [p for p in (run / "stages" / "substring").rglob("*") if p.is_file()]
    return {str(p.relative_to(run)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_passes_until_nothing_repeats_whatever_the_shards_and_partitions(tmp_path: Path) -> None:
    chain = run_of(tmp_path / "one", "substring", 1, 1, TEXTS, **SETTINGS)
    refine(chain, InProcess())
    expected = made(chain)
    assert expected["a.warc.gz:001"][0] == "p q"
    reported = read_reported(chain, 1)
    assert list(reported) == ["repeated windows"]
    first, *others, last = reported["repeated windows"]
    assert first > 40
    assert others
    assert min(others) > 0 == last
    for shards, partitions in ((2, 8), (8, 1)):
        chain = run_of(tmp_path / f"{shards}-{partitions}", "substring", shards, partitions, TEXTS, **SETTINGS)
        refine(chain, InProcess())
        assert made(chain) == expected
        assert read_reported(chain, 1) == reported
    chain = run_of(tmp_path / "once", "substring", 1, 1, TEXTS, **SETTINGS | {"passes": 1})
    refine(chain, InProcess())
    assert read_reported(chain, 1) == {"repeated windows": [first]}


@pytest.mark.parametrize("keep", ["none", "first"])
def test_a_run_that_is_killed_at_any_task_gives_the_same_bytes(tmp_path: Path, keep: str) -> None:
    whole = InProcess()
    refine(run_of(tmp_path / "whole", "substring", 2, 2, TEXTS, keep=keep, **SETTINGS), whole)
    expected = digests(tmp_path / "whole")
    assert any("turn 1" in task for task in whole.ran)
    for last in range(1, len(whole.ran), 5):
        chain = run_of(tmp_path / str(last), "substring", 2, 2, TEXTS, keep=keep, **SETTINGS)
        first, second = InProcess(last), InProcess()
        with pytest.raises(Killed):
            refine(chain, first)
        refine(chain, second)
        assert first.ran + second.ran == whole.ran, "no task is done again"
        assert digests(tmp_path / str(last)) == expected
