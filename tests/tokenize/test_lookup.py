from __future__ import annotations

import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpusmill.core.errors import InputError, VerificationFailed
from corpusmill.core.hashing import content_hash
from corpusmill.tokenize import lookup
from corpusmill.tokenize.lookup import KINDS, Lookup, build
from corpusmill.tokenize.shards import TOKEN_DOCUMENT


def write_tokens(folder: Path, rows: list[dict[str, Any]], group_rows: int = 1000) -> str:
    """documents.parquet of rows of KINDS, and a manifest that names it; there are no tokens."""
    folder.mkdir(exist_ok=True)
    names = pa.array(["s"])
    count = len(rows)
    columns = {kind: pa.array([row[kind] for row in rows], TOKEN_DOCUMENT.field(kind).type) for kind in KINDS}
    columns |= {
        "doc_ordinal": pa.array(range(count), pa.int64()),
        "language": pa.array(["en"] * count, pa.string()),
        "source": pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), names),
        "shard": pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), names),
        "token_offset": pa.array(range(count), pa.int64()),
        "num_tokens": pa.array([1] * count, pa.int64()),
        "cluster_id": pa.nulls(count, pa.string()),
        "salt": pa.array([bytes(16)] * count, pa.binary(16)),
    }
    table = pa.table([columns[f.name] for f in TOKEN_DOCUMENT], schema=TOKEN_DOCUMENT)
    pq.write_table(table, folder / "documents.parquet", row_group_size=group_rows)
    data = (folder / "documents.parquet").read_bytes()
    manifest = {
        "dtype": "uint16",
        "tokenizer_sha256": "",
        "vocab_size": 1,
        "eos_id": 0,
        "pad_id": 0,
        "documents_sha256": hashlib.sha256(data).hexdigest(),
        "documents_bytes": len(data),
        "shards": [{"name": "s", "sha256": "", "bytes": 2 * count, "documents": count, "tokens": count}],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return str(folder)


def random_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    chance = random.Random(seed)
    rows = []
    for i in range(count):
        host = f"h{int(chance.paretovariate(0.7))}.例え"
        url = f"https://{host}/{chance.randrange(count)}?é"  # some URLs twice
        rows.append(
            {
                "doc_id": f"w{i % 7}.warc.gz:{i}",
                "url": url,
                "domain": host,
                "content_hash": content_hash(str(chance.randrange(2 * count))),
            }
        )
    return rows


def assert_equals_brute_force(folder: str, rows: list[dict[str, Any]], sample: int = 300) -> None:
    found = Lookup.open(folder)
    assert len(found) == len(rows)
    chance = random.Random(1)
    for kind in KINDS:
        places: dict[Any, list[int]] = {}
        for i, row in enumerate(rows):
            places.setdefault(row[kind], []).append(i)
        for value in chance.sample(sorted(places), min(sample, len(places))):
            assert found.find(kind, value).tolist() == places[value]
        missing: Any = bytes(16) if kind == "content_hash" else "https://nowhere.example/"
        assert found.find(kind, missing).tolist() == []
    asked = [chance.randrange(len(rows)) for _ in range(sample)] if rows else []  # in any order, some twice
    assert found.names(asked) == [(rows[i]["doc_id"], rows[i]["url"]) for i in asked]


@pytest.mark.parametrize(("count", "group_rows"), [(0, 10), (1, 10), (300, 7), (4096, 1000), (9001, 16_384)])
def test_equals_brute_force(tmp_path: Path, count: int, group_rows: int) -> None:
    rows = random_rows(count)
    folder = write_tokens(tmp_path / "tokens", rows, group_rows)
    build(folder)
    assert_equals_brute_force(folder, rows)


def test_chunks_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups, and what is read at once, change no byte: batches of names are whole wherever a chunk ends."""
    rows = random_rows(10_000)
    build(write_tokens(tmp_path / "a", rows, 16_384))
    monkeypatch.setattr(lookup, "_CHUNK_ROWS", lookup.NAMES_ROWS)
    # Other row groups are another documents.parquet; all but index.json, which holds its hash, is the same.
    build(write_tokens(tmp_path / "b", rows, 333))
    files = sorted(p.name for p in (tmp_path / "a/index").iterdir())
    assert files == ["content_hash.pairs", "doc_id.pairs", "domain.pairs", "index.json", "names.arrow", "url.pairs"]
    for name in files[:3] + files[4:]:
        assert (tmp_path / "a/index" / name).read_bytes() == (tmp_path / "b/index" / name).read_bytes()


def test_a_real_run(own_run: Path) -> None:
    folder = str(own_run / "tokens")
    build(folder)
    assert_equals_brute_force(folder, pq.read_table(own_run / "tokens/documents.parquet").to_pylist())


def test_colliding_hashes_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "hash64", lambda data: len(data) % 4 << 62)
    rows = random_rows(5000)
    folder = write_tokens(tmp_path / "tokens", rows)
    build(folder)
    assert_equals_brute_force(folder, rows, 40)


def test_a_current_index_is_kept_and_an_old_one_made_again(tmp_path: Path) -> None:
    rows = random_rows(100)
    folder = write_tokens(tmp_path / "tokens", rows)
    build(folder)
    names = tmp_path / "tokens/index/names.arrow"
    before = names.stat().st_mtime_ns
    build(folder)
    assert names.stat().st_mtime_ns == before

    rows = random_rows(101, seed=2)
    write_tokens(tmp_path / "tokens", rows)
    with pytest.raises(VerificationFailed, match=r"another documents\.parquet"):
        Lookup.open(folder)
    build(folder)
    assert_equals_brute_force(folder, rows)


@pytest.mark.parametrize("name", ["names.arrow", "url.pairs"])
def test_a_damaged_index_is_refused_and_made_again(tmp_path: Path, name: str) -> None:
    rows = random_rows(100)
    folder = write_tokens(tmp_path / "tokens", rows)
    build(folder)
    path = tmp_path / "tokens/index" / name
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(VerificationFailed, match=name):
        Lookup.open(folder)
    build(folder)
    assert_equals_brute_force(folder, rows)


def test_an_unreadable_manifest_is_made_again(tmp_path: Path) -> None:
    folder = write_tokens(tmp_path / "tokens", random_rows(10))
    build(folder)
    (tmp_path / "tokens/index/index.json").write_text('{"spec": "corpusmill lookup v0"}')
    with pytest.raises(VerificationFailed, match="format"):
        Lookup.open(folder)
    build(folder)
    assert len(Lookup.open(folder)) == 10


def test_no_index_names_the_remedy(tmp_path: Path) -> None:
    folder = write_tokens(tmp_path / "tokens", random_rows(3))
    with pytest.raises(InputError, match="there is no index") as caught:
        Lookup.open(folder)
    assert "build" in caught.value.remedy
    with pytest.raises(InputError, match="no token shards"):
        build(str(tmp_path))
    with pytest.raises(InputError, match="local"):
        build("s3://bucket/tokens")


def test_documents_that_the_manifest_does_not_name_are_refused(tmp_path: Path) -> None:
    folder = write_tokens(tmp_path / "tokens", random_rows(30))
    path = tmp_path / "tokens/documents.parquet"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(VerificationFailed, match=r"manifest\.json"):
        build(folder)
    assert not (tmp_path / "tokens/index").exists()


@pytest.mark.parametrize("ordinal", [-1, 10, 2**40])
def test_an_ordinal_that_is_no_documents_is_refused(tmp_path: Path, ordinal: int) -> None:
    folder = write_tokens(tmp_path / "tokens", random_rows(10))
    build(folder)
    with pytest.raises(InputError, match="no document") as caught:
        Lookup.open(folder).names(np.array([3, ordinal]))
    assert caught.value.value == ordinal


KILLED = """
import os, signal, sys
from corpusmill.core import storage
from corpusmill.tokenize import hash_pairs, lookup
module, name, calls = {"names": (lookup, "_hashes", 2), "pairs": (hash_pairs.PairWriter, "write", 2),
                       "json": (storage, "write_text", 1)}[sys.argv[2]]
original = getattr(module, name)
def killing(*arguments):
    global calls
    calls -= 1
    if calls == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments)
setattr(module, name, killing)
lookup.build(sys.argv[1])
"""


@pytest.mark.parametrize("moment", ["names", "pairs", "json"])
def test_killed_in_the_middle_leaves_no_index_and_nothing_behind(tmp_path: Path, moment: str) -> None:
    rows = random_rows(200)
    folder = write_tokens(tmp_path / "tokens", rows)
    build(folder)
    files = {p.name: p.read_bytes() for p in (tmp_path / "tokens/index").iterdir()}
    shutil.rmtree(tmp_path / "tokens/index")
    done = subprocess.run([sys.executable, "-c", KILLED, folder, moment], check=False)
    assert done.returncode == -signal.SIGKILL
    with pytest.raises(InputError, match="there is no index"):
        Lookup.open(folder)
    build(folder)
    assert {p.name: p.read_bytes() for p in (tmp_path / "tokens/index").iterdir()} == files
