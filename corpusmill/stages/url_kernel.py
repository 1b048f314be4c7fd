"""A numba scan over the `url` column that tells which URLs can break no rule of the URL filter.

It looks up domains and address in the tables of the block lists and curated sources, finds strict words by an
Aho-Corasick automaton over letters and digits (Aho & Corasick 1975), hard and soft words by their keys. A URL that it
finds harmless breaks no rule; the few others, and those it does not understand (an IP address, a port or user name, an
international host, what is not percent-encoded as the WHATWG form has it, percent-encoded characters beyond ASCII), are
judged by `UrlRules.match`, which alone says which rule is broken and why.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from corpusmill.core.hashing import hash_end, hash_more, hash_start
from corpusmill.core.key_table import ByteArray, Keys, KeyTable, has_key, keys_of
from corpusmill.stages.url_lists import MAX_HOST

_SYMBOLS = b"abcdefghijklmnopqrstuvwxyz0123456789"
_NO_SYMBOL = 255
_SYMBOL_OF = np.full(256, _NO_SYMBOL, np.uint8)  # of a letter (in either case) or digit
for _i, _byte in enumerate(_SYMBOLS):
    _SYMBOL_OF[_byte] = _SYMBOL_OF[ord(chr(_byte).upper())] = _i
_IN_HOST = np.isin(np.arange(256), list(b"abcdefghijklmnopqrstuvwxyz0123456789-_."))
# Bytes that the WHATWG form leaves as they are in a path; those of a query lack the apostrophe.
_IN_PATH = np.isin(np.arange(256), [byte for byte in range(0x21, 0x7F) if byte not in b'"<>\\^`{}'])
_LETTERS = np.frombuffer(_SYMBOLS, np.uint8)


class Automaton(NamedTuple):
    """Aho-Corasick automaton. State 0 is the start.

    step: int32 (states, 36), the state after a letter or digit; accepts: bool (states,), whether a word ends here.
    """

    step: npt.NDArray[np.int32]
    accepts: npt.NDArray[np.bool_]


class WordKeys(NamedTuple):
    """What the kernel knows of the words: see `word_keys`."""

    strict: Automaton
    hard: Keys
    soft: Keys
    min_soft_words: int


def automaton(words: Iterable[str]) -> Automaton:
    """The automaton of the words that are ASCII letters (lower case) and digits alone; others are left out."""
    step: list[list[int]] = [[0] * len(_SYMBOLS)]
    accepts = [False]
    for word in words:
        if not (word.isascii() and word.isalnum()):
            continue
        state = 0
        for byte in word.encode():
            symbol = int(_SYMBOL_OF[byte])
            if not step[state][symbol]:
                step[state][symbol] = len(step)
                step.append([0] * len(_SYMBOLS))
                accepts.append(False)
            state = step[state][symbol]
        accepts[state] = True
    fallback = [0] * len(step)
    queue = deque(state for state in step[0] if state)
    while queue:  # breadth first: a state's fallback is complete before the state is
        state = queue.popleft()
        accepts[state] |= accepts[fallback[state]]
        for symbol, child in enumerate(step[state]):
            if child:
                fallback[child] = step[fallback[state]][symbol]
                queue.append(child)
            else:
                step[state][symbol] = step[fallback[state]][symbol]
    return Automaton(np.array(step, np.int32), np.array(accepts, np.bool_))


def word_keys(strict: Iterable[str], hard: Iterable[str], soft: Iterable[str], min_soft_words: int) -> WordKeys:
    """The words of the three lists, folded, for `suspects`."""
    hard_keys, soft_keys = (KeyTable(keys_of(list(words))).arrays for words in (hard, soft))
    return WordKeys(automaton(strict), hard_keys, soft_keys, min_soft_words)


def suspects(url_column: pa.ChunkedArray, blocked: KeyTable, curated: KeyTable, words: WordKeys) -> list[int]:
    """Row numbers, ascending, of the URLs that may break a rule."""
    found: list[int] = []
    first = 0
    for chunk in url_column.chunks:
        array = chunk.cast(pa.large_string())
        offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
        content = array.buffers()[2]
        data = np.frombuffer(content if content and content.size else b"", np.uint8)
        rows = np.flatnonzero(_suspects(data, offsets, blocked.arrays, curated.arrays, words))
        found += (rows + first).tolist()
        first += len(array)
    return found


@numba.njit(cache=True, nogil=True)
def _suspects(
    data: ByteArray, offsets: npt.NDArray[np.int64], blocked: Keys, curated: Keys, words: WordKeys
) -> npt.NDArray[np.bool_]:
    out = np.empty(len(offsets) - 1, np.bool_)
    for i in range(len(out)):
        url = data[offsets[i] : offsets[i + 1]]
        host, path = _host(url)
        out[i] = host < 0 or _is_listed(url, host, path, blocked, curated) or _is_worded(url, host, path, words)
    return out


@numba.njit(cache=True, nogil=True)
def _host(url: ByteArray) -> tuple[int, int]:
    """Where the host of a URL begins and ends; (-1, -1) where it is not a plain name in the WHATWG form."""
    if len(url) < 8 or not (url[0] == 0x68 and url[1] == 0x74 and url[2] == 0x74 and url[3] == 0x70):  # "http"
        return -1, -1
    start = 8 if url[4] == 0x73 else 7
    if url[start - 3] != 0x3A or url[start - 2] != 0x2F or url[start - 1] != 0x2F:  # "://"
        return -1, -1
    end, label = start, start
    while end < len(url) and url[end] not in (0x2F, 0x3F, 0x23):  # "/", "?", "#"
        byte = url[end]
        if not _IN_HOST[byte]:
            return -1, -1
        if byte == 0x2E:
            if end == label:
                return -1, -1
            label = end + 1
        elif byte == 0x2D and end - label == 3 and url[end - 1] == 0x2D:  # may be "xn--"
            return -1, -1
        end += 1
    if end == label or 0x30 <= url[label] <= 0x39 or end - start > MAX_HOST:  # ends in a dot; may be an IP address
        return -1, -1
    return start, end


@numba.njit(cache=True, nogil=True)
def _is_listed(url: ByteArray, host: int, path: int, blocked: Keys, curated: Keys) -> bool:
    """Whether the host, a domain above it or the address is listed; see url_lists for the forms."""
    last_dot = path - 1
    while last_dot >= host and url[last_dot] != 0x2E:
        last_dot -= 1
    label = host
    while label == host or label <= last_dot:  # not the last label alone
        state = hash_start(0)
        next_label = path
        for at in range(label, path):
            if url[at] == 0x2E and next_label == path:
                next_label = at + 1
            state = hash_more(state, url[at])
        key = hash_end(state, path - label)
        if has_key(blocked, key) or has_key(curated, key):
            return True
        if next_label == path:
            break
        label = next_label
    query = path
    while query < len(url) and url[query] not in (0x3F, 0x23):
        query += 1
    end = query
    while end < len(url) and url[end] != 0x23:
        end += 1
    path_end = query
    while path_end > path and url[path_end - 1] == 0x2F:
        path_end -= 1
    start = host
    if path - host >= 4 and url[host] == 0x77 and url[host + 1] == 0x77 and url[host + 2] == 0x77:
        start += 4 * (url[host + 3] == 0x2E)  # "www."
    state = hash_more(hash_more(hash_start(0), 0x2F), 0x2F)
    for at in range(start, path_end):
        state = hash_more(state, url[at])
    length = 2 + path_end - start
    if end - query > 1:  # more than the question mark
        for at in range(query, end):
            state = hash_more(state, url[at])
        length += end - query
    return bool(has_key(blocked, hash_end(state, length)))


@numba.njit(cache=True, nogil=True)
def _is_worded(url: ByteArray, host: int, path: int, words: WordKeys) -> bool:
    """Whether a URL holds a strict or hard word or as many soft ones as remove it (the same one several times counts).

    True too where the rest of the URL is not in the WHATWG form or has percent-encoded bytes beyond ASCII.
    """
    at = host
    in_query = False
    strict = 0
    state = hash_start(0)
    length = 0
    num_soft = 0
    while at <= len(url):
        byte = 0x20  # the end ends the last word
        if at < len(url) and url[at] != 0x23:
            byte = int(url[at])
            if at >= path:
                if not _IN_PATH[byte] or (in_query and byte == 0x27):
                    return True
                if byte == 0x3F:
                    in_query = True
                elif byte == 0x2F and not in_query and at + 1 < len(url):
                    following = url[at + 1]
                    if following == 0x2E or (following == 0x25 and at + 2 < len(url) and url[at + 2] == 0x32):
                        return True  # may be a dot segment
                elif byte == 0x25 and at + 2 < len(url):
                    high, low = _hexadecimal(url[at + 1]), _hexadecimal(url[at + 2])
                    if high >= 8:
                        return True
                    if high >= 0 and low >= 0:
                        byte = 16 * high + low
                        at += 2
        else:
            at = len(url)
        symbol = _SYMBOL_OF[byte]
        if symbol != _NO_SYMBOL:
            strict = words.strict.step[strict, symbol]
            if words.strict.accepts[strict]:
                return True
            state = hash_more(state, _LETTERS[symbol])
            length += 1
        elif length:
            key = hash_end(state, length)
            if has_key(words.hard, key):
                return True
            num_soft += has_key(words.soft, key)
            state = hash_start(0)
            length = 0
        at += 1
    return bool(num_soft >= words.min_soft_words)


@numba.njit(cache=True, inline="always")
def _hexadecimal(byte: int) -> int:
    """Value of a hexadecimal digit; -1 for another byte."""
    if 0x30 <= byte <= 0x39:
        return int(byte) - 0x30
    lower = int(byte) | 0x20
    return lower - 0x57 if 0x61 <= lower <= 0x66 else -1
