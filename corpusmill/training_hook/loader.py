"""From the order to the rows of one process.

Rank r of W takes slots r, r + W, r + 2W, ... of every step: W never enters what is fed, only who computes it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from corpusmill.tokenize.hashes import HASH_BYTES
from corpusmill.tokenize.reader import Order, RowSegments, step_root


@dataclass(frozen=True)
class Batch:
    """The rows of one process in one step; R = ceil(B / W) rows, the same number in every process.

    Where W does not divide B, the last row of some processes is filling: `slots` ends one earlier, no label counts.
    """

    tokens: Tensor  # int64 (R, L+1)
    segments: Tensor  # int32 (R, L+1), -1 where padded
    valid: Tensor  # bool (R, L): which labels tokens[:, 1:] count in the loss
    slots: list[int]
    layouts: Sequence[RowSegments]  # of each slot: which documents its tokens are from

    @property
    def num_valid(self) -> int:
        """Labels that count."""
        return int(self.valid.sum())

    def split(self, rows: int | None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Micro-batches (tokens, segments, valid) of at most `rows` rows; None: all at once."""
        size = rows or len(self.tokens)
        for first in range(0, len(self.tokens), size):
            part = slice(first, first + size)
            yield self.tokens[part], self.segments[part], self.valid[part]

    def to(self, device: torch.device) -> Batch:
        """The same on `device`."""
        tokens, segments, valid = (t.to(device) for t in (self.tokens, self.segments, self.valid))
        return replace(self, tokens=tokens, segments=segments, valid=valid)


class Loader:
    """Rows of rank `rank` of `size` for any step, at the cost of those rows. A step's phase gives their shape."""

    def __init__(self, order: Order, rank: int, size: int) -> None:
        self._order = order
        self._rank = rank
        self._size = size

    def rows(self, step: int) -> Batch:
        """The rows of `step` (0-based) for this process."""
        order, phase = self._order, self._order.phase(step)
        slots = list(range(self._rank, phase.batch_size, self._size))
        shape = (-(-phase.batch_size // self._size), phase.sequence_length + 1)
        tokens = np.zeros(shape, np.int64)
        segments = np.full(shape, -1, np.int32)
        valid = np.zeros((shape[0], phase.sequence_length), np.bool_)
        layouts: Sequence[RowSegments] = ()
        if slots:
            rows = order.step(step, slots)
            tokens[: len(slots)] = rows.tokens
            segments[: len(slots)] = rows.segment_ids
            valid[: len(slots)] = rows.loss_mask
            layouts = rows.segments
        return Batch(torch.from_numpy(tokens), torch.from_numpy(segments), torch.from_numpy(valid), slots, layouts)

    def leaves(self, fed: Batch) -> list[bytes]:
        """The 32-byte leaves of the R rows of `fed`, from the tensors that the model was given; zeros for filling."""
        tokens, valid = fed.tokens.cpu().numpy(), fed.valid.cpu().numpy()
        leaves = [self._order.leaf(slot, tokens[i], fed.layouts[i], valid[i]) for i, slot in enumerate(fed.slots)]
        return leaves + [bytes(HASH_BYTES)] * (len(tokens) - len(leaves))

    def root(self, step: int, leaves_by_rank: Sequence[Sequence[bytes]]) -> bytes:
        """The root of a step from the leaves of all processes, rank by rank."""
        slots = range(self._order.phase(step).batch_size)
        return step_root([leaves_by_rank[slot % self._size][slot // self._size] for slot in slots])

    def steps(self, first: int, end: int, prefetch: bool) -> Iterator[tuple[int, Batch, float]]:
        """(step, rows, seconds waited for them) for steps [first, end); `prefetch` reads one step ahead in a thread."""
        with ThreadPoolExecutor(1, "prefetch") as pool:
            ahead: Future[Batch] | None = None
            for step in range(first, end):
                start = time.perf_counter()
                batch = ahead.result() if ahead else self.rows(step)
                waited = time.perf_counter() - start
                ahead = pool.submit(self.rows, step + 1) if prefetch and step + 1 < end else None
                yield step, batch, waited
