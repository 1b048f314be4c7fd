"""The shingles of the texts of a shard: n-grams of words or letters by language, straight from Arrow buffers.

Words of languages that write spaces and letters come from kernels; Japanese words need a segmenter, text by text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from corpusmill.core import words
from corpusmill.core.documents import utf8
from corpusmill.core.hashing import Int64Array, UInt64Array
from corpusmill.core.normalise import Folds, folds, hash_letters_of_utf8, hash_words_of_utf8, normalised_words
from corpusmill.dedup.signatures import shingles
from corpusmill.dedup.verified import SKETCH_SHINGLES, Sets, sketch

SPACED, LETTERS, SEGMENTED = 0, 1, 2  # where the units of a text come from


@dataclass(frozen=True)
class Shingling:
    """word_ngram, letter_ngram: units a shingle. japanese_letters: whether Japanese shingles are of letters."""

    word_ngram: int
    letter_ngram: int
    japanese_letters: bool

    def kinds(self, languages: Sequence[str]) -> Int64Array:
        """SPACED, LETTERS or SEGMENTED for texts in `languages`, int64."""
        kind = {code: self._kind(code) for code in set(languages)}
        return np.array([kind[code] for code in languages], dtype=np.int64)

    def in_words(self, language: str) -> bool:
        """Whether shingles of `language` are made of words, else of letters."""
        return self._kind(language) != LETTERS

    def _kind(self, language: str) -> int:
        if words.writes_spaces(language):
            return SPACED
        return SEGMENTED if language == "ja" and not self.japanese_letters else LETTERS

    def of_texts(
        self, texts: pa.Array, languages: Sequence[str], rows: Int64Array
    ) -> Iterator[tuple[int, UInt64Array]]:
        """(row, hashes of its shingles in order, repeats included) of `rows` of a column of texts (large_string)."""
        hashed = _hashed(texts, languages)
        for row, kind in zip(rows.tolist(), self.kinds([languages[row] for row in rows]).tolist(), strict=True):
            yield row, shingles(hashed(row, kind), self.letter_ngram if kind == LETTERS else self.word_ngram)

    def sketches(self, texts: pa.Array, languages: Sequence[str]) -> Sets:
        """`verified.sketch` of every text of a column (large_string)."""
        kinds = self.kinds(languages)
        hashes, offsets = _sketches(*utf8(texts), kinds, folds(), self.word_ngram, self.letter_ngram)
        segmented = np.flatnonzero(kinds == SEGMENTED)
        if len(segmented) == 0:
            return Sets(hashes, offsets)
        pieces = np.split(hashes, offsets[1:-1])
        for row, found in self.of_texts(texts, languages, segmented):
            pieces[row] = sketch(found)
        return Sets(np.concatenate(pieces), np.append(0, np.cumsum([len(piece) for piece in pieces])).astype(np.int64))


def _hashed(texts: pa.Array, languages: Sequence[str]) -> Callable[[int, int], UInt64Array]:
    """Hashes of the units of a text by its row and kind."""
    data, offsets = utf8(texts)
    scratch = np.empty(int(np.diff(offsets).max(initial=0)) + 1, dtype=np.uint64)

    def hashed(row: int, kind: int) -> UInt64Array:
        if kind == SEGMENTED:
            return normalised_words(texts[row].as_py(), languages[row]).hashes
        kernel = hash_letters_of_utf8 if kind == LETTERS else hash_words_of_utf8
        return scratch[: kernel(data, offsets[row], offsets[row + 1], folds(), scratch)]

    return hashed


_SLACK: Final = 2  # times the room that is needed, when the room for sketches grows


@numba.njit(cache=True, nogil=True)
def _sketches(
    data: npt.NDArray[np.uint8],
    offsets: Int64Array,
    kinds: Int64Array,
    folds: Folds,
    word_ngram: int,
    letter_ngram: int,
) -> tuple[UInt64Array, Int64Array]:
    """Sketches of the texts, one after another, and where each begins; none of SEGMENTED ones."""
    longest = 0
    for i in range(len(kinds)):
        longest = max(longest, offsets[i + 1] - offsets[i])
    units = np.empty(longest + 1, dtype=np.uint64)
    out = np.empty(1024, dtype=np.uint64)
    ends = np.zeros(len(kinds) + 1, dtype=np.int64)
    for i in range(len(kinds)):
        ends[i + 1] = ends[i]
        if kinds[i] == SEGMENTED:
            continue
        if kinds[i] == LETTERS:
            count = hash_letters_of_utf8(data, offsets[i], offsets[i + 1], folds, units)
            found = shingles(units[:count], letter_ngram)
        else:
            count = hash_words_of_utf8(data, offsets[i], offsets[i + 1], folds, units)
            found = shingles(units[:count], word_ngram)
        found.sort()
        room = min(len(found), SKETCH_SHINGLES)
        if ends[i] + room > len(out):
            more = np.empty(_SLACK * (ends[i] + room), dtype=np.uint64)
            more[: ends[i]] = out[: ends[i]]
            out = more
        for j in range(len(found)):
            if (j == 0 or found[j] != found[j - 1]) and ends[i + 1] - ends[i] < room:
                out[ends[i + 1]] = found[j]
                ends[i + 1] += 1
    return out[: ends[-1]].copy(), ends
