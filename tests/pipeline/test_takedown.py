"""Takedowns of a whole run: what is gone, what still verifies, what is said, and being killed."""

from __future__ import annotations

import html
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import takedown_runs
from hypothesis import given
from hypothesis import strategies as st
from takedown_runs import doc_id, text_of, url_of

from corpusmill.core import storage
from corpusmill.core.errors import InputError, UserError, VerificationFailed
from corpusmill.core.hashing import content_hash
from corpusmill.pipeline import erasure
from corpusmill.pipeline.takedown import Outcome, Request, first_step_not_fed, take_down
from corpusmill.pipeline.takedown_records import load_records, takedown_checks
from corpusmill.tokenize import revisions
from corpusmill.tokenize.packing import MASKED
from corpusmill.tokenize.reader import Order, load_order
from corpusmill.tokenize.redaction import RedactedFiles
from corpusmill.tokenize.shards import TokensManifest, encode_shard, merge_documents
from corpusmill.tokenize.store import DocumentIndex
from corpusmill.tokenize.verify import verify_order
from corpusmill.training_hook.fed import FED

# Documents of the small run: kept ones, the removed, the quarantined, and the one with a span.
KEPT, OTHER, REMOVED, QUARANTINED, MARKED = ("one", 7), ("two", 5), ("one", 1), ("two", 2), ("three", 3)
ALL = (KEPT, OTHER, REMOVED, QUARANTINED, MARKED)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("takedown") / "run"
    takedown_runs.make(run)
    return run


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def request(run: Path, mode: Any, *lines: str, kind: Any = "docs", **more: Any) -> Request:
    path = run.parent / f"list-{kind}.txt"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return Request(kind, str(path), mode, **more)


def take(run: Path, mode: Any, *documents: tuple[str, int], **more: Any) -> Outcome:
    return take_down(str(run), request(run, mode, *(doc_id(*d) for d in documents), **more))


def passages(*documents: tuple[str, int]) -> list[str]:
    """Parts of lines of the texts, and the secrets of the URLs."""
    found = []
    for document in documents:
        for line in text_of(*document).split("\n"):
            found += [line[at : at + 20] for at in range(0, len(line) - 20, 20)] or [line]
        found.append(url_of(*document).partition("?")[2])
    return found


def failures(run: Path) -> list[str]:
    return [f"{c.name}: {c.detail}" for c in (*verify_order(str(run), "full"), *takedown_checks(str(run))) if not c.ok]


def fed(run: Path, steps: int, root_of: Path | None = None) -> None:
    """train/fed.parquet of an attempt that was fed the first `steps` steps."""
    roots = revisions.roots_of(str(root_of or run / "order"))[:steps]
    rows = [
        {"attempt": 0, "step": n, "slots": 4, "hash": root, "applied": True, "reason": ""}
        for n, root in enumerate(roots)
    ]
    storage.write_parquet(str(run / "train/fed.parquet"), pa.Table.from_pylist(rows, FED))


def tokens_of(run: Path, ordinal: int) -> list[int]:
    order = Order.open(str(run))
    one = np.array([ordinal])
    ids = order.store.gather(order.index, one, np.zeros(1, np.int64), order.index.num_tokens(one), 0)
    return [int(token) for token in ids]


# redact


def test_the_text_is_gone_from_every_file_of_the_run(run: Path) -> None:
    before = takedown_runs.quoting(run, passages(*ALL))
    assert "stages/extract/out/one.parquet" in before
    assert "stages/quality/removed/one.parquet" in before
    assert "stages/quality/quarantine/two.parquet" in before
    assert "stages/quality/spans/three.parquet" in before
    assert "tokens/documents.parquet" in before
    order = Order.open(str(run))
    ids = pq.read_table(run / "tokens/documents.parquet").column("doc_id").to_pylist()
    others = [o for o, name in enumerate(ids) if name not in {doc_id(*d) for d in ALL}]
    other_tokens = [tokens_of(run, o) for o in others]
    outcome = take(run, "redact", *ALL)

    assert takedown_runs.quoting(run, passages(*ALL)) == []
    assert failures(run) == []
    assert Order.open(str(run)).root == order.root
    takedown_runs.check_manifests_fit(run)
    assert outcome.state == "done"
    record = outcome.record
    assert set(record.files) | {"tokens/documents.parquet"} == set(before)
    taken = {d.doc_id: d for d in record.documents}
    assert set(taken) == {doc_id(*d) for d in ALL}
    for document in (REMOVED, QUARANTINED):
        assert taken[doc_id(*document)].doc_ordinal is None
        assert taken[doc_id(*document)].touched.steps == 0
    for document in (KEPT, OTHER, MARKED):
        one = taken[doc_id(*document)]
        assert one.content_hash == content_hash(text_of(*document)).hex()
        assert one.doc_ordinal is not None
        uses = order.derivation().uses(one.doc_ordinal)
        steps = {use.step for use in uses}
        assert one.touched.model_dump() == {
            "steps": len(steps), "first": min(steps), "last": max(steps), "tokens": sum(u.num_tokens for u in uses)
        }  # fmt: skip
    # Others lose nothing.
    other = ("three", 8)
    assert "stages/extract/out/three.parquet" in takedown_runs.quoting(run, passages(other))
    assert other_tokens == [tokens_of(run, o) for o in others]


