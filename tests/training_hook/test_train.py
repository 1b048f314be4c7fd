import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from corpusmill.core.errors import DataError, UserError, VerificationFailed
from corpusmill.tokenize.order import build_order
from corpusmill.tokenize.order_config import OrderConfig
from corpusmill.tokenize.reader import Order
from corpusmill.training_hook import checkpoint
from corpusmill.training_hook import train as train_module
from corpusmill.training_hook.config import TrainConfig
from corpusmill.training_hook.loader import Loader
from corpusmill.training_hook.model import Transformer, initialize, token_loss_sum
from corpusmill.training_hook.optim import build_optimizer, learning_rate, set_learning_rate
from corpusmill.training_hook.parallel import World
from corpusmill.training_hook.train import train

from .runs import assert_fed_as_planned, fed, fed_sha256, losses

NewRun = Callable[..., str]
GOLDEN = Path(__file__).parent / "golden_losses.json"


def change(config: TrainConfig, **more: Any) -> TrainConfig:
    return TrainConfig.of({**config.model_dump(), **more})


def test_golden_losses(new_run: NewRun, tiny: TrainConfig, alone: World) -> None:
    """Relative tolerance 1e-4: other processors add in another order."""
    run = new_run()
    assert train(run, tiny, False, alone)
    golden = json.loads(GOLDEN.read_text())
    assert fed_sha256(run) == golden["fed_sha256"], "the order changed: the losses below cannot be compared"
    assert list(losses(run).values()) == pytest.approx(golden["losses"], rel=1e-4)
    assert_fed_as_planned(run)
    assert all(r["applied"] and not r["reason"] for r in fed(run))
    lines = [json.loads(line) for line in (Path(run) / "train" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(12))
    assert lines[3]["tokens"] == 4 * 8 * 32
    assert [line["loss"] for line in lines] == list(losses(run).values())


def plain_losses(run: str, config: TrainConfig) -> list[float]:
    """The same training without FSDP, checkpoints or accumulation, written as directly as can be."""
    order = Order.open(run)
    model = Transformer(config.model, order.vocab_size)
    initialize(model, config.seed)
    optimizer = build_optimizer(model.named_parameters(), config.optimizer)
    seen = []
    for step in range(config.steps or order.steps):
        batch = Loader(order, 0, 1).rows(step)
        logits = model(batch.tokens[:, :-1], batch.segments[:, :-1])
        loss = token_loss_sum(logits, batch.tokens[:, 1:], batch.valid) / batch.num_valid
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.clip_norm)
        set_learning_rate(optimizer, learning_rate(step, config.steps or order.steps, config.optimizer))
        optimizer.step()
        optimizer.zero_grad()
        seen.append(loss.item())
    return seen


@pytest.mark.parametrize("rows", [None, 3, 1])
def test_loss_is_exact_under_accumulation(new_run: NewRun, tiny: TrainConfig, alone: World, rows: int | None) -> None:
    """Within 1e-5 of a plain loop over whole batches; rows of a batch differ much in their number of labels."""
    run = new_run()
    train(run, change(tiny, micro_batch=rows), False, alone)
    assert list(losses(run).values()) == pytest.approx(plain_losses(run, tiny), rel=1e-5)


def test_labels_differ_between_rows(order_folder: Path) -> None:
    """Or the test above would not notice a mean of means."""
    batch = Loader(Order.open(str(order_folder)), 0, 1).rows(0)
    assert len(set(batch.valid.sum(1).tolist())) > 1


def test_bfloat16_and_zero_2_learn_the_same(new_run: NewRun, tiny: TrainConfig, alone: World) -> None:
    a, b = new_run("a"), new_run("b")
    train(a, tiny, False, alone)
    train(b, change(tiny, dtype="bfloat16", reshard_after_forward=False), False, alone)
    assert list(losses(b).values()) == pytest.approx(list(losses(a).values()), rel=0.02)
    assert losses(a) != losses(b)


def test_resume_is_bitwise(new_run: NewRun, tiny: TrainConfig, alone: World, capsys: pytest.CaptureFixture) -> None:
    straight, broken = new_run("straight"), new_run("broken")
    train(straight, tiny, False, alone)
    stop_after(broken, tiny, alone, 7)
    (checkpoint.folder(broken) / "step-00000009.tmp").mkdir()
    capsys.readouterr()
    assert train(broken, tiny, True, alone)
    said = capsys.readouterr().err
    assert "passed over step-00000009.tmp" in said
    assert "attempt 1: steps 5 to 12" in said
    assert losses(broken) == losses(straight)
    assert sorted(losses(broken, 0)) == list(range(8))
    assert sorted(losses(broken, 1)) == list(range(5, 12))
    assert_fed_as_planned(broken)
    weights = json.loads((Path(broken) / "train" / "lineage.json").read_text())["weights"]
    assert [(w["attempt"], w["first_step"], w["end_step"]) for w in weights] == [(0, 0, 5), (1, 5, 12)]


class Crash(Exception):
    pass


def stop_after(run: str, config: TrainConfig, here: World, step: int) -> None:
    """Trains until the line of `step` is written, then crashes."""
    with pytest.MonkeyPatch.context() as patch:

        def crash(_self: object, _values: object, at: int) -> None:
            if at == step:
                raise Crash

        patch.setattr("corpusmill.training_hook.metrics.Metrics.log", crash)
        with pytest.raises(Crash):
            train(run, config, False, here)


def test_resume_without_a_checkpoint_begins_again(new_run: NewRun, tiny: TrainConfig, alone: World) -> None:
    run = new_run()
    stop_after(run, tiny, alone, 2)
    assert train(run, tiny, True, alone)
    assert sorted(losses(run, 1)) == list(range(12))
    assert losses(run, 0) == {k: v for k, v in losses(run, 1).items() if k <= 2}


