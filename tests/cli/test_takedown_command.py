"""`corpusmill takedown`: what it prints, refuses and leaves, on the finished run of the sample crawl."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import sample_runs
import takedown_runs
from sample_runs import Mill

from corpusmill.core import storage


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be changed."""
    return Path(shutil.copytree(finished_run, tmp_path / "run", symlinks=True))


def corpus(run: Path) -> list[dict[str, object]]:
    return sample_runs.rows(run, "substring", "out")


def written(folder: Path, *lines: object) -> Path:
    path = folder / "list.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def lines_of(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if len(line.strip()) >= 60][:20]


def test_a_page_and_its_copies_are_gone_and_the_run_verifies(run: Path, mill: Mill) -> None:
    removed = sample_runs.rows(run, "minhash", "removed")
    twin = next(row["twin"] for row in removed if row["twin"] in {d["doc_id"] for d in corpus(run)})
    page = next(row for row in sample_runs.rows(run, "lines", "out") if row["doc_id"] == twin)
    copies = [
        row
        for row in sample_runs.rows(run, "lines", "out")
        if row["doc_id"] in {r["doc_id"] for r in removed if r["twin"] == twin}
    ]
    texts = lines_of(page["text"]) + [line for copy in copies for line in lines_of(copy["text"])]
    assert takedown_runs.quoting(run, texts)
    before = mill("verify", run, "--json").json
    # The copy that was removed is asked for: what stands for it goes, too.
    urls = written(run.parent, copies[0]["url"])
    result = mill("takedown", run, "--urls", urls, "--mode", "redact", "--with-copies", "--json")
    assert result.code == 0, result.err
    taken = {d["doc_id"]: d for d in result.json["takedown"]["documents"]}
    assert {twin, copies[0]["doc_id"]} <= set(taken)
    assert taken[copies[0]["doc_id"]]["copy_of"] is None
    assert taken[copies[0]["doc_id"]]["touched"]["steps"] == 0, "never trained on"
    assert taken[twin]["copy_of"] == copies[0]["doc_id"]
    assert taken[twin]["touched"]["steps"] > 0
    assert takedown_runs.quoting(run, texts) == []
    assert takedown_runs.quoting(run, [copies[0]["url"]]) == []

    takedown_runs.check_manifests_fit(run)
    after = mill("verify", run, "--full", "--json").json
    assert after["ok"]
    assert after["order_root"] == before["order_root"]
    assert "1 of them redacted" in next(c["detail"] for c in after["checks"] if c["name"] == "order: documents")
    assert mill("status", run, "--json").json["state"] == "done"
    shown = mill("takedown", run, "--urls", urls, "--mode", "redact", "--with-copies")
    assert shown.code == 0
    assert "nothing is left to do" in shown.out
    assert mill("explain", run, twin).code == 0
    first = taken[twin]["touched"]["first"]
    assert mill("order", "show", run, "--step", str(first)).code == 0


def test_run_makes_nothing_again_or_refuses(run: Path, mill: Mill) -> None:
    page = corpus(run)[5]
    documents = written(run.parent, page["doc_id"])
    for mode in ("rederive", "redact"):
        result = mill("takedown", run, "--docs", documents, "--mode", mode)
        assert result.code == 0, result.err
    digests = sample_runs.digests(run)
    recipe = (run / "resolved.yaml").read_bytes()
    same = [sample_runs.RECIPE, "--out", run, "--set", "train=null", "--workers", "2"]
    for change in (["--set", "stages.quality.min_words=10"], ["--set", "order.batch_size=4"], ["--force"]):
        refused = mill("run", *same, *change)
        assert refused.code == 2
        assert "1 documents were taken down from this run" in refused.err
        assert "--content-hashes" in refused.err
        assert (run / "resolved.yaml").read_bytes() == recipe
    refused = mill("stage", "quality", run, "--set", "stages.quality.min_words=10")
    assert refused.code == 2
    assert (run / "resolved.yaml").read_bytes() == recipe
    assert sample_runs.digests(run) == digests
    done = sample_runs.command("run", *same)
    assert done.returncode == 0, done.stderr
    assert sample_runs.digests(run) == digests, "what is up to date is not made again"
    assert mill("verify", run, "--full").code == 0


def test_what_is_printed(run: Path, mill: Mill) -> None:
    page = corpus(run)[3]
    documents = written(run.parent, page["doc_id"])
    result = mill("takedown", run, "--docs", documents, "--mode", "mask", "--from-step", "2", "--dry-run")
    assert result.code == 0
    assert "nothing was changed" in result.out
    assert not (run / "audit").exists()
    result = mill("takedown", run, "--docs", documents, "--mode", "mask", "--from-step", "2")
    assert result.code == 0
    for part in (
        "takedown 0 is done: mask, 1 documents",
        "masked from step 2 on",
        "new order",
        "order/revisions",
        "WARC",
    ):
        assert part in result.out
    assert page["url"] not in result.out


def test_what_is_missing_has_exit_code_1(run: Path, mill: Mill) -> None:
    urls = written(run.parent, "https://nowhere.example/", corpus(run)[0]["url"])
    result = mill("takedown", run, "--urls", urls, "--mode", "redact")
    assert result.code == 1
    assert "not in this run: https://nowhere.example/" in result.out
    assert "nothing was taken down" in result.err
    assert not (run / "audit").exists()
    result = mill("takedown", run, "--urls", urls, "--mode", "redact", "--allow-missing")
    assert result.code == 0, result.err
    (run / "note.txt").write_text("kept")
    assert storage.exists(str(run / "audit/takedowns/00000.json"))


def test_wrong_commands(run: Path, mill: Mill) -> None:
    documents = written(run.parent, "a:1")
    empty = run.parent / "empty.txt"
    empty.write_text("")
    for arguments, message in (
        (["--docs", documents, "--mode", "delete"], "there is no such mode"),
        (["--mode", "redact"], "name exactly one of"),
        (["--docs", documents, "--urls", documents, "--mode", "redact"], "name exactly one of"),
        (["--docs", documents, "--mode", "redact", "--reason", "Mr. X asked"], "a reason class is a short name"),
        (["--docs", empty, "--mode", "redact"], "the list of documents is empty"),
    ):
        result = mill("takedown", run, *arguments)
        assert result.code == 2, arguments
        assert message in result.err
