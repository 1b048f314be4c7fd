"""Orders of several phases, drawn at random: what the exports ask of an order, without files behind it."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import cast

import numpy as np

from corpusmill.tokenize.packing import PAD
from corpusmill.tokenize.reader import Order, RowSegments, StepRows
from corpusmill.tokenize.rows import StepSegments

EOS, PADDING = 2, 0


@dataclass(frozen=True)
class Shape:
    """A phase: steps of one batch size and sequence length."""

    steps: int
    batch_size: int
    sequence_length: int


class MadeOrder:
    """Rows of random segments; with `cut` some end without EOS, as cut documents do; some rows end in padding."""

    def __init__(self, shapes: list[Shape], vocab_size: int, seed: int, *, cut: bool) -> None:
        self.vocab_size = vocab_size
        self.root = "ab" * 32
        self.tokenizer_sha256 = "cd" * 32
        self.run_folder = "RUN"
        self.steps = sum(s.steps for s in shapes)
        dtype = "uint16" if vocab_size <= 1 << 16 else "uint32"
        tokenizer = SimpleNamespace(eos_id=EOS, pad_id=PADDING, dtype=dtype)
        self.rule = SimpleNamespace(phase_at=self._phase_at, tokenizer=tokenizer)
        self._shapes = [s for s in shapes for _ in range(s.steps)]
        self._seed = seed
        self._eos_share = 0.7 if cut else 1.0

    def _phase_at(self, step: int) -> Shape:
        return self._shapes[step]

    def step(self, step: int) -> StepRows:
        draw = np.random.default_rng([self._seed, step])
        shape = self._shapes[step]
        width = shape.sequence_length + 1
        tokens = draw.integers(3, self.vocab_size, (shape.batch_size, width), dtype=np.int32)
        mask = np.ones(tokens.shape, np.bool_)
        segments = []
        for row in range(shape.batch_size):
            cuts = np.flatnonzero(draw.random(width - 1) < 0.2) + 1
            lengths = np.diff(np.concatenate([[0], cuts, [width]]))
            padded = len(lengths) > 1 and draw.random() < 0.3
            ends = np.cumsum(lengths)
            for number, (length, end) in enumerate(zip(lengths, ends, strict=True)):
                inside = slice(end - length, end)
                mask[row, end - length] = False
                if draw.random() < self._eos_share:
                    tokens[row, end - 1] = EOS
                if padded and number == len(lengths) - 1:
                    tokens[row, inside] = PADDING
                    mask[row, inside] = False
            ordinals = draw.integers(0, 1000, len(lengths))
            flags = np.zeros(len(lengths), np.uint8)
            if padded:
                ordinals[-1] = -1
                flags[-1] = PAD
            segments.append(RowSegments(ordinals, draw.integers(0, 9, len(lengths)), lengths, flags))
        return StepRows(
            phase=0,
            step=step,
            slots=np.arange(shape.batch_size, dtype=np.int32),
            tokens=tokens,
            loss_mask=mask[:, 1:],
            segments=segments_of(segments),
        )


def segments_of(rows: list[RowSegments]) -> StepSegments:
    columns = (np.concatenate(column) for column in zip(*rows, strict=True))
    return StepSegments(*columns, bounds=np.cumsum([0, *(len(row.num_tokens) for row in rows)]))


def made_order(*shapes: tuple[int, int, int], vocab_size: int = 500, seed: int = 0, cut: bool = True) -> Order:
    """An order of phases (steps, batch size, sequence length)."""
    return cast(Order, MadeOrder([Shape(*s) for s in shapes], vocab_size, seed, cut=cut))


def starts_of(rows: StepRows, row: int) -> list[int]:
    """Where the segments of a row begin, the first at 0."""
    ids = rows.segment_ids[row].tolist()
    return [0, *(t for t in range(1, len(ids)) if ids[t] != ids[t - 1])]
