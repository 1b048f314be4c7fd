"""What tests of whole orders share: the table, the roots, and the comparison with the oracle."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from oracle_order import OracleOrder

from corpusmill.tokenize.order import OrderSummary


def table_of(run: Path, name: str = "order") -> pa.Table:
    return pa.concat_tables([pq.read_table(p) for p in sorted((run / name).glob("table-*.parquet"))])


def roots_of(run: Path, name: str) -> list[bytes]:
    roots: list[bytes] = pq.read_table(run / name / "roots.parquet").column("root").to_pylist()
    return roots


def assert_equals_the_oracle(run: Path, summary: OrderSummary) -> None:
    oracle = OracleOrder(run)
    keys = ("step", "slot", "segment", "doc_ordinal", "doc_token_start", "num_tokens")
    rows = table_of(run).to_pylist()
    assert [tuple(r[k] for k in keys) for r in rows] == oracle.rows()
    for row in rows:
        source, epoch, _ = oracle.steps[row["step"]][row["slot"]]
        assert (row["source"], row["epoch"]) == (source, epoch)
    assert summary.order_root == oracle.root()
