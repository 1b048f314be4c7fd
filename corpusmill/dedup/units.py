"""The units of the texts of a shard, in batches for kernels: normalised words, normalised letters, or tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from corpusmill.core.documents import utf8
from corpusmill.core.hashing import Int64Array, UInt64Array
from corpusmill.core.normalise import folds, hash_units_of_utf8, place_units
from corpusmill.core.words import UNSPACED, CodePoints, Spans, writes_spaces
from corpusmill.dedup.model_tokens import ModelTokens

LETTERS, WORDS, TOKENS = 0, 1, 2  # kinds of units; what is of different kinds does not meet
CUT_UNITS = pa.field("cut_units", pa.list_(pa.int32()), nullable=False)  # start, end, start, end, ... of a text's units

_BATCH_BYTES = 1 << 20  # of text: few enough that the hashes of its units stay in the cache


class Batch(NamedTuple):
    """Units of the texts of some rows, one after another.

    first_row: row of text 0. units, ends: uint64 (u,), int64 (n + 1,): hashes of those of text i, without cut ones,
    are units[ends[i] : ends[i + 1]]. kinds: int64 (n,). numbers: int32 (u,), the number in its text of every unit, cut
    ones counted.
    """

    first_row: int
    units: UInt64Array
    ends: Int64Array
    kinds: Int64Array
    numbers: npt.NDArray[np.int32]


class UnitsOf:
    """What the units of a text are: words or letters by its language, or tokens of a SentencePiece model."""

    def __init__(self, model: str | None) -> None:
        self._tokens = ModelTokens(model) if model is not None else None

    def kinds(self, languages: pa.Array) -> Int64Array:
        """Kind of the units of texts in `languages` (string), int64."""
        if self._tokens is not None:
            return np.full(len(languages), TOKENS, dtype=np.int64)
        unspaced = pc.is_in(languages, value_set=pa.array(sorted(UNSPACED)))
        return np.where(unspaced.to_numpy(zero_copy_only=False), LETTERS, WORDS).astype(np.int64)

    def places(self, text: str, points: CodePoints, language: str) -> Spans:
        """The places of the units of one text, whose code points are `points`."""
        if self._tokens is not None:
            return self._tokens.places(text)
        return Spans(*place_units(points, writes_spaces(language), folds()))

    def batches(self, table: pa.Table) -> Iterator[Batch]:
        """The units of all rows of `table` (text, language, maybe CUT_UNITS)."""
        texts = table.column("text").combine_chunks()
        kinds = self.kinds(table.column("language").combine_chunks())
        data, offsets = utf8(texts)
        first = 0
        while first < len(texts):
            last = max(first + 1, int(np.searchsorted(offsets, offsets[first] + _BATCH_BYTES, side="right")) - 1)
            if self._tokens is not None:
                units, ends = self._tokens.hashes(texts.slice(first, last - first).to_pylist())
            else:
                spaced = kinds[first:last] == WORDS
                units, ends = hash_units_of_utf8(data, offsets[first : last + 1], spaced, folds())
            if CUT_UNITS.name in table.column_names:
                cut = table.column(CUT_UNITS.name).slice(first, last - first).combine_chunks()
                units, ends, numbers = _left(
                    units, ends, cut.offsets.to_numpy().astype(np.int64), cut.values.to_numpy()
                )
            else:
                numbers = _numbers(ends)
            yield Batch(first, units, ends, kinds[first:last], numbers)
            first = last


@numba.njit(cache=True, nogil=True)
def _numbers(ends: Int64Array) -> npt.NDArray[np.int32]:
    """0, 1, 2, ... for the units of every text."""
    out = np.empty(ends[-1], dtype=np.int32)
    for text in range(len(ends) - 1):
        for i in range(ends[text], ends[text + 1]):
            out[i] = i - ends[text]
    return out


@numba.njit(cache=True, nogil=True)
def _left(
    units: UInt64Array, ends: Int64Array, cut_offsets: Int64Array, cut: npt.NDArray[np.int32]
) -> tuple[UInt64Array, Int64Array, npt.NDArray[np.int32]]:
    """Units, ends and numbers without the ranges cut[cut_offsets[i] : cut_offsets[i + 1]] of text i."""
    out = np.empty(len(units), dtype=np.uint64)
    numbers = np.empty(len(units), dtype=np.int32)
    out_ends = np.zeros(len(ends), dtype=np.int64)
    count = 0
    for text in range(len(ends) - 1):
        at = 0
        for pair in range(cut_offsets[text], cut_offsets[text + 1] + 1, 2):
            last = pair == cut_offsets[text + 1]
            stop = ends[text + 1] - ends[text] if last else int(cut[pair])
            for number in range(at, stop):
                out[count], numbers[count] = units[ends[text] + number], number
                count += 1
            if not last:
                at = cut[pair + 1]
        out_ends[text + 1] = count
    return out[:count], out_ends, numbers[:count]
