"""What a stranger reads in an order, with fewer than 100 lines of Python, equals what corpusmill says of it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import stranger
from synthetic import lengths_of, write_tokens

from corpusmill.tokenize.order import build_order, write_order
from corpusmill.tokenize.order_config import OrderConfig
from corpusmill.tokenize.proving import make_proof
from corpusmill.tokenize.reader import Order
from corpusmill.tokenize.takedown import Takedown

SOURCE = Path(stranger.__file__)


def make(run: Path, packing: str, *, taken_down: bool) -> str:
    """An order of three sources and three phases, with another length and batch; its root."""
    write_tokens(run, {"en": lengths_of(1, 40, 60), "ja": lengths_of(2, 30, 50), "code": lengths_of(3, 25, 90)})
    phases = [
        {"steps": 7, "sources": {"en": "2/3", "ja": "1/3"}},
        {"steps": 4, "sources": {"code": 1}, "sequence_length": 24, "batch_size": 3},
        {"steps": 6, "sources": {"en": 1, "code": 1}, "batch_size": 4},
    ]
    body = {"key": "k", "sequence_length": 16, "batch_size": 5, "block_sequences": 9, "phases": phases}
    config = OrderConfig.model_validate(body | {"packing": packing})
    summary = build_order(str(run / "tokens"), str(run / "order"), config)
    if taken_down:
        masked = np.array([4, 50, 80])
        rule = Order.open(str(run)).rule.model_copy(update={"parent": summary.order_root})
        excluded = Takedown(np.array([45]), masked, np.array([3, 0, 9]))
        summary = write_order(str(run / "tokens"), str(run / "order"), rule, excluded, 1 << 20)
    return summary.order_root


@pytest.fixture(scope="module", params=[("concatenate", False), ("best_fit", False), ("concatenate", True)])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("stranger")
    packing, taken_down = request.param
    return folder, make(folder, packing, taken_down=taken_down)


def test_it_is_short_and_knows_nothing_of_us() -> None:
    text = SOURCE.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 100
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {name.name.partition(".")[0] for name in node.names}
        if isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    assert imported == {"hashlib", "json", "struct", "sys", "pathlib", "pyarrow"}


def test_the_files_give_the_order_root(run: tuple[Path, str]) -> None:
    folder, root = run
    assert stranger.order_root(folder) == root == Order.open(str(folder)).root


def test_it_checks_proofs(run: tuple[Path, str]) -> None:
    folder, root = run
    order = Order.open(str(folder))
    documents = pq.read_table(folder / "tokens/documents.parquet").to_pylist()
    derivation = order.derivation()
    for document in documents[::7]:
        uses = derivation.uses(document["doc_ordinal"])
        proof = make_proof(str(folder), document["content_hash"], sorted({u.step for u in uses}))
        body = json.loads(proof.model_dump_json(exclude_none=True))
        assert body["order_root"] == root
        ordinals, shown = stranger.check(body)
        assert ordinals == [document["doc_ordinal"]]
        assert [(s, slot, n) for s, slot, _, n in shown] == [(u.step, u.slot, u.num_tokens) for u in uses]
    for absent in (bytes(16), b"\x77" * 16, b"\xff" * 16):
        assert stranger.check(json.loads(make_proof(str(folder), absent).model_dump_json(exclude_none=True))) == (
            [],
            [],
        )


def damaged(body: dict[str, Any], *path: Any) -> dict[str, Any]:
    changed: dict[str, Any] = json.loads(json.dumps(body))
    inner: Any = changed
    for key in path[:-1]:
        inner = inner[key]
    value = inner[path[-1]]
    inner[path[-1]] = value + 1 if isinstance(value, int) else ("1" if value[0] == "0" else "0") + value[1:]
    return changed


def test_it_refuses_forged_proofs(run: tuple[Path, str]) -> None:
    folder, _ = run
    order = Order.open(str(folder))
    use = order.derivation().uses(75)[0]
    content_hash = pq.read_table(folder / "tokens/documents.parquet").column("content_hash")[75].as_py()
    body = json.loads(make_proof(str(folder), content_hash, [use.step]).model_dump_json(exclude_none=True))
    number = next(i for i, s in enumerate(body["uses"]["sequences"][0]["segments"]) if "tokens" in s)
    segment = ("uses", "sequences", 0, "segments", number)
    for path in [
        ("order_root",), ("chain_head",), ("documents_root",), ("uses", "head"), ("uses", "roots"),
        ("uses", "first_step"), ("leaves", 0, "content_hash"), ("leaves", 1, "num_tokens"), ("leaves", 1, "index"),
        ("leaves", 1, "path", 0), (*segment, "tokens"), (*segment, "salt"), (*segment, "mask"), (*segment, "position"),
        ("uses", "sequences", 0, "slot"), ("uses", "sequences", 0, "path", 0),
    ]:  # fmt: skip
        with pytest.raises((AssertionError, IndexError)):
            stranger.check(damaged(body, *path))


@pytest.mark.parametrize("packing", ["concatenate", "best_fit"])
def test_it_catches_a_flipped_token(tmp_path: Path, packing: str) -> None:
    root = make(tmp_path, packing, taken_down=False)
    rows = [r for p in sorted((tmp_path / "order").glob("table-*")) for r in pq.read_table(p).to_pylist()]
    row = next(r for r in rows if r["doc_ordinal"] >= 0 and r["step"] == 12)
    document = pq.read_table(tmp_path / "tokens/documents.parquet").to_pylist()[row["doc_ordinal"]]
    path = tmp_path / "tokens" / f"{document['shard']}.bin"
    data = bytearray(path.read_bytes())
    data[2 * (document["token_offset"] + row["doc_token_start"])] ^= 1
    path.write_bytes(bytes(data))
    assert stranger.order_root(tmp_path) != root


def test_the_command(run: tuple[Path, str], tmp_path: Path) -> None:
    folder, root = run
    make_proof(str(folder), bytes(16)).save(str(tmp_path / "p.json"))
    call = [sys.executable, str(SOURCE), str(folder), str(tmp_path / "p.json")]
    out = subprocess.run(call, capture_output=True, text=True, check=True, env={}).stdout
    assert out.splitlines() == [root, "([], [])"]
