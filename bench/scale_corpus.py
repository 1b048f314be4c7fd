"""Corpora of any size for the benchmarks of dedup, and runs whose corpus steps are what is left to do.

A document is a piece of a real English page, of 40 to 300 words, with its words exchanged: every word for another one
that is about as frequent in the pages, one and the same everywhere in the document, so that lengths, repeats,
punctuation and line breaks stay and n-grams are new (words without letter or digit or of more than 30 letters are left
out). Pages become as many different documents as are wanted. Of these

- 80 % have nothing to do with another one,
- 8 % hold a passage of 70 words that others hold: half of them one that about 4 documents hold, a quarter one of about
  32, a quarter one of about 256, whatever the size of the corpus,
- 8 % are near-duplicates of a document that is anywhere in the corpus, one word of 50 exchanged,
- 4 % are exact copies of one.

Document i of a corpus of n is the same wherever and whenever it is made. Nothing but one shard is in memory.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpusmill.core import documents
from corpusmill.core.artifacts import Counts, Tally
from corpusmill.core.hashing import Int64Array, UInt64Array, content_hash, mix64
from corpusmill.pipeline import recipe
from corpusmill.pipeline.chain import Chain
from corpusmill.pipeline.engine import Engine
from corpusmill.pipeline.events import EventLog
from corpusmill.pipeline.inputs import Shard
from corpusmill.pipeline.progress import Reporter
from corpusmill.pipeline.refine import Refinery
from corpusmill.stages.warc import Slice

LANGUAGE = "en"
SHARD_DOCUMENTS = 5_000
PIECE_WORDS = (40, 300)
PASSAGE_WORDS = 70
MOST_LETTERS = 30  # longer words are addresses and the like
ORIGINAL, WITH_PASSAGE, NEAR, COPY = range(4)
_SHARES = np.array([0.80, 0.88, 0.96, 1.0])  # cumulative, in the order of the kinds
_HOLDERS = (4, 4, 32, 256)  # of a passage, by two bits of its holder's hash
_SPACE, _LINE = 0, 1  # what follows a word
_BLOCKS = 20  # of words of one frequency: ranks 2^k .. 2^(k + 1) - 1
_ONE_IN = 50  # words exchanged in near-duplicates
_DAY = datetime(2026, 8, 1, tzinfo=UTC)


class Vocabulary(NamedTuple):
    """Distinct words by falling frequency. data: uint8; word i is data[offsets[i] : offsets[i + 1]]; 2^k of them."""

    data: npt.NDArray[np.uint8]
    offsets: Int64Array


class Pieces(NamedTuple):
    """Words of all pieces, one after another. words: ranks; breaks: what follows; piece i is [starts[i], ends[i])."""

    words: Int64Array
    breaks: npt.NDArray[np.uint8]
    starts: Int64Array
    ends: Int64Array


def _words(line: str) -> list[str]:
    return [word for word in line.split() if len(word) <= MOST_LETTERS and any(c.isalnum() for c in word)]


def read_pieces(pages: Path) -> tuple[Vocabulary, Pieces]:
    """Vocabulary and pieces of the English pages of a Parquet file with the columns language and text."""
    table = pq.read_table(pages, columns=["language", "text"])
    texts: list[str] = table.filter(pc.equal(table["language"], LANGUAGE))["text"].to_pylist()
    lines = [[words for words in map(_words, text.split("\n")) if words] for text in texts]
    counts = Counter(word for text in lines for line in text for word in line)
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    size = 1 << (len(ordered).bit_length() - 1)
    rank = {word: i if i < size else size // 2 + i % (size // 2) for i, word in enumerate(ordered)}
    encoded = [word.encode() for word in ordered[:size]]
    vocabulary = Vocabulary(
        np.frombuffer(b"".join(encoded), dtype=np.uint8),
        np.append(0, np.cumsum([len(word) for word in encoded])).astype(np.int64),
    )
    words = np.array([rank[word] for text in lines for line in text for word in line], dtype=np.int64)
    breaks = np.array(
        [_SPACE if i + 1 < len(line) else _LINE for text in lines for line in text for i in range(len(line))],
        dtype=np.uint8,
    )
    lengths = np.array([sum(map(len, text)) for text in lines], dtype=np.int64)
    starts, ends = [], []
    for end, length in zip(np.cumsum(lengths).tolist(), lengths.tolist(), strict=True):
        for start in range(end - length, end, PIECE_WORDS[1]):
            if min(end, start + PIECE_WORDS[1]) - start >= PIECE_WORDS[0]:
                starts.append(start)
                ends.append(min(end, start + PIECE_WORDS[1]))
    return vocabulary, Pieces(words, breaks, np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64))


@numba.njit(cache=True)
def _masks(seed: int) -> UInt64Array:
    """How a document's words are exchanged: the bits that change in the ranks of each block."""
    out = np.empty(_BLOCKS, dtype=np.uint64)
    for k in range(_BLOCKS):
        out[k] = mix64(np.uint64(seed) + mix64(np.uint64(k + 1))) & np.uint64((1 << k) - 1)
    return out


