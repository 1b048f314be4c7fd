"""Proofs against trees and sequences made by hand, and forged ones."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle_order import OracleOrder
from synthetic import lengths_of, write_tokens
from test_merkle import own_path, own_root

from corpusmill.core import storage
from corpusmill.core.errors import InputError, VerificationFailed
from corpusmill.tokenize import document_tree, hashes
from corpusmill.tokenize.document_tree import DocumentTree, build_tree
from corpusmill.tokenize.order import build_order, documents_root_of
from corpusmill.tokenize.order_config import OrderConfig
from corpusmill.tokenize.proofs import Proof, check_proof, load_proof, not_proved, statements
from corpusmill.tokenize.proving import make_proof
from corpusmill.tokenize.reader import Order
from corpusmill.tokenize.redaction import RedactedFiles, commitments_of, save_commitments
from corpusmill.tokenize.rule import Rule
from corpusmill.tokenize.shards import TOKEN_DOCUMENT, TokensManifest

TWINS = (3, 11, 30)  # ordinals of documents of one content hash


def repeat_content(run: Path, ordinals: tuple[int, ...]) -> None:
    """Gives these documents one content hash."""
    path = run / "tokens/documents.parquet"
    rows = pq.read_table(path).to_pylist()
    for ordinal in ordinals:
        rows[ordinal]["content_hash"] = rows[ordinals[0]]["content_hash"]
    storage.write_parquet(str(path), pa.Table.from_pylist(rows, TOKEN_DOCUMENT))
    manifest = TokensManifest.load(str(run / "tokens"))
    changed = {"documents_sha256": storage.sha256_file(str(path)), "documents_bytes": path.stat().st_size}
    (run / "tokens/manifest.json").write_text(manifest.model_copy(update=changed).model_dump_json())


def build(run: Path, **changes: object) -> None:
    body: dict[str, object] = {
        "key": "k",
        "sequence_length": 16,
        "batch_size": 5,
        "block_sequences": 9,
        "phases": [
            {"steps": 7, "sources": {"en": "2/3", "ja": "1/3"}},
            {"steps": 5, "sources": {"ja": 1}, "sequence_length": 24, "batch_size": 3},
        ],
    }
    build_order(str(run / "tokens"), str(run / "order"), OrderConfig.model_validate(body | changes))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("proofs")
    write_tokens(folder, {"en": lengths_of(1, 40, 60), "ja": lengths_of(2, 30, 50)})
    repeat_content(folder, TWINS)
    build(folder)
    return folder


def documents_of(run: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(run / "tokens/documents.parquet").to_pylist()
    return rows


def ranked(run: Path) -> list[dict[str, Any]]:
    return sorted(documents_of(run), key=lambda d: (d["content_hash"], d["doc_ordinal"]))


def root_of(run: Path) -> str:
    root: str = json.loads((run / "order/order.json").read_bytes())["order_root"]
    return root


def test_every_document_is_shown_with_all_its_equals(run: Path) -> None:
    rows = ranked(run)
    leaves = [hashes.document_leaf(d["content_hash"], d["doc_ordinal"], d["num_tokens"]) for d in rows]
    for content_hash in {d["content_hash"] for d in rows}:
        proof = make_proof(str(run), content_hash)
        check_proof(proof, root_of(run))
        mine = [d for d in rows if d["content_hash"] == content_hash]
        assert [(d.doc_ordinal, d.num_tokens) for d in proof.claim.documents] == [
            (d["doc_ordinal"], d["num_tokens"]) for d in mine
        ]
        assert bytes.fromhex(proof.documents_root) == own_root(leaves)
        for leaf in proof.leaves:
            assert [bytes.fromhex(n) for n in leaf.path] == own_path(leaf.index, leaves)
    assert any(len(make_proof(str(run), rows[i]["content_hash"]).claim.documents) == 3 for i in range(len(rows)))


def test_every_gap_is_shown_to_be_empty(run: Path) -> None:
    hashes_there = [int.from_bytes(d["content_hash"], "big") for d in ranked(run)]
    for number in sorted({0, 2**128 - 1, *(h + d for h in hashes_there for d in (-1, 1))} - set(hashes_there)):
        proof = make_proof(str(run), number.to_bytes(16, "big"))
        check_proof(proof, root_of(run))
        assert proof.claim.documents == ()
        assert len(proof.leaves) == (1 if number < hashes_there[0] or number > hashes_there[-1] else 2)
        assert statements(proof)[0].startswith("No document with the content hash")


@pytest.mark.parametrize("packing", ["concatenate", "best_fit"])
def test_uses_are_those_of_the_oracle(run: Path, tmp_path: Path, packing: str) -> None:
    shutil.copytree(run / "tokens", tmp_path / "tokens")
    build(tmp_path, packing=packing)
    oracle = OracleOrder(tmp_path)
    shown = 0
    for document in documents_of(tmp_path):
        ordinals = [d["doc_ordinal"] for d in documents_of(tmp_path) if d["content_hash"] == document["content_hash"]]
        uses = []
        for step, slots in enumerate(oracle.steps):
            for slot, (_, _, runs) in enumerate(slots):
                at = 0
                for ordinal, _, count in runs:
                    if ordinal in ordinals:
                        uses.append((step, slot, at, count))
                    at += count
        steps = sorted({u[0] for u in uses})
        if not steps:
            continue
        proof = make_proof(str(tmp_path), document["content_hash"], steps)
        check_proof(Proof.model_validate_json(proof.model_dump_json()), root_of(tmp_path))
        assert [(u.step, u.slot, u.position, u.num_tokens) for u in proof.claim.uses] == uses
        assert proof.uses is not None
        for sequence in proof.uses.sequences:
            tokens, _, _ = oracle.row(sequence.step, sequence.slot)
            for segment in sequence.segments:
                if segment.tokens is not None and segment.position is not None:
                    seen = np.frombuffer(bytes.fromhex(segment.tokens), "<u2").tolist()
                    assert seen == tokens[segment.position : segment.position + len(seen)]
        shown += len(uses)
    assert shown > 30


@given(st.lists(st.binary(min_size=1, max_size=1), min_size=1, max_size=60), st.sampled_from([1, 2, 64, 1024]))
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_trees(tmp_path: Path, content: list[bytes], node_leaves: int) -> None:
    """Every leaf's path and every place of a hash, with many equal documents, partitions and nodes."""
    rows = {
        "content_hash": [hashlib.sha256(c[:1]).digest()[:16] if c[0] % 2 else bytes(15) + c for c in content],
        "doc_ordinal": list(range(len(content))),
        "num_tokens": [c[0] + 1 for c in content],
    }
    schema = pa.schema([("content_hash", pa.binary(16)), ("doc_ordinal", pa.int64()), ("num_tokens", pa.int64())])
    table = pa.table(rows, schema)
    storage.write_parquet(str(tmp_path / "documents.parquet"), table, row_group_rows=7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(document_tree, "NODE_LEAVES", node_leaves)
        patch.setattr(document_tree, "_SORTED_DOCUMENTS", 4)
        patch.setattr(document_tree, "_BATCH_DOCUMENTS", 5)
        build_tree(str(tmp_path / "documents.parquet"), len(content), str(tmp_path / "tree"))
        tree = DocumentTree(str(tmp_path / "tree"))
        order = sorted(zip(*rows.values(), strict=True))
        leaves = [hashes.document_leaf(*row) for row in order]
        assert tree.root == own_root(leaves) == documents_root_of(table)
        for index, row in enumerate(order):
            assert tuple(tree.leaf(index)) == row
            assert tree.path(index) == own_path(index, leaves)
        for wanted in {*rows["content_hash"], bytes(16), b"\xff" * 16}:
            below = sum(row[0] < wanted for row in order)
            assert tree.find(wanted) == range(below, below + sum(row[0] == wanted for row in order))


# Forgeries


def fields(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all strings and numbers in a JSON value."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from fields(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from fields(inner, (*path, number))
    else:
        yield path


def changed(value: Any, at: int) -> Any:
    if isinstance(value, int):
        return value + 1
    place = at % max(1, len(value))
    letter = value[place : place + 1]
    return value[:place] + ("1" if letter != "1" else "2") + value[place + 1 :]


def refuses(body: Any, root: str | None = None) -> bool:
    try:
        check_proof(Proof.model_validate_json(json.dumps(body)), root)
    except (VerificationFailed, ValueError):
        return True
    return False


@pytest.fixture(scope="module")
def bodies(run: Path) -> list[dict[str, Any]]:
    """A proof with uses of equal documents in both phases, one without uses, one of absence."""
    twins = documents_of(run)[TWINS[0]]["content_hash"]
    rows = [r for p in sorted((run / "order").glob("table-*.parquet")) for r in pq.read_table(p).to_pylist()]
    steps = sorted({r["step"] for r in rows if r["doc_ordinal"] in TWINS})
    proofs = [
        make_proof(str(run), twins, steps[:3]),
        make_proof(str(run), documents_of(run)[5]["content_hash"]),
        make_proof(str(run), bytes(15) + b"\7"),
        make_proof(str(run), b"\x80" + bytes(15)),
    ]
    return [json.loads(p.model_dump_json(exclude_none=True)) for p in proofs]


def test_the_proofs_themselves_hold(run: Path, bodies: list[dict[str, Any]]) -> None:
    assert not any(refuses(body, root_of(run)) for body in bodies)


def test_each_field_changed_is_refused(bodies: list[dict[str, Any]]) -> None:
    tried = 0
    for body in bodies:
        for path in fields(body):
            if path == ("claim", "content_hash") and not body["claim"]["documents"]:
                continue  # another hash in the same gap is absent too: a claim that holds
            for at in (0, 13, 63):
                forged = json.loads(json.dumps(body))
                inner = forged
                for key in path[:-1]:
                    inner = inner[key]
                inner[path[-1]] = changed(inner[path[-1]], at)
                assert refuses(forged), path
                tried += 1
    assert tried > 300


def test_each_item_left_out_or_doubled_is_refused(bodies: list[dict[str, Any]]) -> None:
    for body in bodies:
        holders: list[tuple[Any, ...]] = sorted(
            {path[:i] for path in fields(body) for i in range(1, len(path)) if isinstance(path[i], int)}, key=str
        )
        for holder in holders:
            for change in ("out", "double"):
                forged = json.loads(json.dumps(body))
                inner = forged
                for key in holder:
                    inner = inner[key]
                if change == "out":
                    del inner[0]
                else:
                    inner.insert(0, inner[0])
                assert refuses(forged), (holder, change)


def test_each_key_left_out_or_added_is_refused(bodies: list[dict[str, Any]]) -> None:
    for body in bodies:
        for key in body:
            forged = {k: v for k, v in body.items() if k != key}
            if key != "spec" and not (key == "uses" and not body["claim"]["uses"]):
                assert refuses(forged), key
        assert refuses(body | {"note": "x"})


def test_a_document_cannot_be_hidden_between_neighbours_that_are_none(run: Path, bodies: list[dict[str, Any]]) -> None:
    """Absence of a document that is there, from real leaves of the tree."""
    there = json.loads(make_proof(str(run), documents_of(run)[5]["content_hash"]).model_dump_json(exclude_none=True))
    before, own, behind = there["leaves"]
    claim = {"content_hash": own["content_hash"], "documents": [], "uses": []}
    for leaves in ([before, behind], [before], [behind], [before, own, behind], []):
        assert refuses(there | {"claim": claim, "leaves": leaves})


def test_one_of_several_equal_documents_cannot_be_left_out(bodies: list[dict[str, Any]]) -> None:
    body = json.loads(json.dumps(bodies[0]))
    assert [d["doc_ordinal"] for d in body["claim"]["documents"]] == list(TWINS)
    for leaves in (body["leaves"][:-1], body["leaves"][:-2], body["leaves"][1:], body["leaves"][2:]):
        kept = [leaf for leaf in leaves if leaf["content_hash"] == body["claim"]["content_hash"]]
        documents = [{k: leaf[k] for k in ("doc_ordinal", "num_tokens")} for leaf in kept]
        assert refuses(body | {"leaves": leaves, "claim": body["claim"] | {"documents": documents}})


def test_a_use_cannot_be_moved_to_another_step(bodies: list[dict[str, Any]]) -> None:
    """By a chain that claims to begin one step later or earlier."""
    for shift in (-1, 1):
        body = json.loads(json.dumps(bodies[0]))
        body["uses"]["first_step"] += shift
        for item in (*body["uses"]["sequences"], *body["claim"]["uses"]):
            item["step"] += shift
        assert refuses(body)
    body["uses"]["roots"] = body["uses"]["roots"][64:]
    assert refuses(body)


def test_another_order_root_is_refused(run: Path, bodies: list[dict[str, Any]]) -> None:
    proof = Proof.model_validate_json(json.dumps(bodies[0]))
    check_proof(proof, root_of(run).upper())
    with pytest.raises(VerificationFailed, match="another order"):
        check_proof(proof, "0" * 64)


# Files


def test_saved_and_loaded(run: Path, tmp_path: Path) -> None:
    proof = make_proof(str(run), bytes(16))
    proof.save(str(tmp_path / "p.json"))
    assert load_proof(str(tmp_path / "p.json")) == proof
    with pytest.raises(InputError, match="no such file"):
        load_proof(str(tmp_path / "q.json"))
    (tmp_path / "q.json").write_text('{"spec": "corpusmill proof v1"}')
    with pytest.raises(VerificationFailed, match="does not fit its format"):
        load_proof(str(tmp_path / "q.json"))


def test_the_tree_is_kept_and_made_again_when_it_is_another(run: Path, tmp_path: Path) -> None:
    own = tmp_path / "run"
    shutil.copytree(run, own)
    shutil.rmtree(own / "tokens/index", ignore_errors=True)
    wanted = documents_of(own)[5]["content_hash"]
    proof = make_proof(str(own), wanted)
    tree = own / "tokens/index/documents.tree"
    assert tree.stat().st_size == 32 * len(documents_of(own))
    kept = tree.stat().st_mtime_ns
    assert make_proof(str(own), wanted) == proof
    assert tree.stat().st_mtime_ns == kept
    (own / "tokens/index/documents.nodes").write_bytes(bytes(32))
    assert make_proof(str(own), wanted) == proof
    assert not list((own / "tokens/index").glob("tree-*"))


def test_where_the_tree_cannot_be_kept_it_is_made_elsewhere(run: Path, tmp_path: Path) -> None:
    own = tmp_path / "run"
    shutil.copytree(run, own)
    shutil.rmtree(own / "tokens/index", ignore_errors=True)
    (own / "tokens/index").write_bytes(b"in the way")
    check_proof(make_proof(str(own), bytes(16)))


def test_other_documents_are_refused(run: Path, tmp_path: Path) -> None:
    own = tmp_path / "run"
    shutil.copytree(run, own)
    shutil.rmtree(own / "tokens/index", ignore_errors=True)
    repeat_content(own, (0, 1))
    with pytest.raises(VerificationFailed, match="do not give the documents root"):
        make_proof(str(own), bytes(16))


def test_steps_that_do_not_read_the_document(run: Path) -> None:
    rows = [r for p in sorted((run / "order").glob("table-*.parquet")) for r in pq.read_table(p).to_pylist()]
    steps = {r["step"] for r in rows if r["doc_ordinal"] == 5}
    wanted = documents_of(run)[5]["content_hash"]
    total = Rule.model_validate_json((run / "order/rule.json").read_bytes()).steps
    with pytest.raises(InputError, match="reads no document"):
        make_proof(str(run), wanted, [next(s for s in range(total) if s not in steps)])
    for step in (-1, total):
        with pytest.raises(InputError, match="no such step"):
            make_proof(str(run), wanted, [step])
    with pytest.raises(InputError, match="reads no document"):
        make_proof(str(run), bytes(16), [0])


def test_a_redacted_document_is_in_the_order_but_its_uses_cannot_be_shown(run: Path, tmp_path: Path) -> None:
    own = tmp_path / "run"
    shutil.copytree(run, own)
    order = Order.open(str(own))
    documents = documents_of(own)
    gone = 5
    use = order.derivation().uses(gone)[0]
    rows = order.table(use.step).filter(pc.field("slot") == use.slot).to_pylist()
    beside = next(r["doc_ordinal"] for r in rows if r["doc_ordinal"] not in (-1, gone, *TWINS))
    save_commitments(str(own / "order"), commitments_of(order.derivation(), order.index, order.store, [gone]))
    RedactedFiles(documents=(gone,)).save(str(own / "tokens"))
    salts = bytearray((own / "tokens/documents.salts").read_bytes())
    salts[16 * gone : 16 * gone + 16] = bytes(16)
    (own / "tokens/documents.salts").write_bytes(bytes(salts))
    path = own / "tokens" / f"{documents[gone]['shard']}.bin"
    data = bytearray(path.read_bytes())
    first, count = documents[gone]["token_offset"], documents[gone]["num_tokens"]
    data[2 * first : 2 * (first + count)] = bytes(2 * count)
    path.write_bytes(bytes(data))
    check_proof(make_proof(str(own), documents[gone]["content_hash"]), root_of(run))
    with pytest.raises(InputError, match="redacted"):
        make_proof(str(own), documents[gone]["content_hash"], [use.step])
    check_proof(make_proof(str(own), documents[beside]["content_hash"], [use.step]), root_of(run))
    (own / "order/redacted.parquet").unlink()
    with pytest.raises(VerificationFailed, match="do not give the root of its step"):
        make_proof(str(own), documents[beside]["content_hash"], [use.step])


def test_what_is_not_proved_is_said(bodies: list[dict[str, Any]]) -> None:
    for body in bodies:
        said = not_proved(Proof.model_validate_json(json.dumps(body)))
        assert any("a model was trained" in line for line in said)
        assert len(not_proved(Proof.model_validate_json(json.dumps(body)), trusted=True)) == len(said) - 1
