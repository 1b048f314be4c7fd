"""Reading what is in RUN/tokens: where the tokens of a document are, and the tokens."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from corpusmill.core import storage
from corpusmill.core.errors import InputError, VerificationFailed
from corpusmill.core.hashing import Int64Array
from corpusmill.tokenize.columns import OFFSETS, SALTS, UInt8Array, read_columns
from corpusmill.tokenize.shards import DTYPES, TokenShard, shard_path

Int32Array = npt.NDArray[np.int32]


class SourceRange(NamedTuple):
    """The documents of one source: ordinals [first, stop)."""

    name: str
    first: int
    stop: int


class DocumentIndex:
    """Where the tokens of every document are, by ordinal, and its salt.

    offsets: int64 (D+1,), tokens before the document in all shards, one after another; the last is their number.
    sources: in the documents' order, each with a run of ordinals.

    documents.offsets and documents.salts are columns of documents.parquet, 24 bytes a document, mapped into memory: to
    open them costs the same for any number of documents. Where they are missing they are read from documents.parquet.
    """

    def __init__(self, offsets: Int64Array, salts: UInt8Array, sources: Sequence[SourceRange]) -> None:
        self.offsets = offsets
        self.sources = tuple(sources)
        self._salts = salts  # (D, 16)

    @classmethod
    def load(cls, tokens_folder: str, shards: Sequence[TokenShard]) -> DocumentIndex:
        """The index of RUN/tokens, whose shards these are.

        Raises VerificationFailed when it does not have as many documents and tokens as the shards.
        """
        documents = sum(s.documents for s in shards)
        paths = [storage.join(tokens_folder, name) for name in (OFFSETS, SALTS)]
        if all(storage.is_local(p) and storage.exists(p) for p in paths):
            check_size(paths[0], 8 * (documents + 1))
            check_size(paths[1], 16 * documents)
            offsets: Int64Array = np.memmap(storage.local_path(paths[0]), "<i8", "r")
            # An empty file cannot be mapped.
            salts: UInt8Array = np.empty(0, np.uint8)
            if documents:
                salts = np.memmap(storage.local_path(paths[1]), np.uint8, "r")
        else:
            offsets, salts = read_columns(storage.join(tokens_folder, "documents.parquet"))
        if len(offsets) != documents + 1 or int(offsets[-1]) != sum(s.tokens for s in shards):
            raise VerificationFailed(
                f"{documents} documents of {sum(s.tokens for s in shards)} tokens are expected",
                where=tokens_folder,
                value=f"{len(offsets) - 1} documents of {int(offsets[-1])} tokens",
                remedy="restore tokens/ from a copy, or run the tokens step again",
            )
        return cls(np.asarray(offsets), np.asarray(salts).reshape(-1, 16), source_ranges(shards))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def num_tokens(self, doc_ordinals: Int64Array) -> Int64Array:
        """Tokens of these documents, EOS included, int64."""
        return self.offsets[doc_ordinals + 1] - self.offsets[doc_ordinals]

    def salt(self, doc_ordinal: int) -> bytes:
        """The 16 bytes of salt of a document."""
        return bytes(self._salts[doc_ordinal])

    def salts(self, doc_ordinals: Int64Array) -> bytes:
        """16 bytes for each of the documents, one after another; zeros where an ordinal is -1."""
        if not len(self):
            return bytes(16 * len(doc_ordinals))
        found = self._salts[np.maximum(doc_ordinals, 0)]
        found[doc_ordinals < 0] = 0
        return found.tobytes()

    def source(self, name: str) -> SourceRange:
        """The documents of the source `name`; an empty range when there are none."""
        return next((s for s in self.sources if s.name == name), SourceRange(name, 0, 0))

    def lengths(self, source: SourceRange) -> Int64Array:
        """Tokens of every document of a source, int64 (stop - first,)."""
        return np.diff(self.offsets[source.first : source.stop + 1])


def source_ranges(shards: Sequence[TokenShard]) -> list[SourceRange]:
    """The sources of shards in the documents' order; shards of one source stand together."""
    ranges: list[SourceRange] = []
    ordinal = 0
    for shard in shards:
        first = ordinal
        if ranges and ranges[-1].name == shard.source:
            first = ranges.pop().first
        elif any(r.name == shard.source for r in ranges):
            raise VerificationFailed(
                f"the shards of source {shard.source!r} do not stand together",
                value=shard.name,
                remedy="restore rule.json and tokens/manifest.json of the same run",
            )
        ordinal += shard.documents
        ranges.append(SourceRange(shard.source, first, ordinal))
    return ranges


class TokenStore:
    """Memory-mapped token shards, one after another. A shard is opened, and its size checked, when it is first read."""

    def __init__(self, tokens_folder: str, shards: Sequence[TokenShard], dtype: str) -> None:
        if not storage.is_local(tokens_folder):
            raise InputError(
                "token shards are memory-mapped and must be on a local disk",
                where=tokens_folder,
                remedy="copy the run's tokens/ and order/ folders to a local path",
            )
        self.folder = tokens_folder
        self.dtype = DTYPES[dtype]
        self._shards = list(shards)
        self._starts = np.concatenate([[0], np.cumsum([s.tokens for s in shards], dtype=np.int64)]).astype(np.int64)
        self._maps: dict[int, npt.NDArray[np.integer]] = {}

    def shards_of(self, positions: Int64Array) -> Int64Array:
        """Numbers of the shards that hold the tokens at these positions (in all shards), int64."""
        return np.searchsorted(self._starts, positions, side="right") - 1

    def path(self, shard: int) -> str:
        """The file of shard number `shard`."""
        return shard_path(self.folder, self._shards[shard].name)

    def _tokens(self, shard: int) -> npt.NDArray[np.integer]:
        if shard not in self._maps:
            path = self.path(shard)
            check_size(path, self._shards[shard].bytes)
            self._maps[shard] = np.frombuffer(mapped(path), self.dtype)
        return self._maps[shard]

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
        out = np.empty(int(ends[-1]) if len(ends) else 0, dtype=np.int32)
        for i in np.flatnonzero(doc_ordinal < 0).tolist():
            out[ends[i] - num_tokens[i] : ends[i]] = fill
        real = np.flatnonzero((doc_ordinal >= 0) & (num_tokens > 0))
        begins = index.offsets[doc_ordinal[real]] + doc_token_start[real]
        shards = self.shards_of(begins)
        by_shard = np.argsort(shards, kind="stable")
        real, begins, shards = real[by_shard], begins[by_shard], shards[by_shard]
        counts, targets = num_tokens[real], (ends - num_tokens)[real]
        cuts = np.concatenate([[0], np.flatnonzero(np.diff(shards)) + 1, [len(shards)]]).tolist()
        for a, b in pairwise(cuts):
            if a == b:
                continue
            shard = int(shards[a])
            local = begins[a:b] - self._starts[shard]
            if not 0 <= shard < len(self._shards) or np.any(local + counts[a:b] > self._shards[shard].tokens):
                raise VerificationFailed(
                    "documents reach beyond the end of their token shard",
                    where=self.path(min(max(shard, 0), len(self._shards) - 1)),
                    remedy="restore tokens/ from a copy, or run the tokens and order steps again",
                )
            _copy(self._tokens(shard), local, counts[a:b], targets[a:b], out)
        return out


def mapped(path: str) -> mmap.mmap:
    """A local file that is not empty, in memory, for reads here and there: nothing is read ahead."""
    with open(storage.local_path(path), "rb") as file:
        found = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    found.madvise(mmap.MADV_RANDOM)
    return found


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
