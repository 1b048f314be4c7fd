"""What packing takes and gives: pieces of documents, blocks of pieces, segments of sequences.

A packing cuts the documents of a source, in their order, into sequences of L+1 tokens. Usually it takes whole
documents; where a source is packed anew halfway, it takes pieces, runs of tokens that are still unread.

A **block** takes whole pieces, one after another, until one more would give it more than `block_sequences` sequences
of `concatenate` (ceil((T-1) / L) of T tokens); a piece that has more alone is a block by itself. Every method cuts the
same blocks. Sequences are numbered through, block after block; nothing in one block depends on another.

Documents may be **excluded** (a takedown). Blocks, and the sequences of each, stay those without the exclusion, so that
the numbers of all other sequences stay; what the excluded documents leave is padding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from corpusmill.core.hashing import Int64Array

BoolArray = npt.NDArray[np.bool_]
FlagArray = npt.NDArray[np.uint8]

MASKED = 1  # no token of the segment is a label
PAD = 2  # no document: filling at the end of a sequence
TRUNCATED_HEAD = 4  # the segment does not begin where its document begins
TRUNCATED_TAIL = 8  # the segment does not end where its document ends


class Segments(NamedTuple):
    """k segments, ordered by (row, segment): each is a run of tokens of one document inside one sequence.

    The num_tokens of a row's segments add up to L+1: what no document fills is a segment with the flag PAD, the last.
    """

    row: Int64Array  # (k,) 0-based, into the sequences that were asked for
    segment: Int64Array  # (k,) 0-based within the row
    document: Int64Array  # (k,) -1 for padding
    doc_token_start: Int64Array  # (k,) tokens, within the document; 0 for padding
    num_tokens: Int64Array  # (k,) 1..L+1
    flags: FlagArray  # (k,) PAD, TRUNCATED_HEAD, TRUNCATED_TAIL

    def take(self, places: Int64Array) -> Segments:
        """The segments at these places."""
        return Segments._make(column[places] for column in self)

    @staticmethod
    def concatenate(parts: Sequence[Segments]) -> Segments:
        """The segments of all parts, one after another."""
        return Segments._make(np.concatenate(columns) for columns in zip(*parts, strict=True))


@dataclass(frozen=True)
class Pieces:
    """P runs of tokens of documents, in order of (document, start). None stands for the value of whole documents.

    A document may have several pieces. They may share tokens (the last of one is often the first of the next: read as a
    label there, as an input here); packing takes every piece as it is. It has `lengths` or, of whole documents,
    `offsets`.
    """

    lengths: Int64Array | None  # (P,) tokens, >= 1
    document: Int64Array | None = None  # (P,) ascending; None: piece i is document i
    start: Int64Array | None = None  # (P,) tokens, within the document; None: 0
    truncated_head: BoolArray | None = None  # (P,) begins inside its document; None: no piece does
    truncated_tail: BoolArray | None = None  # (P,) ends inside its document; None: no piece does
    offsets: Int64Array | None = None  # (P + 1,) ascending: piece i has offsets[i + 1] - offsets[i] tokens

    @classmethod
    def of_lengths(cls, lengths: Int64Array) -> Pieces:
        """Whole documents, 0..D-1, of `lengths` (int64 (D,), tokens incl. EOS, each >= 1). Copies nothing."""
        return cls(lengths)

    @classmethod
    def of_offsets(cls, offsets: Int64Array) -> Pieces:
        """Whole documents, 0..D-1, from int64 (D + 1,) tokens before each of them, of which only differences count.

        The array may be mapped into memory; it is not read before it is needed, nor copied.
        """
        return cls(None, offsets=np.asarray(offsets))

    def __len__(self) -> int:
        return len(self.offsets) - 1 if self.offsets is not None else len(self.length)

    @cached_property
    def length(self) -> Int64Array:
        """(P,) tokens of each, >= 1; computed, and kept, where offsets were given."""
        if self.lengths is not None:
            return self.lengths
        assert self.offsets is not None
        return np.diff(self.offsets)

    def bounds(self) -> Int64Array:
        """(P + 1,) tokens before each piece, and behind the last, from wherever they are counted."""
        return self.offsets if self.offsets is not None else _bounds(self.length)

    @classmethod
    def of_runs(
        cls, document: Int64Array, start: Int64Array, length: Int64Array, document_lengths: Int64Array
    ) -> Pieces:
        """Runs of `length` tokens from `start` of documents, in any order; document_lengths (D,) has all documents'.

        Runs are put in order of (document, start). Each must lie inside its document.
        """
        order = np.lexsort((start, document))
        document, start, length = document[order], start[order], length[order]
        ends = start + length
        assert np.all((start >= 0) & (length >= 1) & (ends <= document_lengths[document]))
        return cls(length, document, start, start > 0, ends < document_lengths[document])

    def documents_of(self, pieces: Int64Array) -> Int64Array:
        """The documents whose pieces these are."""
        return pieces if self.document is None else self.document[pieces]

    def of_document(self, document: int) -> range:
        """The pieces of a document."""
        if self.document is None:
            return range(document, document + 1)
        first, stop = np.searchsorted(self.document, [document, document + 1])
        return range(int(first), int(stop))

    def kept(self, excluded: Int64Array | None) -> BoolArray | None:
        """(P,) which pieces are not of an excluded document (int64, ascending); None when all are."""
        if excluded is None or not len(excluded):
            return None
        kept = np.ones(len(self), np.bool_)
        if self.document is None:
            kept[excluded] = False
        else:
            firsts = np.searchsorted(self.document, excluded).tolist()
            stops = np.searchsorted(self.document, excluded, side="right").tolist()
            for first, stop in zip(firsts, stops, strict=True):
                kept[first:stop] = False
        return kept

    def segments(self, row: Int64Array, piece: Int64Array, offset: Int64Array, num_tokens: Int64Array) -> Segments:
        """Segments of (k,) runs of tokens [offset, offset + num_tokens) of pieces; piece -1 is padding.

        Args:
            row: of each run, ascending; a row's runs stand in order.
            piece: of each run, -1 for padding.
            offset: tokens, within the piece.
            num_tokens: of each run.
        """
        begins = np.flatnonzero(np.diff(row, prepend=-1))
        segment = np.arange(len(row)) - np.repeat(begins, np.diff(begins, append=len(row)))
        is_pad = piece < 0
        real = np.where(is_pad, 0, piece)
        start = offset if self.start is None else offset + self.start[real]
        head = offset > 0
        tail = offset + num_tokens < self.length[real]
        if self.truncated_head is not None:
            head |= self.truncated_head[real]
        if self.truncated_tail is not None:
            tail |= self.truncated_tail[real]
        flags = np.where(head, TRUNCATED_HEAD, 0) | np.where(tail, TRUNCATED_TAIL, 0)
        return Segments(
            row=row,
            segment=segment,
            document=np.where(is_pad, -1, self.documents_of(real)),
            doc_token_start=np.where(is_pad, 0, start),
            num_tokens=num_tokens,
            flags=np.where(is_pad, PAD, flags).astype(np.uint8),
        )


class Blocks(NamedTuple):
    """Where blocks begin: (blocks + 1,) arrays, the last entry is the end."""

    piece: Int64Array  # first piece of each block
    sequence: Int64Array  # first sequence of each block, packed by concatenate

    @classmethod
    def of(cls, lengths: Int64Array, sequence_length: int, block_sequences: int) -> Blocks:
        """The blocks of pieces of `lengths`. Needs 8 bytes a piece while it runs."""
        return cls.of_bounds(_bounds(lengths), sequence_length, block_sequences)

    @classmethod
    def of_bounds(cls, bounds: Int64Array, sequence_length: int, block_sequences: int) -> Blocks:
        """The blocks of pieces from `Pieces.bounds`. Costs O(blocks * log pieces)."""
        ends = bounds[1:]
        block_tokens = block_sequences * sequence_length + 1
        pieces = [0]
        sequences = [0]
        end = int(bounds[0])  # tokens
        while pieces[-1] < len(ends):
            fits = int(np.searchsorted(ends, end + block_tokens, side="right"))
            pieces.append(max(fits, pieces[-1] + 1))
            start, end = end, int(ends[pieces[-1] - 1])
            sequences.append(sequences[-1] - (1 - (end - start)) // sequence_length)
        return cls(np.array(pieces, np.int64), np.array(sequences, np.int64))


def _bounds(lengths: Int64Array) -> Int64Array:
    bounds = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=bounds[1:])
    return bounds


class Packing(ABC):
    """How pieces of documents are cut into sequences of length L (L+1 tokens each)."""

    _block_sequence: Int64Array  # (blocks + 1,) first sequence of each block, then their number

    def __init__(self, pieces: Pieces, sequence_length: int) -> None:
        assert sequence_length >= 1, sequence_length
        assert pieces.document is None or not np.any(np.diff(pieces.document) < 0), "pieces are not in order"
        self.sequence_length = sequence_length
        self._pieces = pieces

    @property
    @abstractmethod
    def num_sequences(self) -> int:
        """Sequences of one epoch, those that an exclusion leaves without tokens included."""

    @property
    @abstractmethod
    def num_blocks(self) -> int:
        """Blocks, those without a sequence (concatenate: one piece of one token) included."""

    @property
    @abstractmethod
    def pad_tokens(self) -> int:
        """Padding in the sequences of one epoch, tokens."""

    @property
    @abstractmethod
    def num_cut(self) -> int:
        """Pieces, not excluded, that sequences hold, but none of them whole."""

    def blocks_of(self, sequences: Int64Array) -> Int64Array:
        """The blocks of sequences, int64."""
        return np.searchsorted(self._block_sequence, sequences, side="right") - 1

    @abstractmethod
    def segments(self, sequences: Int64Array) -> Segments:
        """What the sequences (int64 (R,), each in [0, num_sequences), in any order) are made of."""

    @abstractmethod
    def sequences_of(self, document: int) -> Int64Array:
        """The sequences that hold a token of `document`, ascending; none when it is excluded or never read."""
