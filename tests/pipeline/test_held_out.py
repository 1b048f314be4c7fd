"""The held-out split: against a brute-force oracle on runs where documents fell at random."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import removal_runs
from removal_runs import MadeRun
from step_runs import InProcess, Killed

from corpusmill.core import storage
from corpusmill.core.errors import ConfigError
from corpusmill.pipeline import held_out
from corpusmill.pipeline.events import EventLog
from corpusmill.pipeline.held_out import Gone
from corpusmill.pipeline.products import Products
from corpusmill.pipeline.split_checks import split_checks
from corpusmill.pipeline.stand_ins import STANDS
from corpusmill.tokenize.held_out import HeldOutConfig
from corpusmill.tokenize.shards import TOKEN_DOCUMENT, TokensManifest
from corpusmill.tokenize.tokenizer import Tokenizer

ORDER = {"sequence_length": 8, "batch_size": 1, "key": "k"}
PARTS = {"tokens": "tokens", "held_out": "held_out", "copy": "held_out/copies"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return removal_runs.train_model(tmp_path_factory.mktemp("model"))


def section(share: str = "1/6", key: str = "k") -> dict[str, Any]:
    return {"held_out": {"key": key, "share": share}, "order": ORDER}


def oracle(run: MadeRun, share: str = "1/6", key: str = "k") -> dict[str, str]:
    """Part of every kept document, found by following every chosen document by itself."""
    config = HeldOutConfig(key=key, share=share)
    parts = dict.fromkeys(run.kept, "tokens")
    for doc_id in run.rows:
        end = run.end_of(doc_id)[0]
        if config.is_chosen(doc_id) and end is not None and not config.is_chosen(end):
            parts[end] = "copy"
    return parts | {doc_id: "held_out" for doc_id in run.kept if config.is_chosen(doc_id)}


def parts_of(run: MadeRun) -> dict[str, str]:
    """Part of every document by the files."""
    found: dict[str, str] = {}
    for part, folder in PARTS.items():
        table = storage.read_parquet(f"{run.chain.run}/{folder}/documents.parquet")
        assert table.schema.equals(TOKEN_DOCUMENT)
        ids = table.column("doc_id").to_pylist()
        assert not set(ids) & set(found), "a document is in one part"
        assert len(ids) == len(set(ids))
        found |= dict.fromkeys(ids, part)
    return found


def digests(run: Path) -> dict[str, bytes]:
    folders = ("tokens", "held_out", "order", "stages/held_out", "stages/tokens", "stages/order")
    return {str(p.relative_to(run)): p.read_bytes() for f in folders for p in (run / f).rglob("*") if p.is_file()}


@pytest.mark.parametrize("seed", range(6))
def test_every_document_is_in_the_part_that_brute_force_gives(tmp_path: Path, model: str, seed: int) -> None:
    run = removal_runs.make(tmp_path, seed)
    products = removal_runs.produce(run, removal_runs.recipe(model, **section()))
    expected = oracle(run)
    assert parts_of(run) == expected
    assert set(expected.values()) == set(PARTS)

    config = HeldOutConfig(key="k", share="1/6")
    copies = held_out.read_copies(str(tmp_path)).to_pylist()
    pairs = {(*run.end_of(doc_id), doc_id) for doc_id in run.fell if config.is_chosen(doc_id)}
    wanted = {(end, via, step, of) for end, via, step, of in pairs if end is not None and not config.is_chosen(end)}
    assert {(row["doc_id"], row["via"], row["stage"], row["copy_of"]) for row in copies} == wanted
    assert len(copies) == len(wanted)
    places = [(row["doc_id"], removal_runs.STEPS.index(row["stage"]), row["copy_of"]) for row in copies]
    assert places == sorted(places)

    checks = split_checks(removal_runs.recipe(model, **section()), config, run.chain, hashes=True)
    assert [check.name for check in checks if not check.ok] == []
    assert len(checks) == 4
    facts = products.split_facts()
    assert facts is not None
    _check_facts(run, expected, facts, config, copies)
    if seed == 0:  # of which it is known
        assert any(row["via"] != row["copy_of"] for row in copies)
        assert sum(each["known"] for each in facts["chosen_not_kept"].values()) > 0


def _check_facts(
    run: MadeRun, parts: dict[str, str], facts: dict[str, Any], config: HeldOutConfig, copies: list[dict[str, Any]]
) -> None:
    def amount(ids: set[str]) -> dict[str, int]:
        return {"documents": len(ids), "characters": sum(len(run.rows[i]["text"]) for i in ids)}

    def of(part: str) -> set[str]:
        return {doc_id for doc_id, found in parts.items() if found == part}

    first = {row["doc_id"]: row["stage"] for row in reversed(copies)}  # the earliest step that found it
    assert facts["training"] == amount(of("tokens"))
    assert facts["held_out"] == amount(of("held_out"))
    by_step = {step: amount({i for i, s in first.items() if s == step}) for step in set(first.values())}
    assert facts["copies"] == by_step
    assert set(first) == of("copy")
    for step in removal_runs.STEPS:
        chosen = [run.fell[i] for i in run.fell if run.fell[i][0] == step and config.is_chosen(i)]
        known = sum(history is not None for _, _, history in chosen)
        copied = sum(twin is not None and history is None for _, twin, history in chosen)
        assert facts["chosen_not_kept"][step] == Gone(copied, known, len(chosen) - known - copied)._asdict()


def test_tokens_are_those_of_the_documents(tmp_path: Path, model: str) -> None:
    run = removal_runs.make(tmp_path, 1)
    removal_runs.produce(run, removal_runs.recipe(model, **section()))
    tokenizer = Tokenizer.load(model)
    seen = 0
    for folder in PARTS.values():
        root = tmp_path / folder
        assert {s.source for s in TokensManifest.load(str(root)).shards} <= {"crawl"}
        for row in storage.read_parquet(str(root / "documents.parquet")).to_pylist():
            ids = np.fromfile(root / f"{row['shard']}.bin", "<u2")
            text = tokenizer.decode(ids[row["token_offset"] : row["token_offset"] + row["num_tokens"] - 1])
            assert text == run.rows[row["doc_id"]]["text"]
            seen += 1
    assert seen == len(run.kept)


def test_clusters_are_those_of_what_minhash_removed_for_a_document(tmp_path: Path, model: str) -> None:
    run = removal_runs.make(tmp_path, 2)
    removal_runs.produce(run, removal_runs.recipe(model, **section()))
    rows = [
        row
        for folder in PARTS.values()
        for row in storage.read_parquet(str(tmp_path / folder / "documents.parquet")).to_pylist()
    ]
    assert {row["doc_id"]: row["cluster_id"] for row in rows} == {i: run.clusters.get(i) for i in run.kept}
    assert any(row["cluster_id"] for row in rows)
    assert not (tmp_path / "stages/tokens/exchange").exists()


def test_a_larger_share_keeps_what_was_held_out(tmp_path: Path, model: str) -> None:
    run = removal_runs.make(tmp_path, 3)
    found = []
    for share in ("1/12", "1/6", "1/3"):
        removal_runs.produce(run, removal_runs.recipe(model, **section(share)))
        found.append(parts_of(run))
        assert found[-1] == oracle(run, share)
    for few, many in pairwise(found):
        for part in ("held_out", "tokens"):
            small, large = (few, many) if part == "held_out" else (many, few)
            held = {i for i, p in small.items() if p == part}
            assert held < {i for i, p in large.items() if p == part}


def test_another_key_holds_out_others(tmp_path: Path, model: str) -> None:
    run = removal_runs.make(tmp_path, 4)
    removal_runs.produce(run, removal_runs.recipe(model, **section()))
    before = parts_of(run)
    removal_runs.produce(run, removal_runs.recipe(model, **section(key="another")))
    assert parts_of(run) == oracle(run, key="another")
    assert parts_of(run) != before


def test_without_the_section_all_is_trained_on_and_nothing_stays_behind(tmp_path: Path, model: str) -> None:
    run = removal_runs.make(tmp_path / "a", 5)
    removal_runs.produce(run, removal_runs.recipe(model, **section()))
    removal_runs.produce(run, removal_runs.recipe(model, order=ORDER))
    assert not (tmp_path / "a" / "held_out").exists()
    fresh = removal_runs.make(tmp_path / "b", 5)
    removal_runs.produce(fresh, removal_runs.recipe(model, order=ORDER))
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_the_split_says_nothing_about_corpora_that_have_no_steps(tmp_path: Path, model: str) -> None:
    run = removal_runs.make(tmp_path, 0)
    steps = (run.chain.steps[0],)
    alone = MadeRun(type(run.chain)(run.chain.run, steps, run.chain.shards), run.rows)
    removal_runs.produce(alone, removal_runs.recipe(model, **section()))
    assert parts_of(alone) == oracle(alone)
    assert "copy" not in set(parts_of(alone).values())


class Shuffled(InProcess):
    """An engine whose tasks end in another order."""

    def map(self, label: Any, function: Any, jobs: Any, name: Any, note: Any = None) -> Iterator[tuple[Any, Any]]:
        done = list(super().map(label, function, jobs, name))
        return iter(done[::-1] if len(self.ran) % 2 else done[1:] + done[:1])


def test_the_order_of_tasks_never_shows(tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out, "_SHARDS_A_TASK", 1)
    sections = section() | {"sources": {"by": "language"}, "order": ORDER | {"phases": [{"sources": {"ja": 1}}]}}
    recipe = removal_runs.recipe(model, **sections)
    for name, engine in (("a", InProcess()), ("b", Shuffled())):
        removal_runs.produce(removal_runs.make(tmp_path / name, 6), recipe, (), engine)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    monkeypatch.undo()
    removal_runs.produce(removal_runs.make(tmp_path / "c", 6), recipe)
    assert digests(tmp_path / "a") == digests(tmp_path / "c")


def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path, model: str) -> None:
    recipe = removal_runs.recipe(model, **section())
    whole = InProcess()
    run = removal_runs.make(tmp_path / "whole", 7)
    removal_runs.produce(run, recipe, (), whole)
    expected = digests(tmp_path / "whole")
    for number in range(0, len(whole.ran), 7):
        folder = tmp_path / f"killed{number}"
        run = removal_runs.make(folder, 7)
        with pytest.raises(Killed):
            removal_runs.produce(run, recipe, (), InProcess(number))
        rest = InProcess()
        removal_runs.produce(run, recipe, (), rest)
        shards = [label for label in whole.ran if label.startswith(("held_out f", "tokens f"))]
        again = {label for label in whole.ran[:number] if label in shards} & set(rest.ran)
        assert len(again) <= 1, "at most the task that had just ended and was not committed"
        assert digests(folder) == expected
        shutil.rmtree(folder)
    third = InProcess()
    removal_runs.produce(removal_runs.make(tmp_path / "whole", 7), recipe, (), third)
    assert third.ran == []


@pytest.mark.parametrize(
    "damage", ["pair lost", "pair made up", "token flipped", "document moved", "count changed", "shard lost"]
)
def test_verify_notices(tmp_path: Path, model: str, damage: str) -> None:
    run = removal_runs.make(tmp_path, 1)
    recipe = removal_runs.recipe(model, **section())
    removal_runs.produce(run, recipe)
    copies = tmp_path / "held_out/copies.parquet"
    table = storage.read_parquet(str(copies))
    if damage == "pair lost":
        storage.write_parquet(str(copies), table.slice(1))
        restate(tmp_path)
        wrong = "held-out copies"
    elif damage == "pair made up":
        trained = min(i for i, part in parts_of(run).items() if part == "tokens")
        row = table.slice(0, 1).to_pylist()[0] | {"doc_id": trained}
        storage.write_parquet(
            str(copies), pa.concat_tables([table, pa.Table.from_pylist([row], schema=STANDS)]).sort_by("doc_id")
        )
        restate(tmp_path)
        wrong = "held-out documents"
    elif damage == "token flipped":
        victim = next((tmp_path / "held_out").glob("*.bin"))
        victim.write_bytes(bytes([victim.read_bytes()[0] ^ 1]) + victim.read_bytes()[1:])
        wrong = "held-out files"
    elif damage == "document moved":
        victim = next((tmp_path / "held_out/documents").glob("*.parquet"))
        victim.write_bytes(next((tmp_path / "tokens/documents").glob("*.parquet")).read_bytes())
        restate(tmp_path)
        wrong = "held-out documents"
    elif damage == "count changed":
        manifest = next((tmp_path / "stages/tokens/shards").glob("*.json"))
        body = json.loads(manifest.read_text())
        body["counts"]["into"]["characters"] += 1
        manifest.write_text(json.dumps(body))
        wrong = "held-out split"
    else:
        next((tmp_path / "held_out").glob("*.bin")).unlink()
        wrong = "held-out split"
    config = HeldOutConfig(key="k", share="1/6")
    failed = {c.name: c.detail for c in split_checks(recipe, config, run.chain, hashes=True) if not c.ok}
    assert wrong in failed
    assert "remedy" in failed[wrong]


def restate(run: Path) -> None:
    """Writes sizes and hashes of the files as they are now into the manifests of the split: a careful forger."""
    root = run / "stages/held_out"
    for manifest in (root / "shards").glob("*.json"):
        body = json.loads(manifest.read_text())
        for entry in body["files"].values():
            path = str(root / entry["path"])
            entry["bytes"], entry["sha256"] = storage.size_bytes(path), storage.sha256_file(path)
        manifest.write_text(json.dumps(body))


def test_explain_knows_every_part(tmp_path: Path, model: str) -> None:
    run = removal_runs.make(tmp_path, 2)
    removal_runs.produce(run, removal_runs.recipe(model, **section()))
    config = HeldOutConfig(key="k", share="1/6")
    names = {"tokens": "training", "held_out": "held_out", "copy": "copy"}
    for doc_id, part in oracle(run).items():
        fate = held_out.fate_of(str(tmp_path), config, doc_id, kept=True)
        assert (fate.part, fate.chosen) == (names[part], part == "held_out")
        assert bool(fate.copies) == (part == "copy")
        assert all(config.is_chosen(row["copy_of"]) for row in fate.copies)
    for doc_id in run.fell:
        fate = held_out.fate_of(str(tmp_path), config, doc_id, kept=False)
        assert fate.to_json() == {"chosen": config.is_chosen(doc_id), "part": None, "copies": []}


def test_settings_that_do_not_fit_are_refused(model: str) -> None:
    with pytest.raises(ConfigError, match="a held-out split needs tokens"):
        removal_runs.recipe("", held_out={"key": "k", "share": 0.1}, tokenizer=None)
    with pytest.raises(ConfigError, match=r"held_out\.share"):
        removal_runs.recipe(model, held_out={"key": "k", "share": "2"})
    with pytest.raises(ConfigError, match=r"unknown recipe key `held_out\.shares`"):
        removal_runs.recipe(model, held_out={"key": "k", "share": "1/2", "shares": "2"})


def test_a_split_that_is_not_made_is_not_told(tmp_path: Path, model: str) -> None:
    run = removal_runs.make(tmp_path, 1)
    recipe = removal_runs.recipe(model, **section())
    assert Products(recipe, run.chain, []).split_facts() is None
    [check] = split_checks(recipe, HeldOutConfig(key="k", share="1/6"), run.chain, hashes=True)
    assert (check.name, check.ok) == ("held-out split", False)


def test_the_split_alone_leaves_no_exchange(tmp_path: Path, model: str) -> None:
    run = removal_runs.make(tmp_path, 1)
    recipe = removal_runs.recipe(model, **section())
    products = removal_runs.produce(run, recipe)
    before = digests(tmp_path)
    products.make("held_out", InProcess(), EventLog(run.chain.run), force=True)  # type: ignore[arg-type]
    assert digests(tmp_path) == before
    assert not list(tmp_path.glob("stages/*/exchange"))
