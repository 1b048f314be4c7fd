"""Runs with token shards and an order, made of random token ids: for benchmarks of what comes after tokenisation."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import numpy as np
import pyarrow as pa

from corpusmill.core import documents, storage
from corpusmill.tokenize.order import OrderSummary, build_order
from corpusmill.tokenize.order_config import OrderConfig
from corpusmill.tokenize.shards import SHARD_DOCUMENT, TokenShard, merge_documents, shard_documents_path, shard_path
from corpusmill.tokenize.tokenizer import Tokenizer
from corpusmill.tokenize.training import TokenizerConfig, train_tokenizer

_SHARD_TOKENS = 50_000_000


def make_run(run: Path, tokens: int, *, median_tokens: int = 600, seed: int = 0, **settings: object) -> OrderSummary:
    """RUN/tokens and RUN/order of about `tokens` tokens; `settings` are those of the order.

    Lengths of documents are log-normal (sigma 1) with the given median. The same arguments give the same bytes.
    """
    model = _tokenizer(run)
    tokenizer = Tokenizer.load(model)
    folder = str(run / "tokens")
    draw = np.random.default_rng(seed)
    shards = []
    while tokens > 0:
        shards.append(
            _shard(folder, f"s-{len(shards):05d}", min(tokens, _SHARD_TOKENS), median_tokens, tokenizer, draw)
        )
        tokens -= _SHARD_TOKENS
    merge_documents(folder, shards, model, salt_key="bench")
    config = OrderConfig.model_validate({"key": "bench"} | settings)
    return build_order(folder, str(run / "order"), config)


def _shard(
    folder: str, name: str, tokens: int, median: int, tokenizer: Tokenizer, draw: np.random.Generator
) -> TokenShard:
    lengths = np.maximum(2, draw.lognormal(np.log(median), 1.0, 2 * tokens // median)).astype(np.int64)
    lengths = lengths[: max(1, int(np.searchsorted(np.cumsum(lengths), tokens)))]
    ids = draw.integers(0, tokenizer.vocab_size, int(lengths.sum()), dtype=np.uint16)
    ids[ids == tokenizer.eos_id] = tokenizer.vocab_size - 1
    ids[np.cumsum(lengths) - 1] = tokenizer.eos_id
    data = ids.tobytes()
    storage.write_bytes(shard_path(folder, name), data)
    names = [f"{name}.warc.gz:{i}" for i in range(len(lengths))]
    columns = {
        "doc_id": names,
        "url": [f"https://made.example/{name}/{i}" for i in range(len(lengths))],
        "domain": ["made.example"] * len(lengths),
        "content_hash": [hashlib.blake2b(n.encode(), digest_size=16).digest() for n in names],
        "language": ["en"] * len(lengths),
        "num_tokens": lengths,
        "cluster_id": [None] * len(lengths),
    }
    table = pa.table([pa.array(columns[f.name], f.type) for f in SHARD_DOCUMENT], schema=SHARD_DOCUMENT)
    storage.write_parquet(shard_documents_path(folder, name), table)
    return TokenShard(
        name=name,
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        documents=len(lengths),
        tokens=len(ids),
    )


def _tokenizer(run: Path) -> str:
    """A small tokenizer; what the ids mean does not matter here."""
    chance = random.Random(0)
    syllables = ["ka", "ri", "mo", "ten", "sul", "bra", "ve", "ong", "fi", "da"]
    words = ["".join(chance.choices(syllables, k=3)) for _ in range(300)]
    texts = [" ".join(chance.choices(words, k=60)) for _ in range(100)]
    row = {
        "url": "",
        "domain": "",
        "warc_file": "",
        "warc_offset": 0,
        "warc_length": 0,
        "crawl": "",
        "charset": "utf-8",
    }
    rows = [
        {**row, "doc_id": f"t:{i}", "text": t, "content_hash": bytes(16), "language": "en", "language_score": 1.0}
        for i, t in enumerate(texts)
    ]
    path = str(run / "documents.parquet")
    storage.write_parquet(path, documents.table_of(rows, documents.DOCUMENT_WITH_LANGUAGE))
    train_tokenizer([path], TokenizerConfig(vocab_size=330), str(run / "tokenizer.model"))
    return str(run / "tokenizer.model")
