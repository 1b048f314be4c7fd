"""A run with an order over three documents a shard, whose steps do not use every document."""

from __future__ import annotations

from pathlib import Path

import pytest

from corpusmill.core import documents, storage
from corpusmill.core.hashing import content_hash
from corpusmill.tokenize.order import build_order
from corpusmill.tokenize.order_config import OrderConfig
from corpusmill.tokenize.shards import encode_shard, merge_documents
from corpusmill.tokenize.training import TokenizerConfig, train_tokenizer

SHARDS = ("one", "two")


def text_of(shard: str, number: int) -> str:
    if number == 5:
        return ""
    return "".join(f"{shard} {number} 文{i} ✓ line {i * number}\n" for i in range(3 * number + 1))


@pytest.fixture(scope="session")
def traced_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2 shards of 12 documents; sequences of 32 labels, steps of 4, fewer steps than an epoch has."""
    run = tmp_path_factory.mktemp("traced-run")
    files = {}
    for shard in SHARDS:
        rows = [
            {
                "doc_id": f"{shard}.warc.gz:{n}",
                "url": f"https://www.{shard}.example/{n}",
                "domain": f"{shard}.example",
                "warc_file": f"{shard}.warc.gz",
                "warc_offset": n,
                "warc_length": 1,
                "crawl": "",
                "charset": "utf-8",
                "text": text_of(shard, n),
                "content_hash": content_hash(text_of(shard, n)),
                "language": "en",
                "language_score": 1.0,
            }
            for n in range(12)
        ]
        files[shard] = str(run / f"{shard}.parquet")
        storage.write_parquet(files[shard], documents.table_of(rows, documents.DOCUMENT_WITH_LANGUAGE))
    model, tokens = str(run / "tokenizer.model"), str(run / "tokens")
    train_tokenizer(list(files.values()), TokenizerConfig(vocab_size=290, model_type="bpe"), model)
    shards = [made for shard, path in files.items() for made in encode_shard(path, shard, model, tokens)]
    merge_documents(tokens, shards, model, salt_key="k")
    build_order(tokens, str(run / "order"), OrderConfig(sequence_length=32, batch_size=4, key="k", steps=20))
    return run
