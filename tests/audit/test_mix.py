from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from order_runs import build_mixed, documents_of, masked_revision, table_rows

from corpusmill.audit import mix
from corpusmill.audit.mix import By, mix_of
from corpusmill.core import storage
from corpusmill.core.errors import InputError
from corpusmill.tokenize.reader import Order


@pytest.fixture(scope="module", params=["concatenate", "best_fit"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sources, two phases, a document masked from step 4 on; documents.parquet in row groups of 11 rows."""
    folder = tmp_path_factory.mktemp("mix")
    build_mixed(folder, packing=request.param)
    masked_revision(folder, {5: 4, 9: 0})
    path = str(folder / "tokens/documents.parquet")
    table = pq.read_table(path)
    numbers = table.column("doc_ordinal").to_pylist()
    for column, values in (("domain", [f"{n % 7}.example" for n in numbers]), ("language", ["de", "en", "fr"] * 40)):
        table = table.set_column(table.column_names.index(column), table.schema.field(column), [values[: len(numbers)]])
    storage.write_parquet(path, table, row_group_rows=11)
    return folder


def brute_force(run: Path, first: int, stop: int, by: By) -> dict[str, dict[str, int]]:
    """By joining the table with the documents, and labels from what a trainer is fed."""
    documents = documents_of(run)
    order = Order.open(str(run))
    rows: dict[str, dict[str, Any]] = defaultdict(
        lambda: {"tokens": 0, "labels": 0, "sequences": set(), "documents": set()}
    )
    for step in range(first, stop):
        fed = order.step(step)
        for slot, mask, segments in zip(fed.slots.tolist(), fed.loss_mask.tolist(), fed.segments, strict=True):
            at = 0
            counted = [False, *mask]
            for ordinal, count in zip(segments.doc_ordinals.tolist(), segments.num_tokens.tolist(), strict=True):
                if ordinal >= 0:
                    row = rows[documents[ordinal][by]]
                    row["tokens"] += count
                    row["labels"] += sum(counted[at : at + count])
                    row["sequences"].add((step, slot))
                    row["documents"].add(ordinal)
                at += count
    return {name: {k: len(v) if isinstance(v, set) else v for k, v in row.items()} for name, row in rows.items()}


@pytest.mark.parametrize("span", [(0, 14), (0, 1), (3, 8), (13, 14)])
@pytest.mark.parametrize("by", ["source", "domain", "language"])
def test_equals_a_join_of_everything(run: Path, span: tuple[int, int], by: By) -> None:
    found = mix_of(str(run), *span, by)
    expected = brute_force(run, *span, by)
    keys = ("tokens", "labels", "sequences", "documents")
    assert {r["name"]: {k: r[k] for k in keys} for r in found["rows"]} == expected
    tokens = sum(r["tokens"] for r in expected.values())
    assert found["tokens"] == tokens
    assert found["labels"] == sum(r["labels"] for r in expected.values())
    assert [r["share"] for r in found["rows"]] == [r["tokens"] / tokens for r in found["rows"]]
    assert [r["tokens"] for r in found["rows"]] == sorted((r["tokens"] for r in found["rows"]), reverse=True)
    rows = [r for r in table_rows(run) if span[0] <= r["step"] < span[1]]
    assert found["sequences"] == len({(r["step"], r["slot"]) for r in rows})
    assert found["pad_tokens"] == sum(r["num_tokens"] for r in rows if r["doc_ordinal"] < 0)
    assert found["documents"] == len({r["doc_ordinal"] for r in rows} - {-1})


def test_shares_and_targets_of_the_phases(run: Path) -> None:
    found = mix_of(str(run), 2, 12, "source")
    assert [(p["phase"], p["steps"]) for p in found["phases"]] == [(0, [2, 8]), (1, [8, 12])]
    for phase in found["phases"]:
        sequences = sum(s["sequences"] for s in phase["sources"])
        for source in phase["sources"]:
            assert source["share"] == source["sequences"] / sequences
            assert abs(source["share"] - source["target_share"]) < 2 / sequences
    assert {s["name"]: s["target_share"] for s in found["phases"][0]["sources"]} == {"en": 0.75, "ja": 0.25}
    assert mix_of(str(run), 2, 12, "language")["phases"] == []


def test_only_the_row_groups_asked_for_are_read(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row group of the table has whole steps; of the documents, those that the span has."""
    read: list[pa.Table] = []
    inner = pq.ParquetFile.read_row_group

    def counted(self: pq.ParquetFile, group: int, columns: list[str]) -> pa.Table:
        read.append(inner(self, group, columns))
        return read[-1]

    monkeypatch.setattr(mix.pq.ParquetFile, "read_row_group", counted)
    found = mix_of(str(run), 9, 10, "domain")
    of_table = [t for t in read if "step" in t.column_names]
    assert len(of_table) == 2
    assert all(t.column("step").to_pylist()[0] >= 8 for t in of_table)
    ordinals = {r["doc_ordinal"] for r in table_rows(run) if r["step"] == 9} - {-1}
    assert found["documents"] == len(ordinals)
    assert len(read) - 2 == len({o // 11 for o in ordinals}) < -(-len(documents_of(run)) // 11)


@pytest.mark.parametrize("span", [(-1, 3), (3, 3), (5, 4), (0, 15)])
def test_no_such_span(run: Path, span: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="no such span"):
        mix_of(str(run), *span, "source")
