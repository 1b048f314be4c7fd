"""OLMo-core: token and label-mask arrays of its NumpyFSLDataset, and the order its data loader takes them in.

    part-0000/
        tokens.npy            L+1 tokens a row, uint16 or uint32; raw, without NumPy's header
        tokens.csv.gz         start, end, id, source, line of every segment but padding, without a header line
        label_mask.npy        L+1 bytes a row, 0 or 1: whether that token counts as a label; the first never does
        work/global_indices_dataset_size<N>_epoch1_seed0_v1.npy    uint32 0..N-1, raw

NumpyFSLDataset reads `sequence_length` tokens with that stride and makes the labels of them, shifted by one; the last
position has none. So rows are L+1 tokens and `sequence_length` is L+1: all L labels are there. Its configured data
loader always shuffles, but takes the indices of an earlier run with the same seed and epoch from its work folder if
they are there; these are they. Rank r of W takes rows r::W of a step, as in the order.
`start` and `end` are tokens in tokens.npy; `id` and `line` are the doc_ordinal, a row of `source`, the run's documents.
Source: olmo_core/data/{numpy_dataset,data_loader,utils}.py of ai2-olmo-core 3.0.0.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from corpusmill.core.errors import ConfigError
from corpusmill.tokenize.exports.base import Counts, Facts, Part, PartWriter, lost_borders, lost_masks
from corpusmill.tokenize.reader import StepRows

_SEED = 0
_CHUNK = 1 << 20
_SOURCE = "tokens/documents.parquet"


class OlmoWriter(PartWriter):
    """Writes one part as one token array with its label mask, metadata and indices."""

    name = "olmo"
    grade = "exact order"

    def begin(self) -> None:
        """Opens the files."""
        self._dtype = np.dtype("<u2" if self.facts.dtype == "uint16" else "<u4")
        self._tokens = self.open("tokens.npy")
        self._mask = self.open("label_mask.npy") if self.facts.masks else None
        self._metadata = self.open("tokens.csv.gz")
        self._gzip = zlib.compressobj(wbits=31)  # a gzip header without name and time: the same bytes again
        self._written = 0  # tokens

    def write(self, rows: StepRows) -> None:
        """Appends the rows of a step."""
        self._tokens.write(rows.tokens.astype(self._dtype))
        if self._mask is not None:
            mask = np.zeros(rows.tokens.shape, np.uint8)
            mask[:, 1:] = rows.loss_mask
            self._mask.write(mask)
        ordinals = np.concatenate([s.doc_ordinals for s in rows.segments])
        lengths = np.concatenate([s.num_tokens for s in rows.segments])
        ends = self._written + np.cumsum(lengths)
        real = ordinals >= 0
        table = np.stack([ends - lengths, ends, ordinals], axis=1)[real].tolist()
        lines = "".join(f"{a},{b},{d},{_SOURCE},{d}\n" for a, b, d in table)
        self._metadata.write(self._gzip.compress(lines.encode()))
        self._written += rows.tokens.size

    def finish(self) -> None:
        """Writes the rest of the metadata and the indices."""
        self._metadata.write(self._gzip.flush())
        indices = self.open(f"work/global_indices_dataset_size{self.part.rows}_epoch1_seed{_SEED}_v1.npy")
        for first in range(0, self.part.rows, _CHUNK):
            indices.write(np.arange(first, min(first + _CHUNK, self.part.rows), dtype="<u4"))

    @classmethod
    def refuse(cls, parts: Sequence[Part], facts: Facts) -> None:
        """Raises ConfigError when rows cannot be counted in uint32."""
        for part in parts:
            if part.rows >= (1 << 32) - 1:
                raise ConfigError(
                    f"OLMo-core counts rows in 32 bits; steps {part.first_step} and after have more",
                    value=part.rows,
                    remedy="split the order in phases of other shapes, or export to another format",
                )

    @classmethod
    def carried(cls, facts: Facts) -> list[str]:
        """The loss mask; the borders as far as EOS tells them."""
        borders = "segment borders that follow an EOS token: generate_doc_lengths=True"
        return ["loss mask: label_mask_paths", borders] if facts.masks else [borders]

    @classmethod
    def lost(cls, counts: Counts, facts: Facts) -> list[str]:
        """Borders that EOS does not tell; the loss mask without masks."""
        masks = [] if facts.masks else [lost_masks(counts)]
        return masks + ([lost_borders(counts)] if counts.borders_without_eos else [])

    @classmethod
    def setup(cls, parts: Sequence[Part], facts: Facts) -> list[str]:
        """Settings of dataset and data loader, part by part."""
        mask = ', label_mask_paths=["FOLDER/label_mask.npy"]' if facts.masks else ""
        lines = [
            f'NumpyFSLDatasetConfig(paths=["FOLDER/tokens.npy"]{mask}, dtype={facts.dtype},'
            f" generate_doc_lengths=True, tokenizer with vocab_size={facts.vocab_size}, eos_token_id={facts.eos_id},"
            f" pad_token_id={facts.pad_id}), with max_target_sequence_length left out",
            f'NumpyDataLoaderConfig(seed={_SEED}, work_dir="FOLDER/work"), first epoch: it reads the indices there'
            " and says so in its log; without that file it shuffles (exact rows).",
        ]
        return lines + [
            f"{p.folder}: sequence_length={p.width} (L+1), global_batch_size={p.batch_size * p.width},"
            f" {p.steps} steps ({p.first_step}..{p.first_step + p.steps - 1})"
            for p in parts
        ]
