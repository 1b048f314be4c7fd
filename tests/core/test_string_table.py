from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from corpusmill.core.string_table import StringTable, find, find_hashed
from corpusmill.core.words import Spans, codepoints


def look_up(table: StringTable, string: str) -> int:
    points = codepoints(string)
    found = find(table.keys, table.numbers, table.longest, points, 0, len(points))
    hashed = Spans(np.array([0]), np.array([len(points)])).hashes(points)[0]
    assert len(string) > table.longest or found == find_hashed(table.keys, table.numbers, hashed)
    return int(found)


@given(st.lists(st.text(max_size=6), max_size=40), st.text(max_size=8))
def test_strings_are_found_by_their_last_number(strings: list[str], other: str) -> None:
    table = StringTable(strings)
    numbers = {string: number for number, string in enumerate(strings)}
    assert {string: look_up(table, string) for string in strings} == numbers
    assert look_up(table, other) == numbers.get(other, -1)


def test_an_empty_table_holds_nothing() -> None:
    table = StringTable([])
    assert table.longest == 0
    assert look_up(table, "") == look_up(table, "a") == -1
