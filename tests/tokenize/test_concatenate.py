from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle_order import pack

from corpusmill.tokenize.concatenate import ConcatenatePacking
from corpusmill.tokenize.packing import PAD, TRUNCATED_HEAD, TRUNCATED_TAIL, Segments


def packed(lengths: list[int], length: int, block_sequences: int, *excluded: int) -> ConcatenatePacking:
    return ConcatenatePacking(np.array(lengths), length, block_sequences, np.array(excluded, dtype=np.int64))


def rows(found: Segments) -> list[tuple[int, ...]]:
    return list(zip(*(c.tolist() for c in found), strict=True))


def test_known_answer() -> None:
    # L = 4, blocks of 2 sequences = 9 tokens: documents {0, 1, 2} = 9 tokens, {3} = 9, {4, 5} = 6.
    packing = packed([5, 3, 1, 9, 2, 4], 4, 2)
    assert (packing.num_sequences, packing.num_blocks) == (6, 3)
    head, tail = TRUNCATED_HEAD, TRUNCATED_TAIL
    assert rows(packing.segments(np.arange(6))) == [
        (0, 0, 0, 0, 5, 0),
        (1, 0, 0, 4, 1, head),  # the token that was the last label is the first input
        (1, 1, 1, 0, 3, 0),
        (1, 2, 2, 0, 1, 0),
        (2, 0, 3, 0, 5, tail),
        (3, 0, 3, 4, 5, head),
        (4, 0, 4, 0, 2, 0),
        (4, 1, 5, 0, 3, tail),
        (5, 0, 5, 2, 2, head),
        (5, 1, -1, 0, 3, PAD),
    ]


def test_known_answer_with_an_exclusion() -> None:
    # As above without document 0: its block has 4 tokens left, one sequence; the second is padding. Others stay.
    packing = packed([5, 3, 1, 9, 2, 4], 4, 2, 0)
    assert rows(packing.segments(np.arange(3))) == [
        (0, 0, 1, 0, 3, 0),
        (0, 1, 2, 0, 1, 0),
        (0, 2, -1, 0, 1, PAD),
        (1, 0, -1, 0, 5, PAD),
        (2, 0, 3, 0, 5, TRUNCATED_TAIL),
    ]


def test_the_last_label_is_not_read_again_alone() -> None:
    # Without document 1 the block has L+1 tokens: sequence 1 would begin with the last label of sequence 0.
    assert rows(packed([5, 3], 4, 2, 1).segments(np.arange(2))) == [(0, 0, 0, 0, 5, 0), (1, 0, -1, 0, 5, PAD)]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(1, 12), st.integers(1, 6))
def test_equals_the_strangers(lengths: list[int], length: int, block_sequences: int) -> None:
    packing = packed(lengths, length, block_sequences)
    found = packing.segments(np.arange(packing.num_sequences))
    tokens: list[list[tuple[int, int]]] = [[] for _ in range(packing.num_sequences)]
    for row, _, document, start, count, _ in rows(found):
        tokens[row] += [(document, start + i) for i in range(count)] if document >= 0 else []
    assert tokens == pack(lengths, length, block_sequences)


def test_a_document_larger_than_a_block_is_a_block() -> None:
    packing = packed([3, 100, 3], 4, 2)
    assert packing.num_blocks == 3
    assert packing.num_sequences == 1 + 25 + 1
    assert packing.sequences_of(1).tolist() == list(range(1, 26))


@pytest.mark.parametrize("lengths", [[1], [1, 50], [50, 1]])
def test_a_block_of_one_token_has_no_sequence(lengths: list[int]) -> None:
    packing = packed(lengths, 4, 1)
    assert packing.num_sequences == sum(-(-(n - 1) // 4) for n in lengths)
    assert not len(packing.sequences_of(lengths.index(1)))
    assert packing.segments(np.arange(packing.num_sequences)).num_tokens.sum() == 5 * packing.num_sequences


def test_many_sequences_at_once_are_what_they_are_one_by_one() -> None:
    chance = np.random.default_rng(5)
    lengths = chance.integers(1, 90, 1500)
    for excluded in (np.empty(0, np.int64), np.sort(chance.choice(1500, 200, replace=False))):
        packing = ConcatenatePacking(lengths, 16, 50, excluded)
        sequences = chance.permutation(packing.num_sequences)
        assert len(sequences) > 1000
        whole = packing.segments(sequences)
        single = [packing.segments(sequences[i : i + 1]) for i in range(len(sequences))]
        parts = Segments.concatenate([s._replace(row=s.row + i) for i, s in enumerate(single)])
        for one, other in zip(whole, parts, strict=True):
            assert np.array_equal(one, other)
