"""What exact substring dedup must find, worked out another way: normalised strings, windows named without hashes.

Slow and in memory; for the benchmark on pages whose copies are known, and for tests on real texts.
"""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import numpy.typing as npt

from corpusmill.core import words
from corpusmill.dedup.substring import SubstringConfig

Positions = npt.NDArray[np.int64]

_ACCENT = re.compile(
    "[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f\U000e0100-\U000e01ef]"
)


def form(text: str) -> str:
    """Normalised form of a word or letter, by the rule in words of `unicodedata`."""
    lowered = "".join(unicodedata.normalize("NFD", c.lower()) for c in text)
    return "".join(c for c in lowered if not _dropped(c))


def _dropped(c: str) -> bool:
    category = unicodedata.category(c)
    return category[0] in "PSZ" or category in ("Cc", "Cf") or _ACCENT.match(c) is not None


def oracle_units(text: str, language: str, known: dict[str, str]) -> tuple[list[str], list[tuple[int, int]]]:
    """Normalised units of a text and their code-point spans."""
    if words.writes_spaces(language):
        spans = []
        at = 0
        for word in text.split():
            at = text.index(word, at)
            spans.append((at, at + len(word)))
            at += len(word)
    else:
        spans = []
        for i, c in enumerate(text):
            if unicodedata.category(c)[0] != "M":
                spans.append((i, i + 1))
            elif spans and spans[-1][1] == i:
                spans[-1] = (spans[-1][0], i + 1)
    units = []
    kept = []
    for a, b in spans:
        piece = text[a:b]
        if piece not in known:
            known[piece] = form(piece)
        if known[piece] and (len(piece) == 1 or form(piece[0]) or words.writes_spaces(language)):
            units.append(known[piece])
            kept.append((a, b))
    return units, kept


def repeated_windows(units: list[list[str]], length: int) -> list[Positions]:
    """Windows of `length` units that occur twice anywhere, per document: Karp, Miller, Rosenberg naming, exact."""
    flat = [u for one in units for u in one]
    number = {u: i for i, u in enumerate(dict.fromkeys(flat))}
    names = np.array([number[u] for u in flat], dtype=np.int64)
    width = 1
    while width < length:  # names of windows of 2 * width from two of width, which may overlap
        step = min(width, length - width)
        pairs = names[:-step] * len(flat) + names[step:]
        names = np.unique(pairs, return_inverse=True)[1]
        width += step
    ends = np.cumsum([len(one) for one in units])
    starts = ends - [len(one) for one in units]
    inside = np.zeros(len(names), dtype=np.bool_)
    for a, b in zip(starts, ends, strict=True):
        inside[a : max(a, b - length + 1)] = True
    counts = np.bincount(names[inside], minlength=len(names))  # names are below the number of windows
    marked = np.flatnonzero(inside & (counts[names] > 1))
    return [marked[(marked >= a) & (marked < b)] - a for a, b in zip(starts, ends, strict=True)]


def oracle_cuts(texts: dict[str, tuple[str, str]], config: SubstringConfig) -> dict[str, list[tuple[int, int]]]:
    """Code-point spans of the units to cut, for every document with any; one span a unit."""
    cuts: dict[str, list[tuple[int, int]]] = {}
    known: dict[str, str] = {}
    for spaced, length in ((True, config.min_words), (False, config.min_characters)):
        names = [name for name, (_, language) in texts.items() if words.writes_spaces(language) == spaced]
        parsed = [oracle_units(*texts[name], known) for name in names]
        for name, (units, spans), marked in zip(
            names, parsed, repeated_windows([units for units, _ in parsed], length), strict=True
        ):
            if len(marked):
                cut = np.zeros(len(units), dtype=np.bool_)
                for i in marked:
                    cut[i : i + length] = True
                cuts[name] = [spans[i] for i in np.flatnonzero(cut)]
    return cuts


def find(passage: str, text: str, language: str, known: dict[str, str]) -> tuple[int, int] | None:
    """Where the units of `passage` follow one another in `text`."""
    wanted, _ = oracle_units(passage, language, known)
    units, spans = oracle_units(text, language, known)
    for i in range(len(units) - len(wanted) + 1):
        if units[i] == wanted[0] and units[i : i + len(wanted)] == wanted:
            return spans[i][0], spans[i + len(wanted) - 1][1]
    return None
