"""Words by the default word boundaries of Unicode (UAX #29, section 4.1), over code points.

Properties are those of the installed `regex`, whose version belongs among the packages of a stage that uses this.
"""

from __future__ import annotations

import functools

import numba
import numpy as np
import numpy.typing as npt

from corpusmill.core.characters import ALPHANUMERIC, Classes
from corpusmill.core.hashing import Int64Array

PACKAGES = ("regex",)

# Values of the property Word_Break; 0 is Other. Their order means nothing.
_CR, _LF, _NEWLINE, _EXTEND, _ZWJ, _FORMAT, _REGIONAL, _KATAKANA, _HEBREW, _LETTER = range(1, 11)
_SINGLE_QUOTE, _DOUBLE_QUOTE, _MID_NUM_LET, _MID_LETTER, _MID_NUM, _NUMERIC, _EXTEND_NUM_LET, _SPACE = range(11, 19)
_NAMES = (
    "CR LF Newline Extend ZWJ Format Regional_Indicator Katakana Hebrew_Letter ALetter "
    "Single_Quote Double_Quote MidNumLet MidLetter MidNum Numeric ExtendNumLet WSegSpace"
)
_PICTOGRAPH = 32  # added to the value where Extended_Pictographic holds


@functools.cache
def _properties() -> Classes:
    import regex  # only where these words are asked for: it takes a while

    table = np.zeros(0x110000, dtype=np.uint8)
    everything = "".join(map(chr, range(len(table))))
    for value, name in enumerate(_NAMES.split(), start=1):
        for run in regex.finditer(rf"\p{{Word_Break={name}}}+", everything):
            table[run.start() : run.end()] = value
    for run in regex.finditer(r"\p{Extended_Pictographic}+", everything):
        table[run.start() : run.end()] |= _PICTOGRAPH
    return table


def words(points: npt.NDArray[np.uint32], classes: Classes) -> tuple[Int64Array, Int64Array]:
    """Segments between word boundaries that begin with a letter or digit: starts and ends, int64 (k,), ascending.

    classes: characters.table().
    """
    found: tuple[Int64Array, Int64Array] = _words(points, _properties(), classes)
    return found


@numba.njit(cache=True, inline="always")
def _is_letter(value: int) -> bool:
    return value in (_LETTER, _HEBREW)


@numba.njit(cache=True, inline="always")
def _is_ignored(value: int) -> bool:
    return value in (_EXTEND, _FORMAT, _ZWJ)


@numba.njit(cache=True, inline="always")
def _is_middle(value: int, other: int) -> bool:
    """Whether it may stand between two letters (other: MidLetter) or two digits (MidNum)."""
    return value in (other, _MID_NUM_LET, _SINGLE_QUOTE)


@numba.njit(cache=True, inline="always")
def _is_word_part(value: int) -> bool:
    return value in (_LETTER, _HEBREW, _NUMERIC, _KATAKANA)


@numba.njit(cache=True, inline="always")
def _joined(before: int, last: int, value: int, following: int) -> bool:
    """Rules WB5 to WB13b: no boundary between `last` and `value`; `before` and `following` are their neighbours."""
    if _is_letter(last):
        if _is_letter(value) or value == _NUMERIC:
            return True
        if _is_middle(value, _MID_LETTER) and _is_letter(following):
            return True
        if last == _HEBREW and (value == _SINGLE_QUOTE or (value == _DOUBLE_QUOTE and following == _HEBREW)):
            return True
    if _is_letter(value):
        if _is_middle(last, _MID_LETTER) and _is_letter(before):
            return True
        if last == _NUMERIC:
            return True
        if last == _DOUBLE_QUOTE and value == _HEBREW and before == _HEBREW:
            return True
    if last == _NUMERIC and (value == _NUMERIC or (_is_middle(value, _MID_NUM) and following == _NUMERIC)):
        return True
    if value == _NUMERIC and _is_middle(last, _MID_NUM) and before == _NUMERIC:
        return True
    if last == _KATAKANA and value == _KATAKANA:
        return True
    if value == _EXTEND_NUM_LET:
        return _is_word_part(last) or last == _EXTEND_NUM_LET
    return last == _EXTEND_NUM_LET and _is_word_part(value)


@numba.njit(cache=True, nogil=True)
def _words(points: npt.NDArray[np.uint32], properties: Classes, classes: Classes) -> tuple[Int64Array, Int64Array]:
    n = len(points)
    starts = np.empty(n, dtype=np.int64)
    ends = np.empty(n, dtype=np.int64)
    k = 0
    start = 0
    adjacent = 0  # value of the code point before
    before, last = 0, 0  # the last two values that WB4 does not pass over
    flags = 0  # regional indicators in a row
    for i in range(n):
        property_ = properties[points[i]]
        value = property_ & (_PICTOGRAPH - 1)
        if i == 0 or (value == _LETTER and adjacent == _LETTER) or (adjacent == _CR and value == _LF):
            boundary = False
        elif _CR <= adjacent <= _NEWLINE or _CR <= value <= _NEWLINE:
            boundary = True
        elif (
            _is_ignored(value)
            or (adjacent == _ZWJ and property_ & _PICTOGRAPH)
            or (adjacent == _SPACE and value == _SPACE)
        ):
            boundary = False
        elif last == _REGIONAL and value == _REGIONAL:
            boundary = flags % 2 == 0
        else:
            following = 0
            if value in (_MID_LETTER, _MID_NUM, _MID_NUM_LET, _SINGLE_QUOTE, _DOUBLE_QUOTE):
                ahead = i + 1
                while ahead < n and _is_ignored(properties[points[ahead]] & (_PICTOGRAPH - 1)):
                    ahead += 1
                if ahead < n:
                    following = properties[points[ahead]] & (_PICTOGRAPH - 1)
            boundary = not _joined(before, last, value, following)
        if boundary:
            if classes[points[start]] & ALPHANUMERIC:
                starts[k], ends[k] = start, i
                k += 1
            start = i
        if i == 0 or not _is_ignored(value) or _CR <= adjacent <= _NEWLINE:
            before, last = last, value
            flags = flags + 1 if value == _REGIONAL else 0
        adjacent = value
    if n and classes[points[start]] & ALPHANUMERIC:
        starts[k], ends[k] = start, n
        k += 1
    return starts[:k].copy(), ends[:k].copy()
