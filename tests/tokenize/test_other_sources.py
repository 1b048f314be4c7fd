from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from token_runs import document_table, random_texts

from corpusmill.core import storage
from corpusmill.core.errors import InputError
from corpusmill.core.hashing import content_hash
from corpusmill.tokenize.shards import TOKEN_DOCUMENT, TokenShard, encode_documents, encode_shard, merge_documents
from corpusmill.tokenize.sources import SourcesConfig, check_ids, extra_batches, extra_columns
from corpusmill.tokenize.tokenizer import Tokenizer

LANGUAGES = ["ja", "en", "de"]


@pytest.fixture
def model(token_run: Path) -> str:
    return str(token_run / "tokens" / "tokenizer.model")


def write(path: Path, **columns: Any) -> str:
    storage.write_parquet(str(path), pa.table(columns))
    return str(path)


def mixed(path: Path, languages: Sequence[str], number: int = 2500) -> pa.Table:
    """Documents of several languages in turn; more than a batch."""
    table = document_table(random_texts(3, number), "m")
    at = table.schema.get_field_index("language")
    column = pa.array([languages[row % len(languages)] for row in range(number)])
    table = table.set_column(at, table.schema.field(at), column)
    storage.write_parquet(str(path), table)
    return table


def tokens_of(folder: Path, name: str) -> np.ndarray[Any, np.dtype[np.uint16]]:
    return np.fromfile(folder / f"{name}.bin", "<u2")


def test_a_source_for_every_value_of_a_column(tmp_path: Path, model: str) -> None:
    table = mixed(tmp_path / "d.parquet", LANGUAGES)
    shards = encode_shard(str(tmp_path / "d.parquet"), "s", model, str(tmp_path / "t"), by="language")
    assert [(s.source, s.name) for s in shards] == [("de", "de.s"), ("en", "en.s"), ("ja", "ja.s")]
    tokenizer = Tokenizer.load(model)
    for shard in shards:
        expected = [row for row in table.to_pylist() if row["language"] == shard.source]
        rows = pq.read_table(tmp_path / "t" / "documents" / f"{shard.name}.parquet").to_pylist()
        assert [row["doc_id"] for row in rows] == [row["doc_id"] for row in expected]
        ids = tokens_of(tmp_path / "t", shard.name)
        ends = np.flatnonzero(ids == tokenizer.eos_id)
        texts = [tokenizer.decode(part[:-1]) for part in np.split(ids, ends + 1)[:-1]]
        assert texts == [row["text"] for row in expected]
        assert (shard.documents, shard.tokens, shard.bytes) == (len(rows), len(ids), 2 * len(ids))


def test_documents_that_are_left_out(tmp_path: Path, model: str) -> None:
    table = mixed(tmp_path / "d.parquet", ["en"])
    gone = table.column("doc_id").to_pylist()[::3]
    [shard] = encode_shard(
        str(tmp_path / "d.parquet"), "s", model, str(tmp_path / "t"), without=pa.array([*gone, "another:1"])
    )
    rows = pq.read_table(tmp_path / "t" / "documents" / "s.parquet")
    assert rows.column("doc_id").to_pylist() == [i for i in table.column("doc_id").to_pylist() if i not in set(gone)]
    assert shard.documents == rows.num_rows
    all_gone = encode_shard(
        str(tmp_path / "d.parquet"), "all", model, str(tmp_path / "t"), without=table.column("doc_id").combine_chunks()
    )
    assert all_gone == []
    assert not (tmp_path / "t" / "all.bin").exists()


def test_clusters_are_told_where_they_are_known(tmp_path: Path, model: str) -> None:
    table = mixed(tmp_path / "d.parquet", ["en"], 5)
    ids = table.column("doc_id").to_pylist()
    clusters = pa.table({"doc_id": ["other:1", ids[3], ids[1]], "cluster_id": ["x:1", "y:2", "z:3"]})
    shards = encode_shard(str(tmp_path / "d.parquet"), "s", model, str(tmp_path / "t"), clusters=clusters)
    merge_documents(str(tmp_path / "t"), shards, model, salt_key="k")
    rows = storage.read_parquet(str(tmp_path / "t" / "documents.parquet"))
    assert rows.schema.equals(TOKEN_DOCUMENT)
    assert rows.column("cluster_id").to_pylist() == [None, "z:3", None, "y:2", None]


@pytest.mark.parametrize("value", ["", "en US", "a.b", "../x", "x" * 65])
def test_a_value_that_cannot_name_a_source_is_refused(tmp_path: Path, model: str, value: str) -> None:
    table = mixed(tmp_path / "d.parquet", ["en", value], 4)
    with pytest.raises(InputError, match="cannot name a source") as error:
        encode_shard(str(tmp_path / "d.parquet"), "s", model, str(tmp_path / "t"), by="language")
    assert error.value.value == value
    assert error.value.where == table.column("doc_id")[1].as_py()
    assert not list((tmp_path / "t").glob("*.bin"))