@numba.njit(cache=True)
def _exchanged(rank: int, masks: UInt64Array) -> int:
    """The word that stands for `rank`: of the same block, another for every other one of it."""
    k = 0
    while rank >> (k + 1):
        k += 1
    return rank ^ np.int64(masks[k]) if rank else 0


@numba.njit(cache=True)
def _written(vocabulary: Vocabulary, rank: int, break_: int, out: npt.NDArray[np.uint8], at: int) -> int:
    for i in range(vocabulary.offsets[rank], vocabulary.offsets[rank + 1]):
        out[at] = vocabulary.data[i]
        at += 1
    out[at] = np.uint8(10) if break_ == _LINE else np.uint8(32)
    return at + 1


@numba.njit(cache=True)
def _render(
    vocabulary: Vocabulary,
    pieces: Pieces,
    kinds: npt.NDArray[np.uint8],
    numbers: Int64Array,
    roots: Int64Array,
    passages: Int64Array,
    out: npt.NDArray[np.uint8],
) -> Int64Array:
    """Texts of documents, one after another in `out`; where they begin and end, int64 (n + 1,)."""
    offsets = np.zeros(len(roots) + 1, dtype=np.int64)
    at = 0
    for d in range(len(roots)):
        seed = mix64(np.uint64(roots[d]) ^ np.uint64(0xD1B54A32D192ED03))
        piece = np.int64(seed % np.uint64(len(pieces.starts)))
        start, end = pieces.starts[piece], pieces.ends[piece]
        masks = _masks(np.int64(seed >> np.uint64(1)))
        insert = np.int64((seed >> np.uint64(20)) % np.uint64(end - start)) if passages[d] >= 0 else -1
        for position in range(start, end):
            if position - start == insert:
                inner = mix64(np.uint64(passages[d]) ^ np.uint64(0x8CB92BA72F3D8DD7))
                first = np.int64(inner % np.uint64(len(pieces.words) - PASSAGE_WORDS))
                others = _masks(np.int64(inner >> np.uint64(1)))
                for j in range(first, first + PASSAGE_WORDS):
                    at = _written(vocabulary, _exchanged(pieces.words[j], others), pieces.breaks[j], out, at)
            rank = _exchanged(pieces.words[position], masks)
            if kinds[d] == NEAR:
                draw = mix64(np.uint64(numbers[d]) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(position))
                if draw % np.uint64(_ONE_IN) == 0:
                    rank = np.int64((draw >> np.uint64(32)) % np.uint64(len(vocabulary.offsets) - 1))
            at = _written(vocabulary, rank, pieces.breaks[position], out, at)
        at -= 1  # nothing follows the last word
        offsets[d + 1] = at
    return offsets


