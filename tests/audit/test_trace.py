from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from order_runs import write_tokens

from corpusmill.audit.trace import find_documents, show_step
from corpusmill.core.errors import InputError, VerificationFailed
from corpusmill.tokenize.order import build_order, write_order
from corpusmill.tokenize.order_config import OrderConfig
from corpusmill.tokenize.reader import Order
from corpusmill.tokenize.redaction import RedactedFiles
from corpusmill.tokenize.takedown import Takedown
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


def own_copy(run: Path, tmp_path: Path) -> Path:
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run"


def test_what_was_taken_down_says_so(traced_run: Path, tmp_path: Path) -> None:
    run = own_copy(traced_run, tmp_path)
    rule = Order.open(str(run)).rule
    takedown = Takedown(np.array([7]), np.array([3]), np.array([0]))
    write_order(str(run / "tokens"), str(run / "order"), rule, takedown, 1 << 20)
    (excluded,) = find_documents(str(run), doc_id=doc_ids(run)[7])["documents"]
    assert excluded["hits"] == []
    assert excluded["never"] == "it was taken down: this revision of the order leaves it out"
    (masked,) = find_documents(str(run), doc_id=doc_ids(run)[3])["documents"]
    assert masked["hits"]
    assert all(h["masked"] for h in masked["hits"])
    hit = masked["hits"][0]
    segments = show_step(str(run), hit["step"], hit["slot"])["slots"][0]["segments"]
    assert all(s["masked"] == (s["doc_id"] == masked["doc_id"] or s["tokens"] == 1) for s in segments)


def test_held_out_documents_are_found_and_say_so(traced_run: Path, tmp_path: Path) -> None:
    run = own_copy(traced_run, tmp_path)
    documents = pq.read_table(run / "tokens/documents.parquet")
    for number, folder in enumerate(("held_out", "held_out/copies")):
        table = documents.slice(number, 1)
        names = [f"held.warc.gz:{number}"]
        table = table.set_column(1, table.schema.field("doc_id"), [names])
        (run / folder).mkdir()
        pq.write_table(table, run / folder / "documents.parquet")
    reasons = [find_documents(str(run), doc_id=f"held.warc.gz:{n}")["documents"] for n in (0, 1)]
    assert [(len(r), r[0]["hits"], r[0]["never"]) for r in reasons] == [
        (1, [], "it is held out for evaluation"),
        (1, [], "it is a copy of a document that is held out for evaluation"),
    ]
    assert len(find_documents(str(run), domain="one.example")["documents"]) == 12 + 2


def test_a_source_that_no_phase_reads(traced_run: Path, tmp_path: Path) -> None:
    write_tokens(tmp_path, {"en": [20] * 30, "ja": [20] * 30})
    phases = [{"steps": 2, "sources": {"en": 1}}]
    config = OrderConfig.model_validate({"sequence_length": 16, "batch_size": 4, "key": "k", "phases": phases})
    build_order(str(tmp_path / "tokens"), str(tmp_path / "order"), config)
    (found,) = find_documents(str(tmp_path), doc_id="ja.warc.gz:3")["documents"]
    assert found["never"] == "no phase reads its source, ja"


def test_the_text_of_a_redacted_document_is_not_shown(traced_run: Path, tmp_path: Path) -> None:
    run = own_copy(traced_run, tmp_path)
    (found,) = find_documents(str(run), doc_id=doc_ids(run)[8])["documents"]
    assert not found["redacted"]
    RedactedFiles(documents=(8,)).save(str(run / "tokens"))
    gone = find_documents(str(run), url="https://gone.example/")
    assert gone == {"documents": [], "steps_total": 20, "redacted_documents": 1}
    (found,) = find_documents(str(run), doc_id=doc_ids(run)[8])["documents"]
    assert found["redacted"]
    assert found["hits"] == brute_force_hits(run, found["doc_id"])
    texts = {
        s["doc_id"]: s["text"]
        for h in found["hits"]
        for slot in show_step(str(run), h["step"], h["slot"])["slots"]
        for s in slot["segments"]
    }
    assert texts.pop(found["doc_id"]) == "redacted"
    assert "redacted" not in texts.values()


