from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from corpusmill.tokenize.reader import Order
from corpusmill.training_hook.loader import Loader


@pytest.fixture
def order(order_folder: Path) -> Order:
    return Order.open(str(order_folder))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 8, 11])
def test_any_number_of_processes_feeds_the_same_step(order: Order, size: int) -> None:
    whole = order.step(4)
    loaders = [Loader(order, r, size) for r in range(size)]
    batches = [loader.rows(4) for loader in loaders]
    assert sorted(s for b in batches for s in b.slots) == list(range(8))
    assert {len(b.tokens) for b in batches} == {-(-8 // size)}
    for rank, batch in enumerate(batches):
        assert batch.slots == list(range(rank, 8, size))
        for i, slot in enumerate(batch.slots):
            assert np.array_equal(batch.tokens[i], whole.tokens[slot])
            assert np.array_equal(batch.segments[i], whole.segment_ids[slot])
            assert np.array_equal(batch.valid[i], whole.loss_mask[slot])
        assert not batch.valid[len(batch.slots) :].any()  # filling counts nowhere
    assert sum(b.num_valid for b in batches) == whole.loss_mask.sum()
    leaves = [loader.leaves(batch) for loader, batch in zip(loaders, batches, strict=True)]
    assert loaders[0].root(4, leaves) == order.recorded_root(4)


def test_the_root_is_of_what_was_fed(order: Order) -> None:
    loader = Loader(order, 0, 1)
    batch = loader.rows(0)
    batch.tokens[5, 9] ^= 1
    assert loader.root(0, [loader.leaves(batch)]) != order.recorded_root(0)
    batch = loader.rows(0)
    batch.valid[5, 9] ^= True
    assert loader.root(0, [loader.leaves(batch)]) != order.recorded_root(0)


@pytest.mark.parametrize("prefetch", [True, False])
def test_steps(order: Order, prefetch: bool) -> None:
    loader = Loader(order, 1, 2)
    seen = list(loader.steps(3, 7, prefetch))
    assert [step for step, _, _ in seen] == [3, 4, 5, 6]
    for step, batch, waited in seen:
        assert torch.equal(batch.tokens, loader.rows(step).tokens)
        assert waited >= 0


@pytest.mark.parametrize("rows", [1, 3, 8, None])
def test_micro_batches_are_the_batch(order: Order, rows: int | None) -> None:
    batch = Loader(order, 0, 1).rows(0)
    parts = list(batch.split(rows))
    assert all(len(tokens) <= (rows or 8) for tokens, _, _ in parts)
    assert torch.equal(torch.cat([tokens for tokens, _, _ in parts]), batch.tokens)
    assert torch.equal(torch.cat([valid for _, _, valid in parts]), batch.valid)


def test_an_error_of_the_reader_reaches_the_loop(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = Loader(order, 0, 1)
    rows: Callable[[int], object] = loader.rows

    def failing(step: int) -> object:
        if step == 2:
            raise OSError("disk gone")
        return rows(step)

    monkeypatch.setattr(loader, "rows", failing)
    with pytest.raises(OSError, match="disk gone"):
        list(loader.steps(0, 4, prefetch=True))
