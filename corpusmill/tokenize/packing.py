"""Documents to sequences: concatenate and cut, inside blocks.

Documents stand one after another in their order. A block takes whole documents until one more would give it more than
`block_sequences` sequences (a single document may exceed that alone: it is then a block by itself). Sequence i of a
block reads its tokens [i*L, i*L + L + 1): L+1 tokens with stride L, so that every token but the block's first is a
label exactly once (Megatron's cut). A block of T tokens has ceil((T-1) / L) sequences; its last one is padded to L+1.

Sequences are numbered through, block after block.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from corpusmill.core.hashing import Int64Array

MASKED = 1  # no token of the segment is a label
PAD = 2  # no document: filling at the end of a sequence
TRUNCATED_HEAD = 4  # the segment does not begin where its document begins
TRUNCATED_TAIL = 8  # the segment does not end where its document ends


class Segments(NamedTuple):
    """k segments, ordered by (row, segment): each is a run of tokens of one document inside one sequence.

    The num_tokens of a row's segments add up to L+1: what no document fills is a segment with the flag PAD.
    """

    row: Int64Array  # (k,) 0-based, into the sequences that were asked for
    segment: Int64Array  # (k,) 0-based within the row
    document: Int64Array  # (k,) -1 for padding
    doc_token_start: Int64Array  # (k,) tokens, within the document; 0 for padding
    num_tokens: Int64Array  # (k,) 1..L+1
    flags: npt.NDArray[np.uint8]  # (k,) PAD, TRUNCATED_HEAD, TRUNCATED_TAIL


class Packing:
    """How documents of given lengths (int64 (D,), tokens incl. EOS, each >= 1) are cut into sequences of length L.

    Holds 16 bytes a document; `segments` costs O(segments asked for * log D).
    """

    def __init__(self, lengths: Int64Array, sequence_length: int, block_sequences: int) -> None:
        self.sequence_length = sequence_length
        self._lengths = lengths
        self._ends = np.cumsum(lengths)
        first_tokens = _block_boundaries(self._ends, block_sequences * sequence_length + 1)
        sizes = np.diff(first_tokens)
        self._block_token = first_tokens  # (blocks + 1,) first token of each block, and the end
        self._block_sequence = np.concatenate([[0], np.cumsum(-(-(sizes - 1) // sequence_length))]).astype(np.int64)

    @property
    def num_sequences(self) -> int:
        """Sequences of one epoch."""
        return int(self._block_sequence[-1])

    @property
    def num_blocks(self) -> int:
        """Blocks, those without a sequence (one document of one token) included."""
        return len(self._block_token) - 1

    def segments(self, sequences: Int64Array) -> Segments:
        """What the sequences (int64 (R,), each in [0, num_sequences)) are made of."""
        length = self.sequence_length
        block = np.searchsorted(self._block_sequence, sequences, side="right") - 1
        start = self._block_token[block] + (sequences - self._block_sequence[block]) * length
        stop = np.minimum(start + length + 1, self._block_token[block + 1])
        first = np.searchsorted(self._ends, start, side="right")
        last = np.searchsorted(self._ends, stop - 1, side="right")
        padding = length + 1 - (stop - start)
        counts = last - first + 1 + (padding > 0)

        row = np.repeat(np.arange(len(sequences)), counts)
        segment = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        document = first[row] + segment
        is_pad = document > last[row]
        document[is_pad] = 0
        doc_end = self._ends[document]
        doc_start = doc_end - self._lengths[document]
        low = np.maximum(doc_start, start[row])
        high = np.minimum(doc_end, stop[row])
        flags = np.where(low > doc_start, TRUNCATED_HEAD, 0) | np.where(high < doc_end, TRUNCATED_TAIL, 0)
        return Segments(
            row=row,
            segment=segment,
            document=np.where(is_pad, -1, document),
            doc_token_start=np.where(is_pad, 0, low - doc_start),
            num_tokens=np.where(is_pad, padding[row], high - low),
            flags=np.where(is_pad, PAD, flags).astype(np.uint8),
        )

    def sequences_of(self, document: int) -> range:
        """The sequences that hold a token of `document` (empty when its block has none)."""
        end = int(self._ends[document])
        start = end - int(self._lengths[document])
        block = int(np.searchsorted(self._block_token, start, side="right")) - 1
        origin = int(self._block_token[block])
        first_sequence, stop_sequence = (int(s) for s in self._block_sequence[block : block + 2])
        # Token t of a block is in sequence t // L and, as the last of its L+1 tokens, in t // L - 1 when L divides t.
        first = max(0, start - origin - 1) // self.sequence_length
        last = (end - 1 - origin) // self.sequence_length
        return range(first_sequence + first, min(first_sequence + last + 1, stop_sequence))


def _block_boundaries(ends: Int64Array, block_tokens: int) -> Int64Array:
    """First token of every block, and the end of the last. Greedy; over `block_tokens` only for a single document."""
    boundaries = [0]
    taken = 0  # documents
    while taken < len(ends):
        fits = int(np.searchsorted(ends, boundaries[-1] + block_tokens, side="right"))
        taken = max(fits, taken + 1)
        boundaries.append(int(ends[taken - 1]))
    return np.array(boundaries, dtype=np.int64)