def test_resume_when_done_does_nothing(new_run: NewRun, tiny: TrainConfig, alone: World) -> None:
    run = new_run()
    train(run, tiny, False, alone)
    assert train(run, tiny, True, alone)
    assert fed(run, 1) == []


def test_sigterm_saves_and_leaves(
    new_run: NewRun, tiny: TrainConfig, alone: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run()
    log = train_module.Metrics.log

    def signalling(self: Any, values: Any, step: int) -> None:
        log(self, values, step)
        if step == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("corpusmill.training_hook.metrics.Metrics.log", signalling)
    assert not train(run, tiny, False, alone)
    assert signal.getsignal(signal.SIGTERM) == before
    _, progress, _ = checkpoint.newest(checkpoint.folder(run))
    assert progress is not None
    assert progress.next_step == 7
    monkeypatch.undo()
    assert train(run, tiny, True, alone)
    straight = new_run("straight")
    train(straight, tiny, False, alone)
    assert losses(run) == losses(straight)


def broken_weights(monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    """Makes one weight of the initial model `value`."""
    build = train_module.build_model

    def breaking(*arguments: Any) -> Transformer:
        model = build(*arguments)
        with torch.no_grad():
            model.norm.weight.to_local()[0] = value
        return model

    monkeypatch.setattr(train_module, "build_model", breaking)


def test_a_loss_that_is_not_finite_stops_before_the_update(
    new_run: NewRun, tiny: TrainConfig, alone: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run()
    broken_weights(monkeypatch, float("nan"))
    with pytest.raises(DataError, match=r"not finite: loss nan(.|\n)*step 0"):
        train(run, tiny, False, alone)
    (row,) = fed(run)
    assert (row["applied"], row["loss"], row["grad_norm"]) == (False, None, None)
    assert row["reason"].startswith("not finite")
    assert checkpoint.newest(checkpoint.folder(run))[0] is None


def test_a_spike_is_skipped_and_recorded(
    new_run: NewRun, tiny: TrainConfig, alone: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run()
    check = train_module.Guard.check

    def spiking(self: Any, loss: float, norm: float) -> str:
        return check(self, loss, norm) or ("spike: made up" if len(self.state()["losses"]) == 4 else "")

    monkeypatch.setattr(train_module.Guard, "check", spiking)
    train(run, tiny, False, alone)
    assert [r["step"] for r in fed(run) if not r["applied"]] == [3]
    assert fed(run)[3]["reason"] == "spike: made up"
    _, progress, _ = checkpoint.newest(checkpoint.folder(run))
    assert progress is not None
    assert (progress.next_step, progress.optimizer_steps) == (12, 11)
    assert progress.guard["losses"] == list(losses(run).values())


def test_another_order_root_is_refused_with_both_values(new_run: NewRun, tiny: TrainConfig, alone: World) -> None:
    run = new_run()
    train(run, change(tiny, steps=5), False, alone)
    old = Order.open(run).root
    config = OrderConfig(sequence_length=32, batch_size=8, steps=40, key="another")
    new = build_order(f"{run}/tokens", f"{run}/order", config).order_root
    with pytest.raises(UserError, match=f"another order root: it has {old}, this run has {new}"):
        train(run, tiny, True, alone)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("tokenizer_sha256", "ff" * 32, "another tokenizer: it has ffff"),
        ("sequence_length", 64, "another sequence length: it has 64, this run has 32"),
        ("batch_size", 4, "another batch size: it has 4, this run has 8"),
    ],
)
def test_other_data_are_refused(
    new_run: NewRun, tiny: TrainConfig, alone: World, field: str, value: object, says: str
) -> None:
    run = new_run()
    train(run, change(tiny, steps=5), False, alone)
    commit = checkpoint.folder(run) / "step-00000005" / checkpoint.COMMIT
    body = json.loads(commit.read_text())
    body["progress"][field] = value
    commit.write_text(json.dumps(body))
    with pytest.raises(UserError, match=says):
        train(run, tiny, True, alone)


def test_another_model_is_refused(new_run: NewRun, tiny: TrainConfig, alone: World) -> None:
    run = new_run()
    train(run, change(tiny, steps=1), False, alone)
    with pytest.raises(UserError, match="another model"):
        train(run, change(tiny, model={**tiny.model.model_dump(), "ffn_dim": 96}), True, alone)


def test_a_second_beginning_is_refused(new_run: NewRun, tiny: TrainConfig, alone: World) -> None:
    run = new_run()
    train(run, change(tiny, steps=1), False, alone)
    with pytest.raises(UserError, match=r"trained before(.|\n)*--resume"):
        train(run, tiny, False, alone)


def test_more_steps_than_the_order_has_are_refused(new_run: NewRun, tiny: TrainConfig, alone: World) -> None:
    with pytest.raises(UserError, match="has 40 steps"):
        train(new_run(), change(tiny, steps=41), False, alone)


def test_a_flipped_token_is_found_before_the_first_step(new_run: NewRun, tiny: TrainConfig, alone: World) -> None:
    run = new_run()
    shard = Path(run) / "tokens" / "shard-0.bin"
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    with pytest.raises(VerificationFailed, match=r"shard-0\.bin"):
        train(run, tiny, False, alone)
    assert not (Path(run) / "train").exists()
    # Without that check, the hash of what was fed finds it.
    with pytest.raises(VerificationFailed, match="what was fed is not what the order says"):
        train(run, change(tiny, verify_hashes=False, steps=40), False, alone)
