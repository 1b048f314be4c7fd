"""Best-fit packing: documents are cut only where they are longer than a sequence.

Source: Ding et al. 2024, "Fewer Truncations Improve Language Modeling" (best-fit-decreasing). [DEVIATION]: inside
blocks, so that a document that leaves disturbs its block only; and neighbouring cuts of a long document share a token,
so that every token but a document's first is a label exactly once.

Inside a block:

1. **Parts.** A piece of T <= L+1 tokens is one part. A longer one is cut with stride L: parts [k*L, k*L + L+1),
   k = 0, 1, ..., while more than L+1 tokens remain from k*L on, then the rest, of 2 to L+1 tokens.
2. **Order.** Parts are placed one after another: the longest first; of the same length in order of piece (that is of
   document, then start), then of start.
3. **Place.** A part goes to the open sequence whose free space is the smallest that is large enough; of sequences with
   the same free space, to the one that came to this free space last. When none is large enough, a new sequence of L+1
   tokens is opened, and the part is its first. The sequences of a block are numbered as they are opened.
4. The segments of a sequence stand in order of placement; what is left at its end is padding.

Excluded documents: parts are placed as if nothing were excluded, then the segments of the excluded go, those behind
them move up, and the end is padding. So only the sequences that held an excluded document change.

The number of sequences of a block may be a little above `block_sequences`, which limits those of concatenate.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from corpusmill.core.hashing import Int64Array
from corpusmill.tokenize.pieces import Blocks, Packing, Pieces, Segments

UInt32Array = npt.NDArray[np.uint32]


class BestFitPacking(Packing):
    """See the module. Holds 16 bytes a piece (17 where documents are excluded), 8 a part and 8 a sequence.

    Placing costs O(parts * log L + blocks * L), once, and 30 bytes a part of one block; `segments` costs
    O(segments asked for * log pieces).

    Args:
        pieces: what is packed; an int64 array is the lengths of whole documents.
        sequence_length: L, labels of a sequence.
        block_sequences: where blocks are cut, see `Blocks`.
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
        self._kept = pieces.kept(excluded)
        self._block_piece = Blocks.of_bounds(pieces.bounds(), sequence_length, block_sequences).piece
        # Parts are numbered in order of (piece, start). Within a block numbers fit in 32 bits.
        self._first_part = _first_parts(pieces.length, sequence_length)  # (P + 1,)
        block_part = self._first_part[self._block_piece]
        assert np.all(np.diff(block_part) < 1 << 32), "a block of more than 2^32 parts"
        self._sequence_of = np.empty(block_part[-1], np.uint32)  # by part: sequence in the block
        self._placed = np.empty(block_part[-1], np.uint32)  # part in the block, by (sequence, order of placement)
        begins = []  # of the sequences, in _placed
        block_sequence = [0]
        for block in range(len(self._block_piece) - 1):
            part, stop = int(block_part[block]), int(block_part[block + 1])
            begin = _place(
                pieces.length[self._block_piece[block] : self._block_piece[block + 1]],
                sequence_length,
                self._sequence_of[part:stop],
                self._placed[part:stop],
            )
            begins.append(begin + part)
            block_sequence.append(block_sequence[-1] + len(begin))
        begins.append(block_part[-1:])
        self._begins = np.concatenate(begins)  # (num_sequences + 1,)
        self._block_sequence = np.array(block_sequence, np.int64)  # (blocks + 1,)

    @property
    def num_sequences(self) -> int:
        """Sequences of one epoch, those that an exclusion leaves without tokens included."""
        return int(self._block_sequence[-1])

    @property
    def num_blocks(self) -> int:
        """Blocks; every one has a sequence."""
        return len(self._block_piece) - 1

    @property
    def pad_tokens(self) -> int:
        """Padding in the sequences of one epoch, tokens."""
        read = self._pieces.length + np.diff(self._first_part) - 1  # neighbouring parts share a token
        kept = read if self._kept is None else read[self._kept]
        return self.num_sequences * (self.sequence_length + 1) - int(kept.sum())

    @property
    def num_cut(self) -> int:
        """Pieces, not excluded, that no sequence holds whole: those of more than L+1 tokens."""
        cut = np.diff(self._first_part) > 1
        return int(np.count_nonzero(cut if self._kept is None else cut & self._kept))

    def segments(self, sequences: Int64Array) -> Segments:
        """What the sequences (int64 (R,), each in [0, num_sequences), in any order) are made of."""
        length = self.sequence_length
        begin = self._begins[sequences]
        counts = self._begins[np.asarray(sequences) + 1] - begin
        row = np.repeat(np.arange(len(sequences)), counts)
        place = begin[row] + np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        block = np.searchsorted(self._block_sequence, sequences, side="right") - 1
        origin = self._first_part[self._block_piece[block]]
        part = origin[row] + self._placed[place]
        piece = np.searchsorted(self._first_part, part, side="right") - 1
        if self._kept is not None:
            kept = self._kept[piece]
            row, part, piece = row[kept], part[kept], piece[kept]
        offset = (part - self._first_part[piece]) * length
        num_tokens = np.minimum(length + 1, self._pieces.length[piece] - offset)

        filled = np.bincount(row, weights=num_tokens, minlength=len(sequences)).astype(np.int64)
        padded = np.flatnonzero(filled < length + 1)
        at = np.searchsorted(row, padded, side="right")
        return self._pieces.segments(
            np.insert(row, at, padded),
            np.insert(piece, at, -1),
            np.insert(offset, at, 0),
            np.insert(num_tokens, at, length + 1 - filled[padded]),
        )

    def sequences_of(self, document: int) -> Int64Array:
        """The sequences that hold a token of `document`, ascending; none when it is excluded."""
        pieces = self._pieces.of_document(document)
        if not len(pieces) or (self._kept is not None and not self._kept[pieces.start]):
            return np.empty(0, np.int64)
        part = np.arange(self._first_part[pieces.start], self._first_part[pieces.stop])
        piece = np.searchsorted(self._first_part, part, side="right") - 1
        block = np.searchsorted(self._block_piece, piece, side="right") - 1
        return np.unique(self._block_sequence[block] + self._sequence_of[part])


