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


class Sampled(NamedTuple):
    """A document of a sample; sorts by hash, then doc_id."""

    rank: int  # 64-bit hash of doc_id
    doc_id: str
    language: str
    text: str
    size: int  # UTF-8 bytes


class _Entry:
    """A document in a heap with the largest rank on top."""

    __slots__ = ("document",)

    def __init__(self, document: Sampled) -> None:
        self.document = document

    def __lt__(self, other: _Entry) -> bool:
        return other.document[:2] < self.document[:2]


class _Smallest:
    """The documents of smallest rank that together hold `budget` bytes, as few as that takes."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._total = 0
        self._heap: list[_Entry] = []
        self.seen_bytes = 0

    def wants(self, rank: int) -> bool:
        return self._total < self._budget or rank <= self._heap[0].document.rank

    def add(self, document: Sampled) -> None:
        heapq.heappush(self._heap, _Entry(document))
        self._total += document.size
        while self._total - self._heap[0].document.size >= self._budget:
            self._total -= heapq.heappop(self._heap).document.size

    def documents(self) -> list[Sampled]:
        return [entry.document for entry in self._heap]


@dataclass(frozen=True)
class Sample:
    """Documents in order of rank; for every language (or ALL): bytes wanted and bytes that were there."""

    documents: tuple[Sampled, ...]
    wanted_bytes: Mapping[str, int]
    seen_bytes: Mapping[str, int]

    @property
    def short(self) -> dict[str, tuple[int, int]]:
        """Languages that have less text than their share: (bytes there are, bytes wanted)."""
        return {
            language: (self.seen_bytes[language], wanted)
            for language, wanted in self.wanted_bytes.items()
            if self.seen_bytes[language] < wanted
        }


def rank(doc_id: str) -> int:
    """64-bit hash that orders documents for samples."""
    return hash64(b"corpusmill tokenizer sample\0" + doc_id.encode("utf-8"))


def take(document_files: Sequence[str], sample_bytes: int, shares: Mapping[str, Fraction] | None = None) -> Sample:
    """The documents of smallest rank, until `sample_bytes` of UTF-8 are reached; empty texts are passed over.

    Args:
        document_files: Parquet with `doc_id` and `text`, and `language` where shares are given.
        sample_bytes: bytes of the sample; the last document may exceed it.
        shares: language to its share of the bytes; other languages are not taken. None: all alike.

    Raises InputError when a file lacks a column.
    """
    budgets = {language: int(sample_bytes * share) for language, share in (shares or {ALL: Fraction(1)}).items()}
    groups = {language: _Smallest(budget) for language, budget in budgets.items()}
    for path in document_files:
        for batch in _batches(path, with_language=bool(shares)):
            texts = batch.column("text")
            sizes = pc.fill_null(pc.binary_length(texts), 0).to_pylist()
            languages = batch.column("language").to_pylist() if shares else [ALL] * batch.num_rows
            for row, doc_id in enumerate(batch.column("doc_id").to_pylist()):
                group, size = groups.get(languages[row]), sizes[row]
                if group is None or size == 0:
                    continue
                group.seen_bytes += size
                ranked = rank(doc_id)
                if group.wants(ranked):
                    group.add(Sampled(ranked, doc_id, languages[row], texts[row].as_py(), size))
    documents = sorted(document for group in groups.values() for document in group.documents())
    return Sample(tuple(documents), budgets, {language: group.seen_bytes for language, group in groups.items()})


def _batches(path: str, *, with_language: bool) -> Iterator[pa.RecordBatch]:
    """doc_id and text, and language if asked for, of a file, 1,024 documents at a time."""
    columns = ["doc_id", "text", *(["language"] if with_language else [])]
    with storage.open_read(path) as source:
        file = pq.ParquetFile(source)
        missing = [name for name in columns if name not in file.schema_arrow.names]
        if missing:
            raise InputError(
                "a file of documents lacks a column that the sample needs",
                where=path,
                value=", ".join(missing),
                remedy="give the documents of a run; for any language, --set tokenizer.sample_languages=null",
            )
        yield from file.iter_batches(1024, columns=columns)
