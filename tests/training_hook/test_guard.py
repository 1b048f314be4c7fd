import math

import pytest

from corpusmill.core.errors import DataError
from corpusmill.training_hook.config import GuardConfig
from corpusmill.training_hook.guard import Guard, stop_if_not_finite


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (1.0, math.inf), (-math.inf, 1.0)])
def test_not_finite_stops(loss: float, norm: float) -> None:
    reason = Guard(GuardConfig()).check(loss, norm)
    with pytest.raises(DataError, match=r"not finite(.|\n)*step 7"):
        stop_if_not_finite(reason, 7)


def test_without_sigma_nothing_is_a_spike() -> None:
    guard = Guard(GuardConfig())
    assert [guard.check(x, 1.0) for x in (1.0, 1.0, 1e9)] == ["", "", ""]
    stop_if_not_finite("", 0)


def test_spikes_of_loss_and_of_gradient() -> None:
    guard = Guard(GuardConfig(spike_sigma=3, window=8))
    assert guard.check(90.0, 1.0) == ""  # half a window must be there first
    guard = Guard(GuardConfig(spike_sigma=3, window=8))
    for loss in (1.0, 1.1, 0.9, 1.0):
        assert guard.check(loss, loss) == ""
    assert guard.check(9.0, 1.0).startswith("spike: loss 9 above 1 + 3 x 0.0707")
    assert guard.check(1.0, 50.0).startswith("spike: gradient norm 50")


def test_a_lasting_change_of_level_ends_the_skipping() -> None:
    guard = Guard(GuardConfig(spike_sigma=3, window=8))
    for _ in range(8):
        guard.check(1.0, 1.0)
    reasons = [guard.check(2.0, 1.0) for _ in range(12)]
    assert reasons[0].startswith("spike")
    assert reasons[-1] == ""


def test_the_window_survives_a_checkpoint() -> None:
    guard, other = (Guard(GuardConfig(spike_sigma=3, window=4)) for _ in range(2))
    for loss in (1.0, 1.1, 0.9, 1.0, 1.05):
        guard.check(loss, loss)
    other.restore(guard.state())
    assert other.state() == guard.state()
    assert other.check(5.0, 1.0) == guard.check(5.0, 1.0) != ""