def _mixed(numbers: Int64Array, salt: int) -> UInt64Array:
    """splitmix64 of document numbers, vectorised."""
    z = numbers.astype(np.uint64) + np.uint64(salt * 0x9E3779B97F4A7C15 % 2**64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


class Corpus:
    """`size` documents; see the module's docstring."""

    def __init__(self, pages: Path, size: int) -> None:
        self.size = size
        self._vocabulary, self._pieces = read_pieces(pages)
        self._longest = int(np.diff(self._vocabulary.offsets).max()) + 1

    @cached_property
    def kinds(self) -> npt.NDArray[np.uint8]:
        """Kind of every document, uint8 (size,)."""
        drawn = _mixed(np.arange(self.size), 1) / 2.0**64
        kinds: npt.NDArray[np.uint8] = np.searchsorted(_SHARES, drawn, side="right").astype(np.uint8)
        kinds[0] = ORIGINAL  # there is always one
        return kinds

    @cached_property
    def roots(self) -> Int64Array:
        """Number of the document that each repeats; its own where it repeats none, int64 (size,)."""
        numbers = np.arange(self.size)
        wanted = np.where(self.kinds >= NEAR, (_mixed(numbers, 2) % np.uint64(self.size)).astype(np.int64), numbers)
        originals = np.flatnonzero(self.kinds < NEAR)
        roots: Int64Array = originals[np.searchsorted(originals, wanted) % len(originals)]
        return roots

    @cached_property
    def passages(self) -> Int64Array:
        """Number of the passage that each holds, -1 where it holds none, int64 (size,)."""
        passages = np.full(self.size, -1, dtype=np.int64)
        holders = np.flatnonzero(self.kinds == WITH_PASSAGE)
        drawn = _mixed(holders, 3)
        for quarter, expected in enumerate(_HOLDERS):
            chosen = drawn % np.uint64(4) == quarter
            number = max(1, len(holders) // 4 // expected)
            passages[holders[chosen]] = (quarter << 40) + ((drawn[chosen] >> np.uint64(8)) % np.uint64(number))
        return passages[self.roots]  # what repeats a document repeats its passage

    @property
    def shards(self) -> int:
        """Number of shards."""
        return shards_of(self.size)

    def texts(self, numbers: Int64Array) -> pa.Array:
        """Texts of documents, large_string."""
        out = np.empty(len(numbers) * (PIECE_WORDS[1] + PASSAGE_WORDS) * self._longest, dtype=np.uint8)
        kinds, roots, passages = self.kinds[numbers], self.roots[numbers], self.passages[numbers]
        offsets = _render(self._vocabulary, self._pieces, kinds, numbers, roots, passages, out)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(out[: offsets[-1]].tobytes())]
        return pa.Array.from_buffers(pa.large_string(), len(numbers), buffers)

    def shard(self, shard: int) -> pa.Table:
        """The documents of one shard, as they leave the language stage."""
        numbers = np.arange(shard * SHARD_DOCUMENTS, min((shard + 1) * SHARD_DOCUMENTS, self.size))
        return document_table(warc_file(shard), self.texts(numbers))


def shards_of(size: int) -> int:
    """Number of shards of so many documents."""
    return -(-size // SHARD_DOCUMENTS)


def warc_file(shard: int) -> str:
    """A name as Common Crawl gives them."""
    return f"CC-MAIN-20260801000000-20260801030000-{shard:05d}.warc.gz"


def document_table(name: str, texts: pa.Array) -> pa.Table:
    """Documents of the WARC `name` with `texts` (large_string); one domain for every twenty, one a minute."""
    count = len(texts)
    offsets = [30_000 * i for i in range(count)]
    rows = {
        "doc_id": [documents.doc_id(name, offset) for offset in offsets],
        "url": [f"https://site{i // 20}.example/{name[-13:-8]}/{i}" for i in range(count)],
        "domain": [f"site{i // 20}.example" for i in range(count)],
        "warc_file": [name] * count,
        "warc_offset": offsets,
        "warc_length": [30_000] * count,
        "payload_digest": pa.nulls(count, pa.string()),
        "digest_ok": pa.nulls(count, pa.bool_()),
        "crawl": ["CC-MAIN-2026-30"] * count,
        "fetched_at": [_DAY + timedelta(minutes=i) for i in range(count)],
        "charset": ["utf-8"] * count,
        "text": texts,
        "content_hash": [content_hash(text) for text in texts.to_pylist()],
        "language": [LANGUAGE] * count,
        "language_score": pa.array(np.ones(count, dtype=np.float32)),
    }
    return pa.table(rows, schema=documents.DOCUMENT_WITH_LANGUAGE)


def chain_of(run: Path, shards: int, steps: dict[str, dict[str, Any]]) -> Chain:
    """The chain of a run over `shards` shards: WARC, extraction and language, then `steps`."""
    stages: dict[str, Any] = {"extract": {}, "language": {}, **steps}
    resolved = recipe.resolve({"name": "made", "stages": stages}, "this benchmark")
    pieces = [Slice(warc_file(i), warc_file(i), "", 0, 0, 1) for i in range(shards)]
    return Chain.of(str(run), resolved, [Shard(f"{p.warc_file}--0000", f"made:{p.warc_file}", p) for p in pieces])


def prepare(run: Path, table: Callable[[int], pa.Table], shards: int, steps: dict[str, dict[str, Any]]) -> Chain:
    """A new run whose documents, `table(shard)` for every shard, have left the language stage; `steps` are left to do.

    Only that stage is committed: what stands before it is never asked for.
    """
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir(parents=True)
    chain = chain_of(run, shards, steps)
    at = chain.index("language")
    for i, shard in enumerate(chain.shards):
        rows = table(i)
        tally = Tally(documents=rows.num_rows, characters=documents.characters_in(rows))
        counts = Counts(into=tally, kept=tally)
        tables = {"out": rows, "removed": documents.empty(documents.REMOVAL)}
        tables["quarantine"] = documents.empty(documents.QUARANTINE)
        chain.folder(at).commit(shard.name, chain.fingerprint(at, shard), tables, counts)
    return chain


class InTurn(Engine):
    """Runs the tasks one after another in this process: what one core does without anything else."""

    def __init__(self) -> None:
        super().__init__(Reporter(quiet=True))

    def map(
        self,
        label: str,
        function: Callable[[Any], Any],
        jobs: Any,
        name: Callable[[Any], str],
        note: Callable[[Any], str] = lambda _: "",
    ) -> Iterator[tuple[Any, Any]]:
        """As Engine.map."""
        for job in jobs:
            yield job, function(job)


class MeasuredRefinery(Refinery):
    """Notes the bytes that each corpus step exchanged, before the exchange goes."""

    def __init__(self, chain: Chain, engine: Engine, events: EventLog) -> None:
        nothing = recipe.ErrorBudget()
        any_share = {step.name: dict.fromkeys(("near_duplicate", "mostly_duplicate")) for step in chain.steps}
        super().__init__(chain, engine, events, nothing, any_share)
        self.exchanged: dict[str, dict[str, int]] = {}  # step -> turn of a round -> bytes

    def _finish(self, index: int) -> None:
        root = Path(self.chain.folder(index).root) / "exchange"
        sizes: dict[str, int] = {}
        for path in sorted(root.rglob("*.chunks")):
            sizes[path.parent.name] = sizes.get(path.parent.name, 0) + path.stat().st_size
        self.exchanged[self.chain.names[index]] = sizes
        super()._finish(index)


def rows(chain: Chain, name: str, kind: str, columns: Sequence[str]) -> pa.Table:
    """Table `kind` of step `name`, all shards."""
    folder = chain.folder(chain.index(name))
    paths = [folder.path(kind, shard.name) for shard in chain.shards]
    tables = [pq.read_table(path, columns=list(columns)) for path in paths if Path(path).exists()]
    return pa.concat_tables(tables) if tables else pa.table({c: pa.array([], pa.string()) for c in columns})


def dump(path: Path | None, found: Any) -> None:
    """Writes results as JSON where a path is given."""
    if path is not None:
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