def test_what_is_written_of_a_takedown_says_no_text_and_no_url(run: Path) -> None:
    take(run, "redact", KEPT, REMOVED, reason="personal-data")
    lines = [json.loads(line) for line in (run / "order/removals.jsonl").read_text().splitlines()]
    hashes = sorted(content_hash(text_of(*d)).hex() for d in (KEPT, REMOVED))
    assert lines == [{"content_hash": h, "reason": "personal-data", "mode": "redact", "takedown": 0} for h in hashes]
    for path in (run / "order/removals.jsonl", *run.glob("audit/takedowns/*.json")):
        assert "example" not in path.read_text()


def test_takedowns_add_up_and_the_same_again_is_nothing(run: Path) -> None:
    urls = [url_of(*KEPT), url_of(*OTHER)]
    first = take_down(str(run), request(run, "redact", urls[0], kind="urls"))
    once = takedown_runs.contents(run)
    assert take_down(str(run), request(run, "redact", urls[0], kind="urls")).state == "nothing"
    assert takedown_runs.contents(run) == once, "its URL is gone, and known all the same"
    second = take_down(str(run), request(run, "redact", *urls, kind="urls"))
    assert [r.number for r in load_records(str(run))] == [first.record.number, second.record.number] == [0, 1]
    assert failures(run) == []
    assert takedown_runs.quoting(run, passages(KEPT, OTHER)) == []
    assert len((run / "order/removals.jsonl").read_text().splitlines()) == 2


def test_other_files_that_quote_a_document_go_or_are_named(run: Path) -> None:
    text = text_of(*KEPT)
    (run / "report.html").write_text(f"<p>{html.escape(text[:300])}</p>")
    (run / "tokens/index").mkdir()
    (run / "tokens/index/names").write_text("kept out of the search")
    data = (run / "tokens/one.bin").read_bytes()
    (run / "tokens/index/part").write_bytes(b"x" + data)  # the tokens at an odd place
    (run / "notes.json").write_text(json.dumps({"seen": text.replace("\n", " ")}))
    (run / "clean.log").write_text(text_of("three", 9))
    storage.write_parquet(str(run / "samples.parquet"), pa.table({"sample": ["a", text[30:130]]}))
    outcome = take(run, "redact", KEPT)
    assert outcome.record.deleted == ("tokens/index/names", "tokens/index/part", "report.html")
    assert outcome.left == ["notes.json", "samples.parquet"]
    assert not (run / "report.html").exists()
    assert not (run / "tokens/index/part").exists()
    assert (run / "clean.log").exists()
    assert take(run, "redact", KEPT).left == ["notes.json", "samples.parquet"], "until they are deleted"
    (run / "notes.json").unlink()
    (run / "samples.parquet").unlink()
    assert take(run, "redact", KEPT).left == []


def test_what_a_killed_step_left_in_its_exchange_goes(run: Path) -> None:
    exchange = run / "stages/minhash/exchange/map"
    exchange.mkdir(parents=True)
    (exchange / "one.chunks").write_text(text_of(*KEPT))
    (run / "stages/quality/out" / f".one.parquet.{'0' * 32}.tmp").write_text(text_of(*KEPT))
    outcome = take(run, "redact", KEPT)
    assert takedown_runs.quoting(run, passages(KEPT)) == []
    assert outcome.left == []
    assert not (run / "stages/minhash/exchange").exists()


