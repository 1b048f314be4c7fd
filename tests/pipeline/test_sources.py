"""Sources of the token shards: by a column, and corpora that are no crawl."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import removal_runs
from removal_runs import MadeRun
from step_runs import InProcess, Killed

from corpusmill.core import storage
from corpusmill.core.errors import ConfigError, InputError
from corpusmill.core.hashing import content_hash
from corpusmill.pipeline import sources
from corpusmill.pipeline.recipe import Recipe
from corpusmill.tokenize.shards import TokensManifest
from corpusmill.tokenize.sources import SourcesConfig

ORDER = {"sequence_length": 8, "batch_size": 1, "key": "k"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return removal_runs.train_model(tmp_path_factory.mktemp("model"))


def write(path: Path, ids: list[Any], text: str = "bread", **columns: Any) -> str:
    path.parent.mkdir(exist_ok=True, parents=True)
    storage.write_parquet(str(path), pa.table({"id": ids, "text": [f"{text} {i}" for i in ids], **columns}))
    return str(path)


def corpora(folder: Path) -> dict[str, list[str]]:
    write(folder / "books/b.parquet", ["b1", "b2"], "a book", language=["en", "ja"])
    write(folder / "books/a.parquet", ["a1"], "a book")
    write(folder / "code/0.parquet", [1, 2, 3], "a program", url=["https://git.code.example/x"] * 3)
    return {"code": [str(folder / "code/*.parquet")], "books": [str(folder / "books/*.parquet")]}


def setting(model: str, extra: dict[str, list[str]], **sections: Any) -> Recipe:
    return removal_runs.recipe(model, **{"order": ORDER, "sources": {"extra": extra}} | sections)


def produce(run: MadeRun, recipe: Recipe, engine: InProcess | None = None) -> list[dict[str, Any]]:
    """Makes the products; the rows of documents.parquet."""
    removal_runs.produce(run, recipe, sources.find(recipe.sources, run.chain.shards), engine)
    return storage.read_parquet(f"{run.chain.run}/tokens/documents.parquet").to_pylist()


def files(run: Path) -> dict[str, bytes]:
    found = [p for f in ("tokens", "order", "stages/tokens") for p in (run / f).rglob("*") if p.is_file()]
    return {str(p.relative_to(run)): p.read_bytes() for p in found}


def test_extra_corpora_follow_the_crawl_in_the_order_of_the_recipe(tmp_path: Path, model: str) -> None:
    run = removal_runs.make(tmp_path / "run", 1)
    rows = produce(run, setting(model, corpora(tmp_path)))
    assert list(dict.fromkeys(row["source"] for row in rows)) == ["crawl", "code", "books"]
    crawl = [row for row in rows if row["source"] == "crawl"]
    assert {row["doc_id"] for row in crawl} == run.kept
    assert [(row["doc_id"], row["shard"]) for row in rows if row["source"] != "crawl"] == [
        ("1", "code.0"), ("2", "code.0"), ("3", "code.0"), ("a1", "books.a"), ("b1", "books.b"), ("b2", "books.b"),
    ]  # fmt: skip
    book = rows[-1]
    assert book["content_hash"] == content_hash("a book b2")
    assert (book["language"], book["url"], book["cluster_id"]) == ("ja", "", None)
    assert rows[-4]["domain"] == "code.example"
    manifest = TokensManifest.load(str(tmp_path / "run/tokens"))
    assert [s.source for s in manifest.shards[-3:]] == ["code", "books", "books"]
    alone = produce(removal_runs.make(tmp_path / "alone", 1), setting(model, {}))
    assert alone == crawl  # what is added leaves the ordinals of the crawl


def test_a_source_for_every_language(tmp_path: Path, model: str) -> None:
    run = removal_runs.make(tmp_path, 2)
    order = ORDER | {"phases": [{"sources": {"ja": 1}}]}
    rows = produce(run, setting(model, {}, order=order, sources={"by": "language"}))
    assert {row["doc_id"]: row["source"] for row in rows} == {i: run.rows[i]["language"] for i in run.kept}
    assert [row["source"] for row in rows] == sorted(row["source"] for row in rows)
    before = {path for path in files(tmp_path) if path.startswith("tokens/")}
    rows = produce(run, setting(model, {}))
    assert {row["source"] for row in rows} == {"crawl"}
    left = {path for path in files(tmp_path) if path.startswith("tokens/")} & before
    whole = ("documents.parquet", "documents.offsets", "documents.salts", "tokenizer.model", "manifest.json")
    assert {path for path in left if "/index/" not in path} == {f"tokens/{name}" for name in whole}


def test_the_source_of_the_order_may_be_an_extra_one(tmp_path: Path, model: str) -> None:
    recipe = setting(model, corpora(tmp_path), order=ORDER | {"phases": [{"sources": {"code": 1}}]})
    produce(removal_runs.make(tmp_path / "run", 1), recipe)
    rule = json.loads((tmp_path / "run/order/rule.json").read_text())
    assert rule["phases"][0]["sources"][0]["name"] == "code"


def test_a_changed_file_is_made_again_and_no_other(tmp_path: Path, model: str) -> None:
    extra = corpora(tmp_path)
    run = removal_runs.make(tmp_path / "run", 3)
    produce(run, setting(model, extra))
    write(tmp_path / "books/b.parquet", ["b1", "b3"], "another book")
    engine = InProcess()
    rows = produce(run, setting(model, extra), engine)
    order = ["order rule", "order table-00000.parquet", "order roots"]
    assert engine.ran == ["tokens: ids books", "tokens: sources books.b", *order]
    assert [row["doc_id"] for row in rows[-2:]] == ["b1", "b3"]
    engine = InProcess()
    rows = produce(run, setting(model, {"books": extra["books"]}), engine)
    assert engine.ran == order
    assert {row["source"] for row in rows} == {"crawl", "books"}
    assert not list((tmp_path / "run/tokens").glob("code*"))


def test_the_order_of_the_recipe_is_part_of_the_result(tmp_path: Path, model: str) -> None:
    extra = corpora(tmp_path)
    run = removal_runs.make(tmp_path / "run", 3)
    produce(run, setting(model, extra))
    rows = produce(run, setting(model, dict(reversed(extra.items()))))
    assert list(dict.fromkeys(row["source"] for row in rows)) == ["crawl", "books", "code"]


def test_extra_documents_are_never_held_out(tmp_path: Path, model: str) -> None:
    split = {"held_out": {"key": "k", "share": "9/10"}}
    run = removal_runs.make(tmp_path / "run", 4)
    rows = produce(run, setting(model, corpora(tmp_path), **split))
    assert sum(row["source"] != "crawl" for row in rows) == 6
    assert 0 < sum(row["source"] == "crawl" for row in rows) < len(run.kept) / 2


def test_a_killed_run_goes_on(tmp_path: Path, model: str) -> None:
    recipe = setting(model, corpora(tmp_path))
    whole = InProcess()
    produce(removal_runs.make(tmp_path / "whole", 5), recipe, whole)
    expected = files(tmp_path / "whole")
    for number in (1, 3, 5, 8):
        run = removal_runs.make(tmp_path / f"{number}", 5)
        with pytest.raises(Killed):
            produce(run, recipe, InProcess(number))
        produce(run, recipe)
        assert files(tmp_path / f"{number}") == expected


def test_ids_are_checked_before_a_file_is_made(tmp_path: Path, model: str) -> None:
    run = removal_runs.make(tmp_path / "run", 1)
    crawled = min(run.fell)  # also that of a document that was removed
    for ids, what in ((["x", "x"], "twice"), ([crawled], "crawled one")):
        path = write(tmp_path / "bad.parquet", ids)
        with pytest.raises(InputError, match=what) as error:
            produce(run, setting(model, {"books": [path]}))
        assert (error.value.where, error.value.value) == (path, ids[0])
        assert not list((tmp_path / "run/tokens").glob("*.bin"))
    one, two = write(tmp_path / "1.parquet", ["same"]), write(tmp_path / "2.parquet", ["same"])
    with pytest.raises(InputError, match="twice"):
        produce(run, setting(model, {"books": [one, two]}))
    assert len(produce(run, setting(model, {"books": [one], "code": [two]}))) == len(run.kept) + 2


def test_a_language_with_the_name_of_an_extra_source_is_refused(tmp_path: Path, model: str) -> None:
    path = write(tmp_path / "x.parquet", ["1"])
    recipe = setting(model, {}, sources={"by": "language", "extra": {"ja": [path]}})
    with pytest.raises(ConfigError, match="name of an extra source") as error:
        produce(removal_runs.make(tmp_path / "run", 1), recipe)
    assert error.value.value == "ja"


def test_files_are_found_checked_and_remembered(tmp_path: Path) -> None:
    chain = removal_runs.make(tmp_path / "run", 1).chain
    extra = corpora(tmp_path)
    found = sources.find(SourcesConfig(extra=extra), chain.shards)
    assert [file.name for file in found] == ["code.0", "books.a", "books.b"]
    sources.save(chain.run, found)
    assert sources.load(chain.run) == found
    assert sources.load(str(tmp_path)) == []
    with pytest.raises(InputError, match="no file matches the extra source `wiki`"):
        sources.find(SourcesConfig(extra={"wiki": [str(tmp_path / "none*.parquet")]}), chain.shards)
    write(tmp_path / "more/a.parquet", ["z"])
    with pytest.raises(InputError, match="one token shard"):
        sources.find(SourcesConfig(extra={"books": [*extra["books"], str(tmp_path / "more/a.parquet")]}), chain.shards)
    storage.write_parquet(str(tmp_path / "no.parquet"), pa.table({"text": ["x"]}))
    with pytest.raises(InputError, match="needs the columns"):
        sources.find(SourcesConfig(extra={"books": [str(tmp_path / "no.parquet")]}), chain.shards)


def test_sources_of_recipes_are_checked(model: str) -> None:
    with pytest.raises(ConfigError, match="recipe does not name"):
        setting(model, {}, sources={"by": "crawl"})
    assert setting(model, {}, sources={"by": "crawl"}, crawl="CC-MAIN-2026-30").sources.by == "crawl"
    with pytest.raises(ConfigError, match="extra sources need tokens"):
        removal_runs.recipe("", tokenizer=None, sources={"extra": {"books": ["x"]}})
    with pytest.raises(ConfigError, match=r"sources\.extra"):
        setting(model, {"crawl": ["x"]})
    with pytest.raises(ConfigError, match=r"unknown recipe key `sources\.extras`"):
        setting(model, {}, sources={"extras": {}})


def test_files_of_a_source_that_is_gone_go_without_an_order_too(tmp_path: Path, model: str) -> None:
    extra = corpora(tmp_path)
    run = removal_runs.make(tmp_path / "run", 3)
    for left in (extra, {"code": extra["code"]}):
        recipe = removal_runs.recipe(model, sources={"extra": left})
        removal_runs.produce(run, recipe, sources.find(recipe.sources, run.chain.shards))
        named = {path.name.partition(".")[0] for path in (tmp_path / "run/tokens").glob("*.bin")}
        assert named == {"f0", "f1", "f2", *left}


def test_a_crawl_that_cannot_name_a_source_is_told(tmp_path: Path, model: str) -> None:
    run = removal_runs.make(tmp_path, 1)  # whose documents have no crawl
    with pytest.raises(InputError, match="cannot name a source"):
        produce(run, setting(model, {}, sources={"by": "crawl"}, crawl="x"))
