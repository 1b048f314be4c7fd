"""Which documents are held out from training: a keyed hash of the doc_id falls under a share.

The choice needs nothing but key, share and doc_id: no document, no corpus, no other choice. So it is made before any
deduplication, by anyone, again and again; with the same key a larger share holds out all that a smaller one does.
Stable for ever: tests/tokenize/test_held_out.py holds vectors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from fractions import Fraction
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, field_validator

_HASH_BYTES: Final = 8
_PERSON: Final = b"held-out"  # tells this hash from others under the same key


class HeldOutConfig(BaseModel):
    """The recipe's section `held_out`: which documents are chosen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(min_length=1, description="another key chooses other documents; published with the evaluation")
    share: str = Field(description="of the documents, between 0 and 1: a rational, `1/1000`, or a number, 0.001")

    @field_validator("share", mode="before")
    @classmethod
    def _rational(cls, value: Any) -> str:
        """The share in lowest terms, `1/1000`."""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError("a share is a rational like 1/1000 or a number like 0.001")
        try:
            share = Fraction(str(value))
        except (ValueError, ZeroDivisionError) as error:
            raise ValueError("a share is a rational like 1/1000 or a number like 0.001") from error
        if not 0 < share < 1:
            raise ValueError("the share must be more than 0 and less than 1; `held_out: null` holds nothing out")
        return f"{share.numerator}/{share.denominator}"

    @cached_property
    def _limit(self) -> int:
        """Hashes below it are chosen: share * 2^64, rounded up."""
        share = Fraction(self.share)
        return -(-(share.numerator << 8 * _HASH_BYTES) // share.denominator)

    def is_chosen(self, doc_id: str) -> bool:
        """Whether the document is held out: held_out_hash(key, doc_id) < share * 2^64."""
        return held_out_hash(self.key, doc_id) < self._limit

    def chosen(self, doc_ids: Iterable[str]) -> npt.NDArray[np.bool_]:
        """`is_chosen` of every document, bool (n,)."""
        limit, key = self._limit, _key_bytes(self.key)
        return np.array([_hash(key, doc_id) < limit for doc_id in doc_ids], dtype=np.bool_)


def held_out_hash(key: str, doc_id: str) -> int:
    """0..2^64-1: BLAKE2b of 8 bytes over `doc_id` (UTF-8), little-endian, personalised `held-out`.

    Its key is BLAKE2b-512 of `key`, so that keys may have any length.
    """
    return _hash(_key_bytes(key), doc_id)


def _key_bytes(key: str) -> bytes:
    return hashlib.blake2b(key.encode("utf-8")).digest()


def _hash(key: bytes, doc_id: str) -> int:
    state = hashlib.blake2b(doc_id.encode("utf-8"), digest_size=_HASH_BYTES, key=key, person=_PERSON)
    return int.from_bytes(state.digest(), "little")
