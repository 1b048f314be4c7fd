"""Decides before the optimizer step whether an update is applied. Every rank sees the same all-reduced numbers."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from corpusmill.core.errors import DataError
from corpusmill.training_hook.config import GuardConfig


class Guard:
    """Stops on a loss or gradient norm that is not finite; skips an update that is a spike, where asked to.

    A spike lies more than `spike_sigma` standard deviations above the mean of the last `window` steps (half a window
    must be there first). Spikes enter the window too: a lasting change of level ends the skipping by itself.
    """

    def __init__(self, config: GuardConfig) -> None:
        self._config = config
        self._losses: deque[float] = deque(maxlen=config.window)
        self._norms: deque[float] = deque(maxlen=config.window)

    def check(self, loss: float, grad_norm: float) -> str:
        """Why the update is not to be applied, "" if it is. A reason that starts with "not finite" ends the run."""
        for name, value in (("loss", loss), ("gradient norm", grad_norm)):
            if not math.isfinite(value):
                return f"not finite: {name} {value}"
        reason = ""
        if self._config.spike_sigma is not None:
            reason = _spike("loss", loss, self._losses, self._config) or _spike(
                "gradient norm", grad_norm, self._norms, self._config
            )
        self._losses.append(loss)
        self._norms.append(grad_norm)
        return reason

    def state(self) -> dict[str, list[float]]:
        """The window, for the checkpoint."""
        return {"losses": list(self._losses), "norms": list(self._norms)}

    def restore(self, state: Mapping[str, Sequence[Any]]) -> None:
        """The inverse of `state`."""
        self._losses.extend(state["losses"])
        self._norms.extend(state["norms"])


def stop_if_not_finite(reason: str, step: int) -> None:
    """Raises DataError when `reason`, given by `Guard.check` for `step`, says that the numbers are not finite."""
    if reason.startswith("not finite"):
        raise DataError(
            f"{reason}, before the optimizer step: the update was not applied",
            where=f"step {step}",
            remedy="look at the step's rows with `order show --step`; lower optimizer.lr, or leave the rows out by a"
            " new revision of the order, then --resume",
        )


def _spike(name: str, value: float, seen: deque[float], config: GuardConfig) -> str:
    if len(seen) < config.window // 2 or config.spike_sigma is None:
        return ""
    mean = math.fsum(seen) / len(seen)
    deviation = math.sqrt(math.fsum((x - mean) ** 2 for x in seen) / len(seen))
    if value <= mean + config.spike_sigma * deviation:
        return ""
    return f"spike: {name} {value:.6g} above {mean:.6g} + {config.spike_sigma:g} x {deviation:.3g}"
