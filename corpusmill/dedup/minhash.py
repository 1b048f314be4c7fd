"""Near-duplicates by MinHash and locality-sensitive hashing (RefinedWeb s3.3, G.3.1; defaults of FineWeb).

1. The set of word n-grams (n = 5) of the normalised text. [DEVIATION] RefinedWeb takes GPT-2 tokens: words do not
   depend on a tokenizer made for English, and FineWeb and Lee et al. use them too. Japanese words are morphemes; other
   languages without spaces have no words here (core/words.py), and their n-grams are of n = 8 letters.
2. bands * rows minima under affine maps; documents that agree in all rows of one band meet in its bucket.
   14 bands of 8 rows: 77 % of pairs at Jaccard 0.75, 92 % at 0.80. RefinedWeb: 450 bands of 20 rows, 76 % and 99.5 %.
3. Connected components over all buckets, in one task (dedup/components.py) or, where the edges do not fit it, in many
   (dedup/stars.py), with the same result; one document of each survives. [DEVIATION] not a random one but the first in
   the order that `keep` names, so that the result is the same on any machine.
4. Verification (dedup/verified.py): a member goes only if its set of shingles is similar to that of the document that
   replaces it; those that are not make groups of their own or stay. `min_similarity: null` is RefinedWeb's way: what
   shares a bucket is taken for a near-duplicate, and chains of pairs are one cluster.

Documents of fewer than n words or letters have one shingle, all of them: they meet only where all are the same.
Documents without words (digits and letters are words, emoji and punctuation are not) have no shingle and are kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Annotated, ClassVar, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from corpusmill.core import documents, words
from corpusmill.core.documents import utf8
from corpusmill.core.hashing import Int64Array, UInt64Array
from corpusmill.core.normalise import folds
from corpusmill.core.verdicts import StageResult, Verdicts
from corpusmill.dedup import groups, signatures, verified
from corpusmill.dedup.base import PARTITION, CorpusStepConfig, VisitingStep, with_remarks
from corpusmill.dedup.components import contracted
from corpusmill.dedup.shingled import SPACED, Shingling
from corpusmill.dedup.stars import Bools, Links, labels, large_star, small_star

# One row a document that shares a bucket with another, removed or kept.
CLUSTER = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("cluster_id", pa.string(), nullable=False),  # smallest doc_id of the component, whatever survives
        pa.field("cluster_size", pa.int64(), nullable=False),  # documents of the component
        pa.field("canonical", pa.string(), nullable=False),  # doc_id of the survivor it is a copy of; its own if kept
        pa.field("similarity", pa.float64()),  # Jaccard to the canonical document, 0..1; null without verification
    ]
)
_PARTITION = pa.field(PARTITION, pa.int32(), nullable=False)
_NODE = pa.field("node", pa.int64(), nullable=False)  # a document: its shard << 32 | its row there
_BAND = pa.schema([*groups.KEY_FIELDS, _NODE, _PARTITION])
_EDGE = pa.schema(
    [
        _NODE,
        pa.field("other", pa.int64(), nullable=False),
        pa.field("changed", pa.bool_(), nullable=False),  # by the last large-star or small-star
        _PARTITION,
    ]
)
_CANDIDATE = pa.schema([_NODE, pa.field("component", pa.int64(), nullable=False), _PARTITION])
_MEMBER = pa.schema(
    [
        pa.field("component", pa.int64(), nullable=False),  # its smallest node
        pa.field("shard", pa.int32(), nullable=False),
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("fetched_at", pa.timestamp("us", tz="UTC")),
        pa.field("characters", pa.int64(), nullable=False),  # code points of the text
        pa.field(groups.QUALITY, pa.float64()),  # null where it is unknown or not asked for
        pa.field("set_id", pa.binary(16)),  # content_hash of the sketch; null without verification
        # Only in the first row of a set in a shard's rows for a component: copies are cheap, however many.
        pa.field("shingles", pa.list_(pa.uint64())),
        _PARTITION,
    ]
)
_DECISION = pa.schema([*CLUSTER, _PARTITION])

_ROW_BITS: Final = 32
_ROW: Final = (1 << _ROW_BITS) - 1

# Rounds. A star is an edge to a smaller node of the component.
BUCKETS, _LARGE_STAR, _SMALL_STAR, _STARS, _ALL_EDGES, _MEMBERS, _CLUSTERS, _END = range(8)


LARGEST_BUCKETS: Final = 50  # remarks of a task about its buckets
_EXAMPLES: Final = 3  # documents of each


class Bucket(NamedTuple):
    """A bucket that is worth a remark. key: 32 hexadecimal digits. documents: its size. nodes: its first documents."""

    key: str
    documents: int
    nodes: Sequence[int]


def node_of(node: int) -> tuple[int, int]:
    """Shard and row of a document."""
    return node >> _ROW_BITS, node & _ROW


class MinHashConfig(CorpusStepConfig):
    """Config of `MinHash`."""

    neutral: ClassVar[frozenset[str]] = CorpusStepConfig.neutral | {
        "max_edges",
        "large_bucket",
        "large_cluster",
        "max_source_loss",
    }

    bands: int = Field(14, ge=1, le=10_000, description="buckets a document; one in common makes a pair")
    rows: int = Field(8, ge=1, le=1_000, description="minima that must agree in a bucket")
    ngram: int = Field(5, ge=1, le=100, description="words a shingle, in languages that write spaces and in Japanese")
    character_ngram: int = Field(
        8, ge=1, le=100, description="normalised letters a shingle in the other languages; 8 are 5 Japanese words"
    )
    japanese: Literal["words", "characters"] = Field("words", description="what Japanese shingles are made of")
    seed: int = Field(0, ge=0, description="seed of the permutations")
    min_similarity: Annotated[float, Field(ge=0, le=1)] | None = Field(
        0.7,
        description="least Jaccard similarity to the document that survives; null: no verification, as RefinedWeb",
    )
    max_canonical: int = Field(
        1000,
        ge=1,
        description="documents of one component that others are compared with; what is left after so many stays",
    )
    max_edges: int = Field(
        10_000_000,
        ge=0,
        description="edges of which the components are found in one task, some 150 bytes each; more are exchanged"
        " (large-star, small-star); never changes results",
    )
    large_bucket: int = Field(100_000, ge=2, description="documents of a bucket above which it is warned of")
    large_cluster: int = Field(100_000, ge=2, description="documents of a cluster above which it is warned of")
    max_source_loss: float = Field(
        0.8, ge=0, le=1, description="share of a domain's documents that may go as near-duplicates without a warning"
    )
    keep: Literal["longest", "latest", "first", "best"] = Field(
        "longest",
        description="survivor of a cluster: longest text (then latest), latest or first fetched_at (unknown last), best"
        " quality_score (unknown last, then longest); the smallest doc_id decides ties",
    )

    @property
    def shingling(self) -> Shingling:
        """How texts are made into shingles."""
        return Shingling(self.ngram, self.character_ngram, self.japanese == "characters")


class MinHash(VisitingStep[MinHashConfig]):
    """Removes documents that are near-duplicates of a survivor; rule `near_duplicate`, detail = cluster_id.

    value: the similarity to the survivor, threshold: `min_similarity`; both null without verification.
    """

    name = "minhash"
    version = 3
    packages = words.PACKAGES
    Config = MinHashConfig
    columns: tuple[str, ...] = ("doc_id", "fetched_at", "language", "text")

    rounds = _END
    visits = frozenset({_MEMBERS})
    branches = MappingProxyType(
        {BUCKETS: (_LARGE_STAR, _ALL_EDGES), _SMALL_STAR: (_LARGE_STAR, _STARS), _STARS: (_MEMBERS,)}
    )

    def __init__(self, config: MinHashConfig) -> None:
        super().__init__(config)
        self._shingling = config.shingling
        self._permutations = signatures.permutations(config.bands * config.rows, config.seed)
        if config.keep == "best":
            self.columns = (*self.columns, groups.QUALITY)

    def partitions(self, round_number: int, shards: int) -> int:
        """All edges go to one task where they fit it."""
        return 1 if round_number == _ALL_EDGES else super().partitions(round_number, shards)

    def report(self, round_number: int, rows: pa.Table) -> int:
        """Edges of the buckets; after small-star the edges that changed."""
        return rows.num_rows // 2 if round_number == BUCKETS else int(pc.sum(rows.column("changed")).as_py() or 0)

    def following(self, round_number: int, turn: int, reported: int) -> int:
        """One task for all edges if they fit, else the stars, until none changes."""
        if round_number == BUCKETS:
            return _ALL_EDGES if reported <= self.config.max_edges else _LARGE_STAR
        return _LARGE_STAR if reported else _STARS

    def map(self, table: pa.Table, shard: int, shards: int) -> pa.Table:
        """One row a band of every document that has words, partitioned by the band's key."""
        config = self.config
        texts = table.column("text").combine_chunks()
        languages = table.column("language").to_pylist()
        spaced = self._shingling.kinds(languages) == SPACED
        high = np.empty((table.num_rows, config.bands), dtype=np.uint64)
        low = np.empty_like(high)
        has_words = np.zeros(table.num_rows, dtype=bool)
        in_kernel = np.flatnonzero(spaced)
        has_words[in_kernel], high[in_kernel], low[in_kernel] = signatures.band_keys_of_texts(
            *utf8(texts), in_kernel, folds(), config.ngram, *self._permutations, config.bands, config.rows
        )
        for row, shingles in self._shingling.of_texts(texts, languages, np.flatnonzero(~spaced)):
            if len(shingles):
                has_words[row] = True
                values = signatures.signature(shingles, *self._permutations)
                high[row], low[row] = signatures.band_keys(values, config.bands, config.rows)
        nodes = np.repeat(np.flatnonzero(has_words) | (shard << _ROW_BITS), config.bands)
        high, low = high[has_words].ravel(), low[has_words].ravel()
        partition = groups.partition_of(high, self.partitions(BUCKETS, shards))
        return pa.table([pa.array(c) for c in (high, low, nodes, partition)], schema=_BAND)

    def reduce(self, round_number: int, rows: pa.Table, shards: int) -> pa.Table:
        """Buckets to edges, edges to components, components to decisions."""
        if round_number == _CLUSTERS:
            return self._decisions(rows)
        if round_number == BUCKETS:
            high, low = groups.key_columns(rows)
            found = groups.repeated(high, low)
            nodes = rows.column("node").to_numpy()[found.rows]
            remarks = _largest(high[found.rows], low[found.rows], nodes, found.numbers)
            links = Links(*contracted(nodes, _centres(nodes, found.numbers)), np.empty(0, dtype=bool))
            edges = self._both_ways(links._replace(changed=np.zeros(len(links.nodes), dtype=bool)), shards)
            return with_remarks(edges, [bucket._asdict() for bucket in remarks])
        nodes, others = rows.column("node").to_numpy(), rows.column("other").to_numpy()
        if round_number == _LARGE_STAR:
            links = large_star(nodes, others)
            return self._edges(*links, links.nodes, shards)
        if round_number == _SMALL_STAR:
            return self._both_ways(small_star(nodes, others, rows.column("changed").to_numpy()), shards)
        if round_number == _STARS:
            return _candidates(*labels(nodes, others))
        once = nodes > others
        leaf, smallest = contracted(nodes[once], others[once])
        return _candidates(np.concatenate([leaf, np.unique(smallest)]), np.concatenate([smallest, np.unique(smallest)]))

    def _both_ways(self, links: Links, shards: int) -> pa.Table:
        """Links as edges at both of their ends."""
        nodes, smaller, changed = links
        ends = np.concatenate([nodes, smaller])
        return self._edges(ends, np.concatenate([smaller, nodes]), np.tile(changed, 2), ends, shards)

    def _edges(self, nodes: Int64Array, others: Int64Array, changed: Bools, at: Int64Array, shards: int) -> pa.Table:
        """Edges, partitioned by the nodes `at`."""
        partition = _partition_of(at, self.partitions(_LARGE_STAR, shards))
        return pa.table([pa.array(c) for c in (nodes, others, changed, partition)], schema=_EDGE)

    def visit(self, round_number: int, rows: pa.Table, table: pa.Table, shard: int, shards: int) -> pa.Table:
        """The shard's candidates with what decides about them, partitioned by component."""
        rows = rows.sort_by("node")
        components = rows.column("component").to_numpy()
        members = table.take(pa.array(rows.column("node").to_numpy() & _ROW))
        ids, sets = pa.nulls(members.num_rows, pa.binary(16)), pa.nulls(members.num_rows, pa.list_(pa.uint64()))
        if self.config.min_similarity is not None:
            ids, sets = self._sketches(members, components.tolist())
        return pa.table(
            [
                rows.column("component"),
                pa.array(np.full(members.num_rows, shard, dtype=np.int32)),
                members.column("doc_id"),
                members.column("fetched_at"),
                pc.utf8_length(members.column("text")).cast(pa.int64()),
                members.column(groups.QUALITY) if groups.QUALITY in self.columns else pa.nulls(len(ids), pa.float64()),
                ids,
                sets,
                pa.array(_partition_of(components, self.partitions(_CLUSTERS, shards))),
            ],
            schema=_MEMBER,
        )

    def _sketches(self, members: pa.Table, components: Sequence[int]) -> tuple[pa.Array, pa.Array]:
        """Name of the set of every member, and the set where it is the first of its component."""
        sets = self._shingling.sketches(members.column("text").combine_chunks(), members.column("language").to_pylist())
        names: list[bytes] = []
        ships = np.zeros(members.num_rows, dtype=bool)
        shipped: set[tuple[int, bytes]] = set()
        for row, component in enumerate(components):
            of_row = sets.hashes[sets.offsets[row] : sets.offsets[row + 1]]
            names.append(hashlib.blake2b(of_row.tobytes(), digest_size=16).digest())
            ships[row] = (component, names[row]) not in shipped
            shipped.add((component, names[row]))
        sizes = np.diff(sets.offsets)
        offsets = np.append(0, np.cumsum(np.where(ships, sizes, 0))).astype(np.int32)
        hashes = pa.array(sets.hashes[np.repeat(ships, sizes)])
        return pa.array(names, pa.binary(16)), pa.ListArray.from_arrays(offsets, hashes, mask=pa.array(~ships))

    def _decisions(self, rows: pa.Table) -> pa.Table:
        """Decisions for the members of the components of one partition."""
        components = rows.column("component").to_numpy()
        members = rows.drop_columns(["shingles"])
        least = self.config.min_similarity
        if least is None:
            ordered, survivor, sizes = groups.ranked(members, components, self.config.keep)
            similarity = pa.nulls(ordered.num_rows, pa.float64())
        else:
            names = rows.column("set_id").combine_chunks().dictionary_encode()
            members = members.append_column("set", names.indices.cast(pa.int64()))
            ordered, _, sizes = groups.ranked(members, components, self.config.keep)
            starts = np.flatnonzero(np.diff(ordered.column("group").to_numpy(), prepend=-1))
            survivor, found = verified.assign(
                np.append(starts, ordered.num_rows).astype(np.int64),
                ordered.column("set").to_numpy(),
                *_sets(rows, names.dictionary),
                least,
                self.config.max_canonical,
            )
            similarity = pa.array(found)
        ids = ordered.column("doc_id")
        smallest = pa.table([ordered.column("group"), ids], names=["group", "doc_id"])
        smallest = smallest.group_by("group").aggregate([("doc_id", "min")])
        at = pc.index_in(ordered.column("group"), smallest.column("group").combine_chunks())
        return pa.table(
            [
                ids,
                smallest.column("doc_id_min").take(at),
                pa.array(sizes, pa.int64()),
                ids.take(pa.array(survivor)),
                similarity,
                ordered.column("shard"),
            ],
            schema=_DECISION,
        )

    def apply(self, table: pa.Table, decisions: pa.Table) -> StageResult:
        """Removes the members that another replaces; `clusters` holds all members."""
        decided = {d["doc_id"]: d for d in decisions.to_pylist()}
        verdicts = Verdicts(self.name, table)
        members = []
        for row, doc_id in enumerate(table.column("doc_id").to_pylist()):
            if doc_id not in decided:
                continue
            member = decided[doc_id]
            members.append(member)
            if member["canonical"] != doc_id:
                verdicts.remove(
                    row,
                    "near_duplicate",
                    value=member["similarity"],
                    threshold=self.config.min_similarity,
                    detail=member["cluster_id"],
                    twin=member["canonical"],
                    text=table.column("text")[row].as_py(),
                )
        return replace(verdicts.result(), clusters=documents.table_of(members, CLUSTER))


