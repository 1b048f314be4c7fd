"""Words with punctuation split off, after spaCy's tokenizer for English.

What stands between whitespace is cut as spaCy 3.8 does it: special cases ("don't", "e.g.") first; then prefixes and
suffixes (punctuation, quotes, currencies, units, "'s") are taken off until none is left; what looks like a URL stays
whole; the rest is cut at infixes (hyphens between letters, dots before capitals).

[DEVIATION from spaCy] Emoticons are punctuation; letters, capitals and symbols are those of Unicode's categories, not
lists by script; URLs are known by their host.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from corpusmill.core.hashing import Int64Array, UInt64Array, hash_end, hash_more, hash_start
from corpusmill.core.segments import Segments
from corpusmill.core.special_tokens import (
    BEFORE_DOT,
    CURRENCY,
    DIGIT,
    HOST,
    ICON,
    LETTER,
    LOWER,
    PREFIX,
    QUOTE,
    SUFFIX,
    UPPER,
    Properties,
    cases_table,
    properties,
    units_table,
)
from corpusmill.core.string_table import find, find_hashed

_Points = npt.NDArray[np.uint32]
_Numbers = npt.NDArray[np.int32]

_DOT, _ELLIPSIS, _PLUS, _HYPHEN, _DOLLAR, _DEGREE = 0x2E, 0x2026, 0x2B, 0x2D, 0x24, 0xB0


def tokens(points: _Points, segments: Segments) -> tuple[Int64Array, Int64Array, UInt64Array]:
    """Tokens of a text: starts and ends, int64 (k,), code points, ascending, none blank; hashes, uint64 (k,).

    segments: of the same text. Hashes are those of `hash_spans`.
    """
    cases, pieces = cases_table()
    units = units_table()
    found: tuple[Int64Array, Int64Array, UInt64Array] = _tokens(
        points,
        segments.word_starts,
        segments.word_ends,
        segments.word_hashes,
        properties(),
        cases.keys,
        cases.numbers,
        cases.longest,
        pieces,
        units.keys,
        units.numbers,
        units.longest,
    )
    return found


@numba.njit(cache=True, nogil=True)
def _tokens(
    points: _Points,
    word_starts: Int64Array,
    word_ends: Int64Array,
    word_hashes: UInt64Array,
    table: Properties,
    case_keys: UInt64Array,
    case_numbers: _Numbers,
    longest_case: int,
    pieces: _Numbers,
    unit_keys: UInt64Array,
    unit_numbers: _Numbers,
    longest_unit: int,
) -> tuple[Int64Array, Int64Array, UInt64Array]:
    n = len(points)
    starts = np.empty(n, dtype=np.int64)
    ends = np.empty(n, dtype=np.int64)
    hashes = np.empty(n, dtype=np.uint64)
    suffixes = np.empty(n, dtype=np.int64)  # where suffixes of this word begin, the outermost first
    k = 0
    for word in range(len(word_starts)):
        start, end = word_starts[word], word_ends[word]
        first = k
        case = find_hashed(case_keys, case_numbers, word_hashes[word])
        if case < 0:
            letters = _letters_end(points, table, start, end)
            if letters == end or end - start == 1:
                starts[k], ends[k], hashes[k] = start, end, word_hashes[word]
                k += 1
                continue
            if start < letters == end - 1 and _splits_off(points, table, letters):
                state = hash_start(0)
                for j in range(start, letters):
                    state = hash_more(state, points[j])
                stem = hash_end(state, letters - start)
                if find_hashed(case_keys, case_numbers, stem) < 0:  # most words before a comma or full stop
                    starts[k], ends[k], hashes[k] = start, letters, stem
                    starts[k + 1], ends[k + 1] = letters, end
                    hashes[k + 1] = hash_end(hash_more(hash_start(0), points[letters]), 1)
                    k += 2
                    continue
        num_suffixes = 0
        while case < 0 and not _only_letters(points, table, start, end):
            prefix = _prefix(points, table, start, end)
            if prefix and start + prefix < end:
                case = find(case_keys, case_numbers, longest_case, points, start + prefix, end)
                if case >= 0:
                    starts[k], ends[k] = start, start + prefix
                    k += 1
                    start += prefix
                    break
            suffix = _suffix(points, table, start + prefix, end, unit_keys, unit_numbers, longest_unit)
            if suffix and start < end - suffix:
                case = find(case_keys, case_numbers, longest_case, points, start, end - suffix)
                if case >= 0:
                    end -= suffix
                    suffixes[num_suffixes] = end
                    num_suffixes += 1
                    break
            if not prefix and not suffix:
                break
            if prefix:
                starts[k], ends[k] = start, start + prefix
                k += 1
                start += prefix
            if suffix:
                end -= suffix
                suffixes[num_suffixes] = end
                num_suffixes += 1
            if prefix and suffix:  # otherwise what is left was looked up above
                case = find(case_keys, case_numbers, longest_case, points, start, end)
        if case >= 0:
            for length in pieces[case]:
                if length:
                    starts[k], ends[k] = start, start + length
                    k += 1
                    start += length
        elif start < end:
            if _only_letters(points, table, start, end) or _is_url(points, table, start, end):
                starts[k], ends[k] = start, end
                k += 1
            else:
                k = _cut_at_infixes(points, table, start, end, starts, ends, k)
        while num_suffixes:
            num_suffixes -= 1
            starts[k], ends[k] = end, suffixes[num_suffixes - 1] if num_suffixes else word_ends[word]
            end = ends[k]
            k += 1
        for i in range(first, k):
            state = hash_start(0)
            for j in range(starts[i], ends[i]):
                state = hash_more(state, points[j])
            hashes[i] = hash_end(state, ends[i] - starts[i])
    return starts[:k].copy(), ends[:k].copy(), hashes[:k].copy()


@numba.njit(cache=True, inline="always")
def _letters_end(points: _Points, table: Properties, start: int, end: int) -> int:
    """Where the letters end that points[start:end] begins with."""
    while start < end and table[points[start]] & LETTER:
        start += 1
    return start


@numba.njit(cache=True, inline="always")
def _only_letters(points: _Points, table: Properties, start: int, end: int) -> bool:
    return _letters_end(points, table, start, end) == end


@numba.njit(cache=True, inline="always")
def _splits_off(points: _Points, table: Properties, at: int) -> bool:
    """Whether the character at `at`, the last of a word whose others are letters, is a suffix: see `_suffix`."""
    c = points[at]
    if c == _DOT:
        return bool(table[points[at - 1]] & BEFORE_DOT)
    return bool(table[c] & SUFFIX)


@numba.njit(cache=True, inline="always")
def _prefix(points: _Points, table: Properties, start: int, end: int) -> int:
    """Length of the prefix of points[start:end], 0 if it has none."""
    c = points[start]
    if c == _PLUS:
        return 0 if start + 1 < end and table[points[start + 1]] & DIGIT else 1
    if c == _DOT:
        run = start
        while run < end and points[run] == _DOT:
            run += 1
        return run - start if run - start > 1 else 0
    if table[c] & PREFIX:
        return 1
    if (c == ord("C") or c == ord("A")) and start + 1 < end and points[start + 1] == _DOLLAR:
        return 2
    if c == ord("U") and start + 2 < end and points[start + 1] == ord("S") and points[start + 2] == _DOLLAR:
        return 3
    return 0


@numba.njit(cache=True, inline="always")
def _suffix(
    points: _Points,
    table: Properties,
    start: int,
    end: int,
    unit_keys: UInt64Array,
    unit_numbers: _Numbers,
    longest_unit: int,
) -> int:
    """Length of the longest suffix of points[start:end], 0 if it has none."""
    if start >= end:
        return 0
    c = points[end - 1]
    before = points[end - 2] if end - start > 1 else np.uint32(0)
    longest = 0 if table[c] & DIGIT else min(longest_unit, end - start - 1)  # no unit ends in a digit
    for length in range(longest, 0, -1):
        if table[points[end - length - 1]] & DIGIT:
            if find(unit_keys, unit_numbers, longest_unit, points, end - length, end) >= 0:
                return length
            if c == _DOLLAR and (
                (length == 3 and points[end - 3] == ord("U") and before == ord("S"))
                or (length == 2 and (before == ord("C") or before == ord("A")))
            ):
                return length
    if c == _DOT:
        run = end
        while run > start and points[run - 1] == _DOT:
            run -= 1
        if end - run > 1:
            return end - run
        if run == start:
            return 0
        if table[before] & BEFORE_DOT:
            return 1
        if end - start > 2:
            other = points[end - 3]
            if table[before] & UPPER and table[other] & UPPER:
                return 1
            if other == _DEGREE and (before == ord("F") or before == ord("C") or before == ord("K")):
                return 1
        return 0
    if c == _ELLIPSIS and before == _ELLIPSIS:
        return 2
    if (c == ord("s") or c == ord("S")) and (before == ord("'") or before == ord("’")):
        return 2
    if table[c] & SUFFIX:
        return 1
    if (c == _PLUS or table[c] & CURRENCY) and table[before] & DIGIT:
        return 1
    return 0


@numba.njit(cache=True, nogil=True)
def _cut_at_infixes(
    points: _Points, table: Properties, start: int, end: int, starts: Int64Array, ends: Int64Array, k: int
) -> int:
    """Writes the tokens of points[start:end], cut at infixes, from entry `k` on; the entry after the last one."""
    first = start
    i = start
    while i < end:
        length = 0 if table[points[i]] & (LETTER | DIGIT) else _infix(points, table, first, i, end)
        if length == 0 or i == first:
            i += max(1, length)
            continue
        if start < i:
            starts[k], ends[k] = start, i
            k += 1
        starts[k], ends[k] = i, i + length
        k += 1
        i += length
        start = i
    if start < end:
        starts[k], ends[k] = start, end
        k += 1
    return k


@numba.njit(cache=True, inline="always")
def _infix(points: _Points, table: Properties, first: int, i: int, end: int) -> int:
    """Length of the infix at `i`, neither letter nor digit, in points[first:end], 0 if there is none."""
    c = points[i]
    if c == _ELLIPSIS or table[c] & ICON:
        return 1
    if c == _DOT:
        run = i
        while run < end and points[run] == _DOT:
            run += 1
        if run - i > 1:
            return run - i
    last = table[points[i - 1]] if i > first else np.uint16(0)
    following = table[points[i + 1]] if i + 1 < end else np.uint16(0)
    if c == _DOT:
        return 1 if last & (LOWER | QUOTE) and following & (UPPER | QUOTE) else 0
    if c == ord(","):
        return 1 if last & LETTER and following & LETTER else 0
    operator = c in (_PLUS, _HYPHEN, ord("*"), ord("^"))
    if operator and last & DIGIT and i + 1 < end and (following & DIGIT or points[i + 1] == _HYPHEN):
        return 1
    if not last & (LETTER | DIGIT):
        return 0
    if c == ord(":") or c == ord("<") or c == ord(">") or c == ord("=") or c == ord("/"):
        return 1 if following & LETTER else 0
    longest = 3 if c == _HYPHEN else 2 if c == ord("—") else 1 if c == ord("–") or c == ord("~") else 0
    for length in range(1, longest + 1):
        if i + length >= end:
            return 0
        if table[points[i + length]] & LETTER:
            return length
        if points[i + length] != c:
            return 0
    return 0


@numba.njit(cache=True, nogil=True)
def _is_url(points: _Points, table: Properties, start: int, end: int) -> bool:
    """Whether points[start:end] is a host with a lower-case top domain, with scheme, user, port or path or without."""
    dotted = False
    host = start
    i = start
    while i < end:
        c = points[i]
        if c == ord("/") or c == ord("?") or c == ord("#"):
            if not (c == ord("/") and i - start > 2 and points[i - 1] == ord(":") and i + 1 < end):
                break
            if points[i + 1] != ord("/") or host != start:
                break
            i += 1
            host = i + 1
        elif c == ord("@"):
            host = i + 1
            dotted = False
        dotted |= c == _DOT
        i += 1
    if not dotted:
        return False
    label = host
    i = host
    labels = 0
    while True:
        while i < end and (table[points[i]] & HOST or points[i] == _HYPHEN or points[i] == ord("_")):
            i += 1
        if i == label or not table[points[label]] & HOST or not table[points[i - 1]] & HOST:
            return False
        labels += 1
        if i == end or points[i] != _DOT:
            break
        i += 1
        label = i
    if labels < 2 or i - label < 2:
        return False
    for j in range(label, i):
        if not table[points[j]] & LOWER:
            return False
    if i < end and points[i] == ord(":"):
        i += 1
        port = i
        while i < end and table[points[i]] & DIGIT:
            i += 1
        if not 2 <= i - port <= 5:
            return False
    return i == end or points[i] == ord("/") or points[i] == ord("?") or points[i] == ord("#")
