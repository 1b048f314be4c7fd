"""Small runs with token shards and an order, made from a fixed corpus."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from corpusmill.core import documents, storage
from corpusmill.core.hashing import content_hash
from corpusmill.tokenize.order import OrderSummary, build_order
from corpusmill.tokenize.order_config import OrderConfig
from corpusmill.tokenize.shards import TokensManifest, encode_shard, merge_documents
from corpusmill.tokenize.training import TokenizerConfig, train_tokenizer

_chance = random.Random(0)
_SYLLABLES = ["ka", "ri", "mo", "ten", "sul", "bra", "ve", "ong", "fi", "da", "pre", "lo"]
WORDS = ["".join(_chance.choices(_SYLLABLES, k=_chance.randint(2, 4))) for _ in range(150)]
WORDS += ["本", "川の", "橋を渡る", "です。", "été", "naïve", "12", "3456\n"]
SHARDS = ("b-00001", "a-00000", "c-00002")  # not in order of name, on purpose
DOCUMENTS_A_SHARD = 40


def document_table(texts: Sequence[str], shard: str) -> pa.Table:
    rows = [
        {
            "doc_id": f"{shard}.warc.gz:{100 * i}",
            "url": f"https://host{i % 5}.example/{shard}/{i}",
            "domain": f"host{i % 5}.example",
            "warc_file": f"{shard}.warc.gz",
            "warc_offset": 100 * i,
            "warc_length": 100,
            "crawl": "",
            "charset": "utf-8",
            "text": text,
            "content_hash": content_hash(text),
            "language": "en",
            "language_score": 0.9,
        }
        for i, text in enumerate(texts)
    ]
    return documents.table_of(rows, documents.DOCUMENT_WITH_LANGUAGE)


def random_texts(seed: int, count: int = DOCUMENTS_A_SHARD) -> list[str]:
    chance = random.Random(seed)
    return [" ".join(chance.choices(WORDS, k=chance.randint(0, 60))) for _ in range(count)]


def write_documents(folder: Path) -> dict[str, str]:
    """Shard name -> Parquet file of documents. One shard has no documents."""
    files = {}
    for number, shard in enumerate((*SHARDS, "d-empty")):
        texts = random_texts(number) if shard in SHARDS else []
        files[shard] = str(folder / f"{shard}.parquet")
        storage.write_parquet(files[shard], document_table(texts, shard))
    return files


def make_tokens(run: Path, files: dict[str, str], model: str, source: str = "crawl") -> TokensManifest:
    folder = str(run / "tokens")
    shards = [s for name, path in files.items() for s in encode_shard(path, name, model, folder, source=source)]
    return merge_documents(folder, shards, model, salt_key="secret")


def make_run(run: Path, config: OrderConfig) -> OrderSummary:
    """RUN/tokens and RUN/order."""
    files = write_documents(run / "documents")
    model = str(run / "tokenizer.model")
    train_tokenizer(list(files.values()), TokenizerConfig(vocab_size=330), model)
    make_tokens(run, files, model)
    return build_order(str(run / "tokens"), str(run / "order"), config)


def small_config(**changes: object) -> OrderConfig:
    """One epoch of 16-label sequences in steps of 6, blocks of 40 sequences."""
    settings = {"sequence_length": 16, "batch_size": 6, "key": "k", "block_sequences": 40} | changes
    return OrderConfig.model_validate(settings)
