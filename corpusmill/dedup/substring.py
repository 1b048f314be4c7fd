"""Exact substring dedup: passages of at least L units that occur more than once are cut (RefinedWeb s3.3, G.3.2).

RefinedWeb and Lee et al. 2022 build a suffix array of the corpus, mark every position whose L units occur again
("self-similar") and merge the ranges ("collect"). The same windows are found here without a suffix array, by seeds and
runs of windows (dedup/seeds.py):

0. Every shard sends its seeds, each once, with a hash of the content of its runs. A partition of seeds says which begin
   at two places of the corpus. Most do not: their windows are unique. Where all runs of a seed have one content, all
   their windows are repeated: they are cut, whatever their number, and nothing more is sent. That is the inside of long
   repeats, copies of documents and periodic texts.
1. Every shard reads its texts again and sends the windows of the other repeated seeds, each once, by a 128-bit key.
2. A partition of windows holds all windows of one key, and equal keys are equal windows. A frequent seed is no hot
   spot: its windows go to partitions by what they hold.
3. What is left of the texts begins again with step 0: cutting can bring new repeats together (Lee et al. ran it twice).
   `passes` says how often at most; a pass that finds no window is the last.

That all runs of a seed have one content is judged by 64-bit hashes: two different contents, of at most 2L units, have
equal ones with a chance of at most 2L / 2^61 (1e-16). A wrong verdict needs that for all runs of a seed, so that 1e9
seeds of two places each hold one with a chance of at most 1e-7.

Windows never reach across documents; the same window twice in one document counts.

- Units: normalised words, L = 50, where the language writes spaces; normalised letters, L = 100, where it does not;
  with a `tokenizer` its tokens in every language, L = 50. [DEVIATION] RefinedWeb counts 50 GPT-2 tokens. Windows of
  different kinds of units do not meet. Tokens are those of the text as it comes in, in all passes; a character that
  is spelled in several tokens goes when all of them do.
- `keep: none` cuts ALL copies (CUT of the paper). `keep: first` spares, window by window, the copy in the document
  whose doc_id has the smallest hash (BLAKE2b-64), at its first position: no file or date is preferred. What a spared
  copy shares with a window that is cut goes with that window.
- The span that is cut reaches from the first to the last unit of the repeated passage, less whitespace at its ends
  (tokens have some), and takes along the whitespace on one side: of the two breaks, the one with more line breaks, then
  more characters, then the first stays and joins the pieces (none stays at the start or end of the text). Nothing is
  inserted: the spans restore the text exactly.
- A window that stands in the history of an earlier snapshot (dedup/substring_history.py) is cut, in every copy: the
  earlier snapshot has the copy that `first` spares.
- A document of which fewer than `min_remaining` characters are left after the last pass goes (rule `mostly_duplicate`).
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from corpusmill.core import storage
from corpusmill.core.documents import Cut, with_texts, without_spans
from corpusmill.core.errors import InputError
from corpusmill.core.hashing import Int64Array, UInt64Array, hash64
from corpusmill.core.verdicts import StageResult, Verdicts
from corpusmill.core.words import codepoints
from corpusmill.dedup import groups
from corpusmill.dedup.base import PARTITION, CorpusStepConfig, VisitingStep
from corpusmill.dedup.cuts import cut_spans
from corpusmill.dedup.history import NO_PAST, HistoryTable, Outcome, Past
from corpusmill.dedup.seeds import COMPARE, CUT, Runs, find_runs, find_windows, seed_key, seed_table
from corpusmill.dedup.substring_history import SEEDS, WINDOWS, known_seeds, known_windows, seeds_of, windows_of
from corpusmill.dedup.units import CUT_UNITS, Batch, UnitsOf
from corpusmill.dedup.windows import covered

_PARTITION = pa.field(PARTITION, pa.int32(), nullable=False)
_SHARD = pa.field("shard", pa.int32(), nullable=False)
_DOCUMENT = pa.field("document", pa.uint64(), nullable=False)  # hash64 of the doc_id: a fifth of its size
_SEED_FIELDS = [pa.field("seed", pa.uint64(), nullable=False)]
# The first run of the seed, in the order of `keep: first`; 0 and 0 for `none`, which does not ask.
_FIRST_RUN = [_DOCUMENT, pa.field("start", pa.int32(), nullable=False)]
_SEED = pa.schema(
    [
        *_SEED_FIELDS,
        pa.field("content", pa.uint64(), nullable=False),  # of its runs in the shard, if it is one
        pa.field("several", pa.bool_(), nullable=False),  # whether they have several contents
        pa.field("places", pa.int32(), nullable=False),  # runs in the shard
        *_FIRST_RUN,
        _SHARD,
        _PARTITION,
    ]
)
_FATE = pa.schema([*_SEED_FIELDS, pa.field("fate", pa.uint8(), nullable=False), *_FIRST_RUN, _PARTITION])
# `windows` windows, one after another; units [start, start + units) of the text, numbered as in the stage's input.
_PASSAGE = [
    _DOCUMENT,
    pa.field("start", pa.int32(), nullable=False),
    pa.field("units", pa.int32(), nullable=False),
    pa.field("windows", pa.int32(), nullable=False),
]
_ONCE, _AGAIN, _DECIDED = 0, 1, 2
_WINDOW = pa.schema(
    [
        *groups.KEY_FIELDS,  # 0 and 0 where it is decided already
        *_PASSAGE,
        pa.field("state", pa.uint8(), nullable=False),  # is it once in the shard, again, or to be cut anyway?
        _SHARD,
        _PARTITION,
    ]
)
_DECISION = pa.schema([*_PASSAGE, _PARTITION])

Int32Table = npt.NDArray[np.int32]
Passages = npt.NDArray[np.void]  # of _PASSAGE_TYPE
_PASSAGE_TYPE = np.dtype(
    [("document", np.uint64), ("start", np.int32), ("units", np.int32), ("windows", np.int32), ("state", np.uint8)]
)


class SubstringConfig(CorpusStepConfig):
    """Config of `Substring`."""

    min_words: int = Field(50, ge=1, description="shortest repeat in languages that write spaces, normalised words")
    min_characters: int = Field(100, ge=1, description="shortest repeat in the other languages, normalised letters")
    tokenizer: str | None = Field(
        None, description="path of a SentencePiece model: then its tokens are the units in every language"
    )
    min_tokens: int = Field(50, ge=1, description="shortest repeat in tokens, where `tokenizer` is set")
    keep: Literal["none", "first"] = Field("none", description="copies of a repeat that stay")
    passes: int = Field(2, ge=1, le=100, description="most passes; one that finds no repeat is the last")
    min_remaining: int = Field(20, ge=0, description="characters that must be left of a document, else it is removed")


class Substring(VisitingStep[SubstringConfig]):
    """Cuts repeated passages; rules `repeated_passage` (spans) and `mostly_duplicate` (removals)."""

    name = "substring"
    version = 3
    packages = ("sentencepiece",)
    Config = SubstringConfig
    columns = ("doc_id", "language", "text")
    rounds = 4
    visits = frozenset({1, 3})
    lasting = 2
    branches = MappingProxyType({2: (3, 4), 3: (0,)})
    reported_as = MappingProxyType({2: "repeated windows"})
    edits_text = True

    history_tables = (SEEDS, WINDOWS)

    def __init__(self, config: SubstringConfig, past: Past = NO_PAST) -> None:
        super().__init__(config, past)
        self._units_of = UnitsOf(config.tokenizer)
        self._lengths = np.array([config.min_characters, config.min_words, config.min_tokens], dtype=np.int64)

    def resource_files(self) -> Sequence[str]:
        """The tokenizer, if there is one. InputError when it is not there."""
        path = self.config.tokenizer
        if path is None:
            return []
        if not storage.exists(path):
            raise InputError("no such tokenizer", where=path, remedy="--set stages.substring.tokenizer=PATH")
        return [path]

    def map(self, table: pa.Table, shard: int, shards: int) -> pa.Table:
        """One row a seed of the shard, partitioned by its hash."""
        found = []
        for batch in self._units_of.batches(table):
            runs = find_runs(batch.units, batch.ends, batch.kinds, self._lengths)
            found.append(runs._replace(texts=runs.texts + np.int32(batch.first_row)))
        documents = _keys(table) if self.config.keep == "first" else None
        return _seeds(found, documents, shard, self.partitions(0, shards))

    def reduce(self, round_number: int, rows: pa.Table, shards: int) -> pa.Table:
        """Round 0: the seeds that begin at two places, for every shard that has them. Round 2: the windows to cut."""
        return self._repeated_seeds(rows) if round_number == 0 else self._windows_to_cut(rows)

    def visit(self, round_number: int, rows: pa.Table, table: pa.Table, shard: int, shards: int) -> pa.Table:
        """Round 1: the windows of repeated seeds. Round 3: the seeds of what is left, as `map`."""
        if round_number == 3:
            return self.map(table, shard, shards)
        return self._windows(rows, table, shard, self.partitions(2, shards))

    def report(self, round_number: int, rows: pa.Table) -> int:
        """Windows that are cut in this pass."""
        return int(rows.column("windows").to_numpy().sum())

    def following(self, round_number: int, turn: int, reported: int) -> int:
        """Another pass after one that found windows, `passes` at most."""
        return 3 if reported and turn + 1 < self.config.passes else self.rounds

    def revised(self, table: pa.Table, lasting: pa.Table) -> pa.Table:
        """The documents with a column CUT_UNITS."""
        rows, starts, ends = self._cut_units(table, lasting)
        counts = np.bincount(rows, minlength=table.num_rows)
        offsets = np.concatenate([[0], np.cumsum(2 * counts)]).astype(np.int32)
        pairs = np.stack([starts, ends], axis=1).astype(np.int32).ravel()
        return table.append_column(CUT_UNITS, pa.ListArray.from_arrays(pa.array(offsets), pa.array(pairs)))

    def _windows(self, fates: pa.Table, table: pa.Table, shard: int, partitions: int) -> pa.Table:
        """Windows with a repeated seed: those that must be compared, each once, partitioned by their key."""
        if fates.num_rows == 0:
            return _WINDOW.empty_table()
        seeds = seed_table(*(fates.column(name).to_numpy() for name in ("seed", "fate", *(f.name for f in _FIRST_RUN))))
        documents = _keys(table)
        keys = [np.empty((0, 2), dtype=np.uint64)]
        compared, decided = [_passages(0)], [_passages(0)]
        for batch in self._units_of.batches(table):
            of_texts = documents[batch.first_row : batch.first_row + len(batch.kinds)]
            found = find_windows(batch.units, batch.ends, batch.kinds, self._lengths, seeds, of_texts)
            keys.append(found.keys)
            compared.append(self._placed(batch, of_texts, found.places, _ONCE))
            decided.append(self._placed(batch, of_texts, found.cut, _DECIDED))
        key, passage = np.concatenate(keys), np.concatenate(compared)
        first, others = _first_of_each(key[:, 0], key[:, 1], passage)
        passages = np.concatenate([passage[first], passage[others], *decided])
        passages["state"][len(first) : len(first) + len(others)] = _DECIDED
        high, low = np.zeros(len(passages), dtype=np.uint64), np.zeros(len(passages), dtype=np.uint64)
        high[: len(first)], low[: len(first)] = key[first, 0], key[first, 1]
        partition = np.full(len(passages), shard % partitions, dtype=np.int32)
        partition[: len(first)] = groups.partition_of(high[: len(first)], partitions)
        columns = [pa.array(np.ascontiguousarray(passages[name])) for name in _PASSAGE_TYPE.fields or ()]
        shards = pa.array(np.full(len(passages), shard, dtype=np.int32))
        return pa.table([pa.array(high), pa.array(low), *columns, shards, pa.array(partition)], schema=_WINDOW)

    def _placed(self, batch: Batch, documents: UInt64Array, found: Int32Table, state: int) -> Passages:
        """Passages of `found` (text, first window, windows or, of those to compare, whether it is there again)."""
        text, start = found[:, 0], found[:, 1]
        out = _passages(len(found))
        windows = found[:, 2] if state == _DECIDED else 1
        first = batch.ends[text] + start
        last = first + self._lengths[batch.kinds[text]] + windows - 2
        out["document"] = documents[text]
        out["start"] = batch.numbers[first]
        out["units"] = batch.numbers[last] + 1 - batch.numbers[first]
        out["windows"] = windows
        out["state"] = state if state == _DECIDED else found[:, 2]
        return out

    def _repeated_seeds(self, rows: pa.Table) -> pa.Table:
        """The seeds that begin at two places, one row for each shard that has them, partitioned by it."""
        if rows.num_rows == 0:
            return _FATE.empty_table()
        column = {name: rows.column(name).to_numpy() for name in rows.column_names}
        order = np.argsort(column["seed"])
        starts = _first_rows(column["seed"][order])
        sizes = np.diff(starts, append=len(order))
        contents = column["content"][order]
        alike = np.minimum.reduceat(contents, starts) == np.maximum.reduceat(contents, starts)
        alike &= ~np.logical_or.reduceat(column["several"][order], starts)
        repeated = np.add.reduceat(column["places"][order].astype(np.int64), starts) > 1
        if self.past:
            known = known_seeds(self.past, column["seed"][order[starts]])
            # What the history has goes without exception: no first copy of it is spared.
            alike &= ~known if self.config.keep == "first" else repeated
            repeated |= known
        chosen = order[np.repeat(repeated, sizes)]
        fates = np.repeat(np.where(alike, CUT, COMPARE).astype(np.uint8)[repeated], sizes[repeated])
        start, document = column["start"][chosen], column["document"][chosen]
        if self.config.keep == "first":
            seed = column["seed"][chosen]
            by_place = np.lexsort((start, document, seed))
            spared = np.zeros(len(chosen), dtype=np.bool_)
            spared[by_place[_first_rows(seed[by_place])]] = True
            start = np.where(spared, start, -1).astype(np.int32)
        return pa.table(
            [
                pa.array(column["seed"][chosen]),
                pa.array(fates),
                pa.array(document),
                pa.array(start),
                pa.array(column["shard"][chosen]),
            ],
            schema=_FATE,
        )

    def _windows_to_cut(self, rows: pa.Table) -> pa.Table:
        """What is decided already, and of the others all windows that occur at least twice, but the spared copy."""
        state = rows.column("state").to_numpy()
        decided, compared = np.flatnonzero(state == _DECIDED), np.flatnonzero(state != _DECIDED)
        high, low = (half[compared] for half in groups.key_columns(rows))
        order = groups.order_of_keys(high, low)
        starts = groups.first_of_keys(high[order], low[order])
        sizes = np.diff(starts, append=len(order))
        numbers = np.repeat(np.arange(len(starts)), sizes)
        cut = compared[order]
        known = known_windows(self.past, high[order[starts]], low[order[starts]])
        if self.config.keep == "first":
            document, start = (rows.column(name).to_numpy()[cut] for name in ("document", "start"))
            by_place = np.lexsort((start, document, numbers))
            cut = np.delete(cut[by_place], starts[~known])
        elif len(order):
            cut = cut[np.repeat(known | (sizes > 1) | np.logical_or.reduceat(state[cut] == _AGAIN, starts), sizes)]
        chosen = pa.array(np.sort(np.concatenate([decided, cut])))  # neighbours stay together: fewer bytes
        return pa.table(
            [rows.column(name).take(chosen) for name in [*(f.name for f in _PASSAGE), _SHARD.name]], schema=_DECISION
        )

    def apply(self, table: pa.Table, decisions: pa.Table) -> StageResult:
        """Cuts the union of the windows of all passes out of every document."""
        verdicts = Verdicts(self.name, table)
        if decisions.num_rows == 0:
            return verdicts.result()
        rows, starts, ends = self._cut_units(table, decisions)
        texts, languages = table.column("text").combine_chunks(), table.column("language").combine_chunks()
        edited: dict[int, str] = {}
        firsts = _first_rows(rows)
        for row, first, last in zip(rows[firsts].tolist(), firsts, np.append(firsts[1:], len(rows)), strict=True):
            text = texts[row].as_py()
            points = codepoints(text)
            units = self._units_of.places(text, points, languages[row].as_py())
            spans = cut_spans(points, units, starts[first:last], ends[first:last])
            if not spans:
                continue
            remaining = len(text) - sum(end - start for start, end in spans)
            if remaining < self.config.min_remaining:
                verdicts.remove(
                    row, "mostly_duplicate", value=remaining, threshold=self.config.min_remaining, text=text
                )
                continue
            cuts = [Cut("repeated_passage", start, end) for start, end in spans]
            verdicts.cut_all(row, cuts, [text[start:end] for start, end in spans])
            edited[row] = without_spans(text, spans)
        return verdicts.result(with_texts(table, edited).take(pa.array(verdicts.surviving, pa.int64())))

    def history_settings(self) -> dict[str, object]:
        """What a window is, and of which units."""
        settings = self.config.model_dump(include={"min_words", "min_characters", "min_tokens"})
        return settings | {"tokenizer": [storage.sha256_file(path) for path in self.resource_files()]}

    def remember(self, table: HistoryTable, outcome: Outcome) -> pa.Table:
        """Seeds and windows of the texts that entered."""
        if table.name == SEEDS.name:
            return seeds_of(outcome.mapped.column("seed").to_numpy())
        return windows_of(self._units_of.batches(outcome.table), self._lengths)

    def _cut_units(self, table: pa.Table, decisions: pa.Table) -> tuple[Int64Array, Int64Array, Int64Array]:
        """Row, first and last (exclusive) unit of what is cut, int64 each: ascending, disjoint in a row."""
        keys = _keys(table)
        by_key = np.argsort(keys)
        documents = decisions.column("document").to_numpy()
        rows = by_key[np.searchsorted(keys, documents, sorter=by_key)]
        assert (keys[rows] == documents).all(), "a decision about a document of another shard"
        start, units = (decisions.column(name).to_numpy().astype(np.int64) for name in ("start", "units"))
        order = np.argsort((rows << 32) | start)
        found: tuple[Int64Array, Int64Array, Int64Array] = covered(rows[order], start[order], units[order])
        return found


def _seeds(found: list[Runs], documents: UInt64Array | None, shard: int, partitions: int) -> pa.Table:
    """One row a seed of the runs of a shard. documents: hashes of its doc_ids; None: no matter which run is first."""
    none = Runs(*(np.empty(0, dtype=np.uint64),) * 2, *(np.empty(0, dtype=np.int32),) * 3)
    runs = Runs(*map(np.concatenate, zip(none, *found, strict=True)))
    seeds, starts = runs.seeds, runs.starts
    owners = np.zeros(len(seeds), dtype=np.uint64)
    if documents is None:
        starts = np.zeros(len(seeds), dtype=np.int32)
        order = np.argsort(seeds)
    else:
        owners = documents[runs.texts]
        order = np.lexsort((starts, owners, seeds))
    first = _first_rows(seeds[order])
    one = order[first]
    if len(first):
        contents = runs.contents[order]
        several = np.minimum.reduceat(contents, first) != np.maximum.reduceat(contents, first)
        total = np.minimum(np.add.reduceat(runs.places[order].astype(np.int64), first), 2)
    else:
        several, total = np.empty(0, dtype=np.bool_), np.empty(0, dtype=np.int64)
    return pa.table(
        [
            pa.array(seeds[one]),
            pa.array(runs.contents[one]),
            pa.array(several),
            pa.array(total.astype(np.int32)),
            pa.array(owners[one]),
            pa.array(starts[one]),
            pa.array(np.full(len(one), shard, dtype=np.int32)),
            pa.array(groups.partition_of(seed_key(seeds[one]), partitions)),
        ],
        schema=_SEED,
    )


def _first_of_each(high: UInt64Array, low: UInt64Array, passages: Passages) -> tuple[Int64Array, Int64Array]:
    """Numbers of the passages that are the first of their key, by document and start, and of all others, ascending.

    Marks the first in `passages` where there are others.
    """
    order = groups.order_of_keys(high, low)
    starts = groups.first_of_keys(high[order], low[order])
    sizes = np.diff(starts, append=len(order))
    alone = np.repeat(sizes == 1, sizes)
    several = order[~alone]
    numbers = np.repeat(np.arange(len(starts)), sizes)[~alone]
    several = several[np.lexsort((passages["start"][several], passages["document"][several], numbers))]
    first = _first_rows(numbers)
    passages["state"][several[first]] = _AGAIN
    others = np.zeros(len(order), dtype=np.bool_)
    others[np.delete(several, first)] = True
    return np.flatnonzero(~others), np.flatnonzero(others)


def _first_rows(ascending: npt.NDArray[np.generic]) -> Int64Array:
    """Where every value of a sorted array comes first."""
    rows: Int64Array = np.flatnonzero(np.append(True, ascending[1:] != ascending[:-1])[: len(ascending)])
    return rows


def _passages(number: int) -> Passages:
    return np.zeros(number, dtype=_PASSAGE_TYPE)


def _keys(table: pa.Table) -> UInt64Array:
    """Hashes of the doc_ids, uint64."""
    return np.array([hash64(doc_id.encode()) for doc_id in table.column("doc_id").to_pylist()], dtype=np.uint64)
