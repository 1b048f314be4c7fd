"""Exact substring dedup: passages of at least L units that occur more than once are cut (RefinedWeb s3.3, G.3.2).

RefinedWeb and Lee et al. 2022 build a suffix array of the corpus, mark every position whose L units occur again
("self-similar") and merge the ranges ("collect"). The same windows are found here without a suffix array:

1. Every shard sends the seeds of its windows, their minimizers (dedup/seeds.py), each once; a partition of seeds says
   which begin at two places of the corpus. Most seeds of a corpus do not, and their windows are unique.
2. Every shard reads its texts again and sends the windows with such a seed, by a 128-bit key; a partition of windows
   holds all windows of one key, and equal keys are equal windows. A frequent seed is no hot spot: its windows go to
   partitions by what they hold.

Windows never reach across documents; the same window twice in one document counts.

- Units: normalised words, L = 50, where the language writes spaces; normalised letters, L = 100, where it does not.
  [DEVIATION] RefinedWeb counts 50 GPT-2 tokens. Windows of words and of letters do not meet.
- `keep: none` cuts ALL copies (CUT of the paper). `keep: first` spares, window by window, the copy in the document
  whose doc_id has the smallest hash (BLAKE2b-64), at its first position: no file or date is preferred. What a spared
  copy shares with a window that is cut goes with that window.
- The span that is cut reaches from the first to the last unit of the repeated passage and takes along the whitespace
  on one side: of the two breaks, the one with more line breaks, then more characters, then the first stays and joins
  the pieces (none stays at the start or end of the text). Nothing is inserted: the spans restore the text exactly.
- A document of which fewer than `min_remaining` characters are left goes (rule `mostly_duplicate`).
- One pass: cutting can bring new repeats together (Lee et al. ran two).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from corpusmill.core.documents import utf8, with_texts, without_spans
from corpusmill.core.hashing import Int64Array, UInt64Array, content_hash, hash64
from corpusmill.core.normalise import Units, folds, hash_words_of_utf8, normalised_letters, normalised_words
from corpusmill.core.verdicts import StageResult, Verdicts
from corpusmill.core.words import writes_spaces
from corpusmill.dedup import groups
from corpusmill.dedup.base import PARTITION, CorpusStepConfig, VisitingStep
from corpusmill.dedup.seeds import minimizers
from corpusmill.dedup.windows import covered, window_keys

_WHERE = [
    pa.field("document", pa.uint64(), nullable=False),  # hash64 of the doc_id: a fifth of its size
    pa.field("position", pa.int32(), nullable=False),  # first unit of the window
]
_PARTITION = pa.field(PARTITION, pa.int32(), nullable=False)
_SEED = pa.schema(
    [
        pa.field("seed", pa.uint64(), nullable=False),
        pa.field("again", pa.bool_(), nullable=False),  # whether it begins at two places of the shard
        pa.field("shard", pa.int32(), nullable=False),
        _PARTITION,
    ]
)
_REPEATED_SEED = pa.schema([pa.field("seed", pa.uint64(), nullable=False), _PARTITION])
_WINDOW = pa.schema([*groups.KEY_FIELDS, *_WHERE, pa.field("shard", pa.int32(), nullable=False), _PARTITION])
_DECISION = pa.schema([*_WHERE, _PARTITION])


class SubstringConfig(CorpusStepConfig):
    """Config of `Substring`."""

    min_words: int = Field(50, ge=1, description="shortest repeat in languages that write spaces, normalised words")
    min_characters: int = Field(100, ge=1, description="shortest repeat in the other languages, normalised letters")
    keep: Literal["none", "first"] = Field("none", description="copies of a repeat that stay")
    min_remaining: int = Field(20, ge=0, description="characters that must be left of a document, else it is removed")


class Substring(VisitingStep[SubstringConfig]):
    """Cuts repeated passages; rules `repeated_passage` (spans) and `mostly_duplicate` (removals)."""

    name = "substring"
    version = 2
    Config = SubstringConfig
    columns = ("doc_id", "language", "text")
    rounds = 3
    visits = frozenset({1})
    edits_text = True

    def map(self, table: pa.Table, shard: int, shards: int) -> pa.Table:
        """One row a seed of the shard, partitioned by its hash."""
        found = [np.empty(0, dtype=np.uint64)]
        for _, hashes, length, salt in self._hashed(table):
            seeds, of_windows = minimizers(hashes, length, salt)
            found.append(seeds[_distinct(of_windows)])
        seeds, times = np.unique(np.concatenate(found), return_counts=True)
        return pa.table(
            [
                pa.array(seeds),
                pa.array(times > 1),
                pa.array(np.full(len(seeds), shard, dtype=np.int32)),
                pa.array(groups.partition_of(seeds, self.partitions(0, shards))),
            ],
            schema=_SEED,
        )

    def reduce(self, round_number: int, rows: pa.Table, shards: int) -> pa.Table:
        """Round 0: the seeds that begin at two places, for every shard that has them. Round 2: the windows to cut."""
        return _repeated_seeds(rows) if round_number == 0 else self._windows_to_cut(rows)

    def visit(self, round_number: int, rows: pa.Table, table: pa.Table, shard: int, shards: int) -> pa.Table:
        """Round 1: one row a window with a repeated seed, partitioned by its key."""
        repeated = np.sort(rows.column("seed").to_numpy())
        ids = table.column("doc_id").to_pylist()
        empty = np.empty(0, dtype=np.uint64)
        highs, lows, documents, positions = [empty], [empty], [empty], [np.empty(0, dtype=np.int32)]
        for row, hashes, length, salt in self._hashed(table):
            seeds, of_windows = minimizers(hashes, length, salt)
            at = np.flatnonzero(_among(seeds, repeated)[of_windows])
            if len(at) == 0:
                continue
            high, low = window_keys(hashes, length, salt)
            highs.append(high[at])
            lows.append(low[at])
            documents.append(np.full(len(at), _key(ids[row]), dtype=np.uint64))
            positions.append(at.astype(np.int32))
        high = np.concatenate(highs)
        return pa.table(
            [
                pa.array(high),
                pa.array(np.concatenate(lows)),
                pa.array(np.concatenate(documents)),
                pa.array(np.concatenate(positions)),
                pa.array(np.full(len(high), shard, dtype=np.int32)),
                pa.array(groups.partition_of(high, self.partitions(2, shards))),
            ],
            schema=_WINDOW,
        )

    def _hashed(self, table: pa.Table) -> Iterator[tuple[int, UInt64Array, int, int]]:
        """(row, hashes of its units, units a window, salt) of every document that has a window."""
        texts = table.column("text").combine_chunks()
        data, offsets = utf8(texts)
        scratch = np.empty(int(np.diff(offsets).max(initial=0)) // 2 + 1, dtype=np.uint64)
        for row, language in enumerate(table.column("language").to_pylist()):
            spaced = writes_spaces(language)
            if spaced:
                length = self.config.min_words
                hashes = scratch[: hash_words_of_utf8(data, offsets[row], offsets[row + 1], folds(), scratch)]
            else:
                length = self.config.min_characters
                hashes = normalised_letters(texts[row].as_py()).hashes
            if len(hashes) >= length:
                yield row, hashes, length, int(spaced)

    def _windows_to_cut(self, rows: pa.Table) -> pa.Table:
        """All windows that occur at least twice, but the spared copy of each if one is kept."""
        found = groups.repeated(*groups.key_columns(rows))
        windows, number = rows.take(found.rows), found.numbers
        if self.config.keep == "first":
            order = np.lexsort((windows.column("position"), windows.column("document"), number))
            _, spared = np.unique(number, return_index=True)
            windows = windows.take(np.delete(order, spared))
        return pa.table([windows.column(name) for name in ("document", "position", "shard")], schema=_DECISION)

    def apply(self, table: pa.Table, decisions: pa.Table) -> StageResult:
        """Cuts the union of the windows out of every document."""
        verdicts = Verdicts(self.name, table)
        if decisions.num_rows == 0:
            return verdicts.result()
        marked = _by_document(decisions)
        texts: list[str] = table.column("text").to_pylist()
        hashes: list[bytes] = table.column("content_hash").to_pylist()
        languages = table.column("language").to_pylist()
        for row, doc_id in enumerate(table.column("doc_id").to_pylist()):
            if _key(doc_id) not in marked:
                continue
            text = texts[row]
            units, length = self._units(text, languages[row])
            spans = repeated_spans(text, units, marked[_key(doc_id)], length)
            remaining = len(text) - sum(end - start for start, end in spans)
            if remaining < self.config.min_remaining:
                verdicts.remove(
                    row, "mostly_duplicate", value=remaining, threshold=self.config.min_remaining, text=text
                )
                continue
            for start, end in spans:
                verdicts.cut(row, "repeated_passage", start, end, text[start:end])
            texts[row] = without_spans(text, spans)
            hashes[row] = content_hash(texts[row])
        return verdicts.result(with_texts(table, texts, hashes).take(pa.array(verdicts.surviving, pa.int64())))

    def _units(self, text: str, language: str) -> tuple[Units, int]:
        """The units of a text and the shortest repeat in them."""
        if writes_spaces(language):
            return normalised_words(text, language), self.config.min_words
        return normalised_letters(text), self.config.min_characters


def _repeated_seeds(rows: pa.Table) -> pa.Table:
    """The seeds that begin at two places, one row for each shard that has them, partitioned by it."""
    seeds = rows.column("seed").to_numpy()
    order = np.argsort(seeds, kind="stable")
    _, starts, sizes = np.unique(seeds[order], return_index=True, return_counts=True)
    again = rows.column("again").to_numpy()[order]
    repeated = (sizes > 1) | again[starts]  # one row a shard: two rows are two places
    chosen = order[np.repeat(repeated, sizes)]
    return pa.table([rows.column("seed").take(chosen), rows.column("shard").take(chosen)], schema=_REPEATED_SEED)


def _distinct(ascending: Int64Array) -> Int64Array:
    """The values of an ascending array, each once."""
    first: Int64Array = ascending[np.append(True, np.diff(ascending) > 0)]
    return first


def _among(values: UInt64Array, ascending: UInt64Array) -> npt.NDArray[np.bool_]:
    """Which of `values` are in the sorted array `ascending`."""
    if len(ascending) == 0:
        return np.zeros(len(values), dtype=bool)
    at = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    found: npt.NDArray[np.bool_] = ascending[at] == values
    return found


def repeated_spans(text: str, units: Units, positions: Int64Array, length: int) -> list[tuple[int, int]]:
    """Code-point spans to cut for windows of `length` units at `positions` (ascending): ascending, disjoint."""
    first, end = covered(positions, length)
    return [
        _with_whitespace(text, int(units.starts[a]), int(units.ends[b - 1])) for a, b in zip(first, end, strict=True)
    ]


def _with_whitespace(text: str, start: int, end: int) -> tuple[int, int]:
    """The span with the weaker of the breaks around it; with both at the start or end of the text."""
    left, right = start, end
    while left > 0 and text[left - 1].isspace():
        left -= 1
    while right < len(text) and text[right].isspace():
        right += 1
    if left == 0 or right == len(text):
        return left, right
    before = (text.count("\n", left, start), start - left)
    after = (text.count("\n", end, right), right - end)
    return (left, end) if after > before else (start, right)


def _by_document(decisions: pa.Table) -> dict[int, Int64Array]:
    """Marked positions of every document, ascending."""
    documents = decisions.column("document").to_numpy()
    positions = decisions.column("position").to_numpy().astype(np.int64)
    order = np.lexsort((positions, documents))
    keys, starts = np.unique(documents[order], return_index=True)
    return dict(zip(keys.tolist(), np.split(positions[order], starts[1:]), strict=True))


def _key(doc_id: str) -> int:
    return hash64(doc_id.encode())
