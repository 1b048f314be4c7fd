"""Revisions of an order: masked from a step on, or derived again without documents; the parent stays."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import takedown_runs
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle_order import OracleOrder
from synthetic import lengths_of, write_tokens

from corpusmill.core.errors import ConfigError, InputError
from corpusmill.tokenize import revisions
from corpusmill.tokenize.order import OrderSummary, build_order
from corpusmill.tokenize.order_config import OrderConfig
from corpusmill.tokenize.packing import MASKED
from corpusmill.tokenize.reader import Order, load_order
from corpusmill.tokenize.takedown import NOTHING, load_takedown
from corpusmill.tokenize.verify import verify_order

PACKINGS = ["concatenate", "best_fit"]


def make(run: Path, **changes: object) -> OrderSummary:
    write_tokens(run, {"web": lengths_of(1, 90, 60), "code": lengths_of(2, 40, 90)})
    settings = {"sequence_length": 16, "batch_size": 4, "key": "k", "block_sequences": 12} | changes
    return build_order(str(run / "tokens"), str(run / "order"), OrderConfig.model_validate(settings))


def ordinals(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def revise(run: Path, takedown: object) -> OrderSummary:
    return revisions.revise(str(run / "tokens"), str(run / "order"), takedown)  # type: ignore[arg-type]


def rows(run: Path) -> list[tuple[int, ...]]:
    table = pa.concat_tables([pq.read_table(p) for p in sorted((run / "order").glob("table-*.parquet"))])
    names = ["step", "slot", "segment", "doc_ordinal", "doc_token_start", "num_tokens"]
    return list(zip(*(table.column(n).to_pylist() for n in names), strict=True))


def verified(run: Path) -> bool:
    return all(check.ok for check in verify_order(str(run), "full"))


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_mask_changes_the_roots_of_later_steps_that_read_the_document_and_no_others(
    tmp_path: Path, packing: str
) -> None:
    before = make(tmp_path, packing=packing, steps=60)
    old = revisions.roots_of(str(tmp_path / "order"))
    document = 3
    uses = Order.open(str(tmp_path)).derivation().uses(document)
    assert len({use.step for use in uses}) > 1, "epochs repeat"
    first = sorted({use.step for use in uses})[1]
    after = revise(tmp_path, revisions.with_masked(NOTHING, ordinals(document), first))

    new = revisions.roots_of(str(tmp_path / "order"))
    # A segment of one token has no label that counts, masked or not.
    changed = {use.step for use in uses if use.step >= first and use.num_tokens > 1}
    assert changed
    assert {step for step in range(60) if old[step] != new[step]} == changed
    assert load_order(str(tmp_path))[1].parent == before.order_root
    oracle = OracleOrder(tmp_path)
    assert oracle.root() == after.order_root == Order.open(str(tmp_path)).root
    assert oracle.rows() == rows(tmp_path)
    assert verified(tmp_path)
    masked = [use for use in Order.open(str(tmp_path)).derivation().uses(document) if use.flags & MASKED]
    assert [use.step for use in masked] == [use.step for use in uses if use.step >= first]
    kept = Path(revisions.revision_folder(str(tmp_path / "order"), before.order_root))
    assert revisions.roots_of(str(kept)) == old
    assert revisions.ancestors(str(tmp_path / "order")) == [str(kept)]


@pytest.mark.parametrize("packing", PACKINGS)
def test_rederived_sequences_change_only_in_blocks_that_held_the_documents(tmp_path: Path, packing: str) -> None:
    make(tmp_path, packing=packing)
    derivation = Order.open(str(tmp_path)).derivation()
    (part,) = derivation.phases
    gone = [5, 100]
    old = {}
    for reading in part.readings:
        segments = reading.whole.segments(np.arange(reading.whole.num_sequences))
        old[reading.source.name] = [
            list(zip(*(c[segments.row == r].tolist() for c in segments[2:5]), strict=True))
            for r in range(reading.whole.num_sequences)
        ]
    summary = revise(tmp_path, revisions.with_excluded(NOTHING, ordinals(*gone)))
    assert OracleOrder(tmp_path).root() == summary.order_root
    assert OracleOrder(tmp_path).rows() == rows(tmp_path)
    assert verified(tmp_path)
    assert not {r[3] for r in rows(tmp_path)} & set(gone)

    (part,) = Order.open(str(tmp_path)).derivation().phases
    for reading in part.readings:
        held = {
            row // 12
            for row, segments in enumerate(old[reading.source.name])
            if any(document + reading.source.first in gone for document, _, _ in segments)
        }
        segments = reading.whole.segments(np.arange(reading.whole.num_sequences))
        assert reading.whole.num_sequences == len(old[reading.source.name]), "a block keeps its sequences"
        new = [
            list(zip(*(c[segments.row == r].tolist() for c in segments[2:5]), strict=True))
            for r in range(reading.whole.num_sequences)
        ]
        changed = [row for row, segments in enumerate(new) if segments != old[reading.source.name][row]]
        assert changed
        assert len(changed) < len(new), "the test sees blocks that stay"
        # Blocks hold at most 12 sequences: a changed one lies near one that held the document.
        assert all(any(abs(row - 12 * block - 6) <= 18 for block in held) for row in changed)


def test_a_change_of_length_in_mid_epoch_is_planned_anew(tmp_path: Path) -> None:
    phases = [
        {"steps": 5, "sources": {"web": 3, "code": 1}},
        {"steps": 20, "sequence_length": 24, "batch_size": 3, "sources": {"web": 1, "code": 1}},
    ]
    make(tmp_path, phases=phases)
    summary = revise(tmp_path, revisions.with_excluded(NOTHING, ordinals(*range(0, 130, 4))))
    assert OracleOrder(tmp_path).rows() == rows(tmp_path)
    assert OracleOrder(tmp_path).root() == summary.order_root
    assert verified(tmp_path)


@given(
    st.integers(0, 1000),
    st.sampled_from(PACKINGS),
    st.sets(st.integers(0, 59), max_size=20),
    st.dictionaries(st.integers(0, 59), st.integers(0, 30), max_size=20),
)
@settings(max_examples=12)
def test_any_takedown_is_that_of_the_oracle(
    seed: int, packing: str, excluded: set[int], masked: dict[int, int]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        write_tokens(run, {"web": lengths_of(seed, 40, 60), "code": lengths_of(seed + 1, 20, 90)})
        phases = [
            {"steps": 6, "sources": {"web": 2, "code": 1}},
            {"steps": 9, "sequence_length": 11, "sources": {"web": 1, "code": 1}},
        ]
        common = {"sequence_length": 16, "batch_size": 3, "key": "k", "block_sequences": 9, "packing": packing}
        build_order(str(run / "tokens"), str(run / "order"), OrderConfig.model_validate({**common, "phases": phases}))
        takedown = NOTHING
        for ordinal, step in masked.items():
            takedown = revisions.with_masked(takedown, ordinals(ordinal), step)
        takedown = revisions.with_excluded(takedown, ordinals(*sorted(excluded)))
        summary = revise(run, takedown)
        oracle = OracleOrder(run)
        assert oracle.root() == summary.order_root
        assert oracle.rows() == rows(run)
        assert oracle.excluded == excluded
        assert oracle.masked == {o: s for o, s in masked.items() if o not in excluded}


def test_revisions_add_to_one_another(tmp_path: Path) -> None:
    first = make(tmp_path)
    second = revise(tmp_path, revisions.with_masked(NOTHING, ordinals(7), 10))
    rule = load_order(str(tmp_path))[1]
    now = load_takedown(str(tmp_path / "order"), rule)
    third = revise(tmp_path, revisions.with_excluded(revisions.with_masked(now, ordinals(7, 9), 4), ordinals(9, 11)))
    takedown = load_takedown(str(tmp_path / "order"), load_order(str(tmp_path))[1])
    assert takedown.excluded.tolist() == [9, 11]
    assert takedown.masked.tolist() == [7]
    assert takedown.masked_from.tolist() == [4], "masked from the earlier step on"
    folders = [revisions.revision_folder(str(tmp_path / "order"), s.order_root) for s in (second, first)]
    assert revisions.ancestors(str(tmp_path / "order")) == folders
    assert load_order(str(tmp_path))[0] == third
    assert OracleOrder(tmp_path).root() == third.order_root
    assert revise(tmp_path, takedown) == third, "the same takedown is no new revision"
    assert revisions.ancestors(str(tmp_path / "order")) == folders


def test_nothing_left_of_a_source_and_no_order_are_refused(tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(ConfigError, match="no document of source 'code' would be left"):
        revise(tmp_path, revisions.with_excluded(NOTHING, np.arange(90, 130)))
    (tmp_path / "order" / "order.json").unlink()
    with pytest.raises(InputError, match="there is no order"):
        revise(tmp_path, revisions.with_excluded(NOTHING, ordinals(1)))


def test_killed_at_any_write_the_same_revision_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, straight = tmp_path / "made", tmp_path / "straight"
    make(made, file_sequences=8)
    shutil.copytree(made, straight)
    takedown = revisions.with_excluded(NOTHING, ordinals(5, 50))
    revise(straight, takedown)
    wanted = takedown_runs.contents(straight)
    kills = 0
    for run in takedown_runs.killed_everywhere(made, tmp_path, lambda run: revise(run, takedown), monkeypatch):
        revise(run, takedown)
        assert takedown_runs.contents(run) == wanted, run.name
        kills += 1
    assert kills > 15, "every write was a place to be killed at"