@numba.njit(cache=True, inline="always")
def _whole_parts(tokens: int, length: int) -> int:
    """How many parts of L+1 tokens are cut off a piece before its last part."""
    return max(0, (tokens - 2) // length)


@numba.njit(cache=True, nogil=True)
def _first_parts(lengths: Int64Array, length: int) -> Int64Array:
    out = np.empty(len(lengths) + 1, np.int64)
    out[0] = 0
    for i in range(len(lengths)):
        out[i + 1] = out[i] + _whole_parts(lengths[i], length) + 1
    return out


@numba.njit(cache=True, nogil=True)
def _by_length(lengths: Int64Array, length: int, parts: int) -> tuple[UInt32Array, Int64Array]:
    """The parts, longest first, ties by number; and where each length ends, by length."""
    space = length + 1
    ends = np.zeros(space + 2, np.int64)
    for tokens in lengths:
        whole = _whole_parts(tokens, length)
        ends[space] += whole
        ends[tokens - whole * length] += 1
    for size in range(space, -1, -1):
        ends[size] += ends[size + 1]
    following = ends[1:].copy()  # by length: where its next part goes
    order = np.empty(parts, np.uint32)
    part = 0
    for tokens in lengths:
        whole = _whole_parts(tokens, length)
        for k in range(whole + 1):
            size = space if k < whole else tokens - whole * length
            order[following[size]] = part
            following[size] += 1
            part += 1
    return order, ends


@numba.njit(cache=True, nogil=True)
def _place(lengths: Int64Array, length: int, sequence_of: UInt32Array, placed: UInt32Array) -> Int64Array:
    """Places the parts of a block; fills sequence_of and placed, returns where each sequence begins in `placed`.

    Open sequences of one free space are a stack, linked through `below`. A binary tree over free spaces says which have
    one: its leaves are marked, and every node above a marked leaf.
    """
    parts = len(sequence_of)
    order, ends = _by_length(lengths, length, parts)
    leaves = 1
    while leaves < length + 1:
        leaves *= 2
    marked = np.zeros(2 * leaves, np.bool_)
    top = np.full(leaves, -1, np.int64)  # by free space, 0..L
    below = np.empty(parts, np.int64)  # by sequence
    sequences = 0
    size = length + 1
    for i in range(parts):
        while i >= ends[size]:
            size -= 1
        node = 0
        if size <= length:
            node = leaves + size
            while node > 1 and not marked[node]:  # up, to the right of all that is too small
                while node & 1:
                    node >>= 1
                node = node + 1 if node > 0 else 0
            while 0 < node < leaves:  # down, to the smallest
                node = 2 * node if marked[2 * node] else 2 * node + 1
        if node > 0:
            space = node - leaves
            sequence = top[space]
            top[space] = below[sequence]
            if top[space] < 0:
                marked[node] = False
                node >>= 1
                while node > 0 and not (marked[2 * node] or marked[2 * node + 1]):
                    marked[node] = False
                    node >>= 1
        else:
            space = length + 1
            sequence = sequences
            sequences += 1
        sequence_of[order[i]] = sequence
        space -= size
        below[sequence] = top[space]
        top[space] = sequence
        node = leaves + space
        while node > 0 and not marked[node]:
            marked[node] = True
            node >>= 1

    begins = np.zeros(sequences + 1, np.int64)
    for i in range(parts):
        begins[sequence_of[i] + 1] += 1
    for s in range(sequences):
        begins[s + 1] += begins[s]
    following = begins.copy()
    for i in range(parts):
        sequence = sequence_of[order[i]]
        placed[following[sequence]] = order[i]
        following[sequence] += 1
    return begins[:sequences]
