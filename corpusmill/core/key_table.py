"""A set of strings as 64-bit keys in one file, which all processes of a machine map into memory together.

A key is the `hash_spans` hash of the string's UTF-8 bytes. The keys lie sorted, 8 bytes each, beside an index of where
those with the same leading bits begin, two to four a bucket: a look-up reads two places. 4.6 million entries take 45
MB, and a string that was not put in is found with probability n / 2^64, for n keys (4.6 million: 2.5e-13 a look-up).

The file, little-endian: MAGIC, four uint64 (number of keys n, index bits b, CRC-32 of all that follows these four,
bytes of the notes), uint64 (n,) keys, uint32 (2^b + 1,) index, notes (JSON). The same keys and notes give the same
bytes.
"""

from __future__ import annotations

import json
import mmap
import os
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from corpusmill.core import storage
from corpusmill.core.errors import InfrastructureError, VerificationFailed
from corpusmill.core.hashing import UInt64Array, canonical_json, hash_spans

FOLDER_VARIABLE = "CORPUSMILL_TABLES"
MAGIC = b"CMKEYS\x01\n"
_HEADER_WORDS = 4
_HEADER_BYTES = len(MAGIC) + 8 * _HEADER_WORDS
_KEYS_A_BUCKET = 4
_MAX_KEYS = 2**32 - 1  # the index is uint32

ByteArray = npt.NDArray[np.uint8]


class Keys(NamedTuple):
    """The arrays of a table, for kernels: see `has_key`.

    keys: uint64 (n,), ascending, no two equal; buckets: uint32 (2^b + 1,), `keys[buckets[i]:buckets[i + 1]]` are those
    whose first b bits are i; shift: 64 - b.
    """

    keys: UInt64Array
    buckets: npt.NDArray[np.uint32]
    shift: int


@numba.njit(cache=True, nogil=True)
def has_key(table: Keys, key: np.uint64) -> bool:
    """Whether `key` is in the table."""
    bucket = np.int64(key >> np.uint64(table.shift))
    for at in range(table.buckets[bucket], table.buckets[bucket + 1]):
        if table.keys[at] >= key:
            return bool(table.keys[at] == key)
    return False


@numba.njit(cache=True, nogil=True)
def _have_keys(table: Keys, wanted: UInt64Array) -> npt.NDArray[np.bool_]:
    out = np.empty(len(wanted), dtype=np.bool_)
    for i in range(len(wanted)):
        out[i] = has_key(table, wanted[i])
    return out


def keys_of(entries: Sequence[str]) -> UInt64Array:
    """Keys of strings, uint64 (len(entries),). Lone surrogates count as the three bytes they would have."""
    encoded = [entry.encode("utf-8", "surrogatepass") for entry in entries]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    hashes: UInt64Array = hash_spans(np.frombuffer(b"".join(encoded), np.uint8), ends[:-1], ends[1:])
    return hashes


class KeyTable:
    """A set of keys in memory or in a mapped file.

    notes: what the maker of the table wrote into it.
    """

    def __init__(self, keys: Iterable[int] | UInt64Array, notes: Mapping[str, Any] | None = None) -> None:
        """Holds `keys`, in any order, repeated or not."""
        given = keys if isinstance(keys, np.ndarray) else np.fromiter(keys, dtype=np.uint64)
        ordered = np.sort(given)
        unique = ordered[np.append(True, ordered[1:] != ordered[:-1])] if len(ordered) else ordered
        assert len(unique) <= _MAX_KEYS
        bits = max(1, (len(unique) // _KEYS_A_BUCKET).bit_length())
        firsts = np.arange(1 << bits, dtype=np.uint64) << np.uint64(64 - bits)
        index = np.append(np.searchsorted(unique, firsts), len(unique)).astype(np.uint32)
        for array in (unique, index):
            array.setflags(write=False)  # as mapped ones are: kernels are compiled once for both
        self.arrays = Keys(unique, index, 64 - bits)
        self.notes: Mapping[str, Any] = dict(notes or {})

    def __len__(self) -> int:
        return len(self.arrays.keys)

    def have(self, keys: UInt64Array) -> npt.NDArray[np.bool_]:
        """Which of `keys` are in the table, bool (len(keys),)."""
        found: npt.NDArray[np.bool_] = _have_keys(self.arrays, keys)
        return found

    def save(self, path: str) -> None:
        """Writes the table, atomically."""
        notes = canonical_json(self.notes)
        body = [self.arrays.keys.astype("<u8").tobytes(), self.arrays.buckets.astype("<u4").tobytes(), notes]
        checksum = 0
        for part in body:
            checksum = zlib.crc32(part, checksum)
        header = np.array([len(self), 64 - self.arrays.shift, checksum, len(notes)], dtype="<u8").tobytes()
        with storage.open_write(path) as file:
            for part in (MAGIC, header, *body):
                file.write(part)

    @classmethod
    def open(cls, path: str) -> KeyTable:
        """Maps the file at `path`, a local one, read-only. Its pages are shared with every process that maps it.

        Raises OSError where there is no file, and VerificationFailed for a file that is not a whole table.
        """
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size < _HEADER_BYTES:
                raise _damaged(path, "shorter than its header")
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        if data[: len(MAGIC)] != MAGIC:
            raise _damaged(path, bytes(data[: len(MAGIC)]))
        n, bits, checksum, notes_bytes = np.frombuffer(data, "<u8", _HEADER_WORDS, len(MAGIC)).tolist()
        index_at = _HEADER_BYTES + 8 * n
        notes_at = index_at + 4 * ((1 << min(bits, 64)) + 1)
        if len(data) != notes_at + notes_bytes:
            raise _damaged(path, f"{len(data)} bytes, expected {notes_at + notes_bytes}")
        if zlib.crc32(data[_HEADER_BYTES:]) != checksum:
            raise _damaged(path, "another checksum than it states")
        table = cls.__new__(cls)
        keys = np.frombuffer(data, "<u8", n, _HEADER_BYTES)
        index = np.frombuffer(data, "<u4", (1 << bits) + 1, index_at)
        table.arrays = Keys(keys, index, 64 - bits)
        table.notes = json.loads(bytes(data[notes_at:]))
        return table


def _damaged(path: str, seen: object) -> VerificationFailed:
    return VerificationFailed("this table is damaged", where=path, value=seen, remedy="delete it, it is made again")


def tables_folder() -> str:
    """`$CORPUSMILL_TABLES`, or `~/.cache/corpusmill/tables`: where tables are kept on this machine."""
    return os.environ.get(FOLDER_VARIABLE) or str(Path.home() / ".cache" / "corpusmill" / "tables")


def open_or_make(name: str, make: Callable[[], KeyTable]) -> KeyTable:
    """The table `name` of this machine; where it is absent or damaged, `make` makes it first.

    `name` must say all that decides the content (a fingerprint). Processes that make it at the same time write the same
    bytes, and each renames a whole file into place: none sees a part of one.

    Raises InfrastructureError when the folder of tables cannot be written.
    """
    path = storage.join(tables_folder(), f"{name}.keys")
    try:
        return KeyTable.open(path)
    except (OSError, VerificationFailed):  # a folder that cannot be used shows itself below
        table = make()
    try:
        table.save(path)
    except (OSError, InfrastructureError) as error:
        raise InfrastructureError(
            "could not keep a table", where=path, value=str(error), remedy=f"set {FOLDER_VARIABLE} to a writable folder"
        ) from error
    return KeyTable.open(path)
