"""Documents to token shards.

RUN/tokens/
    <shard>.bin                 token ids, uint16 or uint32 little-endian, every document ends with EOS
    documents/<shard>.parquet   SHARD_DOCUMENT rows, in the order of the tokens
    documents.parquet           TOKEN_DOCUMENT rows of all shards: shards by name, documents in the shard's order
    tokenizer.model             the tokenizer
    manifest.json               TokensManifest, written last
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from corpusmill.core import storage
from corpusmill.core.errors import InputError, VerificationFailed
from corpusmill.tokenize.hashes import salt_of
from corpusmill.tokenize.tokenizer import Tokenizer

DTYPES: dict[str, np.dtype[np.unsignedinteger]] = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}
_BATCH_DOCUMENTS = 1024

_COPIED = [
    pa.field("doc_id", pa.string(), nullable=False),
    pa.field("url", pa.string(), nullable=False),
    pa.field("domain", pa.string(), nullable=False),
    pa.field("content_hash", pa.binary(16), nullable=False),
    pa.field("language", pa.string(), nullable=False),
]
SHARD_DOCUMENT = pa.schema([*_COPIED, pa.field("num_tokens", pa.int64(), nullable=False)])  # EOS included

TOKEN_DOCUMENT = pa.schema(
    [
        pa.field("doc_ordinal", pa.int64(), nullable=False),  # = row number, 0-based
        *_COPIED,
        pa.field("source", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("shard", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("token_offset", pa.int64(), nullable=False),  # tokens, within the shard
        pa.field("num_tokens", pa.int64(), nullable=False),  # EOS included
        pa.field("cluster_id", pa.string()),  # null where no near-duplicate clusters are known
        pa.field("salt", pa.binary(16), nullable=False),  # hashes.salt_of
    ]
)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


ModelT = TypeVar("ModelT", bound=BaseModel)


def load_model(kind: type[ModelT], path: str) -> ModelT:
    """A JSON file as `kind`. Raises InputError when it does not exist, VerificationFailed when it does not fit."""
    try:
        return kind.model_validate_json(storage.read_bytes(path))
    except ValidationError as error:
        first = error.errors()[0]
        raise VerificationFailed(
            "the file does not fit its format",
            where=path,
            value=f"{'.'.join(str(p) for p in first['loc'])}: {first['msg']}",
            remedy="restore the file from a copy, or run the step that wrote it again",
        ) from error


class TokenShard(_Frozen):
    """One token file. tokens: EOS included; bytes: of the file."""

    name: str
    sha256: str
    bytes: int
    documents: int
    tokens: int


class TokensManifest(_Frozen):
    """What RUN/tokens holds."""

    dtype: Literal["uint16", "uint32"]
    tokenizer_sha256: str
    vocab_size: int
    eos_id: int
    pad_id: int
    documents_sha256: str  # of documents.parquet
    documents_bytes: int
    shards: tuple[TokenShard, ...]

    @classmethod
    def load(cls, tokens_folder: str) -> TokensManifest:
        """manifest.json of the folder. Raises InputError when there is none."""
        path = storage.join(tokens_folder, "manifest.json")
        if not storage.exists(path):
            raise InputError("there are no token shards", where=tokens_folder, remedy="run the tokenize step first")
        return load_model(cls, path)

    @property
    def documents(self) -> int:
        """Documents of all shards."""
        return sum(s.documents for s in self.shards)

    @property
    def tokens(self) -> int:
        """Tokens of all shards, EOS included."""
        return sum(s.tokens for s in self.shards)


def token_dtype(vocab_size: int) -> Literal["uint16", "uint32"]:
    """The narrowest type that holds every id."""
    return "uint16" if vocab_size <= 1 << 16 else "uint32"


def shard_path(tokens_folder: str, shard: str) -> str:
    """Where the tokens of `shard` are."""
    return storage.join(tokens_folder, f"{shard}.bin")


def shard_documents_path(tokens_folder: str, shard: str) -> str:
    """Where the SHARD_DOCUMENT rows of `shard` are."""
    return storage.join(tokens_folder, "documents", f"{shard}.parquet")


def encode_shard(
    document_file: str, shard_name: str, tokenizer_path: str, out_folder: str, *, num_threads: int = 1
) -> TokenShard:
    """Encodes a Parquet file of documents (language is optional), in file order, to one token shard.

    Pure and atomic: one task a shard, in any order, in `num_threads` threads, which change no byte. Holds 1,024
    documents and the columns of the shard's rows.
    """
    tokenizer = Tokenizer.load(tokenizer_path)
    dtype = DTYPES[token_dtype(tokenizer.vocab_size)]
    eos = np.array([tokenizer.eos_id], dtype=dtype).tobytes()
    state = hashlib.sha256()
    rows: list[pa.Table] = []
    tokens = 0
    with storage.open_read(document_file) as source, storage.open_write(shard_path(out_folder, shard_name)) as target:
        for batch in pq.ParquetFile(source).iter_batches(_BATCH_DOCUMENTS, columns=[*SHARD_DOCUMENT.names, "text"]):
            encoded = tokenizer.encode_batch(batch.column("text").to_pylist(), num_threads)
            data = b"".join(ids.astype(dtype).tobytes() + eos for ids in encoded)
            target.write(data)
            state.update(data)
            rows.append(_shard_documents(batch, [len(ids) + 1 for ids in encoded]))
            tokens += len(data) // dtype.itemsize
    documents = pa.concat_tables(rows) if rows else SHARD_DOCUMENT.empty_table()
    storage.write_parquet(shard_documents_path(out_folder, shard_name), documents)
    return TokenShard(
        name=shard_name,
        sha256=state.hexdigest(),
        bytes=tokens * dtype.itemsize,
        documents=documents.num_rows,
        tokens=tokens,
    )


def _shard_documents(batch: pa.RecordBatch, num_tokens: list[int]) -> pa.Table:
    """SHARD_DOCUMENT rows of a batch of documents; language is "" where no stage has told it."""
    columns = {name: batch.column(name) for name in batch.schema.names} | {
        "num_tokens": pa.array(num_tokens, pa.int64())
    }
    columns.setdefault("language", pa.array([""] * batch.num_rows))
    return pa.table([columns[name] for name in SHARD_DOCUMENT.names], schema=SHARD_DOCUMENT)


def merge_documents(
    tokens_folder: str, shards: Sequence[TokenShard], tokenizer_path: str, *, salt_key: str, source: str = "crawl"
) -> TokensManifest:
    """Writes documents.parquet, tokenizer.model and manifest.json for the shards, which are put in order of name.

    Deletes token files of other shards, which an earlier run may have left.

    Args:
        tokens_folder: where `encode_shard` wrote.
        shards: what it returned, in any order.
        tokenizer_path: the tokenizer that encoded them; a copy is kept with the tokens.
        salt_key: key of the salts (see hashes.salt_of): a secret, or the run key where texts need no hiding.
        source: name of the source these documents are.
    """
    model = storage.read_bytes(tokenizer_path)
    tokenizer = Tokenizer(model, tokenizer_path)
    ordered = sorted(shards, key=lambda s: s.name)
    storage.remove(storage.join(tokens_folder, "manifest.json"))
    _remove_others(tokens_folder, {s.name for s in ordered})
    names = pa.array([s.name for s in ordered], pa.string())
    path = storage.join(tokens_folder, "documents.parquet")
    ordinal = 0
    with (
        storage.open_write(path) as file,
        pq.ParquetWriter(
            file, TOKEN_DOCUMENT, compression="zstd", compression_level=3, write_page_index=True
        ) as writer,
    ):
        for number, shard in enumerate(ordered):
            rows = storage.read_parquet(shard_documents_path(tokens_folder, shard.name))
            table = _token_documents(rows, ordinal, number, names, source, salt_key)
            writer.write_table(table, row_group_size=16_384)
            ordinal += rows.num_rows
    storage.write_bytes(storage.join(tokens_folder, "tokenizer.model"), model)
    manifest = TokensManifest(
        dtype=token_dtype(tokenizer.vocab_size),
        tokenizer_sha256=tokenizer.sha256,
        vocab_size=tokenizer.vocab_size,
        eos_id=tokenizer.eos_id,
        pad_id=tokenizer.pad_id,
        documents_sha256=storage.sha256_file(path),
        documents_bytes=storage.size_bytes(path),
        shards=tuple(ordered),
    )
    storage.write_text(storage.join(tokens_folder, "manifest.json"), manifest.model_dump_json(indent=1) + "\n")
    return manifest


def _remove_others(tokens_folder: str, keep: set[str]) -> None:
    documents = storage.join(tokens_folder, "documents")
    for folder, suffix in ((tokens_folder, ".bin"), (documents, ".parquet")):
        for path in storage.list_files(folder, suffix):
            if storage.file_name(path).removesuffix(suffix) not in keep:
                storage.remove(path)


def _token_documents(
    rows: pa.Table, ordinal: int, shard_number: int, shard_names: pa.Array, source: str, salt_key: str
) -> pa.Table:
    """TOKEN_DOCUMENT rows of one shard; `ordinal` is that of its first document."""
    count = rows.num_rows
    lengths = rows.column("num_tokens").to_numpy()
    columns = {name: rows.column(name) for name in rows.column_names} | {
        "doc_ordinal": pa.array(np.arange(ordinal, ordinal + count)),
        "source": pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([source])),
        "shard": pa.DictionaryArray.from_arrays(pa.array(np.full(count, shard_number, np.int32)), shard_names),
        "token_offset": pa.array(np.cumsum(lengths) - lengths),
        "cluster_id": pa.nulls(count, pa.string()),
        "salt": pa.array([salt_of(salt_key, d) for d in rows.column("doc_id").to_pylist()], pa.binary(16)),
    }
    return pa.table([columns[f.name] for f in TOKEN_DOCUMENT], schema=TOKEN_DOCUMENT)
