"""Finding lines that hold one of many phrases: one look at every code point, however many phrases there are.

Expressions with hundreds of choices are slow, and most lines hold no phrase: an automaton (Aho and Corasick 1975) says
which lines may hold one, expressions then see those alone.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Mapping, Sequence

import numba
import numpy as np
import numpy.typing as npt

from corpusmill.core import storage
from corpusmill.core.hashing import Int64Array
from corpusmill.core.words import CodePoints

_WINDOW, _MOST_WINDOWS = 3, 8
_FREQUENT = "etaoinshrdlcumwfgypbvkjxqz"  # letters of English, the most frequent first
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
        words = {tuple(self._symbols[[ord(c) for c in phrase]].tolist()): mark for phrase, mark in folded.items()}
        self._next, self._marks = _automaton(words)
        self._windows = _window_table(list(folded), {c: forms[i] for i, c in enumerate(alphabet)}, len(self._symbols))

    def in_spans(self, points: CodePoints, starts: Int64Array, ends: Int64Array) -> npt.NDArray[np.uint8]:
        """The marks of the phrases that code points [starts[i], ends[i]) of a text hold, bits joined, uint8 (k,).

        Args:
            points: uint32 (n,), UTF-32 of the text.
            starts, ends: int64 (k,).
        """
        held: npt.NDArray[np.uint8] = _held(
            points, starts, ends, self._symbols, self._space, self._next, self._marks, self._windows
        )
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


def _window_table(phrases: Sequence[str], forms: Mapping[str, Sequence[str]], num_points: int) -> npt.NDArray[np.uint8]:
    """Which code points stand where in the phrases' windows, three characters of every phrase: uint8 (points, 3), a bit
    for each window. Without points where there are more than 8 windows: then most lines would hold one.

    forms: letter -> what is taken for it.
    """
    windows = sorted({_window(phrase) for phrase in phrases})
    if len(windows) > _MOST_WINDOWS:
        return np.zeros((0, _WINDOW), dtype=np.uint8)
    table = np.zeros((max(1, num_points), _WINDOW), dtype=np.uint8)
    for bit, window in enumerate(windows):
        for at in range(_WINDOW):
            found = [ord(form) for form in forms[window[at]]] if at < len(window) else slice(None)
            table[found, at] |= 1 << bit
    return table


def _window(phrase: str) -> str:
    """Three characters of one word of `phrase`, the least frequent ones; fewer where it has only shorter words."""
    words = phrase.split()
    longest = min(_WINDOW, max(map(len, words), default=0))
    windows = [word[i : i + longest] for word in words for i in range(len(word) - longest + 1)]
    return min(windows, key=lambda window: -sum(_FREQUENT.find(c) % len(_FREQUENT) for c in window), default="")


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


@numba.njit(cache=True, inline="always")
def _has_window(points: CodePoints, start: int, end: int, windows: npt.NDArray[np.uint8]) -> bool:
    """Whether points[start:end] may hold a window; code points beyond the table are in none."""
    known = np.uint32(len(windows))
    found = windows[0, 0] & np.uint8(0)
    before = first = np.uint8(0)  # windows that may have begun two code points before, and one before
    for point in points[start:end]:
        at = point if point < known else np.uint32(0)
        found |= before & windows[at, 2]
        before = first & windows[at, 1]
        first = windows[at, 0]
    # A window of one or two characters may end here.
    return bool(found | (before & windows[0, 2]) | (first & windows[0, 1] & windows[0, 2]))


@numba.njit(cache=True, nogil=True)
def _held(
    points: CodePoints,
    starts: Int64Array,
    ends: Int64Array,
    symbols: npt.NDArray[np.uint16],
    space: int,
    successors: npt.NDArray[np.uint32],
    marks: npt.NDArray[np.uint8],
    windows: npt.NDArray[np.uint8],
) -> npt.NDArray[np.uint8]:
    held = np.zeros(len(starts), dtype=np.uint8)
    num_symbols = np.uint32(len(symbols))
    for i in range(len(starts)):
        if len(windows) and not _has_window(points, starts[i], ends[i], windows):
            continue
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