def test_phase_epoch_and_padding_of_a_step(traced_run: Path, tmp_path: Path) -> None:
    run = own_copy(traced_run, tmp_path)
    phases = [{"steps": 20}, {"steps": 60, "sequence_length": 50, "batch_size": 3}]
    body = {"sequence_length": 32, "batch_size": 4, "key": "k", "block_sequences": 9, "phases": phases}
    for packing in ("concatenate", "best_fit"):
        config = OrderConfig.model_validate(body | {"packing": packing})
        build_order(str(run / "tokens"), str(run / "order"), config)
        rows = [r for p in sorted((run / "order").glob("table-*")) for r in pq.read_table(p).to_pylist()]
        shares = set()
        for step in (0, 19, 20, 40, 79):
            shown = show_step(str(run), step)
            mine = [r for r in rows if r["step"] == step]
            assert (shown["phase"], shown["phases_total"]) == (int(step >= 20), 2)
            assert (shown["sequence_length"], shown["batch_size"]) == ((32, 4) if step < 20 else (50, 3))
            for slot in shown["slots"]:
                assert {slot["epoch"]} == {r["epoch"] for r in mine if r["slot"] == slot["slot"]}
            pad = sum(r["num_tokens"] for r in mine if r["doc_ordinal"] < 0)
            assert shown["pad_share"] == pad / sum(r["num_tokens"] for r in mine)
            shares.add(shown["pad_share"])
        assert len(shares) > 1
        for doc_id in doc_ids(run)[::5]:
            (found,) = find_documents(str(run), doc_id=doc_id)["documents"]
            expected = [
                {**{k: r[k] for k in ("phase", "epoch", "step", "slot")}, "tokens": r["num_tokens"]}
                for r in rows
                if r["doc_ordinal"] == doc_ids(run).index(doc_id)
            ]
            assert [{k: v for k, v in h.items() if k != "masked"} for h in found["hits"]] == expected


def test_without_an_index_the_answers_are_the_same(traced_run: Path, tmp_path: Path) -> None:
    run = own_copy(traced_run, tmp_path)
    shutil.rmtree(run / "tokens/index", ignore_errors=True)
    shown = show_step(str(run), 3)
    assert not (run / "tokens/index").exists()  # showing a step builds none
    notes: list[str] = []
    asked = [{"url": "https://www.two.example/7"}, {"domain": "one.example"}, {"doc_id": "x"}]
    asked.append(
        {"content_hash": pq.read_table(run / "tokens/documents.parquet").column("content_hash")[4].as_py().hex()}
    )
    (run / "tokens/index").write_bytes(b"in the way")
    scanned = [find_documents(str(run), **a, note=notes.append) for a in asked]
    assert sum("no index of the documents can be kept" in n for n in notes) == len(asked)
    assert show_step(str(run), 3) == shown
    (run / "tokens/index").unlink()
    assert [find_documents(str(run), **a, note=notes.append) for a in asked] == scanned
    assert (run / "tokens/index/index.json").exists()
    assert show_step(str(run), 3) == shown
    before = len(notes)
    find_documents(str(run), url="https://www.two.example/7", note=notes.append)
    assert len(notes) == before


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


@pytest.mark.parametrize("excerpt", [1, 7, 40, 10_000])
def test_an_excerpt_is_the_beginning_of_the_text(traced_run: Path, excerpt: int) -> None:
    for step in (0, 5):
        whole, short = show_step(str(traced_run), step), show_step(str(traced_run), step, None, excerpt)
        for one, other in zip(whole["slots"], short["slots"], strict=True):
            for full, part in zip(one["segments"], other["segments"], strict=True):
                text = full["text"]
                assert part["text"] == (text if len(text) <= excerpt else text[:excerpt] + " ...")
