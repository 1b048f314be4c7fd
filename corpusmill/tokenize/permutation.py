"""Keyed bijections on [0, n), O(1) an index, frozen for ever by the vectors in tests/tokenize/test_permutation.py.

**Permutation** (scope "global"). Alternating Feistel network on k = max(2, bit length of n-1) bits, split into k//2
left and k - k//2 right bits, with cycle walking (Black & Rogaway, "Ciphers with Arbitrary Finite Domains", 2002):
values outside [0, n) are sent through the network again, at most twice on average, since n > 2^(k-1).

Round function: SipHash-2-4 (Aumasson & Bernstein, 2012) with a 128-bit key, of the 8-byte message
`round << 56 | other half`. NumPy's generators are not used: their streams may change between versions.

**WindowPermutation** (scope "window"). Neighbours in the order are read from few places, so that a cold disk is read in
long runs. With c sequences a chunk and w chunks a window, the [0, n) are m = n // c full chunks and, where c does not
divide n, a shorter last one. Index i becomes:

1. W = w * c; j = i // W is its window, of min(W, n - j*W) indices. q = j*W + P_j(i - j*W), where P_j is the Permutation
   of the window's size with the window's key.
2. a = q // c. If a < m: the image is P(a) * c + q % c, where P is the Permutation of m with the main key. Else it is q:
   the shorter chunk stays last.

The window's key is two words, each little-endian: SipHash-2-4 with the main key of `255 << 56 | 2*j` and of
`255 << 56 | 2*j + 1`. Rounds are numbered below 255, so no message is used twice.
"""

from __future__ import annotations

import hashlib

import numba
import numpy as np

from corpusmill.core.hashing import Int64Array, UInt64Array

ROUNDS = 8
PURPOSE = "corpusmill permutation v1"

_U = np.uint64
_ONE = _U(1)
_LANES = 512
_TAG_SHIFT = _U(56)
_WINDOW_TAG = _U(255 << 56)
_LENGTH_BLOCK = _U(8 << 56)  # SipHash's last block for a message of 8 bytes


def permutation_key(run_key: str, phase: int, source: str, epoch: int) -> bytes:
    """16 bytes: the permutation key of one epoch of one source in one phase.

    BLAKE2b-128 over PURPOSE, `run_key`, `phase`, `source`, `epoch`, each as UTF-8 (numbers in decimal) after its
    length in bytes as a little-endian uint32.
    """
    state = hashlib.blake2b(digest_size=16)
    for part in (PURPOSE, run_key, str(phase), source, str(epoch)):
        data = part.encode("utf-8")
        state.update(len(data).to_bytes(4, "little") + data)
    return state.digest()


class Permutation:
    """A bijection on [0, n) chosen by a 16-byte key. Needs 1 <= n < 2^62."""

    def __init__(self, n: int, key: bytes, rounds: int = ROUNDS) -> None:
        assert 1 <= n < 1 << 62, n
        assert 1 <= rounds < 256, rounds
        self.n = n
        self._k0, self._k1 = _halves(key)
        self._rounds = rounds

    def forward(self, indices: Int64Array) -> Int64Array:
        """Images of `indices`, int64, each in [0, n)."""
        return self._map(indices, True)

    def inverse(self, images: Int64Array) -> Int64Array:
        """The indices whose images these are: inverse(forward(i)) == i."""
        return self._map(images, False)

    def _map(self, values: Int64Array, forward: bool) -> Int64Array:
        words = np.ascontiguousarray(values).astype(np.uint64)
        out: UInt64Array = _walk(words, _U(self.n), self._k0, self._k1, self._rounds, forward)
        return out.astype(np.int64)


class WindowPermutation:
    """A bijection on [0, n), chosen by a 16-byte key, that shuffles chunks, then inside windows of chunks.

    Args:
        n: 1 <= n < 2^62.
        key: 16 bytes.
        chunk_sequences: c, indices that are neighbours before the shuffle.
        window_chunks: w, chunks that are mixed with each other.
        rounds: of every Feistel network.
    """

    def __init__(self, n: int, key: bytes, chunk_sequences: int, window_chunks: int, rounds: int = ROUNDS) -> None:
        assert 1 <= n < 1 << 62, n
        assert chunk_sequences >= 1, chunk_sequences
        assert window_chunks >= 1, window_chunks
        assert 1 <= rounds < 256, rounds
        self.n = n
        self._k0, self._k1 = _halves(key)
        self._rounds = rounds
        self._chunk = min(chunk_sequences, n)
        self._window = min(self._chunk * window_chunks, n)
        self._full_chunks = n // self._chunk
        self._full_windows = n // self._window
        assert self._full_windows < 1 << 54, "windows are too small for their number"

    def forward(self, indices: Int64Array) -> Int64Array:
        """Images of `indices`, int64, each in [0, n)."""
        return self._of_chunks(self._in_windows(indices, True), True)

    def inverse(self, images: Int64Array) -> Int64Array:
        """The indices whose images these are: inverse(forward(i)) == i."""
        return self._in_windows(self._of_chunks(images, False), False)

    def _in_windows(self, values: Int64Array, forward: bool) -> Int64Array:
        """Shuffles (or back) inside every window."""
        window, within = np.divmod(np.asarray(values, np.int64), self._window)
        numbers = _WINDOW_TAG | (window.astype(np.uint64) << _ONE)
        k0: UInt64Array = siphash24_words(self._k0[0], self._k1[0], numbers)
        k1: UInt64Array = siphash24_words(self._k0[0], self._k1[0], numbers | _ONE)
        full = window < self._full_windows
        out = window * self._window
        for chosen, size in ((full, self._window), (~full, self.n - self._full_windows * self._window)):
            if chosen.any():
                words = within[chosen].astype(np.uint64)
                mapped: UInt64Array = _walk(words, _U(size), k0[chosen], k1[chosen], self._rounds, forward)
                out[chosen] += mapped.astype(np.int64)
        return out

    def _of_chunks(self, values: Int64Array, forward: bool) -> Int64Array:
        """Shuffles (or back) the full chunks."""
        out = np.array(values, np.int64)
        full = out < self._full_chunks * self._chunk
        chunk, within = np.divmod(out[full], self._chunk)
        words = chunk.astype(np.uint64)
        mapped: UInt64Array = _walk(words, _U(self._full_chunks), self._k0, self._k1, self._rounds, forward)
        out[full] = mapped.astype(np.int64) * self._chunk + within
        return out


