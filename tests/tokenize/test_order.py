from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from order_checks import assert_equals_the_oracle
from pydantic import ValidationError
from token_runs import make_tokens, small_config

from corpusmill.core.errors import ConfigError, InputError
from corpusmill.tokenize import order as order_module
from corpusmill.tokenize.order import OrderSummary, build_order
from corpusmill.tokenize.order_config import OrderConfig
from corpusmill.tokenize.packing import PAD
from corpusmill.tokenize.rule import TABLE, Rule


def build(run: Path, name: str, config: OrderConfig) -> OrderSummary:
    return build_order(str(run / "tokens"), str(run / name), config)


def summary_of(run: Path) -> OrderSummary:
    return OrderSummary.model_validate_json((run / "order/order.json").read_bytes())


def test_equals_the_oracle(token_run: Path) -> None:
    assert_equals_the_oracle(token_run, summary_of(token_run))


@pytest.mark.parametrize("packing", ["concatenate", "best_fit"])
def test_equals_the_oracle_over_epochs(own_run: Path, packing: str) -> None:
    summary = build(own_run, "order", small_config(steps=150, key="鍵", sequence_length=40, packing=packing))
    rule = Rule.model_validate_json((own_run / "order/rule.json").read_bytes())
    assert rule.phases[0].sources[0].epoch_sequences < 150 * 6 / 2  # more than two epochs
    assert_equals_the_oracle(own_run, summary)


def test_one_epoch_uses_every_sequence_once_but_the_tail(token_run: Path) -> None:
    summary = summary_of(token_run)
    rule = Rule.model_validate_json((token_run / "order/rule.json").read_bytes())
    n = rule.phases[0].sources[0].epoch_sequences
    assert summary.steps == n // 6
    assert summary.unused_sequences == {"crawl": n % 6}
    assert n % 6 > 0
    rows = pq.read_table(token_run / "order/table-00000.parquet").to_pylist()
    begins = [(r["doc_ordinal"], r["doc_token_start"]) for r in rows if r["segment"] == 0]
    assert len(begins) == len(set(begins)) == summary.steps * 6


def test_every_token_is_a_label_once_an_epoch(own_run: Path) -> None:
    """All tokens but the first of each document; a batch of one sequence leaves no tail."""
    build(own_run, "order", small_config(batch_size=1))
    seen: dict[tuple[int, int], int] = {}
    for row in pq.read_table(own_run / "order/table-00000.parquet").to_pylist():
        if not row["flags"] & PAD:
            for token in range(row["doc_token_start"] + 1, row["doc_token_start"] + row["num_tokens"]):
                seen[row["doc_ordinal"], token] = seen.get((row["doc_ordinal"], token), 0) + 1
    documents = pq.read_table(own_run / "tokens/documents.parquet").to_pylist()
    expected = {(d["doc_ordinal"], t) for d in documents for t in range(1, d["num_tokens"])}
    assert set(seen) == expected
    assert set(seen.values()) == {1}


def test_same_bytes_again(token_run: Path, own_run: Path) -> None:
    build(own_run, "again", small_config())
    for path in sorted((token_run / "order").iterdir()):
        assert (own_run / "again" / path.name).read_bytes() == path.read_bytes()


def test_more_steps_never_change_the_ones_before(own_run: Path) -> None:
    tables, roots = [], []
    for name, steps in (("short", 7), ("long", 300)):
        build(own_run, name, small_config(steps=steps))
        tables.append(pq.read_table(own_run / name / "table-00000.parquet"))
        roots.append(pq.read_table(own_run / name / "roots.parquet").column("root").to_pylist())
    assert tables[1].slice(0, tables[0].num_rows).equals(tables[0])
    assert roots[1][:7] == roots[0]
    assert set(tables[1].column("epoch").to_pylist()) > {0}


def test_epochs_are_shuffled_differently(own_run: Path) -> None:
    build(own_run, "order", small_config(batch_size=1, steps=None))
    n = summary_of(own_run).steps
    build(own_run, "order", small_config(batch_size=1, steps=2 * n))
    rows = [r for r in pq.read_table(own_run / "order/table-00000.parquet").to_pylist() if r["segment"] == 0]
    first, second = ([(r["doc_ordinal"], r["doc_token_start"]) for r in rows if r["epoch"] == e] for e in (0, 1))
    assert sorted(first) == sorted(second)
    assert sum(a == b for a, b in zip(first, second, strict=True)) < n // 10


