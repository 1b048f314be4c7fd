"""Signatures that are those of `datasketch`, value for value, so that its tools read ours.

`minhash` itself does not use them: its own signatures (dedup/signatures.py) come from 64-bit hashes in one pass, these
need a SHA-1 of every shingle. They are for indexes that datasketch keeps (MinHashLSH, MinHashLSHForest), and to check
one implementation against the other. The schemes are datasketch's:

    affine32, affine64    its own since 2.0: MurmurHash3's finaliser of the hash h, then a h + b modulo 2^32 or 2^64
    legacy                before 2.0: (a h + b modulo 2^64) modulo 2^61 - 1, of which 32 bits are kept

A shingle is n normalised words with one blank between them, or n normalised letters, in UTF-8: what
`MinHash.update` must be given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from corpusmill.core import storage
from corpusmill.core.hashing import UInt64Array, mix64
from corpusmill.core.normalise import normalised_texts
from corpusmill.dedup.minhash import MinHashConfig

Scheme = Literal["affine32", "affine64", "legacy"]
SCHEMES: Final[tuple[Scheme, ...]] = ("affine32", "affine64", "legacy")
_MERSENNE: Final = (1 << 61) - 1
_LOW_32: Final = np.uint64(0xFFFFFFFF)
_LARGEST: Final = np.uint64(0xFFFFFFFFFFFFFFFF)
_AFFINE32, _AFFINE64, _LEGACY = range(3)


def permutations(number: int, seed: int, scheme: Scheme) -> tuple[UInt64Array, UInt64Array]:
    """Multipliers and increments of `number` maps, uint64 (number,) each, as MinHash(number, seed, scheme=scheme)
    draws them. seed: 0..2^32 - 1."""
    draw = np.random.RandomState(seed)  # a generator of its own, which datasketch uses: its stream is frozen
    if scheme == "legacy":
        pairs = [[draw.randint(low, _MERSENNE, dtype=np.uint64) for low in (1, 0)] for _ in range(number)]
        drawn = np.array(pairs, dtype=np.uint64).reshape(-1, 2)
        return drawn[:, 0].copy(), drawn[:, 1].copy()
    width, kind = (32, np.uint32) if scheme == "affine32" else (64, np.uint64)
    halves = draw.randint(0, 1 << (width - 1), number, dtype=kind).astype(np.uint64)
    increments = draw.randint(0, 1 << width, number, dtype=kind).astype(np.uint64)
    return halves * np.uint64(2) + np.uint64(1), increments


def token_hashes(tokens: Sequence[bytes], scheme: Scheme) -> UInt64Array:
    """The first 8 bytes, 4 but for affine64, of the SHA-1 of every token, little-endian; uint64 (len(tokens),)."""
    width = 8 if scheme == "affine64" else 4
    digests = b"".join(hashlib.sha1(token, usedforsecurity=False).digest()[:width] for token in tokens)
    return np.frombuffer(digests, dtype=f"<u{width}").astype(np.uint64)


def signature(hashes: UInt64Array, maps: tuple[UInt64Array, UInt64Array], scheme: Scheme) -> npt.NDArray[Any]:
    """Smallest image of the hashes under every map, (len(maps[0]),), in the dtype of the scheme's `hashvalues`: uint32
    for affine32, else uint64. Of no hashes the largest value, as datasketch has it."""
    values = _minima(hashes, *maps, SCHEMES.index(scheme))
    if len(hashes) == 0 and scheme != "affine64":
        values &= _LOW_32
    return values.astype(np.uint32) if scheme == "affine32" else values


@numba.njit(cache=True, inline="always")
def _mix32(value: np.uint64) -> np.uint64:
    """MurmurHash3's 32-bit finaliser."""
    value ^= value >> np.uint64(16)
    value = (value * np.uint64(0x85EBCA6B)) & _LOW_32
    value ^= value >> np.uint64(13)
    value = (value * np.uint64(0xC2B2AE35)) & _LOW_32
    return value ^ (value >> np.uint64(16))


@numba.njit(cache=True, nogil=True)
def _minima(hashes: UInt64Array, multipliers: UInt64Array, increments: UInt64Array, scheme: int) -> UInt64Array:
    out = np.full(len(multipliers), _LARGEST, dtype=np.uint64)
    for h in hashes:
        x = h
        if scheme == _AFFINE32:
            x = _mix32(h)
        elif scheme == _AFFINE64:
            x = mix64(h)
        for i in range(len(multipliers)):
            image = multipliers[i] * x + increments[i]
            if scheme == _LEGACY:
                image = image % np.uint64(_MERSENNE)
            if scheme != _AFFINE64:
                image &= _LOW_32
            out[i] = min(out[i], image)
    return out


def shingle_bytes(text: str, language: str, config: MinHashConfig) -> list[bytes]:
    """The shingles of a text as `minhash` under `config` sees them, in order, with repeats, in UTF-8."""
    in_words = config.shingling.in_words(language)
    units = normalised_texts(text, language if in_words else None)
    n = config.ngram if in_words else config.character_ngram
    width = min(n, len(units))
    between = " " if in_words else ""
    return [between.join(units[i : i + width]).encode() for i in range(len(units) - width + 1)] if units else []


def signatures(
    table: pa.Table, config: MinHashConfig, num_perm: int = 128, seed: int = 1, scheme: Scheme = "affine32"
) -> pa.Table:
    """`doc_id` and `hashvalues` (fixed-size list of num_perm numbers) of the documents of `table` that have a shingle.

    table: columns doc_id, language, text. num_perm, seed, scheme: the arguments of datasketch.MinHash; they are in the
    metadata of the schema, and must be given again where the values are read.
    """
    maps = permutations(num_perm, seed, scheme)
    kind = pa.uint32() if scheme == "affine32" else pa.uint64()
    ids, values = [], [np.empty(0, dtype=kind.to_pandas_dtype())]
    for doc_id, tokens in _tokens(table, config):
        ids.append(doc_id)
        values.append(signature(token_hashes(tokens, scheme), maps, scheme))
    columns = [
        pa.array(ids, pa.string()),
        pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(values), kind), num_perm),
    ]
    facts = {"num_perm": str(num_perm), "seed": str(seed), "scheme": scheme}
    return pa.table(columns, names=["doc_id", "hashvalues"]).replace_schema_metadata(facts)


def _tokens(table: pa.Table, config: MinHashConfig) -> Iterator[tuple[str, list[bytes]]]:
    columns = (table.column(name) for name in ("doc_id", "language", "text"))
    for doc_id, language, text in zip(*columns, strict=True):
        tokens = shingle_bytes(text.as_py(), language.as_py(), config)
        if tokens:
            yield doc_id.as_py(), tokens


def write_signatures(
    documents: Sequence[str],
    folder: str,
    config: MinHashConfig,
    num_perm: int = 128,
    seed: int = 1,
    scheme: Scheme = "affine32",
) -> list[str]:
    """Writes `signatures` of the files `documents` (Parquet, such as RUN/documents/*.parquet) to files of the same
    names in `folder`; returns their paths. Memory is that of one file."""
    paths = []
    for document_file in documents:
        table = storage.read_parquet(document_file, ["doc_id", "language", "text"])
        paths.append(storage.join(folder, storage.file_name(document_file)))
        storage.write_parquet(paths[-1], signatures(table, config, num_perm, seed, scheme))
    return paths
