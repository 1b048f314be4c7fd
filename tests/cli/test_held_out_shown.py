"""What `status`, `explain` and `plan` say of the held-out split."""

from __future__ import annotations

from pathlib import Path

import sample_runs
from sample_runs import Mill

from corpusmill.core import storage


def ids(run: Path, folder: str) -> list[str]:
    found: list[str] = storage.read_parquet(str(run / folder / "documents.parquet")).column("doc_id").to_pylist()
    return found


def test_status_shows_the_parts(split_run: Path, finished_run: Path, mill: Mill) -> None:
    body = mill("status", split_run, "--json").json
    facts = body["held_out"]
    [stage] = [stage for stage in body["stages"] if stage["name"] == "held_out"]
    assert facts["held_out"]["documents"] == stage["removed"]["held_out"] == len(ids(split_run, "held_out"))
    copies = {step: tally["documents"] for step, tally in facts["copies"].items()}
    assert {f"copy_{step}": number for step, number in copies.items()} == {
        rule: number for rule, number in stage["removed"].items() if rule != "held_out"
    }
    assert sum(copies.values()) == len(ids(split_run, "held_out/copies"))
    shown = mill("status", split_run).out
    assert "\nheld out " in shown
    assert all(f"copies of these, by {step}" in shown for step in copies)
    assert mill("status", finished_run, "--json").json["held_out"] is None
    assert "trained on" not in mill("status", finished_run).out


def test_explain_tells_the_part(split_run: Path, mill: Mill) -> None:
    held = ids(split_run, "held_out")[0]
    assert "\nheld out\n" in mill("explain", split_run, held).out
    body = mill("explain", split_run, held, "--json").json
    assert body["held_out"] == {"chosen": True, "part": "held_out", "copies": []}
    assert body["steps"] == []

    pairs = storage.read_parquet(str(split_run / "held_out/copies.parquet")).to_pylist()
    near = next(row for row in pairs if row["stage"] == "minhash")
    shown = mill("explain", split_run, near["doc_id"]).out
    assert f"kept out of training: copy of {near['copy_of']} (minhash {near['similarity']:.2f}" in shown
    assert "never in the training order" in shown
    body = mill("explain", split_run, near["doc_id"], "--json").json["held_out"]
    assert (body["chosen"], body["part"]) == (False, "copy")
    assert near["copy_of"] in {copy["copy_of"] for copy in body["copies"]}

    gone = mill("explain", split_run, near["copy_of"])
    assert "chosen to be held out, but not kept" in gone.out
    trained = ids(split_run, "tokens")[0]
    assert mill("explain", split_run, trained, "--json").json["held_out"]["part"] == "training"
    assert "held out" not in mill("explain", split_run, trained).out


def test_explain_of_a_run_without_a_split(finished_run: Path, mill: Mill) -> None:
    trained = ids(finished_run, "tokens")[0]
    assert mill("explain", finished_run, trained, "--json").json["held_out"] is None


def test_plan_lists_split_and_sources(mill: Mill) -> None:
    more = ["--set", "held_out={key: k, share: 0.001}", "--set", "sources.by=language", "--json"]
    stages = {s["name"]: s for s in mill("plan", sample_runs.RECIPE, *more).json["stages"]}
    names = list(stages)
    assert names[names.index("tokenizer") :][:4] == ["tokenizer", "held_out", "tokens", "order"]
    assert stages["held_out"]["changed"] == {"key": "k", "share": "1/1000"}
    assert stages["tokens"]["changed"] == {"by": "language"}
