"""`corpusmill order`: what it prints, and the JSON that other programs read."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sample_runs import Mill

sys.path.insert(0, str(Path(__file__).parents[1] / "tokenize"))
from token_runs import make_run, small_config

from corpusmill.tokenize.order import build_order


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two phases, the second with another length and batch."""
    folder = tmp_path_factory.mktemp("order-run")
    make_run(folder, small_config())
    phases = [{"steps": 6}, {"steps": 5, "sequence_length": 24, "batch_size": 3}]
    config = small_config().model_validate(small_config().model_dump() | {"steps": None, "phases": phases})
    build_order(str(folder / "tokens"), str(folder / "order"), config)
    return folder


@pytest.fixture(scope="module")
def root(run: Path) -> str:
    value: str = json.loads((run / "order/order.json").read_bytes())["order_root"]
    return value


def a_use(run: Path) -> tuple[int, dict[str, object]]:
    """A step of the second phase, and a document that it reads."""
    rows = [r for p in sorted((run / "order").glob("table-*")) for r in pq.read_table(p).to_pylist()]
    row = next(r for r in rows if r["phase"] == 1 and r["doc_ordinal"] >= 0 and r["num_tokens"] > 3)
    return row["step"], pq.read_table(run / "tokens/documents.parquet").to_pylist()[row["doc_ordinal"]]


def test_show(run: Path, mill: Mill) -> None:
    shown = mill("order", "show", run, "--step", "7", "--json").json
    assert (shown["step"], shown["steps_total"], shown["phase"], shown["phases_total"]) == (7, 11, 1, 2)
    assert (shown["sequence_length"], shown["batch_size"], len(shown["slots"])) == (24, 3, 3)
    assert set(shown["slots"][0]) == {"slot", "source", "epoch", "pad_tokens", "segments"}
    keys = {"doc_id", "url", "doc_token_start", "tokens", "masked", "redacted", "text"}
    assert all(set(s) == keys for slot in shown["slots"] for s in slot["segments"])
    text = mill("order", "show", run, "--step", "7", "--slot", "2").out
    assert text.startswith("step 7 of 11  phase 1 of 2  3 sequences of 24 tokens  padding ")
    assert "slot 2  (crawl, epoch 0" in text
    assert "slot 1" not in text


def test_find_by_each_name(run: Path, mill: Mill) -> None:
    step, document = a_use(run)
    answers = []
    for option, value in (
        ("--doc", document["doc_id"]),
        ("--url", document["url"]),
        ("--content-hash", document["content_hash"].hex()),  # type: ignore[attr-defined]
    ):
        found = mill("order", "find", run, option, str(value), "--json").json
        assert set(found) == {"documents", "steps_total"}
        answers.append(found["documents"])
    assert answers[0] == answers[1] == answers[2]
    (only,) = answers[0]
    assert set(only) == {"doc_id", "url", "hits", "never", "redacted"}
    assert set(only["hits"][0]) == {"phase", "epoch", "step", "slot", "tokens", "masked"}
    assert step in {h["step"] for h in only["hits"]}
    text = mill("order", "find", run, "--doc", str(document["doc_id"])).out
    assert f"  step {step} / 11  slot " in text
    assert "phase 1  epoch 0" in text
    assert "never: no such document" in mill("order", "find", run, "--url", "https://nowhere.example/").out


def test_find_refuses_none_several_and_what_is_no_hash(run: Path, mill: Mill) -> None:
    assert mill("order", "find", run).code == 2
    assert mill("order", "find", run, "--doc", "x", "--url", "y").code == 2
    result = mill("order", "find", run, "--content-hash", "abc")
    assert result.code == 2
    assert "32 hexadecimal digits" in result.err


