"""The documents of an order and their tokens, for reading by ordinal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from corpusmill.core import storage
from corpusmill.core.errors import InputError, VerificationFailed
from corpusmill.core.hashing import Int64Array
from corpusmill.tokenize.shards import DTYPES, TokenShard, shard_path

Int32Array = npt.NDArray[np.int32]


class DocumentIndex:
    """Columns of tokens/documents.parquet as arrays, by ordinal. Holds 40 bytes a document.

    shard: int32 (D,), index into `shard_names`.
    token_offset, num_tokens: int64 (D,).
    source: int32 (D,), index into `sources`, which are in order of first appearance.
    """

    columns: ClassVar[list[str]] = ["source", "shard", "token_offset", "num_tokens", "salt"]

    def __init__(self, table: pa.Table, shard_names: Sequence[str], path: str) -> None:
        self.shard_names = list(shard_names)
        self.shard = _codes(table.column("shard"), self.shard_names, path)
        self.sources: list[str] = table.column("source").unique().to_pylist()
        self.source = _codes(table.column("source"), self.sources, path)
        self.token_offset: Int64Array = table.column("token_offset").to_numpy()
        self.num_tokens: Int64Array = table.column("num_tokens").to_numpy()
        self._salts = b"".join(table.column("salt").to_pylist())

    @classmethod
    def load(cls, path: str, shard_names: Sequence[str]) -> DocumentIndex:
        """The index of documents.parquet at `path`; every shard of it must be one of `shard_names`."""
        return cls(storage.read_parquet(path, cls.columns), shard_names, path)

    def __len__(self) -> int:
        return len(self.num_tokens)

    def salt(self, doc_ordinal: int) -> bytes:
        """The 16 bytes of salt of a document."""
        return self._salts[16 * doc_ordinal : 16 * doc_ordinal + 16]


def _codes(column: pa.ChunkedArray, names: Sequence[str], path: str) -> Int32Array:
    """The dictionary column as indices into `names`."""
    place = {name: i for i, name in enumerate(names)}
    parts = [np.empty(0, np.int32)]
    for chunk in column.chunks:
        words = chunk.dictionary.to_pylist()
        codes = chunk.indices.to_numpy()
        unknown = [words[c] for c in np.unique(codes) if words[c] not in place]
        if unknown:
            raise VerificationFailed(
                "documents.parquet names a shard that the manifest does not list",
                where=path,
                value=unknown[0],
                remedy="restore documents.parquet and manifest.json of the same run, or run the tokenize step again",
            )
        parts.append(np.array([place.get(w, -1) for w in words], np.int32)[codes])
    return np.concatenate(parts)


class TokenStore:
    """Memory-mapped token shards. Opening checks their sizes; nothing is read before it is asked for."""

    def __init__(self, tokens_folder: str, shards: Sequence[TokenShard], dtype: str) -> None:
        if not storage.is_local(tokens_folder):
            raise InputError(
                "token shards are memory-mapped and must be on a local disk",
                where=tokens_folder,
                remedy="copy the run's tokens/ and order/ folders to a local path",
            )
        self.folder = tokens_folder
        self.dtype = DTYPES[dtype]
        self._maps: list[npt.NDArray[np.integer]] = []
        for shard in shards:
            path = shard_path(tokens_folder, shard.name)
            check_size(path, shard.bytes)
            file = storage.local_path(path)
            # an empty file cannot be mapped
            self._maps.append(np.memmap(file, self.dtype, "r") if shard.bytes else np.empty(0, self.dtype))

    def gather(
        self,
        index: DocumentIndex,
        doc_ordinal: Int64Array,
        doc_token_start: Int64Array,
        num_tokens: Int64Array,
        fill: int,
    ) -> Int32Array:
        """The tokens of k segments one after another, int32 (sum of num_tokens,); `fill` where doc_ordinal is -1."""
        ends = np.cumsum(num_tokens)
        out = np.full(int(ends[-1]) if len(ends) else 0, fill, dtype=np.int32)
        real = np.flatnonzero(doc_ordinal >= 0)
        shard_of = index.shard[doc_ordinal[real]]
        for shard in np.unique(shard_of):
            chosen = real[shard_of == shard]
            begins = index.token_offset[doc_ordinal[chosen]] + doc_token_start[chosen]
            if np.any(begins < 0) or np.any(begins + num_tokens[chosen] > len(self._maps[shard])):
                raise VerificationFailed(
                    "documents reach beyond the end of their token shard",
                    where=shard_path(self.folder, index.shard_names[shard]),
                    remedy="restore tokens/ from a copy, or run the tokens and order steps again",
                )
            _copy(self._maps[shard], begins, num_tokens[chosen], ends[chosen] - num_tokens[chosen], out)
        return out


def check_size(path: str, expected_bytes: int) -> None:
    """Raises VerificationFailed when the file is not there or has another size."""
    seen = storage.size_bytes(path) if storage.exists(path) else None
    if seen != expected_bytes:
        raise VerificationFailed(
            f"a file of {expected_bytes} bytes is missing or has another size",
            where=path,
            value="missing" if seen is None else seen,
            remedy="restore the file, or run the step that wrote it again",
        )


@numba.njit(cache=True, nogil=True)
def _copy(
    tokens: npt.NDArray[np.integer], begins: Int64Array, counts: Int64Array, targets: Int64Array, out: Int32Array
) -> None:
    for i in range(len(begins)):
        for j in range(counts[i]):
            out[targets[i] + j] = tokens[begins[i] + j]
