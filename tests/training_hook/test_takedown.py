"""Training goes on after a mask, from a checkpoint of the order before; what is redacted is not fed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from corpusmill.core.errors import InputError, UserError
from corpusmill.pipeline.takedown import Outcome, Request, take_down
from corpusmill.tokenize.reader import Order
from corpusmill.tokenize.verify import verify_order
from corpusmill.training_hook.config import TrainConfig
from corpusmill.training_hook.parallel import World
from corpusmill.training_hook.train import train

from .runs import assert_fed_as_planned, fed, losses
from .test_train import stop_after

NewRun = Callable[..., str]


def document_of_step(run: str, step: int) -> int:
    """A document of which the step reads more than one token."""
    table = Order.open(run).table(step)
    rows = zip(table.column("doc_ordinal").to_pylist(), table.column("num_tokens").to_pylist(), strict=True)
    return next(ordinal for ordinal, tokens in rows if ordinal >= 0 and tokens > 5)


def take(run: str, mode: str, ordinal: int, first_step: int | None = None) -> Outcome:
    path = Path(run).parent / "docs.txt"
    path.write_text(f"crawl.warc.gz:{100 * ordinal}\n")
    return take_down(run, Request("docs", str(path), mode, first_step=first_step))  # type: ignore[arg-type]


def test_training_goes_on_with_a_document_masked(new_run: NewRun, tiny: TrainConfig, alone: World) -> None:
    straight, run = new_run("straight"), new_run("masked")
    train(straight, tiny, False, alone)
    stop_after(run, tiny, alone, 7)
    outcome = take(run, "mask", document_of_step(run, 10))
    assert outcome.record.first_step == 8, "the first that was not fed"
    assert train(run, tiny, True, alone)
    assert_fed_as_planned(run)
    assert sorted(losses(run, 1)) == list(range(5, 12))
    assert {k: v for k, v in losses(run, 1).items() if k < 8} == {
        k: v for k, v in losses(straight, 0).items() if 5 <= k < 8
    }
    hashes = {r["step"]: r["hash"] for r in fed(run) if r["attempt"] == 1}
    before = {r["step"]: r["hash"] for r in fed(straight)}
    assert hashes[10] != before[10]
    assert all(check.ok for check in verify_order(run, "full"))


def test_a_checkpoint_behind_the_masks_first_step_is_of_another_order(
    new_run: NewRun, tiny: TrainConfig, alone: World
) -> None:
    run = new_run()
    stop_after(run, tiny, alone, 7)
    take(run, "mask", document_of_step(run, 3), first_step=3)
    with pytest.raises(UserError, match="the checkpoint is of another order root"):
        train(run, tiny, True, alone)


def test_what_is_redacted_is_not_fed(new_run: NewRun, tiny: TrainConfig, alone: World) -> None:
    run = new_run()
    take(run, "redact", document_of_step(run, 10))
    with pytest.raises(InputError, match="reads a document whose tokens were redacted"):
        train(run, tiny, False, alone)
    shorter = TrainConfig.of({**tiny.model_dump(), "steps": 1})
    used = {use.step for use in Order.open(run).derivation().uses(Order.open(run).redacted.documents[0])}
    assert 0 not in used
    assert train(run, shorter, False, alone)
