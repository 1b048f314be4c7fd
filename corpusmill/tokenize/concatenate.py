"""Packing by concatenate-and-cut, inside blocks.

The pieces of a block stand one after another: T tokens. Sequence i of the block reads its tokens [i*L, i*L + L + 1):
L+1 tokens with stride L, so that every token but the block's first is a label exactly once (Megatron's cut). A block
has ceil((T-1) / L) sequences; its last one is padded to L+1.

Excluded documents: the others of their block are cut as if the excluded were not there. That changes sequences
of this block only; those that it leaves without tokens are padding.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from corpusmill.core.hashing import Int64Array
from corpusmill.tokenize.cut_kernel import cut, first_pieces
from corpusmill.tokenize.pieces import Blocks, Packing, Pieces, Segments

_MANY = 256  # sequences at once that are worth an index of all


class ConcatenatePacking(Packing):
    """See the module. Holds 8 bytes a piece, 16 where documents are excluded; nothing where offsets are mapped.

    Of mapped offsets (`Pieces.of_offsets`) it reads a page here and there: O(blocks * log pieces). `segments` costs
    O(segments asked for * log pieces), or, of many sequences, O(segments) and once a pass over the pieces and 1 byte
    a sequence.

    Args:
        pieces: what is packed; an int64 array is the lengths of whole documents.
        sequence_length: L, labels of a sequence.
        block_sequences: of a block at most, unless one piece alone has more.
        excluded: documents left out, int64, ascending.
    """

    def __init__(
        self,
        pieces: Pieces | Int64Array,
        sequence_length: int,
        block_sequences: int,
        excluded: Int64Array | None = None,
    ) -> None:
        pieces = pieces if isinstance(pieces, Pieces) else Pieces.of_lengths(pieces)
        super().__init__(pieces, sequence_length)
        bounds = pieces.bounds()
        blocks = Blocks.of_bounds(bounds, sequence_length, block_sequences)
        self._block_sequence = blocks.sequence  # (blocks + 1,)
        kept = pieces.kept(excluded)
        # What follows is of the pieces that are not excluded; their numbers are in _number, None: all are there.
        self._number = None if kept is None else np.flatnonzero(kept)
        if self._number is not None:
            lengths = bounds[self._number + 1] - bounds[self._number]
            bounds = np.concatenate([[0], np.cumsum(lengths)])
        self._starts, self._ends = bounds[:-1], bounds[1:]
        first = blocks.piece if self._number is None else np.searchsorted(self._number, blocks.piece)
        self._block_token = bounds[first]  # (blocks + 1,)

    @property
    def num_sequences(self) -> int:
        """Sequences of one epoch, those that an exclusion leaves without tokens included."""
        return int(self._block_sequence[-1])

    @property
    def num_blocks(self) -> int:
        """Blocks, those without a sequence (one piece of one token) included."""
        return len(self._block_token) - 1

    @property
    def pad_tokens(self) -> int:
        """Padding in the sequences of one epoch, tokens."""
        tokens = np.diff(self._block_token)
        filled = np.maximum(0, -(-(tokens - 1) // self.sequence_length))  # sequences that have tokens
        read = np.where(filled > 0, tokens + filled - 1, 0)  # neighbours share one
        return self.num_sequences * (self.sequence_length + 1) - int(read.sum())

    @property
    def num_cut(self) -> int:
        """Pieces, not excluded, that sequences hold, but none of them whole."""
        starts, lengths = self._starts, self._ends - self._starts
        origin = self._block_token[np.searchsorted(self._block_token, starts, side="right") - 1]
        return int(np.count_nonzero((starts - origin) % self.sequence_length + lengths > self.sequence_length + 1))

    def segments(self, sequences: Int64Array) -> Segments:
        """What the sequences (int64 (R,), each in [0, num_sequences), in any order) are made of."""
        many = len(sequences) > _MANY
        firsts = self._firsts if many else np.empty(0, np.int64)
        wanted = np.ascontiguousarray(sequences, dtype=np.int64)
        row, place, offset, num_tokens = cut(
            wanted, self._starts, self._ends, self._block_token, self._block_sequence, self.sequence_length, firsts
        )
        number = place if self._number is None or not len(self._number) else self._number[place]
        return self._pieces.segments(row, np.where(place < 0, -1, number), offset, num_tokens)

    @cached_property
    def _firsts(self) -> Int64Array:
        return first_pieces(self._ends, self._block_token, self._block_sequence, self.sequence_length)

    def sequences_of(self, document: int) -> Int64Array:
        """The sequences that hold a token of `document`, ascending; none when it is excluded or never read."""
        pieces = self._pieces.of_document(document)
        bounds = np.array([pieces.start, pieces.stop])
        first, stop = bounds if self._number is None else np.searchsorted(self._number, bounds)
        found = [self._sequences_of_place(place) for place in range(int(first), int(stop))]
        return np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)

    def _sequences_of_place(self, place: int) -> Int64Array:
        end = int(self._ends[place])
        start = int(self._starts[place])
        block = int(np.searchsorted(self._block_token, start, side="right")) - 1
        origin, stop = (int(t) for t in self._block_token[block : block + 2])
        length = self.sequence_length
        # Token t of a block is in sequence t // L and, as the last of its L+1 tokens, in t // L - 1 when L divides t.
        first = max(0, start - origin - 1) // length
        last = (end - 1 - origin) // length
        filled = -((1 - (stop - origin)) // length)  # sequences of the block that have tokens
        return int(self._block_sequence[block]) + np.arange(first, min(last + 1, filled))
