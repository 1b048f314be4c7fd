"""A sample of documents to learn from: chosen by the hash of doc_id, so that it is the same however files are cut.

The documents with the smallest hashes are taken until there is enough text, of all languages together or of each
language its share. One pass over the files; memory is the sample and one row group.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpusmill.core import storage
from corpusmill.core.errors import InputError
from corpusmill.core.hashing import hash64

ALL = ""  # the group of every document where no languages are asked for
_BATCH = 1024  # documents read at a time


class Document(NamedTuple):
    """A document as tokenizers see it."""

    doc_id: str
    language: str  # "" where its file does not say
    text: str


@dataclass(frozen=True)
class Sample:
    """Documents in order of rank. UTF-8 bytes: of the sample, and of all text, by language (or ALL)."""

    documents: tuple[Document, ...]
    bytes: Mapping[str, int]
    seen_bytes: Mapping[str, int]
    scarce: str | None  # the language of which there is so little that others were cut to hold the shares


def rank(doc_id: str) -> int:
    """64-bit hash that orders documents for samples."""
    return hash64(b"corpusmill tokenizer sample\0" + doc_id.encode("utf-8"))


def take(document_files: Sequence[str], sample_bytes: int, shares: Mapping[str, Fraction] | None = None) -> Sample:
    """The documents of smallest rank, until `sample_bytes` of UTF-8 are reached; empty texts are passed over.

    Shares hold: where a language has too little text, less is taken of the others.

    Args:
        document_files: Parquet with `doc_id` and `text`, and `language` where shares are given.
        sample_bytes: bytes of the sample; the last document may exceed it.
        shares: language to its share of the bytes; other languages are not taken. None: all alike.

    Raises InputError when a file lacks a column.
    """
    budgets = {language: int(sample_bytes * share) for language, share in (shares or {ALL: Fraction(1)}).items()}
    groups = {language: _Smallest(budget) for language, budget in budgets.items()}
    for batch in _batches(document_files, needs_language=shares is not None):
        for row, (doc_id, language, size) in enumerate(zip(batch.doc_ids, batch.languages, batch.sizes, strict=True)):
            group = groups.get(language if shares else ALL)
            if group is None or size == 0:
                continue
            group.seen_bytes += size
            key = (rank(doc_id), doc_id)
            if group.wants(key):
                group.add(key, size, Document(doc_id, language, batch.text(row)))
    scarce = _hold_shares(groups, sample_bytes, shares) if shares else None
    entries = sorted((entry for group in groups.values() for entry in group.entries), reverse=True)
    return Sample(
        tuple(entry.document for entry in entries),
        {language: sum(entry.size for entry in group.entries) for language, group in groups.items()},
        {language: group.seen_bytes for language, group in groups.items()},
        scarce,
    )


def _hold_shares(groups: Mapping[str, _Smallest], sample_bytes: int, shares: Mapping[str, Fraction]) -> str | None:
    """Cuts the groups down to the language that has least of its share, and names it if any other lost text by that."""
    there = {language: group.seen_bytes / shares[language] for language, group in groups.items()}
    least = min(there, key=lambda language: (there[language], language))
    if there[least] >= sample_bytes:
        return None
    cut = False
    for language, group in groups.items():
        cut |= group.shrink(int(there[least] * shares[language]))
    return least if cut else None


def documents(document_files: Sequence[str], sample_bytes: int) -> Iterator[list[Document]]:
    """Documents with text, in batches: those of `take`, or all in order of files where `sample_bytes` is 0."""
    if sample_bytes:
        chosen = take(document_files, sample_bytes).documents
        yield from (list(chosen[at : at + _BATCH]) for at in range(0, len(chosen), _BATCH))
        return
    for batch in _batches(document_files, needs_language=False):
        yield [
            Document(doc_id, language, batch.text(row))
            for row, (doc_id, language, size) in enumerate(
                zip(batch.doc_ids, batch.languages, batch.sizes, strict=True)
            )
            if size
        ]


class _Entry(NamedTuple):
    """A chosen document; the one of largest rank is least, as a heap wants it."""

    key: tuple[int, str]  # rank, doc_id
    size: int  # UTF-8 bytes
    document: Document

    def __lt__(self, other: tuple[object, ...]) -> bool:
        assert isinstance(other, _Entry)
        return other.key < self.key


class _Smallest:
    """The documents of smallest rank that together hold `budget` bytes, as few as that takes."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._total = 0
        self.entries: list[_Entry] = []  # a heap
        self.seen_bytes = 0

    def wants(self, key: tuple[int, str]) -> bool:
        return self._total < self._budget or key < self.entries[0].key

    def add(self, key: tuple[int, str], size: int, document: Document) -> None:
        heapq.heappush(self.entries, _Entry(key, size, document))
        self._total += size
        self.shrink(self._budget)

    def shrink(self, budget: int) -> bool:
        """Holds no more than `budget` asks for from now on; whether a document went by that."""
        self._budget = budget
        count = len(self.entries)
        while self.entries and self._total - self.entries[0].size >= budget:
            self._total -= heapq.heappop(self.entries).size
        return len(self.entries) < count


class _Batch:
    """Rows of a file: ids, languages, sizes of texts in UTF-8 bytes; texts one by one."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.doc_ids: list[str] = batch.column("doc_id").to_pylist()
        spoken = batch.column("language").to_pylist() if "language" in batch.schema.names else [ALL] * batch.num_rows
        self.languages: list[str] = [language or ALL for language in spoken]
        self._texts = batch.column("text")
        self.sizes: list[int] = pc.fill_null(pc.binary_length(self._texts), 0).to_pylist()

    def text(self, row: int) -> str:
        text: str = self._texts[row].as_py()
        return text


def _batches(document_files: Sequence[str], *, needs_language: bool) -> Iterator[_Batch]:
    needed = ["doc_id", "text", *(["language"] if needs_language else [])]
    for path in document_files:
        with storage.open_read(path) as source:
            file = pq.ParquetFile(source)
            names = file.schema_arrow.names
            if missing := [name for name in needed if name not in names]:
                raise InputError(
                    "a file of documents lacks a column",
                    where=path,
                    value=", ".join(missing),
                    remedy="give the documents of a run; for text of any language, leave sample_languages out",
                )
            wanted = [name for name in ("doc_id", "language", "text") if name in names]
            for batch in file.iter_batches(_BATCH, columns=wanted):
                yield _Batch(batch)
