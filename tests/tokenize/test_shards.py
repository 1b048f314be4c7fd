from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from json_tokenizers import file_of
from token_runs import DOCUMENTS_A_SHARD, SHARDS, make_tokens, write_documents

from corpusmill.core import storage
from corpusmill.tokenize.hashes import salt_of
from corpusmill.tokenize.shards import TOKEN_DOCUMENT, TokensManifest, encode_shard, merge_documents, token_dtype
from corpusmill.tokenize.tokenizer import Tokenizer


def test_dtype_follows_the_vocabulary() -> None:
    assert [token_dtype(v) for v in (300, 65_536, 65_537)] == ["uint16", "uint16", "uint32"]


def test_tokens_are_the_documents_each_ended_by_eos(token_run: Path) -> None:
    tokens = token_run / "tokens"
    manifest = TokensManifest.load(str(tokens))
    tokenizer = Tokenizer.load(str(tokens / "tokenizer.model"))
    assert manifest.tokenizer_sha256 == tokenizer.sha256
    assert [s.name for s in manifest.shards] == sorted(SHARDS)  # one without documents has no file
    rows = pq.read_table(tokens / "documents.parquet")
    assert rows.schema.equals(TOKEN_DOCUMENT)
    originals = {
        d["doc_id"]: d
        for s in manifest.shards
        for d in pq.read_table(token_run / f"documents/{s.name}.parquet").to_pylist()
    }
    assert rows.num_rows == len(originals) == manifest.documents == DOCUMENTS_A_SHARD * len(SHARDS)
    for number, row in enumerate(rows.to_pylist()):
        data = np.fromfile(tokens / f"{row['shard']}.bin", np.dtype("<u2"))
        ids = data[row["token_offset"] : row["token_offset"] + row["num_tokens"]]
        original = originals[row["doc_id"]]
        assert row["doc_ordinal"] == number
        assert ids[-1] == tokenizer.eos_id
        assert tokenizer.eos_id not in ids[:-1]
        assert tokenizer.decode(ids[:-1]) == original["text"]
        assert (row["content_hash"], row["url"], row["domain"]) == (
            original["content_hash"],
            original["url"],
            original["domain"],
        )
        assert row["salt"] == salt_of("secret", row["doc_id"])
        assert row["source"] == "crawl"
        assert row["cluster_id"] is None


def test_manifest_states_the_files(token_run: Path) -> None:
    tokens = token_run / "tokens"
    manifest = TokensManifest.load(str(tokens))
    for shard in manifest.shards:
        data = (tokens / f"{shard.name}.bin").read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (shard.bytes, shard.sha256)
        assert shard.tokens * 2 == shard.bytes
    assert hashlib.sha256((tokens / "documents.parquet").read_bytes()).hexdigest() == manifest.documents_sha256


def test_documents_keep_their_order(token_run: Path) -> None:
    rows = pq.read_table(token_run / "tokens" / "documents.parquet").to_pylist()
    places = [(d["shard"], int(d["doc_id"].rpartition(":")[2])) for d in rows]
    assert places == sorted(places)


def test_same_bytes_in_any_sequence_of_tasks(token_run: Path, tmp_path: Path) -> None:
    files = write_documents(tmp_path)
    model = str(token_run / "tokens" / "tokenizer.model")
    make_tokens(tmp_path, dict(reversed(files.items())), model)
    for path in sorted((token_run / "tokens").rglob("*")):
        if path.is_file():
            assert (tmp_path / "tokens" / path.relative_to(token_run / "tokens")).read_bytes() == path.read_bytes()


def test_no_documents_at_all(token_run: Path, tmp_path: Path) -> None:
    files = write_documents(tmp_path)
    model = str(token_run / "tokens" / "tokenizer.model")
    assert encode_shard(files["d-empty"], "d-empty", model, str(tmp_path / "tokens")) == []
    assert not (tmp_path / "tokens" / "d-empty.bin").exists()
    manifest = merge_documents(str(tmp_path / "tokens"), [], model, salt_key="k")
    assert manifest.documents == 0
    assert storage.read_parquet(str(tmp_path / "tokens/documents.parquet")).num_rows == 0


@pytest.mark.parametrize("kind", ["sentencepiece", "byte_level", "byte_fallback_with_prefix"])
def test_threads_change_no_byte(token_run: Path, tmp_path: Path, kind: str) -> None:
    files = write_documents(tmp_path)
    model = str(token_run / "tokens" / "tokenizer.model")
    if kind != "sentencepiece":
        model = str(tmp_path / "tokenizer.model")
        Path(model).write_bytes(file_of(kind))
    shards = [
        encode_shard(files["a-00000"], "a", model, str(tmp_path / str(threads)), num_threads=threads)
        for threads in (1, 2, 5)
    ]
    assert shards[0] == shards[1] == shards[2]
    assert len({(tmp_path / str(threads) / "a.bin").read_bytes() for threads in (1, 2, 5)}) == 1
    texts = storage.read_parquet(files["a-00000"]).column("text").to_pylist()
    tokens = np.fromfile(tmp_path / "1" / "a.bin", dtype="<u2")
    ends = np.cumsum(storage.read_parquet(str(tmp_path / "1/documents/a.parquet")).column("num_tokens").to_numpy())
    tokenizer = Tokenizer.load(model)
    assert [tokenizer.decode(ids[:-1]) for ids in np.split(tokens, ends)[:-1]] == texts
    assert (tokens[ends - 1] == tokenizer.eos_id).all()


def test_documents_without_a_language(token_run: Path, tmp_path: Path) -> None:
    files = write_documents(tmp_path)
    table = storage.read_parquet(files["a-00000"]).drop_columns(["language", "language_score"])
    storage.write_parquet(files["a-00000"], table)
    model = str(token_run / "tokens" / "tokenizer.model")
    encode_shard(files["a-00000"], "a-00000", model, str(tmp_path))
    rows = storage.read_parquet(str(tmp_path / "documents/a-00000.parquet"))
    assert set(rows.column("language").to_pylist()) == {""}


def test_files_of_shards_that_are_gone_are_deleted(token_run: Path, tmp_path: Path) -> None:
    files = write_documents(tmp_path)
    model = str(token_run / "tokens" / "tokenizer.model")
    make_tokens(tmp_path, files, model)
    del files["b-00001"]
    manifest = make_tokens(tmp_path, files, model)
    assert sorted(p.stem for p in (tmp_path / "tokens").glob("*.bin")) == [s.name for s in manifest.shards]
    assert not (tmp_path / "tokens/documents/b-00001.parquet").exists()