def _partition_of(nodes: Int64Array, partitions: int) -> npt.NDArray[np.int32]:
    """Partition of every node, int32; Fibonacci hashing (Knuth 6.4), as rows are numbered from 0 in every shard."""
    return groups.partition_of(
        (nodes.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(_ROW_BITS), partitions
    )


def _centres(nodes: Int64Array, numbers: Int64Array) -> Int64Array:
    """The smallest node of the bucket of every node, never all pairs. `numbers`: its bucket, ascending."""
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    smallest = np.minimum.reduceat(nodes, starts) if len(starts) else nodes
    return smallest[numbers]


def _largest(high: UInt64Array, low: UInt64Array, nodes: Int64Array, numbers: Int64Array) -> list[Bucket]:
    """The largest buckets, of equal ones those with the smallest key."""
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    sizes = np.diff(starts, append=len(numbers))
    largest = np.lexsort((low[starts], high[starts], -sizes))[:LARGEST_BUCKETS]
    return [
        Bucket(
            f"{high[start]:016x}{low[start]:016x}",
            int(size),
            _examples(nodes[start : start + size]),
        )
        for start, size in zip(starts[largest], sizes[largest], strict=True)
    ]


def _examples(nodes: Int64Array) -> list[int]:
    """The smallest nodes, ascending. Numbers below 0 are no documents of this run."""
    own = nodes[nodes >= 0]
    return sorted((np.partition(own, _EXAMPLES)[:_EXAMPLES] if len(own) > _EXAMPLES else own).tolist())


def _candidates(nodes: Int64Array, smallest: Int64Array) -> pa.Table:
    """The nodes with their component, partitioned by shard."""
    shards = (nodes >> _ROW_BITS).astype(np.int32)
    return pa.table([pa.array(nodes), pa.array(smallest), pa.array(shards)], schema=_CANDIDATE)


def _sets(rows: pa.Table, names: pa.Array) -> verified.Sets:
    """The sets of `names`, in their order."""
    given = rows.filter(pc.is_valid(rows.column("shingles")))
    _, first = np.unique(pc.index_in(given.column("set_id"), names).to_numpy(), return_index=True)
    lists = given.column("shingles").take(pa.array(first)).combine_chunks()
    offsets = np.append(0, np.cumsum(pc.list_value_length(lists).to_numpy())).astype(np.int64)
    return verified.Sets(lists.flatten().to_numpy(), offsets)
