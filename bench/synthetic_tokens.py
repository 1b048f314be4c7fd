"""Token folders of any size without texts: what bench/order_scale.py and others make orders of.

Documents have lognormal lengths and are of two sources. Token files are either random ids, or sparse files of the right
size, which hold zeros and take no room on the disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpusmill.core import storage
from corpusmill.tokenize.columns import write_columns
from corpusmill.tokenize.shards import TOKEN_DOCUMENT, TokenShard, TokensManifest
from corpusmill.tokenize.tokenizer import Tokenizer
from corpusmill.tokenize.training import TokenizerConfig, train_tokenizer

SOURCES = {"en": 0.9, "ja": 0.1}  # share of the documents
SHARD_DOCUMENTS = 100_000
SIGMA = 1.0  # of the lengths' logarithm
_WORDS = [
    "the",
    "mill",
    "turns",
    "and",
    "grinds",
    "corn",
    "into",
    "flour",
    "while",
    "water",
    "runs",
    "below",
    "its",
    "wheel",
]


def lengths(documents: int, mean_tokens: float, seed: int = 0) -> npt.NDArray[np.int64]:
    """Lognormal document lengths in tokens, EOS included, int64 (documents,), at least 2."""
    chance = np.random.default_rng(seed)
    drawn = chance.lognormal(np.log(mean_tokens) - SIGMA**2 / 2, SIGMA, documents)
    return np.maximum(2, drawn).astype(np.int64)


def write_tokens(run: Path, documents: int, mean_tokens: float, *, sparse: bool) -> TokensManifest:
    """RUN/tokens of so many documents; sparse: token files without content."""
    folder = run / "tokens"
    folder.mkdir(parents=True)
    model = str(folder / "tokenizer.model")
    _train(run, model)
    tokenizer = Tokenizer.load(model)
    shards: list[TokenShard] = []
    path = folder / "documents.parquet"
    with pq.ParquetWriter(path, TOKEN_DOCUMENT, compression="zstd", compression_level=1) as writer:
        for shard, counts in _shards(documents, mean_tokens):
            rows = _rows(shard, counts, sum(s.documents for s in shards))
            writer.write_table(rows, row_group_size=16_384)
            sha256, size = _write_shard(folder / f"{shard[0]}.bin", int(counts.sum()), tokenizer, len(shards), sparse)
            name, source = shard
            shards.append(
                TokenShard(
                    source=source,
                    name=name,
                    sha256=sha256,
                    bytes=size,
                    documents=len(counts),
                    tokens=int(counts.sum()),
                )
            )
    write_columns(str(folder))
    manifest = TokensManifest(
        dtype="uint16",
        tokenizer_sha256=tokenizer.sha256,
        vocab_size=tokenizer.vocab_size,
        eos_id=tokenizer.eos_id,
        pad_id=tokenizer.pad_id,
        documents_sha256=storage.sha256_file(str(path)),
        documents_bytes=path.stat().st_size,
        shards=tuple(shards),
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    return manifest


def _train(run: Path, model: str) -> None:
    chance = np.random.default_rng(0)
    texts = [" ".join(chance.choice(_WORDS, 60)) for _ in range(200)]
    table = pa.table({"doc_id": [str(i) for i in range(len(texts))], "text": texts, "language": ["en"] * len(texts)})
    pq.write_table(table, run / "texts.parquet")
    train_tokenizer([str(run / "texts.parquet")], TokenizerConfig(vocab_size=300, num_threads=1), model)


def _shards(documents: int, mean_tokens: float) -> Iterator[tuple[tuple[str, str], npt.NDArray[np.int64]]]:
    """((name, source), lengths) of every token shard."""
    for number, (source, share) in enumerate(SOURCES.items()):
        drawn = lengths(round(documents * share), mean_tokens, seed=number)
        for i, first in enumerate(range(0, len(drawn), SHARD_DOCUMENTS)):
            yield (f"{source}.{i:06d}", source), drawn[first : first + SHARD_DOCUMENTS]


def _rows(shard: tuple[str, str], counts: npt.NDArray[np.int64], ordinal: int) -> pa.Table:
    name, source = shard
    size = len(counts)
    ordinals = np.arange(ordinal, ordinal + size)
    number = pa.array(ordinals).cast(pa.string())
    host = pa.array(ordinals * 2_654_435_761 % 1_000_003).cast(pa.string())
    chance = np.random.default_rng(ordinal)
    random = [pa.py_buffer(chance.bytes(16 * size)) for _ in range(2)]
    hashes, salts = (pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), size, [None, data]) for data in random)
    columns = {
        "doc_ordinal": pa.array(ordinals),
        "doc_id": pc.binary_join_element_wise(pa.scalar(f"{name}.warc.gz"), number, ":"),
        "url": pc.binary_join_element_wise(pa.scalar("https://site"), host, pa.scalar(".example/page/"), number, ""),
        "domain": pc.binary_join_element_wise(pa.scalar("site"), host, pa.scalar(".example"), ""),
        "content_hash": hashes,
        "language": pa.array([source]).take(pa.array(np.zeros(size, np.int64))),
        "source": pa.DictionaryArray.from_arrays(pa.array(np.zeros(size, np.int32)), pa.array([source])),
        "shard": pa.DictionaryArray.from_arrays(pa.array(np.zeros(size, np.int32)), pa.array([name])),
        "token_offset": pa.array(np.cumsum(counts) - counts),
        "num_tokens": pa.array(counts),
        "cluster_id": pa.nulls(size, pa.string()),
        "salt": salts,
    }
    return pa.table([columns[f.name] for f in TOKEN_DOCUMENT], schema=TOKEN_DOCUMENT)


def _write_shard(path: Path, tokens: int, tokenizer: Tokenizer, seed: int, sparse: bool) -> tuple[str, int]:
    """(SHA-256, bytes); of a sparse file the SHA-256 is not worked out."""
    if sparse:
        with path.open("wb") as file:
            file.truncate(2 * tokens)
        return "0" * 64, 2 * tokens
    ids = np.random.default_rng(seed).integers(4, tokenizer.vocab_size, tokens).astype("<u2")
    data = ids.tobytes()
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest(), len(data)
