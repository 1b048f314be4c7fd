"""AdamW, and learning rates that are formulas of the step: nothing to save, nothing to restore wrongly."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from corpusmill.training_hook.config import OptimizerConfig


def build_optimizer(parameters: Iterable[tuple[str, nn.Parameter]], config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019) in two groups: matrices decay, vectors (norms) do not."""
    matrices: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    for _, parameter in parameters:
        (matrices if parameter.ndim >= 2 else vectors).append(parameter)
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=config.lr,
        betas=(config.beta1, config.beta2),
        eps=config.eps,
    )


def learning_rate(step: int, steps: int, config: OptimizerConfig) -> float:
    """Learning rate of `step` (0-based) in a run of `steps`.

    All warm up linearly: step k of the warm-up has (k + 1) / warmup_steps of the peak. Then
    - constant: the peak;
    - cosine: half a cosine from the peak to min_lr_ratio x peak at the last step;
    - wsd (Hu et al. 2024): the peak, then over the last decay_fraction of the steps a straight line to the same floor.
    """
    floor = config.min_lr_ratio * config.lr
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "cosine":
        done = (step - config.warmup_steps + 1) / max(1, steps - config.warmup_steps)
        return floor + (config.lr - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    decay_steps = max(1, round(config.decay_fraction * steps))
    left = min(1.0, (steps - step - 1) / decay_steps)
    return floor + (config.lr - floor) * left


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Sets the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = value
