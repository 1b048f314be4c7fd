"""Redaction of token shards: the tokens go, the roots still verify."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import takedown_runs
from oracle_order import OracleOrder
from synthetic import lengths_of, write_tokens

from corpusmill.core.errors import InputError, VerificationFailed
from corpusmill.tokenize import revisions
from corpusmill.tokenize.erase import redact_tokens
from corpusmill.tokenize.order import OrderSummary, build_order
from corpusmill.tokenize.order_config import OrderConfig
from corpusmill.tokenize.reader import Order, load_order
from corpusmill.tokenize.redaction import load_commitments
from corpusmill.tokenize.takedown import NOTHING, load_takedown
from corpusmill.tokenize.verify import Mode, verify_order

PAD = 3


def make(run: Path, packing: str = "concatenate") -> OrderSummary:
    write_tokens(run, {"web": lengths_of(1, 60, 60), "code": lengths_of(2, 30, 90)})
    settings = {"sequence_length": 16, "batch_size": 4, "key": "k", "block_sequences": 12, "packing": packing}
    return build_order(str(run / "tokens"), str(run / "order"), OrderConfig.model_validate(settings))


def redact(run: Path, *ordinals: int) -> None:
    redact_tokens(str(run / "tokens"), str(run / "order"), ordinals)


def failures(run: Path, mode: Mode = "full") -> list[str]:
    return [f"{check.name}: {check.detail}" for check in verify_order(str(run), mode) if not check.ok]


def detail(run: Path, name: str) -> str:
    return next(check.detail for check in verify_order(str(run), "full") if check.name == name)


def tokens_of(run: Path, ordinal: int) -> np.ndarray:
    order = Order.open(str(run))
    one = np.array([ordinal])
    return order.store.gather(order.index, one, np.zeros(1, np.int64), order.index.num_tokens(one), -1)


@pytest.mark.parametrize("packing", ["concatenate", "best_fit"])
def test_tokens_salts_and_urls_are_gone_and_the_roots_verify(tmp_path: Path, packing: str) -> None:
    summary = make(tmp_path, packing)
    oracle = OracleOrder(tmp_path)
    before = pq.read_table(tmp_path / "tokens/documents.parquet").to_pylist()
    gone, others = (2, 17, 70), [o for o in range(90) if o not in (2, 17, 70)]
    tokens = {o: tokens_of(tmp_path, o).tolist() for o in range(90)}
    redact(tmp_path, *gone)

    assert failures(tmp_path) == []
    assert detail(tmp_path, "order: documents").startswith("90 documents, 3 of them redacted")
    assert Order.open(str(tmp_path)).root == summary.order_root
    Order.open(str(tmp_path)).check(digests=True)
    after = pq.read_table(tmp_path / "tokens/documents.parquet").to_pylist()
    for ordinal in range(90):
        row = {**before[ordinal]}
        if ordinal in gone:
            row |= {"url": "", "domain": "", "salt": bytes(16)}
        assert after[ordinal] == row
    assert all(set(tokens_of(tmp_path, o).tolist()) == {PAD} for o in gone)
    assert {o: tokens_of(tmp_path, o).tolist() for o in others} == {o: tokens[o] for o in others}
    salts = (tmp_path / "tokens/documents.salts").read_bytes()
    assert [salts[16 * o : 16 * o + 16] for o in range(90)] == [row["salt"] for row in after]

    # The commitments that are kept are those of the oracle, which still had the tokens.
    kept = load_commitments(str(tmp_path / "order"))
    found = {(step, slot, segment) for step, slots in kept.items() for slot, s in slots.items() for segment in s}
    wanted = {row[:3] for row in oracle.rows() if row[3] in gone}
    assert found == wanted
    assert wanted
    assert oracle.root() == summary.order_root


def test_a_second_redaction_adds_to_the_first(tmp_path: Path) -> None:
    make(tmp_path)
    shutil.copytree(tmp_path / "tokens", tmp_path / "once" / "tokens")
    shutil.copytree(tmp_path / "order", tmp_path / "once" / "order")
    redact(tmp_path, 2, 17)
    redact(tmp_path, 17, 40)
    redact(tmp_path, 2)
    redact(tmp_path / "once", 40, 2, 17)
    assert failures(tmp_path) == []
    assert takedown_runs.contents(tmp_path / "tokens") == takedown_runs.contents(tmp_path / "once" / "tokens")
    assert takedown_runs.contents(tmp_path / "order") == takedown_runs.contents(tmp_path / "once" / "order")


def test_earlier_revisions_keep_their_commitments(tmp_path: Path) -> None:
    first = make(tmp_path)
    tokens, order = str(tmp_path / "tokens"), str(tmp_path / "order")
    revisions.revise(tokens, order, revisions.with_masked(NOTHING, np.array([17]), 3))
    redact(tmp_path, 17, 20)
    assert failures(tmp_path) == []
    earlier = tmp_path / "earlier"
    shutil.copytree(tokens, earlier / "tokens")
    shutil.copytree(revisions.revision_folder(order, first.order_root), earlier / "order")
    assert failures(earlier) == []


def test_a_mask_after_a_redaction_keeps_the_commitments_of_what_is_gone(tmp_path: Path) -> None:
    make(tmp_path)
    redact(tmp_path, 17)
    revisions.revise(
        str(tmp_path / "tokens"), str(tmp_path / "order"), revisions.with_masked(NOTHING, np.array([20]), 0)
    )
    assert failures(tmp_path) == []
    assert load_takedown(str(tmp_path / "order"), load_order(str(tmp_path))[1]).masked.tolist() == [20]


@pytest.mark.parametrize("victim", ["documents.parquet", "web.00002.bin"])
def test_a_damaged_file_is_refused_before_anything_changes(tmp_path: Path, victim: str) -> None:
    make(tmp_path)
    path = tmp_path / "tokens" / victim
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    before = takedown_runs.contents(tmp_path)
    with pytest.raises(VerificationFailed, match="does not have the SHA-256"):
        redact(tmp_path, 17)
    assert takedown_runs.contents(tmp_path) == before


def test_what_is_redacted_cannot_be_fed(tmp_path: Path) -> None:
    make(tmp_path)
    order = Order.open(str(tmp_path))
    steps = sorted({use.step for use in order.derivation().uses(17)})
    order.check_can_be_fed(0, order.steps)
    redact(tmp_path, 17)
    order = Order.open(str(tmp_path))
    order.check_can_be_fed(steps[-1] + 1, order.steps)
    order.check_can_be_fed(0, steps[0])
    with pytest.raises(InputError, match=f"step {steps[-1]} reads a document whose tokens were redacted"):
        order.check_can_be_fed(steps[-1], order.steps)


def test_verify_sees_what_was_tampered_with_after_a_redaction(tmp_path: Path) -> None:
    make(tmp_path)
    redact(tmp_path, 17)
    shutil.copytree(tmp_path / "order", tmp_path / "kept")
    (tmp_path / "order/redacted.parquet").unlink()
    assert any("order: rule = token bytes" in line for line in failures(tmp_path))
    shutil.copy(tmp_path / "kept/redacted.parquet", tmp_path / "order/redacted.parquet")
    assert failures(tmp_path) == []
    path = tmp_path / "tokens/web.00001.bin"
    data = bytearray(path.read_bytes())
    data[1] ^= 1
    path.write_bytes(bytes(data))
    assert any("order: sha256" in line for line in failures(tmp_path))


def test_killed_at_any_write_the_same_command_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, straight = tmp_path / "made", tmp_path / "straight"
    make(made)
    redact(made, 5)  # a redaction before, so that files are changed a second time
    shutil.copytree(made, straight)
    redact(straight, 2, 17, 70)
    wanted = takedown_runs.contents(straight)
    kills = 0
    for run in takedown_runs.killed_everywhere(made, tmp_path, lambda run: redact(run, 2, 17, 70), monkeypatch):
        redact(run, 2, 17, 70)
        assert takedown_runs.contents(run) == wanted, run.name
        kills += 1
    assert kills >= 8