def test_tokens_of_the_held_out_split_go_too(run: Path) -> None:
    out, model = str(run / "held_out"), str(run / "tokenizer/tokenizer.model")
    made = encode_shard(str(run / "stages/extract/out/one.parquet"), "one", model, out)
    merge_documents(out, made, model, salt_key="secret")
    copies = {"doc_id": "two.warc.gz:500", "copy_of": "one.warc.gz:700", "via": "one.warc.gz:700", "stage": "minhash"}
    storage.write_parquet(str(run / "held_out/copies.parquet"), pa.Table.from_pylist([copies]))
    (run / "held_out/index").mkdir()
    (run / "held_out/index/names").write_text(url_of(*KEPT))
    before = DocumentIndex.load(out, TokensManifest.load(out).shards)
    tokens = (run / "held_out/one.bin").read_bytes()
    outcome = take(run, "redact", KEPT, REMOVED)
    assert outcome.left == []
    assert outcome.record.deleted == ("held_out/index/names",)
    assert takedown_runs.quoting(run, passages(KEPT, REMOVED)) == []
    manifest = TokensManifest.load(out)
    after = np.frombuffer((run / "held_out/one.bin").read_bytes(), "<u2")
    gone = np.zeros(len(after), np.bool_)
    for number in (7, 1):
        start, stop = before.offsets[number : number + 2]
        gone[start:stop] = True
        assert before.salt(number) != bytes(16)
    assert (after[gone] == manifest.pad_id).all()
    assert (after[~gone] == np.frombuffer(tokens, "<u2")[~gone]).all()
    assert DocumentIndex.load(out, manifest.shards).salt(7) == bytes(16)
    assert RedactedFiles.load(out).documents == (1, 7)
    assert pq.read_table(run / "held_out/copies.parquet").to_pylist() == [copies], "identities stay"
    assert failures(run) == []
    assert take(run, "redact", KEPT, REMOVED).state == "nothing"


def test_a_damaged_table_is_refused_before_anything_changes(run: Path) -> None:
    path = run / "stages/quality/removed/one.parquet"
    table = storage.read_parquet(str(path))
    storage.write_parquet(str(path), pa.concat_tables([table, table]))
    before = takedown_runs.contents(run)
    with pytest.raises(VerificationFailed, match="does not have the SHA-256 of its manifest"):
        take(run, "redact", REMOVED)
    assert takedown_runs.contents(run) == before


def test_a_dry_run_changes_nothing_and_says_the_same(run: Path) -> None:
    before = takedown_runs.contents(run)
    wanted = request(run, "redact", doc_id(*KEPT), doc_id(*REMOVED))
    planned = take_down(str(run), wanted, dry_run=True)
    assert planned.state == "planned"
    assert takedown_runs.contents(run) == before
    done = take_down(str(run), wanted)
    after = {"state": "pending", "order_root_after": None}
    assert done.record.model_copy(update=after) == planned.record


def test_a_missing_document_stops_all_unless_it_may_be_missing(run: Path) -> None:
    before = takedown_runs.contents(run)
    wanted = request(run, "redact", doc_id(*KEPT), "nowhere.warc.gz:1")
    outcome = take_down(str(run), wanted)
    assert (outcome.state, outcome.not_found) == ("planned", ["nowhere.warc.gz:1"])
    assert takedown_runs.contents(run) == before
    outcome = take_down(str(run), wanted, allow_missing=True)
    assert (outcome.state, outcome.not_found) == ("done", ["nowhere.warc.gz:1"])
    assert takedown_runs.quoting(run, passages(KEPT)) == []


