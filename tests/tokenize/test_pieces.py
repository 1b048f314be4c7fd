from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packing_oracle import blocks_of

from corpusmill.tokenize.packing import PAD, TRUNCATED_HEAD, TRUNCATED_TAIL, PackingMethod, make_packing
from corpusmill.tokenize.pieces import Blocks, Pieces


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40), st.integers(1, 12), st.integers(1, 6))
def test_blocks_are_those_of_the_rule(lengths: list[int], length: int, block_sequences: int) -> None:
    blocks = Blocks.of(np.array(lengths), length, block_sequences)
    expected = blocks_of([(i, 0, n) for i, n in enumerate(lengths)], length, block_sequences)
    assert np.diff(blocks.piece).tolist() == [len(block) for block in expected]
    assert np.diff(blocks.sequence).tolist() == [-(-(sum(r[2] for r in b) - 1) // length) for b in expected]


def test_blocks_are_greedy_and_bounded() -> None:
    lengths = np.random.default_rng(1).integers(1, 200, 500)
    blocks = Blocks.of(lengths, 16, 20)
    sizes = np.add.reduceat(lengths, blocks.piece[:-1])
    assert np.diff(blocks.sequence).max() <= 20
    # No block has room for the document that begins the next one.
    assert np.all(sizes[:-1] + lengths[blocks.piece[1:-1]] > 20 * 16 + 1)


def test_no_documents_make_no_blocks() -> None:
    blocks = Blocks.of(np.empty(0, np.int64), 16, 20)
    assert (blocks.piece.tolist(), blocks.sequence.tolist()) == ([0], [0])


def test_whole_documents_cost_nothing() -> None:
    lengths = np.array([3, 4])
    pieces = Pieces.of_lengths(lengths)
    assert pieces.length is lengths
    assert {pieces.document, pieces.start, pieces.truncated_head, pieces.truncated_tail, pieces.offsets} == {None}
    assert list(pieces.of_document(1)) == [1]


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(1, 12), st.integers(1, 5), st.data())
@pytest.mark.parametrize("method", ["concatenate", "best_fit"])
def test_offsets_are_packed_as_the_lengths(
    method: PackingMethod, lengths: list[int], length: int, block_sequences: int, data: st.DataObject
) -> None:
    base = data.draw(st.integers(0, 10**12))
    chosen = data.draw(st.sets(st.sampled_from(range(len(lengths))))) if lengths else set()
    offsets = np.cumsum([base, *lengths]).astype(np.int64)
    for excluded in (None, np.array(sorted(chosen), np.int64)):
        plain = make_packing(method, np.array(lengths, np.int64), length, block_sequences, excluded)
        mapped = make_packing(method, Pieces.of_offsets(offsets), length, block_sequences, excluded)
        for name in ("num_sequences", "num_blocks", "pad_tokens", "num_cut"):
            assert getattr(plain, name) == getattr(mapped, name)
        everything = np.arange(plain.num_sequences)
        assert plain.blocks_of(everything).tolist() == mapped.blocks_of(everything).tolist()
        assert [c.tolist() for c in plain.segments(everything)] == [c.tolist() for c in mapped.segments(everything)]
        for document in range(len(lengths)):
            assert plain.sequences_of(document).tolist() == mapped.sequences_of(document).tolist()


def test_runs_are_put_in_order_and_know_what_they_lack() -> None:
    # Document 2 (10 tokens) in three runs, document 0 (4 tokens) whole; document 1 has none.
    pieces = Pieces.of_runs(*(np.array(a) for a in ([2, 0, 2, 2], [6, 0, 0, 3], [4, 4, 3, 2], [4, 9, 10])))
    assert pieces.document is not None
    assert pieces.start is not None
    assert pieces.truncated_head is not None
    assert pieces.truncated_tail is not None
    assert pieces.document.tolist() == [0, 2, 2, 2]
    assert pieces.start.tolist() == [0, 0, 3, 6]
    assert pieces.length.tolist() == [4, 3, 2, 4]
    assert pieces.truncated_head.tolist() == [False, False, True, True]
    assert pieces.truncated_tail.tolist() == [False, True, True, False]
    assert [list(pieces.of_document(d)) for d in range(3)] == [[0], [], [1, 2, 3]]
    kept = pieces.kept(np.array([1, 2]))
    assert kept is not None
    assert kept.tolist() == [True, False, False, False]
    found = pieces.segments(*(np.array(a) for a in ([0, 0, 1, 1], [2, -1, 3, 0], [1, 0, 0, 0], [1, 7, 3, 4])))
    assert found.segment.tolist() == [0, 1, 0, 1]
    assert found.document.tolist() == [2, -1, 2, 0]
    assert found.doc_token_start.tolist() == [4, 0, 6, 0]
    head, tail = TRUNCATED_HEAD, TRUNCATED_TAIL
    assert found.flags.tolist() == [head | tail, PAD, head | tail, 0]


@pytest.mark.parametrize("excluded", [None, np.empty(0, np.int64)])
def test_nothing_excluded_needs_no_mask(excluded: np.ndarray | None) -> None:
    assert Pieces.of_lengths(np.array([3, 4])).kept(excluded) is None


@pytest.mark.parametrize(("start", "length"), [(0, 5), (3, 2), (-1, 2), (0, 0)])
def test_a_run_outside_its_document_is_refused(start: int, length: int) -> None:
    with pytest.raises(AssertionError):
        Pieces.of_runs(np.array([0]), np.array([start]), np.array([length]), np.array([4]))
