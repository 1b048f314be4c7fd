"""Token folders without texts: documents of given lengths, of several sources, whose tokens are all different."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from corpusmill.core import storage
from corpusmill.tokenize.columns import write_columns
from corpusmill.tokenize.shards import TOKEN_DOCUMENT, TokenShard, TokensManifest


def write_tokens(run: Path, sources: Mapping[str, Sequence[int]], shard_documents: int = 7) -> TokensManifest:
    """RUN/tokens of documents with these lengths (tokens), by source, `shard_documents` to a shard.

    The tokens of a document depend on its doc_id only, so that they are the same in another mixture.
    """
    folder = run / "tokens"
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    shards: list[TokenShard] = []
    for source, lengths in sources.items():
        for number, first in enumerate(range(0, len(lengths), shard_documents)):
            name = f"{source}.{number:05d}"
            part = lengths[first : first + shard_documents]
            data = b""
            for i, length in enumerate(part, start=first):
                doc_id = f"{source}.warc.gz:{i}"
                seed = hashlib.sha256(doc_id.encode()).digest()
                tokens = np.random.default_rng(list(seed)).integers(4, 60_000, length).astype("<u2")
                rows.append(
                    {
                        "doc_ordinal": len(rows),
                        "doc_id": doc_id,
                        "url": f"https://{source}.example/{i}",
                        "domain": f"{source}.example",
                        "content_hash": seed[:16],
                        "language": "en",
                        "source": source,
                        "shard": name,
                        "token_offset": len(data) // 2,
                        "num_tokens": length,
                        "cluster_id": None,
                        "salt": seed[16:],
                    }
                )
                data += tokens.tobytes()
            (folder / f"{name}.bin").write_bytes(data)
            sha256 = hashlib.sha256(data).hexdigest()
            shards.append(
                TokenShard(
                    source=source, name=name, sha256=sha256, bytes=len(data), documents=len(part), tokens=sum(part)
                )
            )
    path = str(folder / "documents.parquet")
    storage.write_parquet(path, pa.Table.from_pylist(rows, TOKEN_DOCUMENT))
    write_columns(str(folder))
    (folder / "tokenizer.model").write_bytes(b"none")
    manifest = TokensManifest(
        dtype="uint16",
        tokenizer_sha256=hashlib.sha256(b"none").hexdigest(),
        vocab_size=60_000,
        eos_id=2,
        pad_id=3,
        documents_sha256=storage.sha256_file(path),
        documents_bytes=storage.size_bytes(path),
        shards=tuple(shards),
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    return manifest


def lengths_of(seed: int, documents: int, longest: int) -> list[int]:
    """Lengths 1..longest, most of them short."""
    chance = np.random.default_rng(seed)
    return np.clip(chance.lognormal(np.log(longest) / 2, 1.0, documents), 1, longest).astype(int).tolist()
