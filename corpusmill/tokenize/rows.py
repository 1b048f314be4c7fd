"""Rows of the table, made into what a trainer is fed and into the leaves that bind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import NamedTuple, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from corpusmill.core.hashing import Int64Array
from corpusmill.tokenize.hashes import leaf_hash
from corpusmill.tokenize.packing import MASKED, PAD
from corpusmill.tokenize.store import DocumentIndex, Int32Array, TokenStore

BoolArray = npt.NDArray[np.bool_]

_NONE: Mapping[int, bytes] = {}
_NO_SLOTS: Mapping[int, Mapping[int, bytes]] = {}


class RowSegments(NamedTuple):
    """The k segments of one sequence, in order; their num_tokens add up to L+1."""

    doc_ordinals: Int64Array  # (k,) -1 for padding
    doc_token_starts: Int64Array  # (k,) tokens, within the document
    num_tokens: Int64Array  # (k,)
    flags: npt.NDArray[np.uint8]  # (k,) packing.MASKED, PAD, TRUNCATED_HEAD, TRUNCATED_TAIL

    def loss_mask(self) -> BoolArray:
        """(L,) which labels count: see `StepRows.loss_mask`."""
        return counted_labels(self.num_tokens, self.flags)[1:]


@dataclass(frozen=True)
class StepSegments(Sequence[RowSegments]):
    """The segments of R sequences, one after another; item i is those of sequence i, [bounds[i], bounds[i + 1])."""

    doc_ordinals: Int64Array  # (k,), as in RowSegments
    doc_token_starts: Int64Array
    num_tokens: Int64Array
    flags: npt.NDArray[np.uint8]
    bounds: Int64Array  # (R + 1,)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @overload
    def __getitem__(self, row: int) -> RowSegments: ...
    @overload
    def __getitem__(self, row: slice) -> list[RowSegments]: ...
    def __getitem__(self, row: int | slice) -> RowSegments | list[RowSegments]:
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        part = slice(self.bounds[row % len(self)], self.bounds[row % len(self) + 1])
        return RowSegments(
            self.doc_ordinals[part], self.doc_token_starts[part], self.num_tokens[part], self.flags[part]
        )


@dataclass(frozen=True)
class StepRows:
    """R sequences of one step, in ascending slot order. L is the sequence length.

    A sequence has L+1 tokens: tokens[:, :-1] are the inputs, tokens[:, 1:] the labels.
    """

    phase: int
    step: int
    slots: Int32Array  # (R,)
    tokens: Int32Array  # (R, L+1), pad id in padding
    loss_mask: BoolArray  # (R, L), of the labels: False for padding, masked segments and first tokens of documents
    segments: StepSegments  # R items

    @property
    def segment_ids(self) -> Int32Array:
        """(R, L+1) the number of every token's segment in its sequence, 0-based, -1 in padding; worked out anew."""
        segments = self.segments
        number = np.arange(len(segments.num_tokens)) - np.repeat(segments.bounds[:-1], np.diff(segments.bounds))
        shown: Int32Array = np.where((segments.flags & PAD) != 0, -1, number).astype(np.int32)
        return np.repeat(shown, segments.num_tokens).reshape(self.tokens.shape[0], -1)


def materialise(
    table: pa.Table, sequence_length: int, index: DocumentIndex, store: TokenStore, pad_id: int
) -> list[StepRows]:
    """StepRows of every step in `table`, whose rows are whole sequences in table order (by step, slot, segment)."""
    doc_ordinal = table.column("doc_ordinal").to_numpy()
    doc_token_start = table.column("doc_token_start").to_numpy()
    num_tokens = table.column("num_tokens").to_numpy().astype(np.int64)
    flags = table.column("flags").to_numpy()
    segment = table.column("segment").to_numpy()
    width = sequence_length + 1

    begins = np.flatnonzero(segment == 0)  # rows of the table where a sequence begins
    tokens = store.gather(index, doc_ordinal, doc_token_start, num_tokens, pad_id).reshape(-1, width)
    loss_mask = counted_labels(num_tokens, flags).reshape(-1, width)[:, 1:]

    bounds = np.append(begins, len(segment))
    slots = table.column("slot").to_numpy()[begins]
    steps = table.column("step").to_numpy()[begins]
    phases = table.column("phase").to_numpy()[begins]
    result = []
    cuts = [0, *(np.flatnonzero(np.diff(steps)) + 1).tolist(), len(steps)]
    for a, b in pairwise(cuts):
        part = slice(bounds[a], bounds[b])
        result.append(
            StepRows(
                phase=int(phases[a]),
                step=int(steps[a]),
                slots=slots[a:b],
                tokens=tokens[a:b],
                loss_mask=loss_mask[a:b],
                segments=StepSegments(
                    doc_ordinal[part],
                    doc_token_start[part],
                    num_tokens[part],
                    flags[part],
                    bounds[a : b + 1] - bounds[a],
                ),
            )
        )
    return result


