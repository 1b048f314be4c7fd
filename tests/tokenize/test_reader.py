from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from oracle_order import OracleOrder
from token_runs import make_tokens, small_config, write_documents

from corpusmill.core.errors import InputError, VerificationFailed
from corpusmill.tokenize import shards as shards_module
from corpusmill.tokenize.order import build_order
from corpusmill.tokenize.packing import MASKED
from corpusmill.tokenize.reader import Order, step_root
from corpusmill.tokenize.rows import counted_labels
from corpusmill.tokenize.store import TokenStore


@pytest.fixture(scope="module")
def order(token_run: Path) -> Order:
    order = Order.open(str(token_run))
    order.check(digests=True)
    return order


def test_what_it_says_of_itself(order: Order, token_run: Path) -> None:
    oracle = OracleOrder(token_run)
    assert order.root == oracle.root()
    assert order.steps == len(oracle.steps)
    assert (order.phase(0).sequence_length, order.phase(0).batch_size) == (16, 6)
    assert order.vocab_size == 330
    assert order.tokenizer_sha256 == oracle.rule["tokenizer"]["sha256"]
    assert order.rule.key == "k"


def test_rows_equal_the_oracles(order: Order, token_run: Path) -> None:
    oracle = OracleOrder(token_run)
    for step in range(order.steps):
        rows = order.step(step)
        assert rows.step == step
        assert rows.slots.tolist() == list(range(6))
        for slot in range(6):
            tokens, numbers, mask = oracle.row(step, slot)
            assert rows.tokens[slot].tolist() == tokens
            assert rows.segment_ids[slot].tolist() == numbers
            assert rows.loss_mask[slot].tolist() == mask


def test_shapes_and_types(order: Order) -> None:
    rows = order.step(0)
    assert (rows.tokens.shape, rows.tokens.dtype) == ((6, 17), np.int32)
    assert (rows.segment_ids.shape, rows.segment_ids.dtype) == ((6, 17), np.int32)
    assert (rows.loss_mask.shape, rows.loss_mask.dtype) == ((6, 16), np.bool_)
    assert len(rows.segments) == 6


