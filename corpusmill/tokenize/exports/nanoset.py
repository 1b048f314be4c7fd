"""datatrove and nanotron: a tokenised `.ds` file whose windows are the rows.

    part-0000/
        00000_rows.ds            L+1 tokens a row, uint16 or uint32, raw
        00000_rows.ds.index      u64, exclusive ends of the rows' segments, in tokens; positions begin anew there
        00000_rows.ds.metadata   tokenizer|bytes of a token, tokens, tokens in words

The readers take L+1 tokens with stride L+1. Source: datatrove/utils/dataset.py, datatrove/pipeline/tokens/tokenizer.py
of datatrove 0.10.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from corpusmill.tokenize.exports.base import Counts, Facts, Part, PartWriter, borders_of, lost_borders, lost_masks
from corpusmill.tokenize.reader import StepRows

_FILE = "00000_rows.ds"


class NanosetWriter(PartWriter):
    """Writes one part as one `.ds` file with its index and metadata."""

    name = "nanoset"
    grade = "exact order"

    def begin(self) -> None:
        """Opens the files."""
        self._dtype = np.dtype("<u2" if self.facts.dtype == "uint16" else "<u4")
        self._tokens = self.open(_FILE)
        self._index = self.open(f"{_FILE}.index") if self.facts.masks else None
        self._written = 0  # tokens

    def write(self, rows: StepRows) -> None:
        """Appends the rows of a step."""
        self._tokens.write(rows.tokens.astype(self._dtype))
        if self._index is not None:
            ends = np.ones(rows.tokens.shape, np.bool_)  # every row ends a segment
            ends[:, :-1] = borders_of(rows)
            self._index.write((self._written + 1 + np.flatnonzero(ends)).astype("<u8"))
        self._written += rows.tokens.size

    def finish(self) -> None:
        """Writes the metadata."""
        size = self._dtype.itemsize
        text = f"sha256:{self.facts.tokenizer_sha256}|{size}\n{self._written}\n{_in_words(self._written)}"
        self.write_file(f"{_FILE}.metadata", text.encode())

    @classmethod
    def refuse(cls, parts: Sequence[Part], facts: Facts) -> None:
        """Holds every order."""

    @classmethod
    def carried(cls, facts: Facts) -> list[str]:
        """The borders, in the index."""
        return ["segment borders: .index, read with return_positions=True"] if facts.masks else []

    @classmethod
    def lost(cls, counts: Counts, facts: Facts) -> list[str]:
        """The readers know no loss mask; borders without masks."""
        return [lost_masks(counts)] if facts.masks else [lost_masks(counts), lost_borders(counts)]

    @classmethod
    def setup(cls, parts: Sequence[Part], facts: Facts) -> list[str]:
        """The reader's arguments, part by part."""
        size = 2 if facts.dtype == "uint16" else 4
        positions = ", return_positions=True" if facts.masks else ""
        return [
            f'DatatroveFolderDataset("FOLDER", seq_len=L, filename_pattern="*.ds", token_size={size},'
            f" shuffle=False{positions}) behind a sequential sampler.",
            "nanotron: token_size_in_bytes of that size. Its loader for tokenised bytes reads one folder in order; its"
            " class Nanoset shuffles rows by its seed (exact rows).",
            *(
                f"{p.folder}: L={p.sequence_length}, {p.batch_size} rows a step, {p.steps} steps"
                f" ({p.first_step}..{p.first_step + p.steps - 1})"
                for p in parts
            ),
        ]


def _in_words(tokens: int) -> str:
    """1234567 as 1.23 MT."""
    for factor, letter in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if tokens >= factor:
            return f"{tokens / factor:.2f} {letter}T"
    return f"{tokens} T"
