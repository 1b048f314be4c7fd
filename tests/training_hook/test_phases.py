"""Training over phases of other lengths, batches and blends: what is fed is the order, however it is divided."""

import shutil
from pathlib import Path

import pytest

from corpusmill.tokenize.hashes import chain_head
from corpusmill.tokenize.order import build_order
from corpusmill.tokenize.order_config import OrderConfig
from corpusmill.tokenize.reader import Order
from corpusmill.training_hook.config import TrainConfig
from corpusmill.training_hook.launch import launch

from .conftest import TINY
from .runs import assert_fed_as_planned, fed, losses

PHASES = [
    {"steps": 5},
    {"steps": 4, "sequence_length": 48, "batch_size": 6},
    {"steps": 3, "batch_size": 5},  # the first length again, with another number of rows than processes divide
]


@pytest.fixture(scope="module")
def phased(order_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("phased") / "run"
    shutil.copytree(order_folder, run)
    config = OrderConfig.model_validate({"sequence_length": 32, "batch_size": 8, "key": "phases", "phases": PHASES})
    build_order(str(run / "tokens"), str(run / "order"), config)
    return run


def test_the_fed_chain_is_the_orders_for_any_division(phased: Path, tmp_path: Path) -> None:
    """1, 2 and 4 processes; all rows at once, one and two at a time; with and without reading ahead."""
    order = Order.open(str(phased))
    all_losses = []
    for processes, rows, prefetch in ((1, None, True), (2, 1, False), (4, 2, True)):
        run = tmp_path / f"of-{processes}"
        shutil.copytree(phased, run)
        settings = {**TINY, "steps": None, "checkpoint_every": 100, "micro_batch": rows, "prefetch": prefetch}
        assert launch(str(run), TrainConfig.of(settings), processes, False) == 0
        assert_fed_as_planned(str(run))
        head = chain_head(row["hash"] for row in sorted(fed(str(run)), key=lambda row: row["step"]))
        assert head.hex() == order.summary.chain_head
        all_losses.append(list(losses(str(run)).values()))
    assert len(all_losses[0]) == order.steps == 12
    for other in all_losses[1:]:
        assert other == pytest.approx(all_losses[0], rel=1e-3)
