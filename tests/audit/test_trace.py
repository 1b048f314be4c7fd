from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from corpusmill.audit.trace import find_documents, show_step
from corpusmill.core.errors import InputError, VerificationFailed
from corpusmill.tokenize.order import build_order
from corpusmill.tokenize.order_config import OrderConfig
from corpusmill.tokenize.training import TokenizerConfig, train_tokenizer


def brute_force_hits(run: Path, doc_id: str) -> list[dict[str, Any]]:
    """By joining the whole table with the documents."""
    documents = {d["doc_ordinal"]: d for d in pq.read_table(run / "tokens/documents.parquet").to_pylist()}
    rows = pq.read_table(run / "order/table-00000.parquet").to_pylist()
    return [
        {
            **{key: r[key] for key in ("phase", "epoch", "step", "slot")},
            "tokens": r["num_tokens"],
            "masked": r["num_tokens"] == 1,
        }
        for r in rows
        if r["doc_ordinal"] >= 0 and documents[r["doc_ordinal"]]["doc_id"] == doc_id
    ]


def doc_ids(run: Path) -> list[str]:
    ids: list[str] = pq.read_table(run / "tokens/documents.parquet").column("doc_id").to_pylist()
    return ids


def test_hits_equal_a_join_of_the_whole_table(traced_run: Path) -> None:
    for doc_id in doc_ids(traced_run):
        (found,) = find_documents(str(traced_run), doc_id=doc_id)["documents"]
        assert found["doc_id"] == doc_id
        assert found["hits"] == brute_force_hits(traced_run, doc_id)
        assert (found["never"] is None) == bool(found["hits"])


def test_hits_over_epochs(traced_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(traced_run, run)
    config = OrderConfig(sequence_length=32, batch_size=4, key="k", steps=150, block_sequences=7)
    build_order(str(run / "tokens"), str(run / "order"), config)
    epochs = set(pq.read_table(run / "order/table-00000.parquet").column("epoch").to_pylist())
    assert epochs >= {0, 1, 2}
    for doc_id in doc_ids(run):
        (found,) = find_documents(str(run), doc_id=doc_id)["documents"]
        assert found["hits"] == brute_force_hits(run, doc_id)


def test_by_url_in_any_spelling_and_by_domain(traced_run: Path) -> None:
    run = str(traced_run)
    (by_id,) = find_documents(run, doc_id="two.warc.gz:7")["documents"]
    for url in ("https://www.two.example/7", "HTTPS://WWW.two.example:443/./7"):
        assert find_documents(run, url=url)["documents"] == [by_id]
    domain = find_documents(run, domain="Two.example")
    assert [d["doc_id"] for d in domain["documents"]] == [f"two.warc.gz:{n}" for n in range(12)]
    assert domain["documents"][7] == by_id
    assert domain["steps_total"] == 20


@pytest.mark.parametrize(
    "asked", [{"doc_id": "two.warc.gz:99"}, {"url": "https://elsewhere.example/"}, {"domain": "elsewhere.example"}]
)
def test_never_tokenised(traced_run: Path, asked: dict[str, str]) -> None:
    assert find_documents(str(traced_run), **asked) == {"documents": [], "steps_total": 20}


def test_never_reached(traced_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(traced_run, run)
    config = OrderConfig(sequence_length=32, batch_size=4, key="k", steps=1)
    build_order(str(run / "tokens"), str(run / "order"), config)
    never = [
        d for s in ("one", "two") for d in find_documents(str(run), domain=f"{s}.example")["documents"] if not d["hits"]
    ]
    assert len(never) > 10
    assert {d["never"] for d in never} == {"the order's 1 steps do not reach its sequences"}


def test_never_because_it_makes_no_sequence(traced_run: Path, tmp_path: Path) -> None:
    """An empty document (EOS alone) between two larger than a block is a block without a sequence."""
    run = tmp_path / "run"
    shutil.copytree(traced_run, run)
    config = OrderConfig(sequence_length=1, batch_size=4, key="k", block_sequences=1)
    build_order(str(run / "tokens"), str(run / "order"), config)
    (found,) = find_documents(str(run), doc_id="one.warc.gz:5")["documents"]
    assert found["hits"] == []
    assert found["never"] == "it is a single token, alone in its packing block, which makes no sequence"


def test_nothing_to_look_for(traced_run: Path) -> None:
    with pytest.raises(InputError, match="nothing to look for"):
        find_documents(str(traced_run))


def test_a_step_shows_the_text_of_its_documents(traced_run: Path) -> None:
    """Segments put together by document and offset give the documents' own texts."""
    pieces: dict[str, list[str]] = {}
    texts = {
        d["doc_id"]: d["text"] for s in ("one", "two") for d in pq.read_table(traced_run / f"{s}.parquet").to_pylist()
    }
    for step in range(20):
        shown = show_step(str(traced_run), step)
        assert (shown["step"], shown["steps_total"]) == (step, 20)
        assert [s["slot"] for s in shown["slots"]] == [0, 1, 2, 3]
        for slot in shown["slots"]:
            assert slot["source"] == "crawl"
            assert 1 <= sum(s["tokens"] for s in slot["segments"]) <= 33
            for segment in slot["segments"]:
                assert segment["url"].startswith("https://www.")
                pieces.setdefault(segment["doc_id"], []).append(segment["text"].strip("\ufffd"))
    assert len(pieces) > 5
    for doc_id, shown_texts in pieces.items():
        assert all(text in texts[doc_id] for text in shown_texts)


def test_one_slot_is_that_of_the_step(traced_run: Path) -> None:
    whole = show_step(str(traced_run), 3)
    for slot in range(4):
        assert show_step(str(traced_run), 3, slot)["slots"] == [whole["slots"][slot]]


def test_show_and_find_agree(traced_run: Path) -> None:
    for slot in show_step(str(traced_run), 11)["slots"]:
        for segment in slot["segments"]:
            (found,) = find_documents(str(traced_run), doc_id=segment["doc_id"])["documents"]
            here = [h for h in found["hits"] if (h["step"], h["slot"]) == (11, slot["slot"])]
            assert [h["tokens"] for h in here] == [segment["tokens"]]


def test_outside_the_order(traced_run: Path) -> None:
    with pytest.raises(InputError, match="no such step"):
        show_step(str(traced_run), 20)
    with pytest.raises(InputError, match="no such slot"):
        show_step(str(traced_run), 0, 4)


def test_another_tokenizer_is_refused(traced_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(traced_run, run)
    train_tokenizer([str(run / "one.parquet")], TokenizerConfig(vocab_size=280), str(run / "tokens/tokenizer.model"))
    with pytest.raises(VerificationFailed, match="not the tokenizer"):
        show_step(str(run), 0)