def test_fed_rows_give_the_recorded_root(order: Order) -> None:
    for step in (0, 1, order.steps // 2, order.steps - 1):
        rows = order.step(step)
        fed = [order.leaf(s, rows.tokens[s].astype(np.int64), rows.segments[s], rows.loss_mask[s]) for s in range(6)]
        planned = [order.leaf(s, rows.tokens[s], rows.segments[s]) for s in range(6)]
        assert fed == planned
        assert step_root(fed) == order.recorded_root(step)


@pytest.mark.parametrize("world", [1, 2, 3, 4, 5, 6])
def test_any_number_of_ranks_feeds_the_same(order: Order, world: int) -> None:
    leaves = {}
    for rank in range(world):
        rows = order.step(5, range(rank, 6, world))
        for i, slot in enumerate(rows.slots.tolist()):
            leaves[slot] = order.leaf(slot, rows.tokens[i], rows.segments[i], rows.loss_mask[i])
    assert step_root([leaves[s] for s in range(6)]) == order.recorded_root(5)


def test_every_deviation_in_what_was_fed_shows(order: Order) -> None:
    rows = order.step(3)
    planned = order.leaf(2, rows.tokens[2], rows.segments[2])
    for position in (0, 8, 16):
        tokens = rows.tokens[2].copy()
        tokens[position] ^= 1
        assert order.leaf(2, tokens, rows.segments[2]) != planned
    for label in (0, 15):
        mask = rows.loss_mask[2].copy()
        mask[label] ^= True
        assert order.leaf(2, rows.tokens[2], rows.segments[2], mask) != planned
    assert order.leaf(1, rows.tokens[2], rows.segments[2]) != planned
    assert order.leaf(2, rows.tokens[2], rows.segments[1]) != planned


def test_first_token_of_a_document_and_padding_are_no_labels(order: Order) -> None:
    padded = boundaries = 0
    for step in range(order.steps):
        rows = order.step(step)
        label, before = rows.segment_ids[:, 1:], rows.segment_ids[:, :-1]
        assert not rows.loss_mask[label == -1].any()
        assert not rows.loss_mask[label != before].any()
        assert rows.loss_mask[(label == before) & (label >= 0)].all()
        padded += int((label == -1).sum())
        boundaries += int((label > before).sum())
    assert padded > 0
    assert boundaries > 0


def test_masked_segments_have_no_labels() -> None:
    mask = counted_labels(np.array([3, 4, 2]), np.array([0, MASKED, 0], np.uint8))
    assert mask.tolist() == [False, True, True, False, False, False, False, False, True]


def test_steps_in_any_order(order: Order, token_run: Path) -> None:
    fresh = Order.open(str(token_run))
    chance = np.random.default_rng(0)
    for step in chance.permutation(order.steps)[:20].tolist():
        assert np.array_equal(fresh.step(step).tokens, order.step(step).tokens)


def test_uint32_tokens(token_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same corpus in four bytes a token: the same rows, other hashes."""
    monkeypatch.setattr(shards_module, "token_dtype", lambda _: "uint32")
    files = write_documents(tmp_path)
    make_tokens(tmp_path, files, str(token_run / "tokens/tokenizer.model"))
    build_order(str(tmp_path / "tokens"), str(tmp_path / "order"), small_config())
    wide, narrow = Order.open(str(tmp_path)), Order.open(str(token_run))
    wide.check(digests=True)
    assert np.array_equal(wide.step(3).tokens, narrow.step(3).tokens)
    assert wide.root == OracleOrder(tmp_path).root() != narrow.root


def test_outside_the_order(order: Order) -> None:
    for step in (-1, order.steps):
        with pytest.raises(IndexError):
            order.step(step)
    for slots in ([6], [-1], []):
        with pytest.raises(IndexError):
            order.step(0, slots)


def test_no_order(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no training order"):
        Order.open(str(tmp_path))


@pytest.mark.parametrize("path", ["tokens/a-00000.bin", "tokens/documents.parquet", "order/table-00000.parquet"])
def test_a_truncated_or_missing_file_is_refused(own_run: Path, path: str) -> None:
    data = (own_run / path).read_bytes()
    (own_run / path).write_bytes(data[:-2])
    with pytest.raises(VerificationFailed, match="size") as caught:
        Order.open(str(own_run)).check()
    assert path in caught.value.where
    (own_run / path).unlink()
    with pytest.raises(VerificationFailed, match="missing"):
        Order.open(str(own_run)).check()


def test_a_flipped_token_is_refused_when_asked(own_run: Path) -> None:
    path = own_run / "tokens/b-00001.bin"
    data = bytearray(path.read_bytes())
    data[10] ^= 1
    path.write_bytes(data)
    Order.open(str(own_run)).check()
    with pytest.raises(VerificationFailed, match="SHA-256"):
        Order.open(str(own_run)).check(digests=True)


def test_an_edited_rule_is_refused(own_run: Path) -> None:
    path = own_run / "order/rule.json"
    path.write_text(path.read_text().replace('"key": "k"', '"key": "j"'))
    with pytest.raises(VerificationFailed, match=r"rule\.json is not the rule"):
        Order.open(str(own_run))


def test_a_garbled_summary_is_refused(own_run: Path) -> None:
    (own_run / "order/order.json").write_text('{"steps": "many"}')
    with pytest.raises(VerificationFailed, match=r"order\.json"):
        Order.open(str(own_run))


def test_roots_of_another_order_are_refused(own_run: Path, tmp_path: Path) -> None:
    build_order(str(own_run / "tokens"), str(tmp_path / "other"), small_config(key="other"))
    shutil.copy(tmp_path / "other/roots.parquet", own_run / "order/roots.parquet")
    with pytest.raises(VerificationFailed):
        Order.open(str(own_run)).check()


def test_shards_on_an_object_store_are_refused_with_a_remedy(order: Order) -> None:
    with pytest.raises(InputError, match="local disk"):
        TokenStore("memory://tokens", order.rule.shards, "uint16")


def test_table_of_a_step(order: Order, token_run: Path) -> None:
    whole = pq.read_table(token_run / "order/table-00000.parquet")
    assert order.table(4).to_pylist() == [r for r in whole.to_pylist() if r["step"] == 4]
