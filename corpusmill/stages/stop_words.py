"""Stop words of one language, and how often they occur among the words of a text."""

from __future__ import annotations

from typing import Literal

import numba
import numpy as np
import numpy.typing as npt

from corpusmill.core.hashing import Int64Array, UInt64Array
from corpusmill.core.string_table import StringTable, find

Forms = Literal["capitals", "exact", "lowercase"]


class StopWords:
    """A list of stop words.

    forms: "capitals": a word of the text matches as it is listed, capitalised or in capitals; "exact": as it is listed;
        "lowercase": the list is lowercased, for words that are lowercased before they are looked up.
    table: the forms, three (one) a word where there are capitals (none).
    """

    def __init__(self, listed: tuple[str, ...], forms: Forms = "capitals") -> None:
        if forms == "capitals":
            variants = [form for word in listed for form in (word, word.capitalize(), word.upper())]
        else:
            variants = [word.lower() if forms == "lowercase" else word for word in listed]
        self.table = StringTable(variants)
        self.num_words = len(listed)
        self.num_forms = len(variants) // max(1, len(listed))


@numba.njit(cache=True, nogil=True)
def occurrences(
    points: npt.NDArray[np.uint32],
    starts: Int64Array,
    ends: Int64Array,
    keys: UInt64Array,
    numbers: npt.NDArray[np.int32],
    longest: int,
    num_words: int,
    num_forms: int,
) -> Int64Array:
    """How often each stop word of a list is one of the words [starts[i], ends[i]) of a text, int64 (num_words,)."""
    found = np.zeros(num_words, dtype=np.int64)
    for i in range(len(starts)):
        at = find(keys, numbers, longest, points, starts[i], ends[i])
        if at >= 0:
            found[at // num_forms] += 1
    return found
