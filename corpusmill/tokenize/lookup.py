"""Look-ups among the documents of RUN/tokens: by URL, doc_id, domain or content hash, and names of ordinals.

RUN/tokens/index/
    url.pairs, doc_id.pairs, domain.pairs, content_hash.pairs    `hash_pairs` of core.hashing.hash64, 16 B a document
    names.arrow    Arrow IPC file, uncompressed: doc_id, url, domain, content_hash; batches of NAMES_ROWS documents
    index.json     LookupManifest, written last: an index without it does not exist

All is memory-mapped; opening reads nothing but index.json and the list of batches. A hit of a hash counts only if the
value itself, in names.arrow, is the one that was asked for.

The index holds for one documents.parquet, whose SHA-256 it names. `build` makes it again when that is another;
`Lookup.open` refuses to answer from an old one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from corpusmill.core import storage
from corpusmill.core.errors import InputError, VerificationFailed
from corpusmill.core.hashing import Int64Array, UInt64Array, hash64
from corpusmill.tokenize.hash_pairs import PairIndex, PairWriter
from corpusmill.tokenize.redaction import RedactedFiles
from corpusmill.tokenize.shards import TOKEN_DOCUMENT, TokensManifest, load_model
from corpusmill.tokenize.store import check_size, mapped

Kind = Literal["doc_id", "url", "domain", "content_hash"]
KINDS: Final[tuple[Kind, ...]] = ("doc_id", "url", "domain", "content_hash")
NAMES_ROWS: Final = 1024
_CHUNK_ROWS = 64 * NAMES_ROWS  # read and hashed at once
_REMEDY = "build it: corpusmill.tokenize.lookup.build(tokens_folder)"

_NAMES = pa.schema([TOKEN_DOCUMENT.field(kind) for kind in KINDS])


class LookupManifest(BaseModel):
    """index/index.json: which documents the index is of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: Literal["corpusmill lookup v1"] = "corpusmill lookup v1"
    documents_sha256: str  # of documents.parquet
    documents: int
    names_rows: int  # documents of a batch of names.arrow; the last one may have fewer
    names_bytes: int


def build(tokens_folder: str) -> LookupManifest:
    """Makes the index of RUN/tokens/documents.parquet, unless there is one of this very file.

    Streams: memory does not grow with the documents. On disk it needs, besides the index, 64 bytes a document
    while it works. The same documents give the same bytes. One build of a folder at a time; one that was killed leaves
    no index, and the next one removes what it left.

    Raises:
        InputError: the folder is not local, or has no tokens.
        VerificationFailed: documents.parquet is not the one of manifest.json.
    """
    tokens = _manifest(tokens_folder)
    documents_sha256, documents_bytes = _expected(tokens_folder, tokens)
    old = _current(tokens_folder, documents_sha256)
    if old is not None:
        return old
    documents_path = storage.join(tokens_folder, "documents.parquet")
    check_size(documents_path, documents_bytes)
    seen = storage.sha256_file(documents_path)
    if seen != documents_sha256:
        raise VerificationFailed(
            "documents.parquet is not the one of manifest.json",
            where=documents_path,
            value=seen,
            remedy="restore tokens/ from a copy, or run the tokenize step again",
        )
    folder = _folder(tokens_folder)
    storage.remove(storage.join(folder, "index.json"))
    storage.remove_folder(folder)
    scratch = storage.local_path(folder) / "scratch"
    names_path = storage.join(folder, "names.arrow")
    with ExitStack() as stack:
        writers = {kind: stack.enter_context(PairWriter(scratch / kind, tokens.documents)) for kind in KINDS}
        ordinal = 0
        with storage.open_write(names_path) as file, pa.ipc.new_file(file, _NAMES) as names:
            for chunk in _chunks(documents_path):
                for first in range(0, chunk.num_rows, NAMES_ROWS):
                    # A copy: of a slice the bytes written would depend on what it is a slice of.
                    rows = np.arange(first, min(first + NAMES_ROWS, chunk.num_rows))
                    names.write_table(chunk.take(pa.array(rows)).combine_chunks())
                for kind, writer in writers.items():
                    writer.add(_hashes(chunk.column(kind)), ordinal)
                ordinal += chunk.num_rows
        for kind, writer in writers.items():
            writer.write(_pairs_path(folder, kind))
    storage.remove_folder(str(scratch))
    manifest = LookupManifest(
        documents_sha256=documents_sha256,
        documents=tokens.documents,
        names_rows=NAMES_ROWS,
        names_bytes=storage.size_bytes(names_path),
    )
    storage.write_text(storage.join(folder, "index.json"), manifest.model_dump_json(indent=1) + "\n")
    return manifest


