"""Redaction of the tokens folder: commitments are kept, then tokens, salts, URLs of the documents go.

In this sequence, each step atomic and each the same when done again:

1. order/redacted.parquet, of the order and of every earlier revision: commitments of the documents' segments
2. tokens/redacted.json names the documents; from here on their commitments are not made from tokens again
3. <shard>.bin: the documents' tokens become the pad id
4. documents.parquet: URL and domain are emptied, the salt becomes zeros; documents.offsets, documents.salts follow
5. tokens/redacted.json names size and SHA-256 of the files that changed
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpusmill.core import storage
from corpusmill.core.erasing import erased
from corpusmill.core.errors import VerificationFailed
from corpusmill.core.hashing import Int64Array
from corpusmill.tokenize.columns import write_columns
from corpusmill.tokenize.derivation import Derivation
from corpusmill.tokenize.redaction import (
    COMMITMENTS,
    RedactedFile,
    RedactedFiles,
    commitments_of,
    save_commitments,
)
from corpusmill.tokenize.revisions import ancestors
from corpusmill.tokenize.rule import Rule
from corpusmill.tokenize.shards import DTYPES, TOKEN_DOCUMENT, TokensManifest, load_model, shard_path
from corpusmill.tokenize.store import DocumentIndex, TokenStore
from corpusmill.tokenize.takedown import load_takedown

_CHUNK_TOKENS = 1 << 22
_DOCUMENTS = "documents.parquet"


def redact_tokens(tokens_folder: str, order_folder: str | None, doc_ordinals: Collection[int]) -> RedactedFiles:
    """Takes the documents' tokens, salts and addresses out of the tokens folder for good.

    order_folder: of the order that reads these tokens; None where none does.

    Files that do not have the SHA-256 that the manifest states are refused before anything is changed: what is
    destroyed could not be verified any more. May be called again after it was killed, with the same or other documents.

    Raises VerificationFailed when a file is not as the manifest states.
    """
    manifest = TokensManifest.load(tokens_folder)
    before = RedactedFiles.load(tokens_folder)
    new = sorted(set(doc_ordinals) - set(before.documents))
    index = DocumentIndex.load(tokens_folder, manifest.shards)
    if new:
        _check_files(tokens_folder, manifest, before, index, new)
        if order_folder is not None:
            keep_commitments(tokens_folder, order_folder, index, new)
        before = RedactedFiles(documents=tuple(sorted({*before.documents, *new})), files=before.files)
        before.save(tokens_folder)
    documents = np.array(before.documents, np.int64)
    files = dict(before.files)
    for number, shard in enumerate(manifest.shards):
        ranges = _ranges(manifest, index, number, documents)
        if len(ranges):
            path = shard_path(tokens_folder, shard.name)
            sha256 = _overwrite(path, ranges, DTYPES[manifest.dtype], manifest.pad_id)
            files[f"{shard.name}.bin"] = RedactedFile(sha256=sha256, bytes=shard.bytes, original_sha256=shard.sha256)
    if len(documents):
        path = storage.join(tokens_folder, _DOCUMENTS)
        _erase_documents(path, documents)
        write_columns(tokens_folder)
        files[_DOCUMENTS] = RedactedFile(
            sha256=storage.sha256_file(path),
            bytes=storage.size_bytes(path),
            original_sha256=manifest.documents_sha256,
        )
    done = RedactedFiles(documents=before.documents, files=dict(sorted(files.items())))
    done.save(tokens_folder)
    return done


def keep_commitments(
    tokens_folder: str, order_folder: str, index: DocumentIndex, doc_ordinals: Collection[int]
) -> None:
    """Writes redacted.parquet of the order and of its earlier revisions, from the documents' tokens and salts."""
    for folder in (order_folder, *ancestors(order_folder)):
        if not storage.exists(storage.join(folder, "order.json")):
            continue
        rule = load_model(Rule, storage.join(folder, "rule.json"))
        store = TokenStore(tokens_folder, rule.shards, rule.tokenizer.dtype)
        derivation = Derivation(rule, index, load_takedown(folder, rule))
        rows = commitments_of(derivation, index, store, doc_ordinals)
        _forget(storage.join(folder, COMMITMENTS), doc_ordinals)
        save_commitments(folder, rows)


