from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stranger import pack

from corpusmill.tokenize.packing import PAD, TRUNCATED_HEAD, TRUNCATED_TAIL, Packing

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=30)


def packed(lengths: list[int], length: int, block_sequences: int) -> Packing:
    return Packing(np.array(lengths, dtype=np.int64), length, block_sequences)


def test_known_answer() -> None:
    # L = 4, blocks of 2 sequences = 9 tokens: documents {0, 1, 2} = 9 tokens, {3} = 9, {4, 5} = 6.
    packing = packed([5, 3, 1, 9, 2, 4], 4, 2)
    assert (packing.num_sequences, packing.num_blocks) == (6, 3)
    found = packing.segments(np.arange(6))
    columns = [found.row, found.segment, found.document, found.doc_token_start, found.num_tokens, found.flags]
    head, tail = TRUNCATED_HEAD, TRUNCATED_TAIL
    assert list(zip(*(c.tolist() for c in columns), strict=True)) == [
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


@given(LENGTHS, st.integers(1, 12), st.integers(1, 6))
@settings(max_examples=200, deadline=None)
def test_equals_brute_force(lengths: list[int], length: int, block_sequences: int) -> None:
    packing = packed(lengths, length, block_sequences)
    expected = pack(lengths, length, block_sequences)
    assert packing.num_sequences == len(expected)
    found = packing.segments(np.arange(len(expected)))
    tokens: list[list[tuple[int, int]]] = [[] for _ in expected]
    for row, document, start, count in zip(
        found.row.tolist(),
        found.document.tolist(),
        found.doc_token_start.tolist(),
        found.num_tokens.tolist(),
        strict=True,
    ):
        tokens[row] += [(document, start + i) for i in range(count)] if document >= 0 else []
    assert tokens == expected
    sums = np.bincount(found.row, weights=found.num_tokens, minlength=len(expected))
    assert np.all(sums == length + 1)
    for document in range(len(lengths)):
        holding = [i for i, sequence in enumerate(expected) if any(d == document for d, _ in sequence)]
        assert list(packing.sequences_of(document)) == holding


@given(LENGTHS, st.integers(1, 12), st.integers(1, 6), st.data())
@settings(max_examples=50, deadline=None)
def test_any_sequences_in_any_order(lengths: list[int], length: int, block_sequences: int, data: st.DataObject) -> None:
    packing = packed(lengths, length, block_sequences)
    if packing.num_sequences == 0:
        return
    asked = data.draw(st.lists(st.integers(0, packing.num_sequences - 1), min_size=1, max_size=5))
    found = packing.segments(np.array(asked))
    for row, sequence in enumerate(asked):
        alone = packing.segments(np.array([sequence]))
        for column in range(1, 6):
            assert np.array_equal(found[column][found.row == row], alone[column])


def test_blocks_hold_whole_documents_and_at_most_their_sequences() -> None:
    chance = np.random.default_rng(1)
    lengths = chance.integers(1, 200, 500)
    packing = Packing(lengths, 16, 20)
    begins = np.concatenate([[0], np.cumsum(lengths)])
    assert np.isin(packing._block_token, begins).all()
    sequences = np.diff(packing._block_sequence)
    assert sequences.max() <= 20
    # Greedy: no block has room for the document that begins the next one.
    first_documents = np.searchsorted(begins, packing._block_token[1:-1])
    sizes = np.diff(packing._block_token)[:-1]
    assert np.all(sizes + lengths[first_documents] > 20 * 16 + 1)


def test_a_document_larger_than_a_block_is_a_block() -> None:
    packing = packed([3, 100, 3], 4, 2)
    assert packing.num_blocks == 3
    assert packing.num_sequences == 1 + 25 + 1
    assert list(packing.sequences_of(1)) == list(range(1, 26))


@pytest.mark.parametrize("lengths", [[1], [1, 50], [50, 1]])
def test_a_block_of_one_token_has_no_sequence(lengths: list[int]) -> None:
    packing = packed(lengths, 4, 1)
    assert packing.num_sequences == sum(-(-(n - 1) // 4) for n in lengths)
    assert not packing.sequences_of(lengths.index(1))
    assert packing.segments(np.arange(packing.num_sequences)).num_tokens.sum() == 5 * packing.num_sequences
