"""Documents to token shards.

RUN/tokens/
    <shard>.bin                 token ids, uint16 or uint32 little-endian, every document ends with EOS
    documents/<shard>.parquet   SHARD_DOCUMENT rows, in the order of the tokens
    documents.parquet           TOKEN_DOCUMENT rows of all shards: by source, shards by name, documents in the shard's
                                order
    tokenizer.model             the tokenizer
    manifest.json               TokensManifest, written last
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Final, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from corpusmill.core import storage
from corpusmill.core.errors import InputError, VerificationFailed
from corpusmill.tokenize.columns import write_columns
from corpusmill.tokenize.hashes import salt_of
from corpusmill.tokenize.tokenizer import Tokenizer

DTYPES: dict[str, np.dtype[np.unsignedinteger]] = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}
BATCH_DOCUMENTS: Final = 1024  # encoded at once
CRAWL: Final = "crawl"  # the source of crawled documents, if no column gives it
SOURCE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

_COPIED = [
    pa.field("doc_id", pa.string(), nullable=False),
    pa.field("url", pa.string(), nullable=False),
    pa.field("domain", pa.string(), nullable=False),
    pa.field("content_hash", pa.binary(16), nullable=False),
    pa.field("language", pa.string(), nullable=False),
]
_CLUSTER = pa.field("cluster_id", pa.string())  # null where it stands for no near-duplicate of this run
_COPIED_NAMES = [field.name for field in _COPIED]
SHARD_DOCUMENT = pa.schema(
    [*_COPIED, pa.field("num_tokens", pa.int64(), nullable=False), _CLUSTER]  # num_tokens: EOS included
)

TOKEN_DOCUMENT = pa.schema(
    [
        pa.field("doc_ordinal", pa.int64(), nullable=False),  # = row number, 0-based
        *_COPIED,
        pa.field("source", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("shard", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("token_offset", pa.int64(), nullable=False),  # tokens, within the shard
        pa.field("num_tokens", pa.int64(), nullable=False),  # EOS included
        _CLUSTER,
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
    """One token file, of documents of one source. tokens: EOS included; bytes: of the file."""

    name: str
    source: str = CRAWL
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


def token_shard_name(source: str, shard: str) -> str:
    """Name of the token file that the documents of `source` in `shard` have: `<source>.<shard>`, of `crawl` `<shard>`.

    Names of sources have no full stop, so two pairs never have one name but where a shard itself begins like that.
    """
    return shard if source == CRAWL else f"{source}.{shard}"


def encode_shard(
    document_file: str,
    shard_name: str,
    tokenizer_path: str,
    out_folder: str,
    *,
    source: str = CRAWL,
    by: str | None = None,
    without: pa.Array | None = None,
    clusters: pa.Table | None = None,
    num_threads: int = 1,
) -> list[TokenShard]:
    """Encodes a Parquet file of documents (language is optional), in file order, to a token shard for every source.

    Pure and atomic: one task a shard, in any order, in `num_threads` threads, which change no byte. Holds 1,024
    documents and the columns of the shard's rows.

    Args:
        source, by: see `encode_documents`.
        without: doc_ids that are left out.
        clusters: doc_id, and cluster_id of those that stand for near-duplicates.
    """
    columns = list(dict.fromkeys([*_COPIED_NAMES, "text", *([] if by is None else [by])]))
    with storage.open_read(document_file) as file:
        batches = pq.ParquetFile(file).iter_batches(BATCH_DOCUMENTS, columns=columns)
        return encode_documents(
            batches if without is None else _left(batches, without),
            shard_name,
            tokenizer_path,
            out_folder,
            source=source,
            by=by,
            clusters=clusters,
            num_threads=num_threads,
        )


def _left(batches: Iterable[pa.RecordBatch], without: pa.Array) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch.filter(pc.invert(pc.is_in(batch.column("doc_id"), value_set=without)))


def encode_documents(
    batches: Iterable[pa.RecordBatch],
    shard_name: str,
    tokenizer_path: str,
    out_folder: str,
    *,
    source: str = CRAWL,
    by: str | None = None,
    clusters: pa.Table | None = None,
    num_threads: int = 1,
) -> list[TokenShard]:
    """Encodes documents in their order; a token shard for every source that has some, by name of the source.

    Args:
        batches: doc_id, url, domain, content_hash, text, maybe language, and `by`.
        source: the source of all documents, where `by` is None.
        by: column whose values are the sources. InputError where one cannot be a name (SOURCE_NAME).
        clusters: doc_id and cluster_id; documents that are not there have none.
        num_threads: of encoding.
    """
    tokenizer = Tokenizer.load(tokenizer_path)
    dtype = DTYPES[token_dtype(tokenizer.vocab_size)]
    files: dict[str, _TokenFile] = {}
    with ExitStack() as stack:
        for batch in batches:
            encoded = tokenizer.encode_batch(batch.column("text").to_pylist(), num_threads)
            documents = _shard_documents(batch, [len(ids) + 1 for ids in encoded], clusters)
            for name, rows in _rows_by_source(batch, source, by).items():
                if name not in files:
                    shard = token_shard_name(name, shard_name)
                    files[name] = _TokenFile(shard, name, out_folder, dtype, tokenizer.eos_id, stack)
                files[name].add([encoded[row] for row in rows.tolist()], documents.take(pa.array(rows)))
    return [files[name].finished() for name in sorted(files)]


def _rows_by_source(batch: pa.RecordBatch, source: str, by: str | None) -> dict[str, npt.NDArray[np.int64]]:
    """Rows of the batch, int64, of every source that it has."""
    if by is None:
        return {source: np.arange(batch.num_rows)} if batch.num_rows else {}
    found = batch.column(by).dictionary_encode()
    codes = found.indices.to_numpy()
    rows = {name: np.flatnonzero(codes == code) for code, name in enumerate(found.dictionary.to_pylist())}
    for name, of_name in rows.items():
        if not SOURCE_NAME.fullmatch(name):
            raise InputError(
                f"this value of `{by}` cannot name a source",
                where=batch.column("doc_id")[int(of_name[0])].as_py(),
                value=name,
                remedy="set `sources.by` of the recipe to null, or give every document a value of A-Z a-z 0-9 _ -",
            )
    return rows


class _TokenFile:
    """A token file that is being written, and the rows of its documents."""

    def __init__(
        self,
        name: str,
        source: str,
        out_folder: str,
        dtype: np.dtype[np.unsignedinteger],
        eos_id: int,
        stack: ExitStack,
    ) -> None:
        self._name, self._source, self._folder, self._dtype = name, source, out_folder, dtype
        self._file = stack.enter_context(storage.open_write(shard_path(out_folder, name)))
        self._eos = np.array([eos_id], dtype=dtype).tobytes()
        self._state = hashlib.sha256()
        self._bytes = 0
        self._rows: list[pa.Table] = []

    def add(self, encoded: Sequence[npt.NDArray[np.int32]], documents: pa.Table) -> None:
        data = b"".join(ids.astype(self._dtype).tobytes() + self._eos for ids in encoded)
        self._file.write(data)
        self._state.update(data)
        self._bytes += len(data)
        self._rows.append(documents)

    def finished(self) -> TokenShard:
        """Writes the rows; the file itself is closed."""
        documents = pa.concat_tables(self._rows)
        storage.write_parquet(shard_documents_path(self._folder, self._name), documents)
        return TokenShard(
            name=self._name,
            source=self._source,
            sha256=self._state.hexdigest(),
            bytes=self._bytes,
            documents=documents.num_rows,
            tokens=self._bytes // self._dtype.itemsize,
        )


def _shard_documents(batch: pa.RecordBatch, num_tokens: list[int], clusters: pa.Table | None) -> pa.Table:
    """SHARD_DOCUMENT rows of a batch of documents; language is "" where no stage has told it."""
    columns = {name: batch.column(name) for name in batch.schema.names} | {
        "num_tokens": pa.array(num_tokens, pa.int64()),
        "cluster_id": pa.nulls(batch.num_rows, pa.string()),
    }
    if clusters is not None:
        at = pc.index_in(batch.column("doc_id"), clusters.column("doc_id").combine_chunks())
        columns["cluster_id"] = clusters.column("cluster_id").combine_chunks().take(at)
    columns.setdefault("language", pa.array([""] * batch.num_rows))
    return pa.table([columns[name] for name in SHARD_DOCUMENT.names], schema=SHARD_DOCUMENT)


def merge_documents(
    tokens_folder: str, shards: Sequence[TokenShard], tokenizer_path: str, *, salt_key: str, extra: Sequence[str] = ()
) -> TokensManifest:
    """Writes documents.parquet, tokenizer.model and manifest.json for the shards, in order of source and name.

    Deletes token files of other shards, which an earlier run may have left.

    Args:
        tokens_folder: where `encode_shard` wrote.
        shards: what it returned, in any order.
        tokenizer_path: the tokenizer that encoded them; a copy is kept with the tokens.
        salt_key: key of the salts (see hashes.salt_of): a secret, or the run key where texts need no hiding.
        extra: sources that come after all others, in this order; the others come by name.
    """
    model = storage.read_bytes(tokenizer_path)
    tokenizer = Tokenizer(model, tokenizer_path)
    ordered = sorted(shards, key=lambda s: (extra.index(s.source) if s.source in extra else -1, s.source, s.name))
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
            table = _token_documents(rows, ordinal, number, names, shard.source, salt_key)
            writer.write_table(table, row_group_size=16_384)
            ordinal += rows.num_rows
    write_columns(tokens_folder)
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
        "salt": pa.array([salt_of(salt_key, d) for d in rows.column("doc_id").to_pylist()], pa.binary(16)),
    }
    return pa.table([columns[f.name] for f in TOKEN_DOCUMENT], schema=TOKEN_DOCUMENT)
