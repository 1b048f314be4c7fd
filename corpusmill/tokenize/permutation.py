"""A keyed bijection on [0, n), O(1) an index, frozen for ever by the vectors in tests/tokenize/test_permutation.py.

Alternating Feistel network on k = max(2, bit length of n-1) bits, split into k//2 left and k - k//2 right bits, with
cycle walking (Black & Rogaway, "Ciphers with Arbitrary Finite Domains", 2002): values outside [0, n) are sent through
the network again, at most twice on average, since n > 2^(k-1).

Round function: SipHash-2-4 (Aumasson & Bernstein, 2012) with a 128-bit key, of the 8-byte message
`round << 56 | other half`. NumPy's generators are not used: their streams may change between versions.
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
_ROUND_SHIFT = _U(56)
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
        assert len(key) == 16, len(key)
        self.n = n
        self._k0 = _U(int.from_bytes(key[:8], "little"))
        self._k1 = _U(int.from_bytes(key[8:], "little"))
        bits = max(2, (n - 1).bit_length())
        self._left_bits = bits // 2
        self._right_bits = bits - bits // 2
        self._rounds = rounds

    def forward(self, indices: Int64Array) -> Int64Array:
        """Images of `indices`, int64, each in [0, n)."""
        return self._map(indices, True)

    def inverse(self, images: Int64Array) -> Int64Array:
        """The indices whose images these are: inverse(forward(i)) == i."""
        return self._map(images, False)

    def _map(self, values: Int64Array, forward: bool) -> Int64Array:
        out: UInt64Array = _walk(
            np.ascontiguousarray(values).astype(np.uint64),
            _U(self.n),
            self._k0,
            self._k1,
            _U(self._left_bits),
            _U(self._right_bits),
            self._rounds,
            forward,
        )
        return out.astype(np.int64)


class WindowPermutation(Permutation):
    """Replaced by the branch perm."""

    def __init__(self, n: int, key: bytes, chunk: int, window: int, rounds: int = ROUNDS) -> None:
        super().__init__(n, key, rounds)


@numba.njit(cache=True)
def _rotate(x: np.uint64, bits: np.uint64) -> np.uint64:
    return (x << bits) | (x >> (_U(64) - bits))


@numba.njit(cache=True)
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


@numba.njit(cache=True)
def siphash24_word(k0: np.uint64, k1: np.uint64, word: np.uint64) -> np.uint64:
    """SipHash-2-4 of the 8 little-endian bytes of `word`; (k0, k1) are the two little-endian halves of the key."""
    v0 = k0 ^ _U(0x736F6D6570736575)
    v1 = k1 ^ _U(0x646F72616E646F6D)
    v2 = k0 ^ _U(0x6C7967656E657261)
    v3 = k1 ^ _U(0x7465646279746573)
    for block in (word, _LENGTH_BLOCK):
        v3 ^= block
        v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
        v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
        v0 ^= block
    v2 ^= _U(0xFF)
    for _ in range(4):
        v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3


@numba.njit(cache=True, nogil=True)
def _walk(
    values: UInt64Array,
    n: np.uint64,
    k0: np.uint64,
    k1: np.uint64,
    left_bits: np.uint64,
    right_bits: np.uint64,
    rounds: int,
    forward: bool,
) -> UInt64Array:
    left_mask = (_ONE << left_bits) - _ONE
    right_mask = (_ONE << right_bits) - _ONE
    out = np.empty_like(values)
    for i in range(len(values)):
        x = values[i]
        while True:
            left = x >> right_bits
            right = x & right_mask
            for step in range(rounds):
                number = step if forward else rounds - 1 - step
                tag = _U(number) << _ROUND_SHIFT
                if number % 2 == 0:
                    left ^= siphash24_word(k0, k1, tag | right) & left_mask
                else:
                    right ^= siphash24_word(k0, k1, tag | left) & right_mask
            x = (left << right_bits) | right
            if x < n:
                break
        out[i] = x
    return out