class Lookup:
    """The index of a run's documents, opened."""

    def __init__(self, folder: str, manifest: LookupManifest) -> None:
        self._manifest = manifest
        self._pairs = {kind: PairIndex(_pairs_path(folder, kind), manifest.documents) for kind in KINDS}
        path = storage.join(folder, "names.arrow")
        check_size(path, manifest.names_bytes)
        self._names = pa.ipc.open_file(pa.BufferReader(pa.py_buffer(mapped(path))))

    @classmethod
    def open(cls, tokens_folder: str) -> Lookup:
        """The index of RUN/tokens.

        Raises:
            InputError: the folder is not local, or there is no index.
            VerificationFailed: the index is of another documents.parquet, or not whole.
        """
        documents_sha256, _ = _expected(tokens_folder, _manifest(tokens_folder))
        manifest = _read(tokens_folder)
        if manifest is None:
            raise InputError("there is no index of the documents", where=_folder(tokens_folder), remedy=_REMEDY)
        if manifest.documents_sha256 != documents_sha256:
            raise VerificationFailed(
                "the index is of another documents.parquet",
                where=_folder(tokens_folder),
                value=manifest.documents_sha256,
                remedy=_REMEDY,
            )
        return cls(_folder(tokens_folder), manifest)

    def __len__(self) -> int:
        return self._manifest.documents

    def find(self, kind: Kind, value: str | bytes) -> Int64Array:
        """Ordinals of the documents whose `kind` is `value`, int64, ascending; none when there is no such document.

        A content hash is 16 bytes, the others are text. Values are compared as they are: normalise a URL first.
        """
        data = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
        candidates = self._pairs[kind].find(hash64(data))
        parts = [np.empty(0, np.int64)]
        for (values,), places in self._take(candidates, (kind,)):
            same = pc.equal(values.cast(pa.binary()), pa.scalar(data, pa.binary()))
            parts.append(candidates[places][same.to_numpy(zero_copy_only=False)])
        return np.concatenate(parts)

    def names(self, ordinals: Int64Array | Sequence[int]) -> list[tuple[str, str]]:
        """(doc_id, url) of each ordinal, in the order asked for. Raises InputError for one that is no document's."""
        asked = np.asarray(ordinals, np.int64)
        outside = asked[(asked < 0) | (asked >= len(self))]
        if len(outside):
            raise InputError(
                "there is no document with this ordinal",
                value=int(outside[0]),
                remedy=f"name ordinals of 0..{len(self) - 1}",
            )
        found: list[tuple[str, str]] = [("", "")] * len(asked)
        for columns, places in self._take(asked, ("doc_id", "url")):
            pairs = zip(*(values.to_pylist() for values in columns), strict=True)
            for place, pair in zip(places.tolist(), pairs, strict=True):
                found[place] = pair
        return found

    def _take(self, ordinals: Int64Array, columns: tuple[Kind, ...]) -> Iterator[tuple[list[pa.Array], Int64Array]]:
        """Columns of the rows of ordinals, batch by batch, and where each row stands in `ordinals`."""
        batch, row = np.divmod(ordinals, self._manifest.names_rows)
        order = np.argsort(batch, kind="stable")
        numbers, firsts = np.unique(batch[order], return_index=True)
        for number, first, stop in zip(numbers, firsts, [*firsts[1:], len(order)], strict=False):
            places = order[first:stop]
            rows = pa.array(row[places])
            table = self._names.get_batch(int(number))  # maps the batch, reads nothing
            yield [table.column(_NAMES.get_field_index(name)).take(rows) for name in columns], places


def _chunks(documents_path: str) -> Iterator[pa.Table]:
    """The columns of names.arrow, _CHUNK_ROWS rows at a time (the last one fewer), each column in one piece."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    with storage.open_read(documents_path) as file:
        for batch in pq.ParquetFile(file).iter_batches(_CHUNK_ROWS, columns=list(KINDS)):
            waiting.append(batch.select(list(KINDS)))
            rows += batch.num_rows
            while rows >= _CHUNK_ROWS:
                table = pa.Table.from_batches(waiting, _NAMES)
                yield table.slice(0, _CHUNK_ROWS).combine_chunks()
                rest = table.slice(_CHUNK_ROWS)
                waiting, rows = rest.to_batches(), rest.num_rows
    if rows:
        yield pa.Table.from_batches(waiting, _NAMES).combine_chunks()


def _hashes(column: pa.ChunkedArray) -> UInt64Array:
    """hash64 of each value's bytes; each different value is hashed once."""
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0)
    values = encoded.dictionary.cast(pa.binary()).to_pylist()
    hashes: UInt64Array = np.fromiter(map(hash64, values), np.uint64, len(values))
    of_rows: UInt64Array = hashes[encoded.indices.to_numpy()]
    return of_rows


def _manifest(tokens_folder: str) -> TokensManifest:
    if not storage.is_local(tokens_folder):
        raise InputError(
            "the index is memory-mapped and must be on a local disk",
            where=tokens_folder,
            remedy="copy the run's tokens/ folder to a local path",
        )
    return TokensManifest.load(tokens_folder)


def _expected(tokens_folder: str, tokens: TokensManifest) -> tuple[str, int]:
    """(SHA-256, bytes) of documents.parquet as it is, redactions included."""
    redacted = RedactedFiles.load(tokens_folder)
    return redacted.expected("documents.parquet", tokens.documents_sha256, tokens.documents_bytes)


def _folder(tokens_folder: str) -> str:
    return storage.join(tokens_folder, "index")


def _pairs_path(folder: str, kind: Kind) -> str:
    return storage.join(folder, f"{kind}.pairs")


def _read(tokens_folder: str) -> LookupManifest | None:
    path = storage.join(_folder(tokens_folder), "index.json")
    return load_model(LookupManifest, path) if storage.exists(path) else None


def _current(tokens_folder: str, documents_sha256: str) -> LookupManifest | None:
    """The manifest of the index, if it is of these documents and can be opened."""
    try:
        found = _read(tokens_folder)
        if found is None or found.documents_sha256 != documents_sha256:
            return None
        Lookup(_folder(tokens_folder), found)
    except VerificationFailed:
        return None
    return found