def counted_labels(num_tokens: Int64Array, flags: npt.NDArray[np.uint8]) -> BoolArray:
    """For every token of the segments, one after another: whether it is a label that counts in the loss.

    Padding and masked segments do not count, nor does the first token of a segment: it is the first of the sequence
    (an input only) or of its document (attention ends at document boundaries, so nothing could predict it).
    """
    mask: BoolArray = np.repeat((flags & (MASKED | PAD)) == 0, num_tokens)
    mask[np.cumsum(num_tokens) - num_tokens] = False
    return mask


def row_leaf(
    slot: int,
    tokens_row: npt.NDArray[np.integer],
    segments: RowSegments,
    loss_mask_row: BoolArray,
    index: DocumentIndex,
    dtype: np.dtype[np.integer],
) -> bytes:
    """32-byte leaf of one sequence: tokens_row (L+1,), loss_mask_row (L,); dtype is that of the token shards."""
    return leaf_hash(slot, row_commitments(tokens_row, segments, loss_mask_row, index, dtype))


def row_commitments(
    tokens_row: npt.NDArray[np.integer],
    segments: RowSegments,
    loss_mask_row: BoolArray,
    index: DocumentIndex,
    dtype: np.dtype[np.integer],
) -> list[bytes]:
    """The commitments of one sequence's segments, 32 bytes each, from what `row_leaf` takes."""
    ordinals, num_tokens = segments.doc_ordinals, segments.num_tokens
    return _commitments(tokens_row[None], loss_mask_row[None], ordinals, num_tokens, index, dtype)


def leaves_of(
    rows: StepRows,
    index: DocumentIndex,
    dtype: np.dtype[np.integer],
    redacted: Mapping[int, Mapping[int, bytes]] = _NO_SLOTS,
) -> list[bytes]:
    """The leaves of all sequences of `rows`, in slot order.

    redacted: commitments by slot and segment of segments of this step whose tokens and salts are gone.
    """
    segments = rows.segments
    commitments = _commitments(rows.tokens, rows.loss_mask, segments.doc_ordinals, segments.num_tokens, index, dtype)
    leaves = []
    for slot, (first, stop) in zip(rows.slots.tolist(), pairwise(segments.bounds.tolist()), strict=True):
        own = commitments[first:stop]
        for number, commitment in redacted.get(slot, _NONE).items():
            own[number] = commitment
        leaves.append(leaf_hash(slot, own))
    return leaves


def _commitments(
    tokens: npt.NDArray[np.integer],
    loss_mask: BoolArray,
    doc_ordinals: Int64Array,
    num_tokens: Int64Array,
    index: DocumentIndex,
    dtype: np.dtype[np.integer],
) -> list[bytes]:
    """The commitments (see hashes.py) of the k segments of R sequences: tokens (R, L+1), loss_mask (R, L)."""
    rows, width = tokens.shape
    counted = np.zeros((rows, width), np.uint8)
    counted[:, 1:] = loss_mask
    ids = memoryview(tokens.astype(dtype).tobytes())
    mask = memoryview(counted.tobytes())
    salts = memoryview(index.salts(doc_ordinals))
    ends = np.cumsum(num_tokens)
    positions = np.stack([(ends - num_tokens) % width, num_tokens], axis=1)
    places = memoryview(positions.astype("<u4").tobytes())
    size = dtype.itemsize
    found = []
    start = 0
    for i, end in enumerate(ends.tolist()):
        salt, place = salts[16 * i : 16 * i + 16], places[8 * i : 8 * i + 8]
        found.append(sha256(b"".join((salt, ids[size * start : size * end], mask[start:end], place))).digest())
        start = end
    return found
