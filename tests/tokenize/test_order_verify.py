"""What was wrong with orders that were published, done to a good one; often with sizes and hashes mended to fit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from corpusmill.core import storage
from corpusmill.tokenize.order import OrderSummary
from corpusmill.tokenize.reader import Order
from corpusmill.tokenize.verify import Check, verify_order

ALL = [
    "order: rule", "order: sizes", "order: sha256", "order: shard list", "order: documents", "order: permutation",
    "order: table", "order: chain", "order: documents root", "order: order root",
]  # fmt: skip
STEPS = ["order: rule = table", "order: rule = token bytes"]
TABLE_FILE = "order/table-00000.parquet"


def failed(run: Path, mode: str = "quick", sample: int = 16) -> dict[str, Check]:
    """Failed checks by the last part of their name; each must say what to do."""
    checks = verify_order(str(run), mode, sample)  # type: ignore[arg-type]
    for check in checks:
        assert check.ok or "remedy: " in check.detail
    return {c.name.removeprefix("order: "): c for c in checks if not c.ok}


def replace_table(run: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Writes a changed table, and sizes, hashes and counts that fit it."""
    summary = OrderSummary.model_validate_json((run / "order/order.json").read_bytes())
    table = change(pq.read_table(run / TABLE_FILE))
    with pq.ParquetWriter(run / TABLE_FILE, table.schema) as writer:
        steps = table.column("step").to_numpy()
        group = summary.table[0].group_steps
        for first in range(0, summary.steps, group):
            a, b = np.searchsorted(steps, [first, first + group])
            writer.write_table(table.slice(a, b - a))
    data = (run / TABLE_FILE).read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    entry = summary.table[0].model_copy(update={"bytes": len(data), "sha256": sha256, "rows": table.num_rows})
    mended = summary.model_copy(update={"table": (entry,), "rows": table.num_rows})
    (run / "order/order.json").write_text(mended.model_dump_json())


def change_column(table: pa.Table, name: str, change: Callable[[Any], Any]) -> pa.Table:
    number = table.schema.get_field_index(name)
    values = change(table.column(name).to_numpy().copy())
    return table.set_column(number, table.schema.field(number), pa.array(values, table.schema.field(number).type))


def edit_json(path: Path, change: Callable[[Any], None]) -> None:
    body = json.loads(path.read_bytes())
    change(body)
    path.write_text(json.dumps(body))


def test_a_good_order_passes(token_run: Path) -> None:
    for mode, names in (("quick", ALL), ("sample", ALL + STEPS), ("full", ALL + STEPS)):
        checks = verify_order(str(token_run), mode)  # type: ignore[arg-type]
        assert [c.name for c in checks] == names
        assert all(c.ok for c in checks), [c for c in checks if not c.ok]


def test_sample_of_steps(token_run: Path) -> None:
    checks = {c.name: c for c in verify_order(str(token_run), "sample", 5)}
    (tried, total) = checks[STEPS[0]].detail.split(" steps")[0].split(" of ")
    assert 5 <= int(tried) <= 7 < int(total)


def test_zero_filled_table(own_run: Path) -> None:
    size = (own_run / TABLE_FILE).stat().st_size
    (own_run / TABLE_FILE).write_bytes(bytes(size))
    found = failed(own_run, "full")
    assert set(found) == {"sha256", "table", "rule = table"}
    assert all("table-00000.parquet" in c.detail for c in found.values())


