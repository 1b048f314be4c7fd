"""Rounds that are run until nothing changes, with the local runner."""

from __future__ import annotations

import pytest
from dedup_tables import doc_id, document, tables
from hypothesis import given
from hypothesis import strategies as st
from looping_steps import Endless, Lost, Peel, peeled

from corpusmill.core.errors import InternalError
from corpusmill.dedup.base import MAP, CorpusStepConfig, Turn, next_turn, turns_before_apply
from corpusmill.dedup.exact import ExactDedup
from corpusmill.dedup.keyed import KeyedDedupConfig
from corpusmill.dedup.local import decide, run_step


@given(st.lists(st.text("abcdef", max_size=8), max_size=8), st.integers(1, 3), st.sampled_from([1, 2, 7]))
def test_a_loop_ends_when_nothing_changes(texts: list[str], shards: int, partitions: int) -> None:
    rows = [document(n, text) for n, text in enumerate(texts)]
    results = run_step(Peel(CorpusStepConfig(partitions=partitions)), tables(rows, shards))
    gone = {i for result in results for i in result.removed.column("doc_id").to_pylist()}
    assert gone == {doc_id(n) for n, left in enumerate(peeled(texts)) if not left}


def test_rows_of_a_lasting_round_come_in_the_order_of_its_turns() -> None:
    rows = [document(n, text) for n, text in enumerate(["cab", "cab", "d"])]
    (decisions,) = decide(Peel(CorpusStepConfig(partitions=3)), tables(rows))
    assert decisions.column("letter").to_pylist() == ["c", "a", "b"]


def test_turns_are_counted_by_round() -> None:
    step = Peel(CorpusStepConfig())
    done = [MAP]
    for reported in (5, 0, 3, 0, 0):
        turn = next_turn(step, done, lambda reported=reported: reported)  # type: ignore[misc]
        if turn is not None:
            done.append(turn)
    assert done == [MAP, Turn(0, 0), Turn(1, 0), Turn(0, 1)]
    assert [str(turn) for turn in done] == ["map", "0.0", "1.0", "0.1"]
    assert turns_before_apply(step, done) == [Turn(0, 0), Turn(0, 1)]


def test_fixed_rounds_ask_for_no_numbers() -> None:
    def never() -> int:
        raise AssertionError

    step = ExactDedup(KeyedDedupConfig())
    assert next_turn(step, [MAP], never) == Turn(0, 0)
    assert next_turn(step, [MAP, Turn(0, 0)], never) is None
    assert turns_before_apply(step, [MAP, Turn(0, 0)]) == [Turn(0, 0)]


def test_an_endless_loop_is_a_bug() -> None:
    with pytest.raises(InternalError, match="endless does not come to an end") as caught:
        run_step(Endless(CorpusStepConfig()), tables([document(1, "a")]))
    assert caught.value.value == "30 turns"


def test_a_round_that_may_not_follow_is_a_bug() -> None:
    with pytest.raises(InternalError, match=r"round 0.0 of lost chose a round that may not follow it"):
        run_step(Lost(CorpusStepConfig()), tables([document(1, "a")]))
