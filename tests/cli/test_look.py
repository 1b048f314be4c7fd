"""`status`, `inspect`, `removed`, `explain` and `order` on a finished run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import sample_runs
from sample_runs import CORPUS_STEPS, DOCUMENT_STAGES, PRODUCTS, Mill

from corpusmill.pipeline.copies import copies

STAGES = DOCUMENT_STAGES + CORPUS_STEPS


def test_status_has_the_documented_shape(mill: Mill, finished_run: Path) -> None:
    body = mill("status", finished_run, "--json").json
    assert set(body) == {"run", "recipe", "state", "stages", "held_out", "warnings"}
    assert (body["recipe"], body["state"]) == ("quickstart", "done")
    assert [s["name"] for s in body["stages"]] == STAGES + PRODUCTS
    for stage in body["stages"]:
        assert set(stage) == {
            "name", "state", "shards", "shards_done", "documents_in", "documents_kept", "removed", "quarantined",
            "characters_in", "characters_kept", "seconds", "documents_per_core_second", "reported",
        }  # fmt: skip
        gone = sum(stage["removed"].values()) + sum(stage["quarantined"].values())
        assert stage["documents_in"] == stage["documents_kept"] + gone
    assert body["stages"][0]["documents_in"] == 592


def test_status_for_people(mill: Mill, finished_run: Path) -> None:
    shown = mill("status", finished_run).out
    assert all(name in shown for name in STAGES + PRODUCTS)
    assert "near_duplicate" in shown


def test_inspect_filters_by_sql(mill: Mill, finished_run: Path) -> None:
    rows = mill("inspect", finished_run, "language", "-n", "3", "--where", "language = 'ja'", "--json").json
    assert len(rows) == 3
    assert {row["language"] for row in rows} == {"ja"}
    assert {"doc_id", "url", "text", "fetched_at", "content_hash"} <= set(rows[0])
    assert mill("inspect", finished_run, "language", "--where", "false").out == "no rows\n"


def test_inspect_shows_what_a_filter_kept_though_it_stores_nothing(mill: Mill, finished_run: Path) -> None:
    rows = mill("inspect", finished_run, "quality", "-n", "1000", "--json").json
    removed = {row["doc_id"] for row in sample_runs.rows(finished_run, "quality", "removed")}
    assert len(rows) == mill("status", finished_run, "--json").json["stages"][5]["documents_kept"]
    assert not removed & {row["doc_id"] for row in rows}


@pytest.mark.parametrize(
    "where", ["nope(", "nope = 1", "1 = 1; DROP TABLE x", "doc_id IN (SELECT * FROM '/etc/passwd')"]
)
def test_a_condition_that_is_not_valid(mill: Mill, finished_run: Path, where: str) -> None:
    result = mill("inspect", finished_run, "language", "--where", where)
    assert (result.code, result.out) == (2, "")
    assert "not valid SQL" in result.err
    assert "remedy: --where" in result.err


def test_removed_shows_the_nearest_first(mill: Mill, finished_run: Path) -> None:
    options = ["--stage", "quality", "--rule", "words_min", "--near-threshold", "-n", "50", "--json"]
    rows = mill("removed", finished_run, *options).json
    distances = [row["threshold"] - row["value"] for row in rows]
    assert len(rows) > 3
    assert distances == sorted(distances)
    assert {row["rule"] for row in rows} == {"words_min"}
    everything = mill("removed", finished_run, "-n", "9999", "--json").json
    assert len({row["stage"] for row in everything}) > 8


def test_explain_a_page_that_each_stage_removed(mill: Mill, finished_run: Path) -> None:
    for stage in STAGES:
        removed = sample_runs.rows(finished_run, stage, "removed")
        if not removed:
            continue
        body = mill("explain", finished_run, removed[0]["doc_id"], "--json").json
        assert set(body) == {"doc_id", "url", "stages", "steps", "scores", "copies", "held_out"}
        assert body["url"] == removed[0]["url"]
        last = body["stages"][-1]
        assert {"stage", "outcome", "rule", "value", "threshold", "twin"} <= set(last)
        assert (last["stage"], last["outcome"], last["rule"]) == (stage, "removed", removed[0]["rule"])
        assert body["steps"] == []


def test_explain_names_the_twin_of_a_near_duplicate_by_doc_id_and_url(mill: Mill, finished_run: Path) -> None:
    (row, *_) = [r for r in sample_runs.rows(finished_run, "minhash", "removed") if r["rule"] == "near_duplicate"]
    for name in (row["doc_id"], row["url"]):
        shown = mill("explain", finished_run, name, "--json").json
        lives = shown if isinstance(shown, list) else [shown]
        assert row["twin"] in [life["stages"][-1]["twin"] for life in lives]
    people = mill("explain", finished_run, row["doc_id"]).out
    assert "never in the training order" in people
    assert f"\nkept copy: {row['twin']}\n" in people


def test_explain_lists_copies_up_to_a_number(mill: Mill, finished_run: Path) -> None:
    chain = sample_runs.chain(finished_run)
    twins = [r["twin"] for step in CORPUS_STEPS for r in sample_runs.rows(finished_run, step, "removed") if r["twin"]]
    (doc_id, _), *_ = Counter(twins).most_common(1)
    total = copies(chain, doc_id, 0).total
    assert total >= 2
    body = mill("explain", finished_run, doc_id, "--copies", "1", "--json").json["copies"]
    assert (body["total"], len(body["documents"])) == (total, 1)
    assert set(body["documents"][0]) == {"doc_id", "url", "stage", "rule", "similarity", "twin"}
    shown = mill("explain", finished_run, doc_id, "--copies", "1").out
    assert f"stands for {total} copies, 1 of them listed (--copies N)" in shown
    assert body["documents"][0]["doc_id"] in shown
    assert mill("explain", finished_run, doc_id, "--copies", "0", "--json").json["copies"] is None


def test_a_kept_page_and_the_steps_that_used_it(mill: Mill, finished_run: Path) -> None:
    used = mill("order", "show", finished_run, "--step", "0", "--json").json
    assert set(used) >= {"step", "steps_total", "phase", "pad_share", "slots"}
    assert [slot["slot"] for slot in used["slots"]] == list(range(8))
    segment = used["slots"][0]["segments"][0]
    assert set(segment) >= {"doc_id", "url", "doc_token_start", "tokens", "text"}
    life = mill("explain", finished_run, segment["doc_id"], "--json").json
    assert {fate["outcome"] for fate in life["stages"]} <= {"kept", "edited"}
    assert [(h["step"], h["slot"]) for h in life["steps"]].count((0, 0)) >= 1

    found = mill("order", "find", finished_run, "--doc", segment["doc_id"], "--json").json
    assert set(found) == {"documents", "steps_total"}
    assert found["documents"][0]["hits"] == life["steps"]
    assert {"phase", "epoch", "step", "slot", "tokens", "masked"} == set(life["steps"][0])
    by_url = mill("order", "find", finished_run, "--url", segment["url"], "--json").json
    assert segment["doc_id"] in [d["doc_id"] for d in by_url["documents"]]
    one = mill("order", "show", finished_run, "--step", "0", "--slot", "3", "--json").json
    assert one["slots"] == [used["slots"][3]]


def test_never(mill: Mill, finished_run: Path) -> None:
    assert mill("order", "find", finished_run, "--url", "https://nowhere.example/").out.startswith("never")
    removed = sample_runs.rows(finished_run, "quality", "removed")[0]
    assert mill("order", "find", finished_run, "--doc", removed["doc_id"]).out.startswith("never")


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["inspect", "RUN", "qualty"], "one of: warc"),
        (["inspect", "RUN", "url_filter"], "--table removed"),
        (["inspect", "RUN", "language", "--table", "kept"], "one of: out"),
        (["removed", "RUN", "--stage", "qualty"], "one of: warc"),
        (["stage", "qualty", "RUN"], "one of: warc"),
        (["explain", "RUN", "https://nowhere.example/"], "doc_id"),
        (["explain", "RUN", "nowhere.warc.gz:0"], "corpusmill inspect"),
        (["order", "show", "RUN", "--step", "99999"], "name a step of 0.."),
        (["order", "show", "RUN", "--step", "0", "--slot", "8"], "name a slot of 0..7"),
        (["order", "find", "RUN"], "corpusmill order find"),
        (["status", "RUN/stages"], "corpusmill run"),
        (["run", "no-such-recipe", "--out", "RUN/x"], "recipe file"),
        (["run", "quickstart", "--out", "RUN/x", "--only", "warc", "--until", "warc"], "either"),
        (["run", "quickstart", "--out", "RUN/stages"], "--out"),
        (["run", "quickstart", "--out", "RUN/x", "--set", "stages.qualty.a=1"], "did you mean `quality`"),
    ],
)
def test_mistakes_of_the_user_end_with_code_2_and_a_remedy(
    mill: Mill, finished_run: Path, arguments: list[str], remedy: str
) -> None:
    result = mill(*[a.replace("RUN", str(finished_run)) for a in arguments])
    assert result.code == 2, result.err
    assert result.out == ""
    assert result.err.startswith("error: ")
    assert remedy in result.err.partition("remedy: ")[2]
    assert "Traceback" not in result.err


def test_explain_tells_scores_and_how_near_they_were(mill: Mill, finished_run: Path) -> None:
    row = sample_runs.rows(finished_run, "repetition", "removed")[0]
    body = mill("explain", finished_run, row["doc_id"], "--json").json
    assert set(body["scores"]) == {"language", "repetition"}
    told = body["scores"]["repetition"]
    assert told["values"][row["rule"]] == row["value"]
    (rule,) = [rule for rule in told["rules"] if rule["rule"] == row["rule"]]
    assert (rule["value"], rule["limit"], rule["breaks"]) == (row["value"], row["threshold"], True)
    assert rule["distance"] == pytest.approx((row["value"] - row["threshold"]) / row["threshold"])
    shown = mill("explain", finished_run, row["doc_id"], "--scores").out
    assert "breaks it" in shown
    assert "breaks it" not in mill("explain", finished_run, row["doc_id"]).out
