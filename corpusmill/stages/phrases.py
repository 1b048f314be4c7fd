"""Finding lines that hold one of many phrases: one look at every code point, however many phrases there are.

Expressions with hundreds of choices are slow, and most lines hold no phrase: an automaton (Aho and Corasick 1975) says
which lines may hold one, expressions then see those alone.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Mapping

import numba
import numpy as np
import numpy.typing as npt

from corpusmill.core import storage
from corpusmill.core.hashing import Int64Array
from corpusmill.core.words import CodePoints

_CASED_BELOW = 0x1F000  # no letter with case lies above


def read(path: str) -> list[str]:
    """The phrases of the list at `path`: one a line; blank lines and those that start with "#" are none."""
    listed = [line.strip() for line in storage.read_text(path).splitlines()]
    return [line for line in listed if line and not line.startswith("#")]


class PhraseFinder:
    """Knows phrases (none empty), each with a mark, and says which marks occur in spans of a text.

    Any run of whitespace is taken for any other. Case is disregarded, and where a letter has several lower-case forms
    ("ſ", "K" for "s", "k") all of them match, as with `re.IGNORECASE`.

    phrases: phrase -> its mark, 1..255: a sum of bits.
    """

    def __init__(self, phrases: Mapping[str, int]) -> None:
        folded: dict[str, int] = {}
        for phrase, mark in phrases.items():
            form = "".join(map(_fold, " ".join(phrase.split())))
            folded[form] = folded.get(form, 0) | mark
        alphabet = sorted(set("".join(folded)))
        forms = [[letter, *_forms().get(letter, ())] for letter in alphabet]
        self._symbols = np.zeros(max((ord(max(f)) for f in forms), default=0) + 1, dtype=np.uint16)  # 0: in no phrase
        for symbol, listed in enumerate(forms, start=1):
            self._symbols[[ord(form) for form in listed]] = symbol
        self._space = int(self._symbols[ord(" ")]) if " " in alphabet else -1
        self._next, self._marks = _automaton(
            {tuple(self._symbols[[ord(c) for c in phrase]].tolist()): mark for phrase, mark in folded.items()}
        )

    def in_spans(self, points: CodePoints, starts: Int64Array, ends: Int64Array) -> npt.NDArray[np.uint8]:
        """The marks of the phrases that code points [starts[i], ends[i]) of a text hold, bits joined, uint8 (k,).

        Args:
            points: uint32 (n,), UTF-32 of the text.
            starts, ends: int64 (k,).
        """
        held: npt.NDArray[np.uint8] = _held(points, starts, ends, self._symbols, self._space, self._next, self._marks)
        return held


def _fold(letter: str) -> str:
    if letter.isspace():
        return " "
    folded = "i" if letter in "ıİ" else letter.casefold()
    return folded if len(folded) == 1 else letter.lower()[0]


@functools.cache
def _forms() -> dict[str, tuple[str, ...]]:
    """Folded letter -> the other letters that are folded to it."""
    forms: dict[str, tuple[str, ...]] = {}
    for letter in map(chr, range(_CASED_BELOW)):
        folded = _fold(letter)
        if folded != letter:
            forms[folded] = (*forms.get(folded, ()), letter)
    return forms


def _automaton(words: Mapping[tuple[int, ...], int]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint8]]:
    """The states' successors, uint32 (states, symbols), and the marks of the words that end there, uint8 (states,)."""
    children: list[dict[int, int]] = [{}]
    marks = [0]
    for word, mark in words.items():
        state = 0
        for symbol in word:
            if symbol not in children[state]:
                children[state][symbol] = len(children)
                children.append({})
                marks.append(0)
            state = children[state][symbol]
        marks[state] |= mark
    successors = np.zeros((len(children), max((max(word) for word in words), default=0) + 1), dtype=np.uint32)
    back = [0] * len(children)  # the state of the longest end of what led to a state, itself left out
    waiting = deque([0])
    while waiting:
        state = waiting.popleft()
        if state:
            successors[state] = successors[back[state]]
            marks[state] |= marks[back[state]]
        for symbol, child in children[state].items():
            back[child] = int(successors[state, symbol])
            successors[state, symbol] = child
            waiting.append(child)
    return successors, np.array(marks, dtype=np.uint8)


@numba.njit(cache=True, nogil=True)
def _held(
    points: CodePoints,
    starts: Int64Array,
    ends: Int64Array,
    symbols: npt.NDArray[np.uint16],
    space: int,
    successors: npt.NDArray[np.uint32],
    marks: npt.NDArray[np.uint8],
) -> npt.NDArray[np.uint8]:
    held = np.zeros(len(starts), dtype=np.uint8)
    num_symbols = np.uint32(len(symbols))
    for i in range(len(starts)):
        state = np.uint32(0)
        after_space = False
        found = np.uint8(0)
        for point in points[starts[i] : ends[i]]:
            symbol = symbols[point] if point < num_symbols else np.uint16(0)
            if symbol == space:
                if after_space:
                    continue
                after_space = True
            else:
                after_space = False
            state = successors[state, symbol]
            found |= marks[state]
        held[i] = found
    return held