def test_files_and_row_groups_are_bounded_and_whole_steps(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = build(own_run, "one", small_config())
    monkeypatch.setattr(order_module, "_GROUP_SEQUENCES", 20)
    summary = build(own_run, "many", small_config(file_sequences=90))
    assert len(summary.table) == -(-reference.steps // 15) > 1
    assert summary.order_root == reference.order_root
    for entry in summary.table:
        assert entry.group_steps == 3
        file = pq.ParquetFile(own_run / "many" / entry.path)
        for group in range(file.num_row_groups):
            steps = file.read_row_group(group).column("step").to_pylist()
            assert steps[0] == entry.first_step + 3 * group
            assert steps[-1] <= steps[0] + 2
    whole = [pq.read_table(own_run / "many" / e.path) for e in summary.table]
    assert sum(t.num_rows for t in whole) == reference.rows


def test_table_can_be_audited_with_sql_alone(token_run: Path) -> None:
    connection = duckdb.connect()
    table, documents = (f"'{token_run / p}'" for p in ("order/table-*.parquet", "tokens/documents.parquet"))
    sequences = connection.sql(f"select sum(num_tokens) n from {table} group by step, slot").fetchall()
    assert set(sequences) == {(17,)}
    beyond = f"""select count(*) from {table} t join {documents} d using (doc_ordinal)
        where t.doc_token_start + t.num_tokens > d.num_tokens or t.source <> d.source"""
    assert connection.sql(beyond).fetchall() == [(0,)]
    truncated = f"""select count(*) from {table} t join {documents} d using (doc_ordinal)
        where (flags & 4 > 0) <> (doc_token_start > 0)
        or (flags & 8 > 0) <> (doc_token_start + t.num_tokens < d.num_tokens)"""
    assert connection.sql(truncated).fetchall() == [(0,)]
    connection.close()


def test_table_schema(token_run: Path) -> None:
    assert pq.read_schema(token_run / "order/table-00000.parquet").equals(TABLE)


def test_corpus_smaller_than_a_batch(own_run: Path) -> None:
    with pytest.raises(ConfigError, match="enough for 0 steps"):
        build(own_run, "order", small_config(batch_size=100_000))
    assert build(own_run, "order", small_config(batch_size=2000, steps=2)).steps == 2  # epochs may meet in a batch


def test_source_without_documents(own_run: Path) -> None:
    with pytest.raises(ConfigError, match="'books'") as caught:
        build(own_run, "order", small_config(phases=[{"sources": {"books": 1}}]))
    assert caught.value.value == "crawl"


def test_no_documents(own_run: Path) -> None:
    make_tokens(own_run, {"d-empty": str(own_run / "documents/d-empty.parquet")}, str(own_run / "tokenizer.model"))
    with pytest.raises(ConfigError, match="no documents"):
        build(own_run, "order", small_config())


def test_no_tokens(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no token shards"):
        build(tmp_path, "order", small_config())


def test_config_refuses_unknown_keys_and_is_frozen() -> None:
    with pytest.raises(ValidationError):
        small_config(batchsize=3)
    with pytest.raises(ValidationError):
        small_config().key = "other"  # type: ignore[misc]


def test_an_interrupted_build_leaves_no_order(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(order_module, "leaves_of", killed)
    with pytest.raises(KeyboardInterrupt):
        build(own_run, "order", small_config())
    assert not (own_run / "order/order.json").exists()
    assert not list((own_run / "order").glob("*.parquet"))


def test_rule_is_small_and_names_everything(token_run: Path) -> None:
    data = (token_run / "order/rule.json").read_bytes()
    rule = json.loads(data)
    assert len(data) < 4096
    assert set(rule) == {
        "spec", "key", "parent", "takedown", "phases", "packing", "permutation", "label_at_document_start",
        "tokenizer", "documents", "shards",
    }  # fmt: skip
    assert Rule.model_validate_json(data).to_bytes() == data
