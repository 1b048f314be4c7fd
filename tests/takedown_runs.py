"""A small run with two stages, tokens and an order, to take documents down from; and being killed at any write."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from corpusmill.core import documents, storage
from corpusmill.core.artifacts import Counts, FileEntry, ShardManifest, StageFolder, Tally
from corpusmill.core.hashing import content_hash
from corpusmill.tokenize.order import OrderSummary, build_order
from corpusmill.tokenize.order_config import OrderConfig
from corpusmill.tokenize.shards import encode_shard, merge_documents
from corpusmill.tokenize.training import TokenizerConfig, train_tokenizer

SHARDS = ("one", "two", "three")
DOCUMENTS = 12
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def doc_id(shard: str, number: int) -> str:
    return f"{shard}.warc.gz:{100 * number}"


def url_of(shard: str, number: int) -> str:
    return f"https://{shard}.example/page-{number}?secret=of-{shard}-{number}-only"


def text_of(shard: str, number: int) -> str:
    """A text of its own: some lines of words, quotation marks and Japanese."""
    chance = random.Random(f"{shard}{number}")
    words = ["".join(chance.choices(LETTERS, k=chance.randint(2, 9))) for _ in range(60)]
    return f'{shard} "{number}" & 橋を渡る文{number}です。\n' + " ".join(words) + "\n" + " ".join(reversed(words))


def _row(shard: str, number: int) -> dict[str, Any]:
    text = text_of(shard, number)
    return {
        "doc_id": doc_id(shard, number),
        "url": url_of(shard, number),
        "domain": f"{shard}.example",
        "warc_file": f"{shard}.warc.gz",
        "warc_offset": 100 * number,
        "warc_length": 100,
        "crawl": "",
        "charset": "utf-8",
        "text": text,
        "content_hash": content_hash(text),
        "language": "en",
        "language_score": 0.9,
    }


def _commit_stages(run: Path, shard: str) -> str:
    """extract keeps all; quality removes document 1, quarantines document 2, and lines marks a span of document 3."""
    kept = [_row(shard, n) for n in range(DOCUMENTS)]
    size = sum(len(row["text"]) for row in kept)
    everything = Tally(documents=DOCUMENTS, characters=size)
    empty = {"removed": documents.REMOVAL.empty_table(), "quarantine": documents.QUARANTINE.empty_table()}
    table = documents.table_of(kept, documents.DOCUMENT_WITH_LANGUAGE)
    folder = StageFolder(str(run), "extract")
    folder.commit(shard, "f", {"out": table, **empty}, Counts(into=everything, kept=everything))
    removed = {
        "doc_id": doc_id(shard, 1), "url": url_of(shard, 1), "stage": "quality", "rule": "words_min", "value": 1.0,
        "threshold": 2.0, "detail": text_of(shard, 1)[:40], "excerpt": text_of(shard, 1)[:200],
        "characters": len(text_of(shard, 1)),
    }  # fmt: skip
    quarantined = {
        "doc_id": doc_id(shard, 2), "url": url_of(shard, 2), "stage": "quality", "reason": "crash",
        "warc_file": f"{shard}.warc.gz", "warc_offset": 200, "detail": text_of(shard, 2)[:80],
        "characters": len(text_of(shard, 2)),
    }  # fmt: skip
    span = {
        "doc_id": doc_id(shard, 3), "stage": "quality", "rule": "r", "start": 0, "end": 50,
        "text": text_of(shard, 3)[:50], "replacement": text_of(shard, 3)[:50],
    }  # fmt: skip
    tables = {
        "out": documents.table_of([row for n, row in enumerate(kept) if n not in (1, 2)], table.schema),
        "removed": documents.table_of([removed], documents.REMOVAL),
        "quarantine": documents.table_of([quarantined], documents.QUARANTINE),
        "spans": documents.table_of([span], documents.SPAN),
    }
    left = Tally(documents=DOCUMENTS - 2, characters=size - removed["characters"] - quarantined["characters"])
    counts = Counts(
        into=everything,
        kept=left,
        removed={"words_min": Tally(documents=1, characters=removed["characters"])},
        quarantined={"crash": Tally(documents=1, characters=quarantined["characters"])},
    )
    quality = StageFolder(str(run), "quality")
    quality.commit(shard, "f", tables, counts)
    return quality.path("out", shard)


def make(run: Path, **changes: object) -> OrderSummary:
    """RUN with the stages extract and quality, tokens and an order, committed as `corpusmill run` does."""
    files = {shard: _commit_stages(run, shard) for shard in SHARDS}
    for stage in ("extract", "quality"):
        StageFolder(str(run), stage).finish("f", {}, list(SHARDS))
    model, tokens, order = str(run / "tokenizer/tokenizer.model"), str(run / "tokens"), str(run / "order")
    train_tokenizer(list(files.values()), TokenizerConfig(vocab_size=400), model)
    shards = [made for shard, path in files.items() for made in encode_shard(path, shard, model, tokens)]
    merge_documents(tokens, shards, model, salt_key="secret")
    settings = {"sequence_length": 32, "batch_size": 4, "key": "k", "block_sequences": 40, "file_sequences": 16}
    summary = build_order(tokens, order, OrderConfig.model_validate(settings | changes))
    paths = [p for folder in ("tokens", "order") for p in sorted((run / folder).rglob("*")) if p.is_file()]
    entries = {
        str(p.relative_to(run)): FileEntry(
            path=f"../../{p.relative_to(run)}", bytes=p.stat().st_size, sha256=storage.sha256_file(str(p)), rows=30
        )
        for p in paths
    }
    manifest = ShardManifest(
        stage="order", shard="all", fingerprint="f", files=entries, counts=Counts(), facts={"order_root": "old"}
    )
    folder = StageFolder(str(run), "order")
    storage.write_text(folder.manifest_path("all"), manifest.model_dump_json())
    folder.finish("f", {}, ["all"])
    return summary


def contents(run: Path) -> dict[str, bytes]:
    """Files of a run by path, but the log with its times."""
    files = [p for p in sorted(run.rglob("*")) if p.is_file() and p.name != "events.jsonl"]
    return {str(p.relative_to(run)): p.read_bytes() for p in files}


def quoting(run: Path, passages: list[str]) -> list[str]:
    """Files of a run in which one of the passages stands: Parquet files decoded, of others the bytes."""
    found = []
    needles = [passage.encode() for passage in passages]
    for path in sorted(run.rglob("*")):
        if not path.is_file() or path.is_symlink() or "input" in path.relative_to(run).parts:
            continue
        data = path.read_bytes()
        if path.suffix == ".parquet":
            data = repr(pq.read_table(path).to_pylist()).encode() + data
            # repr escapes line ends: passages are within lines
        if any(needle in data for needle in needles):
            found.append(str(path.relative_to(run)))
    return found


def check_manifests_fit(run: Path) -> None:
    """Every file that a manifest names has the size and SHA-256 that it states."""
    seen = 0
    for path in sorted(run.glob("stages/*/shards/*.json")):
        manifest = ShardManifest.model_validate_json(path.read_bytes())
        manifest.counts.check(str(path))
        for entry in manifest.files.values():
            file = path.parent.parent / entry.path
            assert file.stat().st_size == entry.bytes, file
            assert storage.sha256_file(str(file)) == entry.sha256, file
            seen += 1
    assert seen > 10


class Killed(BaseException):
    """As if the process had been killed."""


WRITES = ("open_write", "remove", "remove_folder")


def killed_everywhere(
    made: Path, work: Path, action: Any, monkeypatch: pytest.MonkeyPatch, every: int = 1
) -> Iterator[Path]:
    """Copies of the run `made` in which `action` was killed at its first write, and at each `every`th after it."""
    real = {name: getattr(storage, name) for name in WRITES}
    calls = 0
    limit = 0

    def counted(name: str) -> Any:
        def call(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > limit:
                raise Killed
            return real[name](*arguments)

        return call

    while True:
        run = work / f"killed-{limit}"
        shutil.copytree(made, run, symlinks=True)
        with monkeypatch.context() as patch:
            for name in WRITES:
                patch.setattr(storage, name, counted(name))
            calls = 0
            try:
                action(run)
            except Killed:
                pass
            else:
                break
        yield run
        shutil.rmtree(run)
        limit += every