def test_zero_filled_rows(own_run: Path) -> None:
    """A valid file, most of whose rows are zeros: what was once published as an order."""

    def zero(column: Any) -> Any:
        column[len(column) // 10 :] = 0
        return column

    replace_table(own_run, lambda t: change_column(change_column(t, "doc_ordinal", zero), "num_tokens", zero))
    assert set(failed(own_run, "quick")) == {"table"}
    assert set(failed(own_run, "sample", 3)) == {"table", "rule = table"}


def test_truncated_table(own_run: Path) -> None:
    data = (own_run / TABLE_FILE).read_bytes()
    (own_run / TABLE_FILE).write_bytes(data[: len(data) * 6 // 10])
    found = failed(own_run)
    assert set(found) == {"sizes", "sha256", "table"}
    assert str(len(data)) in found["sizes"].detail


def test_rows_missing_at_the_end(own_run: Path) -> None:
    replace_table(own_run, lambda t: t.slice(0, t.num_rows - 20))
    assert set(failed(own_run)) == {"table"}
    assert "rule = table" in failed(own_run, "sample", 1)  # the last step is always looked at


def test_shard_missing_from_the_list(own_run: Path) -> None:
    edit_json(own_run / "tokens/manifest.json", lambda m: m["shards"].pop(1))
    found = failed(own_run)
    assert set(found) == {"shard list"}
    assert "b-00001" in found["shard list"].detail


def test_shards_listed_in_another_sequence(own_run: Path) -> None:
    edit_json(own_run / "tokens/manifest.json", lambda m: m["shards"].reverse())
    assert set(failed(own_run)) == {"shard list"}


def test_shard_of_another_run(own_run: Path) -> None:
    """Two shards exchanged on disk: sizes differ; of equal size, their bytes do."""
    a, b = own_run / "tokens/a-00000.bin", own_run / "tokens/b-00001.bin"
    first, second = a.read_bytes(), b.read_bytes()
    a.write_bytes(second)
    b.write_bytes(first)
    assert set(failed(own_run)) == {"sizes"}
    a.write_bytes((second * 2)[: len(first)])
    b.write_bytes((first * 2)[: len(second)])
    assert set(failed(own_run)) == set()
    assert set(failed(own_run, "sample", 3)) == {"rule = token bytes"}
    assert set(failed(own_run, "full")) == {"sha256", "rule = token bytes"}


def test_missing_shard(own_run: Path) -> None:
    (own_run / "tokens/c-00002.bin").unlink()
    found = failed(own_run, "full")
    assert "missing" in found["sizes"].detail
    assert "c-00002.bin" in found["sizes"].detail


def test_off_by_one_batch(own_run: Path) -> None:
    """Step k holds what step k + 1 should: the same rows, one step early."""

    def early(table: pa.Table) -> pa.Table:
        last = table.column("step")[-1].as_py()
        begins = table.filter(pc.equal(table.column("step"), 0))
        rest = table.filter(pc.greater(table.column("step"), 0))
        moved = pa.concat_tables(
            [change_column(rest, "step", lambda s: s - 1), change_column(begins, "step", lambda s: s + last)]
        )
        return moved.combine_chunks()

    replace_table(own_run, early)
    assert set(failed(own_run)) == set()  # counts and sums are those of the right one
    found = failed(own_run, "sample", 2)
    assert set(found) == {"rule = table"}
    assert "step 0" in found["rule = table"].detail


def test_off_by_one_slot(own_run: Path) -> None:
    def turn(table: pa.Table) -> pa.Table:
        turned = change_column(table, "slot", lambda s: (s + 1) % 6)
        return turned.sort_by([("step", "ascending"), ("slot", "ascending"), ("segment", "ascending")])

    replace_table(own_run, turn)
    assert set(failed(own_run, "sample", 2)) == {"rule = table"}


def test_duplicated_row(own_run: Path) -> None:
    replace_table(own_run, lambda t: pa.concat_tables([t.slice(0, 1), t]).combine_chunks())
    assert set(failed(own_run)) == {"table"}
    assert set(failed(own_run, "sample", 2)) == {"table", "rule = table"}


def test_duplicated_sequence(own_run: Path) -> None:
    """A sequence comes twice, and another of the same shape is gone: counts and sums agree."""

    def twice(table: pa.Table) -> pa.Table:
        whole = np.flatnonzero(table.column("num_tokens").to_numpy() == 17)[:2]  # sequences of one segment

        def copy(column: Any) -> Any:
            column[whole[1]] = column[whole[0]]
            return column

        return change_column(change_column(table, "doc_ordinal", copy), "doc_token_start", copy)

    replace_table(own_run, twice)
    assert set(failed(own_run)) == set()
    found = failed(own_run, "full")
    assert set(found) == {"rule = table"}
    assert "should be" in found["rule = table"].detail


def test_one_flipped_token_byte(own_run: Path) -> None:
    path = own_run / "tokens/a-00000.bin"
    data = bytearray(path.read_bytes())
    data[1000] ^= 4
    path.write_bytes(data)
    found = failed(own_run, "full")
    assert set(found) == {"sha256", "rule = token bytes"}
    assert all("a-00000.bin" in c.detail for c in found.values())


def test_changed_document_length(own_run: Path) -> None:
    path = own_run / "tokens/documents.parquet"

    def shift(lengths: Any) -> Any:
        lengths[3] += 1
        lengths[4] -= 1
        return lengths

    storage.write_parquet(str(path), change_column(pq.read_table(path), "num_tokens", shift))
    found = failed(own_run, "full")
    assert {"sha256", "documents", "documents root"} <= set(found)
    assert "document 4 does not begin where" in found["documents"].detail


def test_documents_that_do_not_begin_where_they_should(own_run: Path) -> None:
    path = own_run / "tokens/documents.parquet"
    far = change_column(pq.read_table(path), "token_offset", lambda o: o + 10**9)
    storage.write_parquet(str(path), far)
    found = failed(own_run, "full")
    assert set(found) >= {"sha256", "documents"}
    assert "document 0 does not begin" in found["documents"].detail


@pytest.mark.parametrize("moved", [1, 10**6])
def test_changed_offsets(own_run: Path, moved: int) -> None:
    """The mapped copy of a column of documents.parquet is not that column."""
    path = own_run / "tokens/documents.offsets"
    offsets = np.fromfile(path, "<i8")
    offsets[5] += moved
    path.write_bytes(offsets.tobytes())
    found = failed(own_run, "full")
    assert {"documents", "rule = table", "rule = token bytes"} <= set(found)
    assert "documents.offsets is not the column" in found["documents"].detail


def test_offsets_are_read_from_the_documents_where_they_are_missing(own_run: Path) -> None:
    for name in ("documents.offsets", "documents.salts"):
        (own_run / "tokens" / name).unlink()
    assert not failed(own_run, "full")


def test_ordinal_beyond_the_documents(own_run: Path) -> None:
    replace_table(own_run, lambda t: change_column(t, "doc_ordinal", lambda o: np.where(o == 5, 10**6, o)))
    found = failed(own_run)
    assert set(found) == {"table"}
    assert "1000000" in found["table"].detail


def test_rule_edited_by_hand(own_run: Path) -> None:
    path = own_run / "order/rule.json"
    path.write_text(path.read_text().replace('"key": "k"', '"key": "other"'))
    assert set(failed(own_run)) == {"rule", "order root"}
    assert set(failed(own_run, "sample", 2)) == {"rule", "order root", "rule = table", "rule = token bytes"}


def test_rule_edited_by_hand_with_its_hash(own_run: Path) -> None:
    path = own_run / "order/rule.json"
    path.write_text(path.read_text().replace('"block_sequences": 40', '"block_sequences": 41'))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    edit_json(own_run / "order/order.json", lambda s: s.update(rule_sha256=sha256))
    assert set(failed(own_run)) == {"order root"}


def test_rule_that_is_none(own_run: Path) -> None:
    edit_json(own_run / "order/rule.json", lambda r: r["packing"].update(method="random"))
    found = failed(own_run, "full")
    assert "packing.method" in found["sizes"].detail


def test_changed_root(own_run: Path) -> None:
    path = own_run / "order/roots.parquet"
    roots = pq.read_table(path)
    values = roots.column("root").to_pylist()
    values[0], values[1] = values[1], values[0]
    storage.write_parquet(str(path), roots.set_column(1, roots.schema.field(1), pa.array(values, pa.binary(32))))
    assert set(failed(own_run, "full")) >= {"sha256", "chain", "rule = token bytes"}


def test_another_tokenizer(own_run: Path) -> None:
    (own_run / "tokens/tokenizer.model").write_bytes(b"another")
    assert set(failed(own_run)) == {"shard list"}


def test_no_order_at_all(tmp_path: Path) -> None:
    assert all(not c.ok for c in verify_order(str(tmp_path)))


def fed_file(run: Path, change: Callable[[list[dict[str, Any]]], None] = lambda _: None) -> None:
    order = Order.open(str(run))
    rows = [
        {"attempt": a, "step": s, "hash": order.recorded_root(s), "applied": True} for a, s in ((0, 0), (0, 1), (1, 1))
    ]
    change(rows)
    schema = pa.schema(
        [("attempt", pa.int32()), ("step", pa.int64()), ("hash", pa.binary(32)), ("applied", pa.bool_())]
    )
    storage.write_parquet(str(run / "train/fed.parquet"), pa.Table.from_pylist(rows, schema))


def test_fed_as_planned(own_run: Path) -> None:
    fed_file(own_run)
    checks = {c.name: c for c in verify_order(str(own_run))}
    assert checks["order: fed"].ok
    assert checks["order: fed"].detail.startswith("3 steps")


def test_fed_another_batch(own_run: Path) -> None:
    fed_file(own_run, lambda rows: rows[2].update(hash=bytes(32)))
    found = failed(own_run)
    assert set(found) == {"fed"}
    assert "step 1 was fed another batch" in found["fed"].detail
    assert "attempt 1" in found["fed"].detail


def test_fed_beyond_the_order(own_run: Path) -> None:
    fed_file(own_run, lambda rows: rows[0].update(step=10**6))
    assert "not in the order" in failed(own_run)["fed"].detail


@pytest.mark.parametrize("mode", ["quick", "full"])
def test_several_faults_are_all_named(own_run: Path, mode: str) -> None:
    (own_run / "tokens/c-00002.bin").unlink()
    edit_json(own_run / "tokens/manifest.json", lambda m: m["shards"].pop(0))
    (own_run / TABLE_FILE).write_bytes(b"")
    assert {"sizes", "shard list", "table", "sha256"} <= set(failed(own_run, mode))
