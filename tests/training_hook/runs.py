"""What tests of whole runs share."""

from __future__ import annotations

import hashlib
from typing import Any

from corpusmill.core import storage
from corpusmill.tokenize.reader import Order


def fed(run: str, attempt: int | None = None) -> list[dict[str, Any]]:
    """Rows of fed.parquet, of one attempt or all."""
    rows: list[dict[str, Any]] = storage.read_parquet(storage.join(run, "train", "fed.parquet")).to_pylist()
    return [r for r in rows if attempt is None or r["attempt"] == attempt]


def losses(run: str, attempt: int | None = None) -> dict[int, float]:
    """Step -> loss; a later attempt replaces an earlier one."""
    return {r["step"]: r["loss"] for r in fed(run, attempt)}


def assert_fed_as_planned(run: str) -> None:
    """Every step of every attempt was fed what the order says."""
    order = Order.open(run)
    rows = fed(run)
    assert rows
    for row in rows:
        assert row["hash"] == order.recorded_root(row["step"])
        assert row["slots"] == order.phase(row["step"]).batch_size


def fed_sha256(run: str) -> str:
    """Hash of tokens and masks of the steps that were fed."""
    order, state = Order.open(run), hashlib.sha256()
    for step in sorted(losses(run)):
        rows = order.step(step)
        state.update(rows.tokens.astype("<i4").tobytes() + rows.loss_mask.tobytes())
    return state.hexdigest()
