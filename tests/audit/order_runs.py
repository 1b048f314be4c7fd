"""Runs with several sources and phases, and revisions of their orders."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1] / "tokenize"))
from synthetic import lengths_of, write_tokens

from corpusmill.tokenize.order import build_order, write_order
from corpusmill.tokenize.order_config import OrderConfig
from corpusmill.tokenize.rule import Rule
from corpusmill.tokenize.takedown import Takedown

SOURCES = {"en": lengths_of(1, 40, 60), "ja": lengths_of(2, 30, 50), "code": lengths_of(3, 25, 90)}
PHASES = [
    {"steps": 8, "sources": {"en": "3/4", "ja": "1/4"}},
    {"steps": 6, "sources": {"ja": 1, "code": 1}, "sequence_length": 24, "batch_size": 3},
]


def order_config(**changes: object) -> OrderConfig:
    body: dict[str, object] = {
        "key": "k",
        "sequence_length": 16,
        "batch_size": 5,
        "block_sequences": 9,
        "phases": PHASES,
    }
    return OrderConfig.model_validate(body | changes)


def build_mixed(run: Path, sources: Mapping[str, Sequence[int]] = SOURCES, **changes: object) -> None:
    """14 steps in two phases."""
    write_tokens(run, sources)
    build_order(str(run / "tokens"), str(run / "order"), order_config(**changes))


def revise(run: Path, takedown: Takedown) -> None:
    """The order anew, with a takedown."""
    rule = Rule.model_validate_json((run / "order/rule.json").read_bytes())
    write_order(str(run / "tokens"), str(run / "order"), rule, takedown, 1 << 20)


def masked_revision(run: Path, masked: Mapping[int, int]) -> None:
    """Masks documents from a step on."""
    ordinals = sorted(masked)
    revise(run, Takedown(np.empty(0, np.int64), np.array(ordinals), np.array([masked[o] for o in ordinals])))


def excluded_revision(run: Path, excluded: Sequence[int]) -> None:
    """Leaves documents out."""
    revise(run, Takedown(np.array(sorted(excluded)), *(np.empty(0, np.int64) for _ in range(2))))


def documents_of(run: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(run / "tokens/documents.parquet").to_pylist()
    return rows


def table_rows(run: Path) -> list[dict[str, Any]]:
    return [r for p in sorted((run / "order").glob("table-*.parquet")) for r in pq.read_table(p).to_pylist()]
