import pytest
import torch

from corpusmill.training_hook.config import OptimizerConfig
from corpusmill.training_hook.optim import build_optimizer, learning_rate, set_learning_rate


def rates(steps: int, **more: object) -> list[float]:
    config = OptimizerConfig(**{"lr": 1.0, "warmup_steps": 4, **more})
    return [learning_rate(s, steps, config) for s in range(steps)]


@pytest.mark.parametrize("schedule", ["cosine", "constant", "wsd"])
def test_warm_up_is_linear(schedule: str) -> None:
    assert rates(40, schedule=schedule)[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0], abs=0.01)


def test_cosine() -> None:
    lr = rates(24)  # 20 steps after the warm-up
    assert lr[13] == pytest.approx((1.0 + 0.1) / 2)
    assert lr[-1] == pytest.approx(0.1)
    assert lr[3:] == sorted(lr[3:], reverse=True)


def test_wsd() -> None:
    lr = rates(40, schedule="wsd", decay_fraction=0.25, min_lr_ratio=0.0)
    assert lr[3:30] == [1.0] * 27
    assert lr[30:] == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0])


def test_constant_and_a_run_shorter_than_its_warm_up() -> None:
    assert rates(10, schedule="constant")[4:] == [1.0] * 6
    assert rates(2) == [0.25, 0.5]


def test_matrices_decay_and_vectors_do_not() -> None:
    layer = torch.nn.Linear(3, 2)
    optimizer = build_optimizer(layer.named_parameters(), OptimizerConfig(weight_decay=0.1))
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert decay == {id(layer.weight): 0.1, id(layer.bias): 0.0}
    set_learning_rate(optimizer, 0.5)
    assert [g["lr"] for g in optimizer.param_groups] == [0.5, 0.5]
