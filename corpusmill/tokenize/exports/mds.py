"""MosaicML streaming: MDS shards, one sample a row.

    part-0000/
        index.json
        shard.00000.mds ...    64 MiB at most, not compressed

Columns, in order of name: `loss_mask` (uint8, L), `segment_lengths` (int32, one a segment, negative for padding),
`slot` and `step` (int64), `tokens` (uint16 or uint32, L+1).

A shard, little-endian: number of samples n as u32; n + 1 offsets of samples from the start of the file as u32; the
shard's settings as JSON; the samples. A sample: bytes of each column of variable size as u32, then the columns. An
array of unknown shape has a byte (dimensions << 2 | code of the shape's type: 0, 1, 2 for uint8, 16, 32) and its shape
before its values. Source: streaming/base/format/mds/{writer,encodings,reader}.py of mosaicml-streaming 0.13.0.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

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

SHARD_BYTES = 1 << 26
_INT = ("int", 8)


class MdsWriter(PartWriter):
    """Writes one part as MDS shards. Holds one shard in memory."""

    name = "mds"
    grade = "exact order"

    def begin(self) -> None:
        """Fixes the columns."""
        facts, part = self.facts, self.part
        self._dtype = np.dtype("<u2" if facts.dtype == "uint16" else "<u4")
        columns: dict[str, tuple[str, int | None]] = {
            "tokens": (f"ndarray:{facts.dtype}:{part.width}", part.width * self._dtype.itemsize),
            "step": _INT,
            "slot": _INT,
        }
        if facts.masks:
            columns["loss_mask"] = (f"ndarray:uint8:{part.sequence_length}", part.sequence_length)
            columns["segment_lengths"] = ("ndarray:int32", None)
        names = sorted(columns)
        self._settings: dict[str, Any] = {
            "column_encodings": [columns[n][0] for n in names],
            "column_names": names,
            "column_sizes": [columns[n][1] for n in names],
            "compression": None,
            "format": "mds",
            "hashes": ["sha256"],
            "size_limit": SHARD_BYTES,
            "version": 2,
        }
        self._header = json.dumps(self._settings, sort_keys=True).encode()
        self._shards: list[dict[str, Any]] = []
        self._reset()

    def _reset(self) -> None:
        self._samples: list[bytes] = []
        self._bytes = 8 + len(self._header)  # of the shard

    def write(self, rows: StepRows) -> None:
        """Appends the rows of a step."""
        tokens = rows.tokens.astype(self._dtype)
        mask = rows.loss_mask.astype(np.uint8)
        lengths = Segments.of(rows).by_row() if self.facts.masks else []
        for number, slot in enumerate(rows.slots.tolist()):
            place = struct.pack("<qq", slot, rows.step)
            if self.facts.masks:
                array = _array(lengths[number])
                head = struct.pack("<I", len(array)) + mask[number].tobytes() + array
            else:
                head = b""
            self._add(b"".join([head, place, tokens[number].tobytes()]))

    def _add(self, sample: bytes) -> None:
        size = len(sample) + 4
        if self._samples and self._bytes + size > SHARD_BYTES:
            self._write_shard()
        self._samples.append(sample)
        self._bytes += size

    def _write_shard(self) -> None:
        count = len(self._samples)
        sizes = np.array([0, *(len(s) for s in self._samples)], np.int64)
        offsets = 4 + 4 * (count + 1) + len(self._header) + np.cumsum(sizes)
        name = f"shard.{len(self._shards):05d}.mds"
        head = struct.pack("<I", count) + offsets.astype("<u4").tobytes() + self._header
        file = self.write_file(name, head, *self._samples)
        entry = file.entry("")
        raw = {"basename": name, "bytes": entry.bytes, "hashes": {"sha256": entry.sha256}}
        self._shards.append({**self._settings, "raw_data": raw, "samples": count, "zip_data": None})
        self._reset()

    def finish(self) -> None:
        """Writes the last shard and the index."""
        self._write_shard()
        self.write_file("index.json", json.dumps({"shards": self._shards, "version": 2}, sort_keys=True).encode())

    @classmethod
    def refuse(cls, parts: Sequence[Part], facts: Facts) -> None:
        """Raises ConfigError when one row is larger than a shard can address."""
        for part in parts:
            if 20 * part.width > 1 << 32:
                raise ConfigError("a row does not fit an MDS shard", value=part.sequence_length)

    @classmethod
    def carried(cls, facts: Facts) -> list[str]:
        """The columns beside the tokens."""
        columns = ["step and slot: columns step, slot"]
        if facts.masks:
            columns += ["loss mask: column loss_mask", "segment borders and padding: column segment_lengths"]
        return columns

    @classmethod
    def lost(cls, counts: Counts, facts: Facts) -> list[str]:
        """Nothing with masks, which the training code has to use."""
        return [] if facts.masks else [lost_masks(counts), lost_borders(counts)]

    @classmethod
    def setup(cls, parts: Sequence[Part], facts: Facts) -> list[str]:
        """The reader's arguments, part by part."""
        return [
            'StreamingDataset(local="FOLDER", shuffle=False, num_canonical_nodes=1, batch_size=B / ranks) and a'
            " DataLoader of the same batch size; any number of nodes, ranks and workers that divides B.",
            "With other canonical nodes the order is another one, shuffle or not (exact rows).",
            *(
                f"{p.folder}: B={p.batch_size}, {p.steps} steps ({p.first_step}..{p.first_step + p.steps - 1}),"
                f" {p.width} tokens a row (inputs tokens[:-1], labels tokens[1:])"
                for p in parts
            ),
        ]


def _array(values: npt.NDArray[np.int32]) -> bytes:
    """A one-dimensional int32 array of unknown length as MDS stores it."""
    length = len(values)
    code, form = next((c, f) for c, f, limit in ((0, "<B", 8), (1, "<H", 16), (2, "<I", 32)) if length < 1 << limit)
    return struct.pack("<B", 1 << 2 | code) + struct.pack(form, length) + values.astype("<i4").tobytes()
