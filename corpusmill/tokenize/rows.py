"""Rows of the table, made into what a trainer is fed and into the leaves that bind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from corpusmill.core.hashing import Int64Array
from corpusmill.tokenize.hashes import NO_SALT, leaf_hash, segment_commitment
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
class StepRows:
    """R sequences of one step, in ascending slot order. L is the sequence length.

    A sequence has L+1 tokens: tokens[:, :-1] are the inputs, tokens[:, 1:] the labels.
    """

    phase: int
    step: int
    slots: Int32Array  # (R,)
    tokens: Int32Array  # (R, L+1), pad id in padding
    segment_ids: Int32Array  # (R, L+1) 0-based within the sequence, -1 in padding
    loss_mask: BoolArray  # (R, L), of the labels: False for padding, masked segments and first tokens of documents
    segments: tuple[RowSegments, ...]  # R items


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
    is_pad = (flags & PAD) != 0
    segment_ids = np.repeat(np.where(is_pad, np.int32(-1), segment), num_tokens).reshape(-1, width)
    loss_mask = counted_labels(num_tokens, flags).reshape(-1, width)[:, 1:]

    bounds = np.append(begins, len(segment))
    segments = [
        RowSegments(doc_ordinal[a:b], doc_token_start[a:b], num_tokens[a:b], flags[a:b])
        for a, b in pairwise(bounds.tolist())
    ]
    slots = table.column("slot").to_numpy()[begins]
    steps = table.column("step").to_numpy()[begins]
    phases = table.column("phase").to_numpy()[begins]
    result = []
    cuts = [0, *(np.flatnonzero(np.diff(steps)) + 1).tolist(), len(steps)]
    for a, b in pairwise(cuts):
        result.append(
            StepRows(
                phase=int(phases[a]),
                step=int(steps[a]),
                slots=slots[a:b],
                tokens=tokens[a:b],
                segment_ids=segment_ids[a:b],
                loss_mask=loss_mask[a:b],
                segments=tuple(segments[a:b]),
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
    known: Mapping[int, bytes] = _NONE,
) -> bytes:
    """32-byte leaf of one sequence: tokens_row (L+1,), loss_mask_row (L,); dtype is that of the token shards.

    known: commitments by number of the segment, which are taken as they are: those of redacted documents.
    """
    return leaf_hash(slot, row_commitments(tokens_row, segments, loss_mask_row, index, dtype, known))


def row_commitments(
    tokens_row: npt.NDArray[np.integer],
    segments: RowSegments,
    loss_mask_row: BoolArray,
    index: DocumentIndex,
    dtype: np.dtype[np.integer],
    known: Mapping[int, bytes] = _NONE,
) -> list[bytes]:
    """The commitments of one sequence's segments, 32 bytes each, from what `row_leaf` takes."""
    tokens = memoryview(np.ascontiguousarray(tokens_row, dtype=dtype).tobytes())
    mask = memoryview(b"\0" + np.ascontiguousarray(loss_mask_row, dtype=np.uint8).tobytes())
    width = dtype.itemsize
    commitments = []
    at = 0
    for number, (ordinal, count) in enumerate(
        zip(segments.doc_ordinals.tolist(), segments.num_tokens.tolist(), strict=True)
    ):
        end = at + count
        if number in known:
            commitments.append(known[number])
        else:
            salt = index.salt(ordinal) if ordinal >= 0 else NO_SALT
            commitments.append(segment_commitment(salt, tokens[at * width : end * width], mask[at:end], at, count))
        at = end
    return commitments


def leaves_of(
    rows: StepRows,
    index: DocumentIndex,
    dtype: np.dtype[np.integer],
    redacted: Mapping[int, Mapping[int, bytes]] = _NO_SLOTS,
) -> list[bytes]:
    """The leaves of all sequences of `rows`, in slot order.

    redacted: commitments by slot and segment of segments of this step whose tokens and salts are gone.
    """
    return [
        row_leaf(slot, rows.tokens[i], rows.segments[i], rows.loss_mask[i], index, dtype, redacted.get(slot, _NONE))
        for i, slot in enumerate(rows.slots.tolist())
    ]
