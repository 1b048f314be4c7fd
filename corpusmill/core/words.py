"""Text to word, line, paragraph and sentence offsets, per language.

Offsets are code points (0-based, end exclusive, int64), so that `text[start:end]` is the item; kernels work on the
UTF-32 form of the text, where the same offsets index a uint32 array.

What a word is:
- where the language writes spaces: a maximal run of non-whitespace, punctuation attached, as Gopher's rules assume
  ("words contain at least one alphabetic character" has no meaning once punctuation is split off);
- Japanese: a morpheme of SudachiPy (split mode A, core dictionary) that holds a letter or digit;
- other languages without spaces (Chinese, Thai, ...): every letter of such a script is a word, runs of other letters
  and digits are words. [DEVIATION from FineWeb-2, which uses a segmenter for each]
"""

from __future__ import annotations

import functools
import re
import threading
from collections import OrderedDict
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from corpusmill.core import segments
from corpusmill.core.characters import WORD, Classes
from corpusmill.core.hashing import Int64Array, UInt64Array, hash_spans

CodePoints = npt.NDArray[np.uint32]

# Distributions whose version decides where words begin and end.
PACKAGES = ("SudachiPy", "sudachidict-core")

# Languages whose writing does not separate words by spaces (ISO 639-1, and the codes that lid.176 gives).
UNSPACED = frozenset({"ja", "zh", "yue", "wuu", "th", "lo", "km", "my", "bo", "dz"})

# Sudachi refuses inputs above 49,149 bytes of UTF-8; a code point has at most 4.
_SUDACHI_CODEPOINTS = 12_000
_BREAK_AFTER = re.compile(r"[\n。！？!?]")

# Their letters, as ranges for the character class of a regular expression.
UNSPACED_SCRIPTS = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u0f00-\u0fff"  # Tibetan
    "\u1000-\u109f"  # Myanmar
    "\u1780-\u17ff"  # Khmer
    "\u2e80-\u9fff"  # CJK radicals, kana, Han
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_UNSPACED_WORD = re.compile(rf"(?=\w)[{UNSPACED_SCRIPTS}]|(?:(?![{UNSPACED_SCRIPTS}_])\w)+")


class Spans(NamedTuple):
    """Offsets of k items in a text: starts and ends, int64 (k,), code points, ends exclusive, ascending."""

    starts: Int64Array
    ends: Int64Array

    def __len__(self) -> int:
        return len(self.starts)

    def texts(self, text: str) -> list[str]:
        """The items as strings."""
        return [text[a:b] for a, b in zip(self.starts.tolist(), self.ends.tolist(), strict=True)]

    def hashes(self, codepoints: CodePoints, seed: int = 0) -> UInt64Array:
        """64-bit hash of every item, uint64 (k,)."""
        hashed: UInt64Array = hash_spans(codepoints, self.starts, self.ends, seed)
        return hashed

    @property
    def lengths(self) -> Int64Array:
        """Code points of every item, int64 (k,)."""
        return self.ends - self.starts


def codepoints(text: str) -> CodePoints:
    """UTF-32 of `text`, uint32 (len(text),)."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def writes_spaces(language: str) -> bool:
    """Whether words are separated by spaces in `language` (ISO 639-1 code, "" if unknown)."""
    return language not in UNSPACED


def words(text: str, language: str) -> Spans:
    """Words of `text`; see the module's definition."""
    if writes_spaces(language):
        found = segments.segments(codepoints(text))
        return Spans(found.word_starts, found.word_ends)
    if language == "ja":
        return _japanese.words(text)
    return _from_pairs([m.span() for m in _UNSPACED_WORD.finditer(text)])


def without_outer_punctuation(spans: Spans, classes: Classes) -> Spans:
    """`spans` less what is no letter, mark or digit at both ends ("(that," becomes "that"); maybe empty.

    classes: characters.classes of the text.
    """
    return Spans(*_trimmed(spans.starts, spans.ends, classes))


def lines(text: str) -> Spans:
    """Lines that hold something besides whitespace, without the whitespace around them."""
    found = segments.segments(codepoints(text))
    return Spans(found.line_starts, found.line_ends)


def paragraphs(text: str) -> Spans:
    """Runs of text between empty lines, without the whitespace around them; empty ones are left out."""
    found = segments.segments(codepoints(text))
    return Spans(found.paragraph_starts, found.paragraph_ends)


def sentences(text: str) -> Spans:
    """Runs up to sentence-final punctuation (Western and CJK) or a line break; blank ones are left out.

    A closing quote or bracket belongs to the sentence before it. Western marks end one before whitespace, Chinese
    and Japanese only: "3.5" and "example.org" are no ends. Abbreviations are not known: "e.g. this" is two.
    """
    return Spans(*segments.sentences(codepoints(text)))


def _from_pairs(pairs: list[tuple[int, int]]) -> Spans:
    array = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return Spans(np.ascontiguousarray(array[:, 0]), np.ascontiguousarray(array[:, 1]))


@numba.njit(cache=True, nogil=True)
def _trimmed(starts: Int64Array, ends: Int64Array, classes: Classes) -> tuple[Int64Array, Int64Array]:
    starts, ends = starts.copy(), ends.copy()
    for i in range(len(starts)):
        while starts[i] < ends[i] and not classes[starts[i]] & WORD:
            starts[i] += 1
        while starts[i] < ends[i] and not classes[ends[i] - 1] & WORD:
            ends[i] -= 1
    return starts, ends


class _Japanese(threading.local):
    """A tokenizer and the words of the texts it saw last: one of each a thread, as a tokenizer is not safe to share.

    Every rule asks for the words of the same text, and finding them costs more than all rules together.
    """

    limit = 8_000_000  # code points remembered

    def __init__(self) -> None:
        self._seen: OrderedDict[str, Spans] = OrderedDict()
        self._size = 0

    @functools.cached_property
    def _tokenizer(self) -> Any:
        from sudachipy import Dictionary, SplitMode  # only where Japanese is met: the dictionary is large

        return Dictionary(dict="core").tokenizer(mode=SplitMode.A)

    def words(self, text: str) -> Spans:
        """Morphemes of `text` that hold a letter or digit."""
        if text in self._seen:
            self._seen.move_to_end(text)
            return self._seen[text]
        pairs = []
        for start, piece in _pieces(text):
            for morpheme in self._tokenizer.tokenize(piece):
                a, b = morpheme.begin(), morpheme.end()
                if any(c.isalnum() for c in piece[a:b]):
                    pairs.append((start + a, start + b))
        found = self._seen[text] = _from_pairs(pairs)
        self._size += len(text)
        while self._size > self.limit:
            self._size -= len(self._seen.popitem(last=False)[0])
        return found


_japanese = _Japanese()


def _pieces(text: str) -> list[tuple[int, str]]:
    """`text` in pieces that Sudachi accepts, cut after a sentence end or line break where one is in reach."""
    pieces = []
    start = 0
    while start < len(text):
        end = min(len(text), start + _SUDACHI_CODEPOINTS)
        if end < len(text):
            breaks = [m.end() for m in _BREAK_AFTER.finditer(text, start, end)]
            end = breaks[-1] if breaks else end
        pieces.append((start, text[start:end]))
        start = end
    return pieces
