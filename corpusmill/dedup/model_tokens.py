"""Tokens of a SentencePiece model as units of exact substring dedup."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from corpusmill.core import storage
from corpusmill.core.errors import ConfigError
from corpusmill.core.hashing import Int64Array, UInt64Array, hash64, mix64
from corpusmill.core.words import Spans

Ids = npt.NDArray[np.int32]


class ModelTokens:
    """The tokens of texts under a model, loaded when it is first asked for.

    A token is its id; one that the vocabulary lacks (no byte_fallback) is what stands there.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    @cached_property
    def _model(self) -> Any:
        from sentencepiece import SentencePieceProcessor

        try:
            return SentencePieceProcessor(model_proto=storage.read_bytes(self._path))
        except RuntimeError as error:
            raise ConfigError(
                "not a SentencePiece model",
                where=self._path,
                value=str(error),
                remedy="--set stages.substring.tokenizer=PATH of a .model file, or null for words and letters",
            ) from error

    @cached_property
    def _is_byte(self) -> npt.NDArray[np.bool_]:
        """Whether an id stands for one byte of a character that the vocabulary lacks."""
        return np.array([self._model.is_byte(i) for i in range(self._model.get_piece_size())], dtype=np.bool_)

    def hashes(self, texts: Sequence[str]) -> tuple[UInt64Array, Int64Array]:
        """uint64 (k,), int64 (n + 1,): the hashes of the tokens of text i are hashes[ends[i] : ends[i + 1]]."""
        found = [self._hashed(text, ids) for text, ids in zip(texts, self._ids(texts), strict=True)]
        ends = np.cumsum([0, *map(len, found)], dtype=np.int64)
        return (np.concatenate(found) if found else np.empty(0, dtype=np.uint64)), ends

    def places(self, text: str) -> Spans:
        """The code points that the tokens of `text` stand for.

        A character spelled in bytes belongs to the token of its last byte: a passage that ends before it does not hold
        the character, and one that begins behind its first byte begins behind the character (`starts` of such a token
        is above its `ends`). A token may also stand for nothing (a space that the model puts in front).
        """
        encoded = self._model.encode(text, out_type="offset_mapping")
        ids = np.array(encoded["ids"], dtype=np.int32)
        offsets = np.array(encoded["offsets"], dtype=np.int64).reshape(-1, 2)
        starts, ends = offsets[:, 0].copy(), offsets[:, 1].copy()
        is_byte = self._is_byte[ids]
        inside = np.zeros(len(ids), dtype=np.bool_)  # behind the first byte of a character
        inside[1:] = is_byte[1:] & is_byte[:-1] & (starts[:-1] == ends[:-1])
        starts[inside] += 1
        return Spans(starts, ends)

    def _ids(self, texts: Sequence[str]) -> list[Ids]:
        found: list[Ids] = self._model.encode(list(texts), out_type="numpy", num_threads=1)
        return found

    def _hashed(self, text: str, ids: Ids) -> UInt64Array:
        hashes: UInt64Array = _scattered(ids)
        unknown = np.flatnonzero(ids == self._model.unk_id())
        if len(unknown):
            offsets = self._model.encode(text, out_type="offset_mapping")["offsets"]
            for i in unknown.tolist():
                hashes[i] = hash64(text[slice(*offsets[i])].encode())
        return hashes


@numba.njit(cache=True, nogil=True)
def _scattered(ids: Ids) -> UInt64Array:
    out = np.empty(len(ids), dtype=np.uint64)
    for i in range(len(ids)):
        out[i] = mix64(np.uint64(ids[i]) + np.uint64(1))
    return out
