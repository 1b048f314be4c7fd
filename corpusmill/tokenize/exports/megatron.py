"""Megatron-LM: `.bin` and `.idx` of its IndexedDataset, one row a document.

    part-0000/
        tokens.bin, tokens.idx          L+1 tokens a row; uint16, or int32 where ids need more
        loss_mask.bin, loss_mask.idx    L labels a row, uint8 0 or 1
        segments.bin, segments.idx      int32, tokens of each segment of a row, negative for padding

`.idx`, little-endian: `MMIDIDX` and two zero bytes; version 1 as u64; code of the dtype as u8; number of sequences N
and of documents + 1 as u64; N lengths as i32; N byte offsets as i64; N + 1 first sequences of documents as i64.
Source: megatron/core/datasets/indexed_dataset.py of megatron-core 0.16.1.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from corpusmill.core.errors import ConfigError
from corpusmill.tokenize.exports.base import (
    Counts,
    Facts,
    Part,
    PartWriter,
    Segments,
    lost_borders,
    lost_masks,
)
from corpusmill.tokenize.reader import StepRows

_CODES = {"uint8": 1, "int32": 4, "uint16": 8}  # Megatron knows no uint32
_CHUNK = 1 << 16  # entries of the index in memory at once

_Lengths = Callable[[], Iterator[npt.NDArray[np.int32]]]  # of all rows, chunk by chunk; called more than once


class MegatronWriter(PartWriter):
    """Writes one part as IndexedDatasets whose documents are the rows, in order."""

    name = "megatron"
    grade = "exact order"

    def begin(self) -> None:
        """Opens the `.bin` files."""
        self._dtype = np.dtype("<u2" if self.facts.dtype == "uint16" else "<i4")
        self._tokens = self.open("tokens.bin")
        self._mask = self.open("loss_mask.bin") if self.facts.masks else None
        self._segments = self.open("segments.bin") if self.facts.masks else None
        # Segments of each row, int32. On disk, as memory must not grow with the order.
        self._segment_counts = self._stack.enter_context(tempfile.TemporaryFile())

    def write(self, rows: StepRows) -> None:
        """Appends the rows of a step."""
        self._tokens.write(rows.tokens.astype(self._dtype))
        if self._mask is not None and self._segments is not None:
            self._mask.write(rows.loss_mask.astype(np.uint8))
            segments = Segments.of(rows)
            self._segments.write(segments.lengths.astype("<i4"))
            self._segment_counts.write(segments.of_row.tobytes())

    def finish(self) -> None:
        """Writes the `.idx` files."""
        part = self.part
        self._write_index("tokens.idx", self._dtype, _constant(part.rows, part.width))
        if self.facts.masks:
            self._write_index("loss_mask.idx", np.dtype("u1"), _constant(part.rows, part.sequence_length))
            self._write_index("segments.idx", np.dtype("<i4"), self._spooled_counts)

    def _write_index(self, path: str, dtype: np.dtype[np.generic], lengths: _Lengths) -> None:
        rows = self.part.rows
        file = self.open(path)
        file.write(b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, _CODES[dtype.name], rows, rows + 1))
        for chunk in lengths():
            file.write(chunk.astype("<i4"))
        begin = 0
        for chunk in lengths():
            ends = begin + np.cumsum(chunk, dtype=np.int64) * dtype.itemsize
            file.write((ends - chunk.astype(np.int64) * dtype.itemsize).astype("<i8"))
            begin = int(ends[-1])
        for first in range(0, rows + 1, _CHUNK):
            file.write(np.arange(first, min(first + _CHUNK, rows + 1), dtype="<i8"))

    def _spooled_counts(self) -> Iterator[npt.NDArray[np.int32]]:
        self._segment_counts.seek(0)
        while data := self._segment_counts.read(4 * _CHUNK):
            yield np.frombuffer(data, np.int32)

    @classmethod
    def refuse(cls, parts: Sequence[Part], facts: Facts) -> None:
        """Raises ConfigError when ids do not fit int32."""
        if facts.vocab_size > 1 << 31:
            raise ConfigError("Megatron has no token type for this vocabulary", value=facts.vocab_size)

    @classmethod
    def carried(cls, facts: Facts) -> list[str]:
        """Loss masks and segments, as datasets of their own."""
        if not facts.masks:
            return []
        return [
            "loss mask: loss_mask, an IndexedDataset of L uint8 a row",
            "segment borders and padding: segments, an IndexedDataset of int32 lengths, negative for padding",
        ]

    @classmethod
    def lost(cls, counts: Counts, facts: Facts) -> list[str]:
        """Nothing with masks; without them what EOS does not tell."""
        return [] if facts.masks else [lost_masks(counts), lost_borders(counts)]

    @classmethod
    def setup(cls, parts: Sequence[Part], facts: Facts) -> list[str]:
        """The dataset class of docs/exports.md, Megatron's sequential sampler, and what GPTDataset would do."""
        return [
            "Return OrderRows(FOLDER) of examples/trainers/megatron_order.py from train_valid_test_datasets_provider,"
            " and start Megatron-LM with --dataloader-type single; nothing else decides the order.",
            *(
                f"{p.folder}: --seq-length {p.sequence_length} --global-batch-size {p.batch_size}"
                f" --train-iters {p.steps} (steps {p.first_step}..{p.first_step + p.steps - 1})"
                for p in parts
            ),
            "Megatron's own GPTDataset shuffles rows whatever its settings, and reads them as they are only with"
            " add_extra_token_to_sequence=False and a sequence_length of L+1: exact rows.",
        ]


def _constant(rows: int, length: int) -> _Lengths:
    def chunks() -> Iterator[npt.NDArray[np.int32]]:
        for first in range(0, rows, _CHUNK):
            yield np.full(min(_CHUNK, rows - first), length, np.int32)

    return chunks