def test_mix(run: Path, mill: Mill) -> None:
    found = mill("order", "mix", run, "--steps", "2:9", "--json").json
    assert found["steps"] == [2, 9]
    assert set(found) == {
        "steps", "steps_total", "by", "sequences", "tokens", "labels", "pad_tokens", "documents", "phases", "rows",
    }  # fmt: skip
    assert [set(r) for r in found["rows"]] == [{"name", "tokens", "labels", "sequences", "documents", "share"}]
    assert [p["sources"][0]["target_share"] for p in found["phases"]] == [1.0, 1.0]
    text = mill("order", "mix", run, "--by", "domain", "--top", "2").out
    assert text.startswith("steps 0..10 of 11: ")
    assert "(3 others)" in text
    assert "phase 1, steps 6..8" in mill("order", "mix", run, "--steps", "2:9").out


@pytest.mark.parametrize("steps", ["5", "5:", ":5", "a:b", "-1:4", "1:2:3", "4:4", "0:12"])
def test_mix_refuses_what_is_no_span(run: Path, mill: Mill, steps: str) -> None:
    assert mill("order", "mix", run, f"--steps={steps}").code == 2


def test_mix_refuses_what_documents_have_not(run: Path, mill: Mill) -> None:
    assert mill("order", "mix", run, "--by", "colour").code == 2


def test_diff(run: Path, tmp_path: Path, mill: Mill) -> None:
    assert "the orders are the same" in mill("order", "diff", run, run / "order").out
    other = tmp_path / "run"
    shutil.copytree(run, other)
    build_order(str(other / "tokens"), str(other / "order"), small_config().model_copy(update={"key": "other"}))
    found = mill("order", "diff", run, other, "--json").json
    assert set(found) == {"a", "b", "equal", "revision", "rule", "steps", "sequences", "blocks", "documents"}
    assert found["steps"]["first"] == 0
    text = mill("order", "diff", run, other).out
    assert "rule: key: " in text
    assert "step 0 is the first that differs" in text
    assert "blocks: they do not correspond" in text
    assert mill("order", "diff", run, tmp_path).code == 2


def test_prove_and_check(run: Path, root: str, tmp_path: Path, mill: Mill) -> None:
    step, document = a_use(run)
    file = tmp_path / "proof.json"
    made = mill("order", "prove", run, "--doc", str(document["doc_id"]), "--step", str(step), "--out", file)
    assert made.code == 0
    assert f"Step {step}, slot " in made.out
    assert "the order root is the published one" in made.out
    checked = mill("order", "check", file, "--order-root", root)
    assert checked.code == 0
    assert "the order root is the published one" not in checked.out
    shown = mill("order", "check", file, "--json").json
    assert set(shown) == {"file", "bytes", "order_root", "claim", "proved", "not_proved"}
    assert shown["claim"]["documents"][0]["doc_ordinal"] == document["doc_ordinal"]
    assert mill("order", "check", file, "--order-root", "0" * 64).code == 1
    file.write_text(file.read_text().replace('"slot": ', '"slot": 1'))
    refused = mill("order", "check", file)
    assert refused.code == 1
    assert refused.out == ""


def test_prove_absence(run: Path, tmp_path: Path, mill: Mill) -> None:
    file = tmp_path / "proof.json"
    made = mill("order", "prove", run, "--content-hash", "ab" * 16, "--out", file)
    assert made.code == 0
    assert "No document with the content hash abab" in made.out
    assert mill("order", "check", file).code == 0


def test_prove_refuses_what_it_cannot_prove(run: Path, tmp_path: Path, mill: Mill) -> None:
    file = tmp_path / "proof.json"
    nowhere = mill("order", "prove", run, "--url", "https://nowhere.example/", "--out", file)
    assert nowhere.code == 2
    assert "a name alone proves nothing" in nowhere.err
    assert mill("order", "prove", run, "--out", file).code == 2
    assert mill("order", "prove", run, "--content-hash", "ab" * 16, "--step", "0", "--out", file).code == 2
    assert not file.exists()
    assert mill("order", "check", file).code == 2