def _forget(path: str, doc_ordinals: Collection[int]) -> None:
    """Drops rows that a killed redaction of the same documents wrote."""
    if storage.exists(path):
        rows = storage.read_parquet(path)
        again = pc.is_in(rows.column("doc_ordinal"), value_set=pa.array(sorted(doc_ordinals), pa.int64()))
        if pc.any(again).as_py():
            storage.write_parquet(path, rows.filter(pc.invert(again)))


def _check_files(
    tokens_folder: str, manifest: TokensManifest, redacted: RedactedFiles, index: DocumentIndex, new: Iterable[int]
) -> None:
    documents = np.array(sorted(new), np.int64)
    stated = [(_DOCUMENTS, manifest.documents_sha256, manifest.documents_bytes)]
    stated += [
        (f"{shard.name}.bin", shard.sha256, shard.bytes)
        for number, shard in enumerate(manifest.shards)
        if len(_ranges(manifest, index, number, documents))
    ]
    for name, sha256, size in stated:
        path = storage.join(tokens_folder, name)
        seen = storage.sha256_file(path)
        if seen != redacted.expected(name, sha256, size)[0]:
            raise VerificationFailed(
                "a file that would be redacted does not have the SHA-256 that the manifest states",
                where=path,
                value=seen,
                remedy="restore tokens/ from a copy: `corpusmill verify RUN --full` says what else differs",
            )


def _ranges(manifest: TokensManifest, index: DocumentIndex, number: int, documents: Int64Array) -> Int64Array:
    """[start, stop) of those documents that shard `number` holds, in tokens from its beginning: int64 (k, 2)."""
    first = sum(s.documents for s in manifest.shards[:number])
    inside = documents[(documents >= first) & (documents < first + manifest.shards[number].documents)]
    ranges: Int64Array = np.stack([index.offsets[inside], index.offsets[inside + 1]], axis=1) - index.offsets[first]
    return ranges


def _overwrite(path: str, ranges: Int64Array, dtype: np.dtype[np.unsignedinteger], pad_id: int) -> str:
    """Writes the pad id over ranges of a token file, which is replaced as a whole; returns its SHA-256."""
    tokens = np.memmap(storage.local_path(path), dtype, "r")
    if all(bool((tokens[start:stop] == pad_id).all()) for start, stop in ranges):
        return storage.sha256_file(path)
    state = hashlib.sha256()
    with storage.open_write(path) as target:
        for first in range(0, len(tokens), _CHUNK_TOKENS):
            part = np.array(tokens[first : first + _CHUNK_TOKENS])
            for start, stop in ranges:
                part[max(0, start - first) : max(0, stop - first)] = pad_id
            data = part.tobytes()
            state.update(data)
            target.write(data)
    return state.hexdigest()


def _erase_documents(path: str, documents: Int64Array) -> None:
    """Empties URL, domain and salt of the documents in documents.parquet."""
    ordinals = pa.array(documents)
    with (
        storage.open_read(path) as source,
        storage.open_write(path) as target,
        pq.ParquetWriter(
            target, TOKEN_DOCUMENT, compression="zstd", compression_level=3, write_page_index=True
        ) as writer,
    ):
        file = pq.ParquetFile(source)
        for group in range(file.num_row_groups):
            table = file.read_row_group(group).cast(TOKEN_DOCUMENT)
            chosen = pc.is_in(table.column("doc_ordinal"), value_set=ordinals)
            table = erased(table, table.column("doc_id").filter(chosen).combine_chunks())
            writer.write_table(table, row_group_size=max(1, table.num_rows))
