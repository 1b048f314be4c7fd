from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from order_runs import (
    PHASES,
    SOURCES,
    build_mixed,
    documents_of,
    excluded_revision,
    masked_revision,
    order_config,
    table_rows,
)

from corpusmill.audit import order_diff
from corpusmill.audit.document_diff import content_keys, diff_documents
from corpusmill.audit.order_diff import diff_orders
from corpusmill.core import storage
from corpusmill.core.errors import InputError
from corpusmill.tokenize.order import build_order
from corpusmill.tokenize.reader import Order


@pytest.fixture(scope="module", params=["concatenate", "best_fit"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("diff")
    build_mixed(folder, packing=request.param)
    return folder


def copy_of(run: Path, tmp_path: Path) -> Path:
    shutil.copytree(run, tmp_path / "b")
    return tmp_path / "b"


def sequences(run: Path) -> dict[tuple[int, int], list[Any]]:
    documents = documents_of(run)
    found: dict[tuple[int, int], list[Any]] = defaultdict(list)
    for r in table_rows(run):
        key = documents[r["doc_ordinal"]]["content_hash"] if r["doc_ordinal"] >= 0 else None
        found[r["step"], r["slot"]].append((key, r["doc_token_start"], r["num_tokens"], r["flags"]))
    return found


def roots(run: Path) -> list[bytes]:
    column: list[bytes] = pq.read_table(run / "order/roots.parquet").column("root").to_pylist()
    return column


def assert_counts(a: Path, b: Path, found: dict[str, Any]) -> list[tuple[int, int]]:
    """Steps and sequences against a comparison of everything; returns the sequences that differ."""
    pairs = list(zip(roots(a), roots(b), strict=False))
    steps = [i for i, (x, y) in enumerate(pairs) if x != y]
    assert (found["steps"]["common"], found["steps"]["differ"]) == (len(pairs), len(steps))
    assert found["steps"]["first"] == (steps[0] if steps else None)
    of_a, of_b = sequences(a), sequences(b)
    differ = [k for k in of_a if k[0] < len(pairs) and of_a[k] != of_b.get(k)]
    assert found["sequences"]["compared"] == len([k for k in of_a if k[0] < len(pairs)])
    assert found["sequences"]["differ"] == len(differ)
    assert found["sequences"]["share"] == len(differ) / found["sequences"]["compared"]
    assert found["steps"]["same_segments"] == len(set(steps) - {k[0] for k in differ})
    return differ


def test_equal_orders(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = copy_of(run, tmp_path)
    monkeypatch.setattr(order_diff.OrderFolder, "rows", None)  # no table is read
    found = diff_orders(str(run), str(other))
    assert found["equal"]
    assert found["rule"] == []
    assert found["steps"] | {"common": 0} == {
        "common": 0, "differ": 0, "first": None, "share": 0.0, "same_segments": 0, "only_a": 0, "only_b": 0,
    }  # fmt: skip
    assert found["documents"] | {"a": 0, "b": 0} == {
        "a": 0, "b": 0, "added": 0, "removed": 0, "changed": 0, "excluded": [0, 0], "masked": [0, 0],
    }  # fmt: skip


def test_an_exclusion_changes_the_blocks_that_held_the_document(run: Path, tmp_path: Path) -> None:
    other = copy_of(run, tmp_path)
    excluded_revision(other, [5, 75])  # each of a source that no phase packs anew halfway
    found = diff_orders(str(run), str(other))
    differ = assert_counts(run, other, found)
    assert differ
    assert found["documents"]["excluded"] == [0, 2]
    assert (found["documents"]["added"], found["documents"]["removed"]) == (0, 0)
    assert {c["key"].split(".")[0] for c in found["rule"]} == {"takedown"}
    # All of them are in blocks that held the documents, whether or not the order reads the documents there.
    derivation = Order.open(str(run)).derivation()
    blocks = {int(derivation.blocks(step, step + 1)[slot]) for step, slot in differ}
    held = set()
    for part in derivation.phases:
        for reading in part.readings:
            for ordinal in (5, 75):
                if reading.source.first <= ordinal < reading.source.stop:
                    mine = reading.whole.sequences_of(ordinal - reading.source.first)
                    held |= set((derivation._first_block[id(reading.whole)] + reading.whole.blocks_of(mine)).tolist())
    assert blocks <= held
    assert found["blocks"] == {
        "compared": derivation.num_blocks,
        "differ": len(blocks),
        "share": len(blocks) / derivation.num_blocks,
    }
    assert 0 < len(blocks) <= len(held) < derivation.num_blocks


def test_a_mask_changes_no_step_before_it(run: Path, tmp_path: Path) -> None:
    other = copy_of(run, tmp_path)
    masked_revision(other, {5: 3, 50: 9})
    found = diff_orders(str(run / "order"), str(other / "order"))
    assert_counts(run, other, found)
    assert found["steps"]["first"] is None or found["steps"]["first"] >= 3
    assert found["documents"]["masked"] == [0, 2]
    assert not found["revision"]


def test_more_steps_are_told_apart_from_other_steps(run: Path, tmp_path: Path) -> None:
    other = copy_of(run, tmp_path)
    packing = Order.open(str(run)).rule.packing.method
    longer = [PHASES[0], PHASES[1] | {"steps": 9}]
    build_order(str(other / "tokens"), str(other / "order"), order_config(phases=longer, packing=packing))
    found = diff_orders(str(run), str(other))
    assert (found["steps"]["differ"], found["steps"]["only_a"], found["steps"]["only_b"]) == (0, 0, 3)
    assert [c["key"] for c in found["rule"]] == ["phases[1].steps"]
    assert not found["equal"]
    back = diff_orders(str(other), str(run))
    assert (back["steps"]["only_a"], back["steps"]["only_b"]) == (3, 0)


def test_another_key_batch_or_length(run: Path, tmp_path: Path) -> None:
    other = copy_of(run, tmp_path)
    for changes in ({"key": "other"}, {"batch_size": 7}, {"sequence_length": 20}):
        build_order(str(other / "tokens"), str(other / "order"), order_config(**changes))
        found = diff_orders(str(run), str(other))
        assert_counts(run, other, found)
        assert found["blocks"] is None
        assert found["rule"]


def test_another_corpus(run: Path, tmp_path: Path) -> None:
    packing = Order.open(str(run)).rule.packing.method
    sources = {**SOURCES, "ja": SOURCES["ja"][:-4], "code": [*SOURCES["code"], 5, 6]}
    sources["en"] = [*SOURCES["en"][:7], SOURCES["en"][7] + 1, *SOURCES["en"][8:]]
    build_mixed(tmp_path, sources, packing=packing)
    found = diff_orders(str(run), str(tmp_path))
    assert_counts(run, tmp_path, found)
    assert [found["documents"][k] for k in ("added", "removed", "changed")] == [2, 4, 1]
    assert {c["key"] for c in found["rule"]} >= {"documents.documents", "shards that the other has not"}


def test_a_revision_is_known_by_its_parent(run: Path, tmp_path: Path) -> None:
    from corpusmill.tokenize.order import write_order
    from corpusmill.tokenize.takedown import NOTHING

    other = copy_of(run, tmp_path)
    order = Order.open(str(run))
    rule = order.rule.model_copy(update={"parent": order.root})
    write_order(str(other / "tokens"), str(other / "order"), rule, NOTHING, 1 << 20)
    found = diff_orders(str(run), str(other))
    assert found["revision"]
    assert not found["equal"]
    assert found["steps"]["differ"] == 0


def test_other_salts_are_steps_that_differ_with_the_same_segments(run: Path, tmp_path: Path) -> None:
    other = copy_of(run, tmp_path)
    path = other / "tokens/documents.parquet"
    rows = documents_of(other)
    for row in rows:
        row["salt"] = bytes(16)
    from corpusmill.tokenize.shards import TOKEN_DOCUMENT

    storage.write_parquet(str(path), pa.Table.from_pylist(rows, TOKEN_DOCUMENT))
    (other / "tokens/documents.salts").write_bytes(bytes(16 * len(rows)))
    packing = Order.open(str(run)).rule.packing.method
    build_order(str(other / "tokens"), str(other / "order"), order_config(packing=packing))
    found = diff_orders(str(run), str(other))
    assert_counts(run, other, found)
    assert found["steps"]["same_segments"] == found["steps"]["differ"] == 14


def test_no_order(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no training order"):
        diff_orders(str(tmp_path), str(tmp_path))


def test_documents_against_sets(run: Path, tmp_path: Path) -> None:
    path = str(run / "tokens/documents.parquet")
    table = pq.read_table(path)
    other = table.slice(10)
    changed = other.column("num_tokens").to_pylist()
    changed[3] += 1
    at = other.column_names.index("num_tokens")
    other = other.set_column(at, other.schema.field(at), [changed])
    storage.write_parquet(str(tmp_path / "d.parquet"), other, row_group_rows=13)
    assert diff_documents(path, str(tmp_path / "d.parquet")) == (0, 10, 1)
    assert diff_documents(str(tmp_path / "d.parquet"), path) == (10, 0, 1)
    expected = [int.from_bytes(h[:8], "little") for h in other.column("content_hash").to_pylist()]
    assert content_keys(str(tmp_path / "d.parquet")).tolist() == expected