def test_sources_come_by_name_and_extra_ones_last_in_their_order(tmp_path: Path, model: str) -> None:
    folder = str(tmp_path / "t")
    made: list[TokenShard] = []
    for shard in ("s2", "s1"):
        mixed(tmp_path / "d.parquet", ["ja", "en"], 6)
        made += encode_shard(str(tmp_path / "d.parquet"), shard, model, folder, by="language")
    for source in ("aa-wiki", "books"):
        for part in ("p1", "p0"):
            path = write(tmp_path / "x.parquet", id=[f"{source}{part}"], text=["some words"])
            made += encode_documents(extra_batches(path), part, model, folder, source=source)
    extra = ["books", "aa-wiki"]
    manifest = merge_documents(folder, made, model, salt_key="k", extra=extra)
    wanted = ["en.s1", "en.s2", "ja.s1", "ja.s2", "books.p0", "books.p1", "aa-wiki.p0", "aa-wiki.p1"]
    assert [s.name for s in manifest.shards] == wanted
    rows = pq.read_table(tmp_path / "t" / "documents.parquet").to_pylist()
    assert list(dict.fromkeys(row["shard"] for row in rows)) == wanted
    assert all(row["source"] == row["shard"].partition(".")[0] for row in rows)
    assert [row["doc_ordinal"] for row in rows] == list(range(len(rows)))
    without_last = [shard for shard in made if shard.source != "aa-wiki"]
    merge_documents(folder, without_last, model, salt_key="k", extra=extra[:1])
    before = pq.read_table(tmp_path / "t" / "documents.parquet").to_pylist()
    assert before == rows[: len(before)]  # a source added at the end leaves what was there
    assert len(before) == len(rows) - 2


def test_extra_documents(tmp_path: Path) -> None:
    texts = ["first text", "", "三つ目"]
    path = write(
        tmp_path / "b.parquet",
        id=pa.array([7, 8, 9], pa.int32()),
        text=pa.array(texts, pa.large_string()).dictionary_encode(),
        url=["https://www.books.example/1", None, ""],
        language=["en", None, "ja"],
    )
    [batch] = list(extra_batches(path))
    rows = batch.to_pylist()
    assert [row["doc_id"] for row in rows] == ["7", "8", "9"]
    assert [row["text"] for row in rows] == texts
    assert [row["content_hash"] for row in rows] == [content_hash(text) for text in texts]
    assert [row["url"] for row in rows] == ["https://www.books.example/1", "", ""]
    assert [row["domain"] for row in rows] == ["books.example", "", ""]
    assert [row["language"] for row in rows] == ["en", "", "ja"]
    own = write(
        tmp_path / "c.parquet", doc_id=["a"], id=["not this"], text=["t"], url=["https://a.example"], domain=["d"]
    )
    assert [(r["doc_id"], r["domain"], r["language"]) for b in extra_batches(own) for r in b.to_pylist()] == [
        ("a", "d", "")
    ]


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    no_text = write(tmp_path / "a.parquet", id=["1"], body=["x"])
    with pytest.raises(InputError, match="needs the columns"):
        extra_columns(no_text)
    numbers = write(tmp_path / "b.parquet", id=["1"], text=[1])
    with pytest.raises(InputError, match="`text` has a type"):
        extra_columns(numbers)
    floats = write(tmp_path / "c.parquet", id=[1.5], text=["x"])
    with pytest.raises(InputError, match="`id` has a type"):
        extra_columns(floats)
    (tmp_path / "d.parquet").write_bytes(b"no parquet at all")
    with pytest.raises(InputError, match="not a Parquet file"):
        extra_columns(str(tmp_path / "d.parquet"))
    missing = write(tmp_path / "e.parquet", id=["1", "2"], text=["x", None])
    with pytest.raises(InputError, match="no text") as error:
        list(extra_batches(missing))
    assert (error.value.where, error.value.value) == (missing, "2")
    broken = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 2], "<i4")), pa.py_buffer(b"\xff\xfe")]
    )
    storage.write_parquet(str(tmp_path / "f.parquet"), pa.table({"id": ["1"], "text": broken}))
    with pytest.raises(InputError, match="UTF-8"):
        list(extra_batches(str(tmp_path / "f.parquet")))


def test_ids_must_be_there_distinct_and_no_crawl_s(tmp_path: Path) -> None:
    one = write(tmp_path / "one.parquet", id=[f"n{i}" for i in range(3000)], text=["x"] * 3000)
    two = write(tmp_path / "two.parquet", id=["m", "crawl.warc.gz:x", "other.warc.gz:5"], text=["x"] * 3)
    assert check_ids([one, two], {"crawl.warc.gz"}) == 3003
    assert check_ids([], {"crawl.warc.gz"}) == 0

    again = write(tmp_path / "again.parquet", id=["m2", "n2999"], text=["x"] * 2)
    with pytest.raises(InputError, match="twice") as error:
        check_ids([one, two, again], {"crawl.warc.gz"})
    assert error.value.value == "n2999"
    assert "one.parquet" in error.value.where
    assert "again.parquet" in error.value.where
    assert check_ids([again], set()) == 2  # of another source it may be

    crawled = write(tmp_path / "crawled.parquet", id=["a", "crawl.warc.gz:5"], text=["x"] * 2)
    with pytest.raises(InputError, match="crawled one") as error:
        check_ids([one, crawled], {"crawl.warc.gz"})
    assert (error.value.where, error.value.value) == (crawled, "crawl.warc.gz:5")

    empty = write(tmp_path / "null.parquet", id=["a", None], text=["x"] * 2)
    with pytest.raises(InputError, match="row 1 has no id"):
        check_ids([empty], set())


@pytest.mark.parametrize(
    "extra",
    [{"crawl": ["x"]}, {"a.b": ["x"]}, {"": ["x"]}, {"a b": ["x"]}, {"-a": ["x"]}, {"a": []}, {"x" * 65: ["x"]}],
)
def test_names_of_extra_sources_are_checked(extra: dict[str, list[str]]) -> None:
    with pytest.raises(ValidationError, match="extra"):
        SourcesConfig(extra=extra)


def test_names_that_fit() -> None:
    assert list(SourcesConfig(extra={"books": ["b"], "Code_2-x": ["c"]}).extra) == ["books", "Code_2-x"]
