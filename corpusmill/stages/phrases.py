"""Finding lines that hold one of many phrases: one look at every code point, however many phrases there are.

Expressions with hundreds of choices are slow, and most lines hold no phrase: an automaton (Aho and Corasick 1975) says
which lines may hold one, expressions then see those alone.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterable

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
    """Knows phrases (none empty) and says which spans of a text hold one.

    Any run of whitespace is taken for any other. Case is disregarded, and where a letter has several lower-case forms
    ("ſ", "K" for "s", "k") all of them match, as with `re.IGNORECASE`.
    """

    def __init__(self, phrases: Iterable[str]) -> None:
        folded = sorted({"".join(map(_fold, " ".join(phrase.split()))) for phrase in phrases})
        alphabet = sorted(set("".join(folded)))
        forms = [[letter, *_forms().get(letter, ())] for letter in alphabet]
        self._symbols = np.zeros(max((ord(max(f)) for f in forms), default=0) + 1, dtype=np.uint16)  # 0: in no phrase
        for symbol, listed in enumerate(forms, start=1):
            self._symbols[[ord(form) for form in listed]] = symbol
        self._space = int(self._symbols[ord(" ")]) if " " in alphabet else -1
        self._next, self._found = _automaton([self._symbols[[ord(c) for c in phrase]].tolist() for phrase in folded])

    def in_spans(self, points: CodePoints, starts: Int64Array, ends: Int64Array) -> npt.NDArray[np.bool_]:
        """Whether code points [starts[i], ends[i]) of a text hold a phrase, bool (k,).

        Args:
            points: uint32 (n,), UTF-32 of the text.
            starts, ends: int64 (k,).
        """
        held: npt.NDArray[np.bool_] = _held(points, starts, ends, self._symbols, self._space, self._next, self._found)
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


def _automaton(words: list[list[int]]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """The states' successors, int32 (states, symbols), and whether a word ends at a state, bool (states,)."""
    children: list[dict[int, int]] = [{}]
    ends = [False]
    for word in words:
        state = 0
        for symbol in word:
            if symbol not in children[state]:
                children[state][symbol] = len(children)
                children.append({})
                ends.append(False)
            state = children[state][symbol]
        ends[state] = True
    successors = np.zeros((len(children), max((max(word) for word in words), default=0) + 1), dtype=np.int32)
    back = [0] * len(children)  # the state of the longest end of what led to a state, itself left out
    waiting = deque([0])
    while waiting:
        state = waiting.popleft()
        if state:
            successors[state] = successors[back[state]]
            ends[state] = ends[state] or ends[back[state]]
        for symbol, child in children[state].items():
            back[child] = int(successors[state, symbol])
            successors[state, symbol] = child
            waiting.append(child)
    return successors, np.array(ends)


@numba.njit(cache=True, nogil=True)
def _held(
    points: CodePoints,
    starts: Int64Array,
    ends: Int64Array,
    symbols: npt.NDArray[np.uint16],
    space: int,
    successors: npt.NDArray[np.int32],
    found: npt.NDArray[np.bool_],
) -> npt.NDArray[np.bool_]:
    held = np.zeros(len(starts), dtype=np.bool_)
    for i in range(len(starts)):
        state = 0
        after_space = False
        for j in range(starts[i], ends[i]):
            point = points[j]
            symbol = symbols[point] if point < len(symbols) else 0
            if symbol == space and after_space:
                continue
            after_space = symbol == space
            state = successors[state, symbol]
            if found[state]:
                held[i] = True
                break
    return held
