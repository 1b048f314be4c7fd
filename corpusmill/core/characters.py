"""Classes of code points by table look-up: letters, uppercase, digits, whitespace.

Categories are those of the Unicode version of the running Python (`unicodedata.unidata_version`): between versions only
code points change that were unassigned before.
"""

from __future__ import annotations

import functools
import unicodedata

import numba
import numpy as np
import numpy.typing as npt

from corpusmill.core.hashing import Int64Array

Classes = npt.NDArray[np.uint8]

LETTER = 1  # category L: Latin, kana, Han, ...
UPPERCASE = 2  # categories Lu and Lt
DIGIT = 4  # category Nd: 0-9 and the decimal digits of other scripts, full-width ones too; no Han numerals
WORD = 8  # categories L, M and N: what is neither punctuation, symbol, control nor space
SPACE = 16  # str.isspace()
ALPHANUMERIC = 32  # str.isalnum(): LETTER and numbers of any kind

_ALL = 0x110000
_ASSIGNED_BELOW = 0x40000  # above lie tags, variation selectors and private use: in no class


@functools.cache
def table() -> Classes:
    """The classes of every code point there is, uint8 (0x110000,): kernels index it."""
    table = np.zeros(_ALL, dtype=np.uint8)
    for i in range(_ASSIGNED_BELOW):
        character = chr(i)
        category = unicodedata.category(character)
        flags = LETTER if category[0] == "L" else 0
        flags |= UPPERCASE if category in ("Lu", "Lt") else 0
        flags |= DIGIT if category == "Nd" else 0
        flags |= WORD if category[0] in "LMN" else 0
        flags |= SPACE if character.isspace() else 0
        flags |= ALPHANUMERIC if character.isalnum() else 0
        table[i] = flags
    return table


def classes(codepoints: npt.NDArray[np.uint32]) -> Classes:
    """The classes of every code point, uint8 (n,): a sum of LETTER, ..., ALPHANUMERIC."""
    found: Classes = look_up(table(), codepoints)
    return found


@numba.njit(cache=True, nogil=True)
def look_up(table: Classes, codepoints: npt.NDArray[np.uint32]) -> Classes:
    """table[codepoints] for a table of all code points, uint8 (n,)."""
    found = np.empty(len(codepoints), dtype=np.uint8)
    for i in range(len(codepoints)):
        found[i] = table[codepoints[i]]
    return found


@functools.cache
def _lowercase_table() -> npt.NDArray[np.uint32]:
    table = np.arange(_ALL, dtype=np.uint32)
    for i in range(_ASSIGNED_BELOW):
        lower = chr(i).lower()
        if len(lower) == 1:
            table[i] = ord(lower)
    return table


def lowercase(codepoints: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """str.lower() of every code point by itself, uint32 (n,); those that would become several stay as they are."""
    found: npt.NDArray[np.uint32] = _lowercase_table()[codepoints]
    return found


@numba.njit(cache=True, inline="always")
def is_space(c: int) -> bool:
    """str.isspace() of a code point, spelled out so that it cannot change with Python's Unicode version."""
    if c < 0x85:
        return c == 32 or (9 <= c <= 13) or (28 <= c <= 31)
    return (
        c == 0x85
        or c == 0xA0
        or c == 0x1680
        or (0x2000 <= c <= 0x200A)
        or c == 0x2028
        or c == 0x2029
        or c == 0x202F
        or c == 0x205F
        or c == 0x3000
    )


def counts(of: Classes, flag: int, starts: Int64Array, ends: Int64Array) -> Int64Array:
    """How many code points in [starts[i], ends[i]) are of class `flag`, int64 (k,).

    Args:
        of: uint8 (n,), from `classes`.
        flag: one of the classes, or several added up: then those that are of any of them.
        starts, ends: int64 (k,), 0 <= starts[i] <= ends[i] <= n.
    """
    before = np.zeros(len(of) + 1, dtype=np.int64)
    np.cumsum((of & flag) != 0, out=before[1:])
    inside: Int64Array = before[ends] - before[starts]
    return inside