def _halves(key: bytes) -> tuple[UInt64Array, UInt64Array]:
    """The two little-endian halves of a 16-byte key, uint64 (1,) each."""
    assert len(key) == 16, len(key)
    words = np.frombuffer(key, "<u8").astype(np.uint64)
    return words[:1], words[1:]


# Inlined before the compiler looks at the loop in _half_round, which it then makes four or eight lanes of at once.
@numba.njit(cache=True, inline="always")
def _rotate(x: np.uint64, bits: np.uint64) -> np.uint64:
    return (x << bits) | (x >> (_U(64) - bits))


@numba.njit(cache=True, inline="always")
def _sip_round(
    v0: np.uint64, v1: np.uint64, v2: np.uint64, v3: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    v0 = v0 + v1
    v1 = _rotate(v1, _U(13)) ^ v0
    v0 = _rotate(v0, _U(32))
    v2 = v2 + v3
    v3 = _rotate(v3, _U(16)) ^ v2
    v0 = v0 + v3
    v3 = _rotate(v3, _U(21)) ^ v0
    v2 = v2 + v1
    v1 = _rotate(v1, _U(17)) ^ v2
    v2 = _rotate(v2, _U(32))
    return v0, v1, v2, v3


@numba.njit(cache=True, inline="always")
def siphash24_word(k0: np.uint64, k1: np.uint64, word: np.uint64) -> np.uint64:
    """SipHash-2-4 of the 8 little-endian bytes of `word`; (k0, k1) are the two little-endian halves of the key."""
    v0 = k0 ^ _U(0x736F6D6570736575)
    v1 = k1 ^ _U(0x646F72616E646F6D)
    v2 = k0 ^ _U(0x6C7967656E657261)
    v3 = k1 ^ _U(0x7465646279746573)
    for block in (word, _LENGTH_BLOCK):
        v3 ^= block
        for _ in range(2):
            v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
        v0 ^= block
    v2 ^= _U(0xFF)
    for _ in range(4):
        v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3


@numba.njit(cache=True, nogil=True)
def siphash24_words(k0: np.uint64, k1: np.uint64, words: UInt64Array) -> UInt64Array:
    """`siphash24_word` of every word."""
    out = np.empty_like(words)
    for i in range(len(words)):
        out[i] = siphash24_word(k0, k1, words[i])
    return out


@numba.njit(cache=True, nogil=True)
def _half_round(
    target: UInt64Array, other: UInt64Array, k0: UInt64Array, k1: UInt64Array, tag: np.uint64, mask: np.uint64
) -> None:
    for i in range(len(target)):
        target[i] ^= siphash24_word(k0[i], k1[i], tag | other[i]) & mask


@numba.njit(cache=True, nogil=True)
def _walk(
    values: UInt64Array, n: np.uint64, k0: UInt64Array, k1: UInt64Array, rounds: int, forward: bool
) -> UInt64Array:
    """Images (or their indices) of values below n; k0 and k1 hold one key for all values, or one for each.

    _LANES values are on their way at once: the rounds of one wait for each other, those of several do not. A value that
    has arrived makes room for the next.
    """
    bits = _U(2)
    while bits < _U(62) and (n - _ONE) >> bits:
        bits += _ONE
    left_bits = bits // _U(2)
    right_bits = bits - left_bits
    left_mask = (_ONE << left_bits) - _ONE
    right_mask = (_ONE << right_bits) - _ONE
    left = np.empty(_LANES, np.uint64)
    right = np.empty(_LANES, np.uint64)
    lane_k0 = np.empty(_LANES, np.uint64)
    lane_k1 = np.empty(_LANES, np.uint64)
    source = np.empty(_LANES, np.int64)
    one_key = len(k0) == 1
    out = np.empty_like(values)
    lanes = 0
    taken = 0
    while True:
        while lanes < _LANES and taken < len(values):
            left[lanes] = values[taken] >> right_bits
            right[lanes] = values[taken] & right_mask
            key = 0 if one_key else taken
            lane_k0[lanes] = k0[key]
            lane_k1[lanes] = k1[key]
            source[lanes] = taken
            lanes += 1
            taken += 1
        if lanes == 0:
            return out
        for step in range(rounds):
            number = step if forward else rounds - 1 - step
            tag = _U(number) << _TAG_SHIFT
            if number % 2 == 0:
                _half_round(left[:lanes], right, lane_k0, lane_k1, tag, left_mask)
            else:
                _half_round(right[:lanes], left, lane_k0, lane_k1, tag, right_mask)
        waiting = 0
        for i in range(lanes):
            x = (left[i] << right_bits) | right[i]
            if x < n:
                out[source[i]] = x
            else:
                left[waiting] = left[i]
                right[waiting] = right[i]
                lane_k0[waiting] = lane_k0[i]
                lane_k1[waiting] = lane_k1[i]
                source[waiting] = source[i]
                waiting += 1
        lanes = waiting
