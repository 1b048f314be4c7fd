"""The kernel of concatenate-and-cut: which runs of which pieces the sequences of a packing are made of."""

from __future__ import annotations

import numba
import numpy as np

from corpusmill.core.hashing import Int64Array

STRIDE = 8  # sequences between two entries of `first_pieces`


@numba.njit(cache=True, nogil=True)
def first_pieces(ends: Int64Array, block_token: Int64Array, block_sequence: Int64Array, length: int) -> Int64Array:
    """The piece that holds the first token of every STRIDE-th sequence, int64; one pass over all pieces.

    Args:
        ends: (P,) tokens up to and with each piece.
        block_token: (blocks + 1,) first token of each block.
        block_sequence: (blocks + 1,) first sequence of each block.
        length: L.
    """
    sequences = block_sequence[-1]
    out = np.empty(sequences // STRIDE + 1, np.int64)
    piece = block = 0
    for i in range(len(out)):
        sequence = i * STRIDE
        while block + 1 < len(block_token) - 1 and block_sequence[block + 1] <= sequence:
            block += 1
        start = block_token[block] + (sequence - block_sequence[block]) * length
        start = min(start, block_token[block + 1])  # exclusion may leave the block fewer tokens
        while piece < len(ends) and ends[piece] <= start:
            piece += 1
        out[i] = piece
    return out


@numba.njit(cache=True, nogil=True)
def cut(
    sequences: Int64Array,
    starts: Int64Array,
    ends: Int64Array,
    block_token: Int64Array,
    block_sequence: Int64Array,
    length: int,
    firsts: Int64Array,
) -> tuple[Int64Array, Int64Array, Int64Array, Int64Array]:
    """Runs of pieces in `sequences`, one after another: (row, piece or -1 for padding, offset in the piece, tokens).

    starts, ends: (P,) tokens before each piece, and up to and with it, counted as those of the blocks.
    firsts: of `first_pieces`, or empty: pieces are then searched among all.
    """
    room = 4 * len(sequences) + 16
    out = np.empty((4, room), np.int64)
    count = 0
    for row in range(len(sequences)):
        sequence = sequences[row]
        block = np.searchsorted(block_sequence, sequence, side="right") - 1
        end = block_token[block + 1]
        start = block_token[block] + (sequence - block_sequence[block]) * length
        at = start
        stop = min(start + length + 1, end)
        if start >= end - 1:  # a single token was the last label of the sequence before
            at = stop = end
        missing = length + 1 - (stop - at)
        low, high = 0, len(ends)
        if len(firsts):
            low = firsts[sequence // STRIDE]
            if sequence // STRIDE + 1 < len(firsts):
                high = firsts[sequence // STRIDE + 1] + 1
        piece = low + np.searchsorted(ends[low : min(high, len(ends))], at, side="right")
        while at < stop or missing > 0:
            if count == room:
                wider = np.empty((4, 2 * room), np.int64)
                wider[:, :room] = out
                out, room = wider, 2 * room
            out[0, count] = row
            if at >= stop:
                out[1, count] = -1
                out[2, count] = 0
                out[3, count] = missing
                count += 1
                break
            upto = min(ends[piece], stop)
            out[1, count] = piece
            out[2, count] = at - starts[piece]
            out[3, count] = upto - at
            count += 1
            at = upto
            piece += 1
    return out[0, :count].copy(), out[1, :count].copy(), out[2, :count].copy(), out[3, :count].copy()