@pytest.mark.parametrize("mode", ["redact", "rederive"])
def test_killed_at_any_write_the_same_command_completes_it(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    straight = Path(shutil.copytree(made, tmp_path / "straight"))

    def action(run: Path) -> Outcome:
        return take(run, mode, KEPT, REMOVED, MARKED, redact=True)

    action(straight)
    wanted = takedown_runs.contents(straight)
    kills = 0
    for run in takedown_runs.killed_everywhere(made, tmp_path, action, monkeypatch, every=2):
        records = load_records(str(run))
        if records and records[0].state == "pending":
            assert [c.ok for c in takedown_checks(str(run))] == [False]
            with pytest.raises(UserError, match="stopped halfway"):
                take_down(str(run), request(run, mode, doc_id(*KEPT)), dry_run=True)
        outcome = action(run)
        assert outcome.state == ("nothing" if records else "done")
        assert outcome.finished == ([0] if records and records[0].state == "pending" else [])
        assert takedown_runs.contents(run) == wanted, run.name
        kills += 1
    assert kills > 12
    assert takedown_runs.quoting(straight, passages(KEPT, REMOVED, MARKED)) == []
    assert failures(straight) == []
    takedown_runs.check_manifests_fit(straight)


# mask


def test_a_mask_begins_at_the_first_step_that_was_not_fed(run: Path) -> None:
    parent = load_order(str(run))[0]
    old = revisions.roots_of(str(run / "order"))
    order = Order.open(str(run))
    ordinal = next(
        o for o in range(len(order.index)) if len({u.step for u in order.derivation().uses(o) if u.num_tokens > 1}) > 1
    )
    uses = order.derivation().uses(ordinal)
    first = max(use.step for use in uses if use.num_tokens > 1)
    name = pq.read_table(run / "tokens/documents.parquet").column("doc_id").to_pylist()[ordinal]
    fed(run, first)
    assert first_step_not_fed(str(run), order.rule) == first
    outcome = take_down(str(run), request(run, "mask", name))

    record = outcome.record
    assert (record.first_step, record.order_root) == (first, parent.order_root)
    new = revisions.roots_of(str(run / "order"))
    assert [step for step in range(len(old)) if old[step] != new[step]] == [first]
    assert (record.steps_changed, record.sequences_changed) == (1, 1)
    assert record.steps_fed == len({use.step for use in uses if use.step < first})
    summary, rule = load_order(str(run))
    assert rule.parent == parent.order_root
    assert summary.order_root == record.order_root_after
    assert failures(run) == [], "what was fed before is of the parent, and the same"
    takedown_runs.check_manifests_fit(run)
    facts = json.loads((run / "stages/order/shards/all.json").read_text())["facts"]
    assert facts["order_root"] == summary.order_root
    derivation = Order.open(str(run)).derivation()
    assert {use.step for use in derivation.uses(ordinal) if use.flags & MASKED} == {
        u.step for u in uses if u.step >= first
    }
    assert Order.open(str(run)).continues(parent.order_root, first)
    assert not Order.open(str(run)).continues(parent.order_root, first + 1)
    assert not Order.open(str(run)).continues("0" * 64, 0)
    assert take_down(str(run), request(run, "mask", name)).state == "nothing"


def test_a_mask_from_a_step_that_was_fed_is_for_going_back_to_a_checkpoint(run: Path) -> None:
    order = Order.open(str(run))
    fed(run, order.steps)
    with pytest.raises(InputError, match="no step to mask"):
        take(run, "mask", KEPT)
    take(run, "mask", KEPT, first_step=0)
    assert failures(run) == []
    detail = next(c.detail for c in verify_order(str(run), "quick") if c.name == "order: fed")
    assert "by a revision that this order replaces" in detail
    fed(run, 3, run / "order")
    assert failures(run) == []


@pytest.mark.parametrize("step", [-1, 10_000])
def test_a_step_outside_the_order_is_refused(run: Path, step: int) -> None:
    with pytest.raises(InputError, match="no step to mask"):
        take(run, "mask", KEPT, first_step=step)


def test_steps_that_were_fed_must_be_of_the_order(run: Path) -> None:
    rows = [{"attempt": 0, "step": 10_000, "slots": 4, "hash": bytes(32), "applied": True, "reason": ""}]
    storage.write_parquet(str(run / "train/fed.parquet"), pa.Table.from_pylist(rows, FED))
    with pytest.raises(InputError, match="a step was fed that the order does not have"):
        take(run, "redact", KEPT)


def test_lines_of_a_killed_attempt_count_as_fed(run: Path) -> None:
    fed(run, 2)
    (run / "train/fed").mkdir()
    (run / "train/fed/attempt-00000.jsonl").write_text('{"step": 4}\n{"step": 5}\n{"st')
    assert first_step_not_fed(str(run), load_order(str(run))[1]) == 6


def test_modes_that_do_not_fit_are_refused(run: Path) -> None:
    with pytest.raises(UserError, match="is still fed"):
        take(run, "mask", KEPT, redact=True)
    with pytest.raises(UserError, match="--from-step is for --mode mask"):
        take(run, "redact", KEPT, first_step=3)
    take(run, "redact", KEPT)
    with pytest.raises(UserError, match="cannot be masked"):
        take(run, "mask", KEPT, first_step=0)
    fed(run, 2)
    with pytest.raises(UserError, match="2 steps of this order were fed"):
        take(run, "rederive", KEPT)


# rederive


def test_rederive_leaves_documents_out_and_their_texts_only_when_asked(run: Path) -> None:
    parent = load_order(str(run))[0]
    outcome = take(run, "rederive", KEPT)
    record = outcome.record
    assert record.order_root_after != parent.order_root
    assert 0 < record.steps_changed <= record.steps_total
    assert 0 < record.sequences_changed < parent.sequences
    assert "stages/extract/out/one.parquet" in takedown_runs.quoting(run, passages(KEPT)), "tokens and texts stay"
    ordinal = next(d.doc_ordinal for d in record.documents)
    assert ordinal is not None
    assert Order.open(str(run)).derivation().uses(ordinal) == []
    assert failures(run) == []
    take(run, "rederive", OTHER, redact=True)
    assert takedown_runs.quoting(run, passages(OTHER)) == []
    assert failures(run) == []
    order = Order.open(str(run))
    order.check_can_be_fed(0, order.steps)


def test_what_was_redacted_before_is_left_out_of_a_new_order(run: Path) -> None:
    taken = take(run, "redact", KEPT).record.documents[0].doc_ordinal
    assert taken is not None
    assert Order.open(str(run)).derivation().uses(taken)
    take(run, "rederive", OTHER)
    order = Order.open(str(run))
    assert order.derivation().uses(taken) == []
    order.check_can_be_fed(0, order.steps)
    assert failures(run) == []


def test_removals_of_one_run_are_a_list_for_another(run: Path, made: Path, tmp_path: Path) -> None:
    take(run, "redact", KEPT, OTHER)
    again = Path(shutil.copytree(made, tmp_path / "again"))
    outcome = take_down(str(again), Request("content_hashes", str(run / "order/removals.jsonl"), "rederive"))
    assert sorted(d.doc_id for d in outcome.record.documents) == sorted([doc_id(*KEPT), doc_id(*OTHER)])


def test_a_document_without_tokens_leaves_the_tokens_as_they_are(run: Path) -> None:
    before = takedown_runs.contents(run / "tokens")
    take(run, "redact", QUARANTINED)
    after = takedown_runs.contents(run / "tokens")
    assert not (run / "tokens/redacted.json").exists()
    assert after == before
    assert takedown_runs.quoting(run, passages(QUARANTINED)) == []


def test_documents_without_tokens_make_no_new_order(run: Path) -> None:
    before = load_order(str(run))[0]
    outcome = take(run, "rederive", REMOVED)
    assert load_order(str(run))[0] == before
    assert outcome.record.steps_changed == 0


# Lists


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_an_empty_list_is_refused(run: Path, content: bytes) -> None:
    path = run.parent / "empty"
    path.write_bytes(content)
    with pytest.raises(InputError, match="the list of documents is empty"):
        take_down(str(run), Request("urls", str(path), "redact"))


def test_lists_that_are_none_are_refused(run: Path) -> None:
    for line, message in (
        ("xyz", "not a content hash"),
        ('{"a": 1}', "not a line of removals"),
        ("ab" * 15, "not a con"),
    ):
        with pytest.raises(InputError, match=message):
            take_down(str(run), request(run, "redact", line, kind="content_hashes"))
    (run.parent / "latin").write_bytes(b"https://caf\xe9.example\n")
    with pytest.raises(InputError, match="not UTF-8"):
        take_down(str(run), Request("urls", str(run.parent / "latin"), "redact"))
    with pytest.raises(InputError, match="no such file"):
        take_down(str(run), Request("urls", str(run.parent / "missing"), "redact"))


def test_a_run_without_an_order_is_refused(run: Path) -> None:
    (run / "order/order.json").unlink()
    with pytest.raises(InputError, match="no training order"):
        take(run, "redact", KEPT)


# Passages


@given(st.binary(min_size=200, max_size=400), st.integers(0, 120), st.integers(0, 50))
def test_a_copy_of_63_bytes_is_found_wherever_it_stands(data: bytes, start: int, before: int) -> None:
    windows = [data[at : at + 32] for at in range(0, len(data) - 31, 32)]
    telling = [w for w in windows if len(set(w)) >= 8]
    found = erasure.Passages()
    found.add_bytes(data)
    copied = bytes(before) + data[start : start + 63] + bytes(7)
    holds = any(window in copied for window in telling)
    assert holds or len(telling) < len(windows)
    assert found._match(np.frombuffer(copied, np.uint8)) == holds


def test_windows_are_found_across_the_parts_of_a_large_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "_CHUNK_BYTES", 50)
    found = erasure.Passages()
    found.add_text(text_of(*KEPT))
    for at in range(0, 150, 7):
        (tmp_path / "file").write_bytes(b"." * at + text_of(*KEPT).encode()[100:163] + b"." * 40)
        assert found.are_in(str(tmp_path / "file"))
    (tmp_path / "file").write_text(text_of(*OTHER) * 3)
    assert not found.are_in(str(tmp_path / "file"))
    assert not erasure.Passages().are_in(str(tmp_path / "file"))
