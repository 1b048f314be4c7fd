from __future__ import annotations

import numpy as np
import pytest
from packing_oracle import best_fit

from corpusmill.tokenize.best_fit import BestFitPacking
from corpusmill.tokenize.packing import PAD, TRUNCATED_HEAD, TRUNCATED_TAIL, Segments

HEAD, TAIL = TRUNCATED_HEAD, TRUNCATED_TAIL


def packed(lengths: list[int], length: int, block_sequences: int, *excluded: int) -> BestFitPacking:
    return BestFitPacking(np.array(lengths), length, block_sequences, np.array(excluded, dtype=np.int64))


def rows(found: Segments) -> list[tuple[int, ...]]:
    return list(zip(*(c.tolist() for c in found), strict=True))


def test_known_answer() -> None:
    # L = 9, sequences of 10 tokens. Parts by length: 2a (10), 4 (7), 0 (6), 2b (5), 1 (4), 3 (3), 5 (2).
    packing = packed([6, 4, 14, 3, 7, 2], 9, 100)
    assert packing.num_sequences == 4
    assert rows(packing.segments(np.arange(4))) == [
        (0, 0, 2, 0, 10, TAIL),
        (1, 0, 4, 0, 7, 0),
        (1, 1, 3, 0, 3, 0),
        (2, 0, 0, 0, 6, 0),
        (2, 1, 1, 0, 4, 0),  # exactly full, though sequence 3 had room, too
        (3, 0, 2, 9, 5, HEAD),  # its first token is the last of the part before it
        (3, 1, 5, 0, 2, 0),
        (3, 2, -1, 0, 3, PAD),
    ]
    assert packing.sequences_of(2).tolist() == [0, 3]


def test_known_answer_with_an_exclusion() -> None:
    # As above without document 4: what is behind it moves up, and no other sequence changes.
    packing = packed([6, 4, 14, 3, 7, 2], 9, 100, 4)
    assert rows(packing.segments(np.array([1, 3, 0]))) == [
        (0, 0, 3, 0, 3, 0),
        (0, 1, -1, 0, 7, PAD),
        (1, 0, 2, 9, 5, HEAD),
        (1, 1, 5, 0, 2, 0),
        (1, 2, -1, 0, 3, PAD),
        (2, 0, 2, 0, 10, TAIL),
    ]
    assert not len(packing.sequences_of(4))
    assert packing.sequences_of(3).tolist() == [1]


def test_of_equal_spaces_the_one_that_came_to_it_last() -> None:
    # L = 9: documents 0, 1, 2 of 7 tokens open sequences 0, 1, 2 with 3 free each. 3 (2 tokens) goes to the last, 2;
    # that has 1 free now, so 4 goes to 1, and 5 to 0.
    packing = packed([7, 7, 7, 2, 2, 2], 9, 100)
    assert [packing.sequences_of(d).tolist() for d in range(6)] == [[0], [1], [2], [2], [1], [0]]
    # The smallest free space comes first: 6 (1 token) goes to 0, the last to come to 1 free.
    packing = packed([7, 7, 7, 2, 2, 2, 1], 9, 100)
    assert packing.sequences_of(6).tolist() == [0]


@pytest.mark.parametrize("tokens", range(1, 60))
def test_only_documents_longer_than_a_sequence_are_cut(tokens: int) -> None:
    packing = packed([tokens], 8, 100)
    found = packing.segments(np.arange(packing.num_sequences))
    real = found.document >= 0
    assert packing.num_sequences == max(1, -(-(tokens - 1) // 8))
    assert found.doc_token_start[real].tolist() == [8 * k for k in range(packing.num_sequences)]
    assert np.all(found.num_tokens[real][:-1] == 9)
    assert tokens == 1 or 2 <= found.num_tokens[real][-1] <= 9
    assert bool(found.flags[real].any()) == (tokens > 9) == (packing.num_cut == 1)


@pytest.mark.parametrize(("length", "block_sequences"), [(63, 300), (64, 5), (65, 1), (512, 65_536)])
def test_many_documents_equal_the_oracle(length: int, block_sequences: int) -> None:
    chance = np.random.default_rng(length)
    lengths = np.maximum(1, chance.lognormal(np.log(length / 2), 1, 400).astype(np.int64))
    packing = BestFitPacking(lengths, length, block_sequences)
    expected = best_fit([(i, 0, int(n)) for i, n in enumerate(lengths)], length, block_sequences, set())
    found = packing.segments(np.arange(packing.num_sequences))
    real = found.document >= 0
    got = zip(*(a[real].tolist() for a in (found.row, found.document, found.doc_token_start)), strict=True)
    firsts = []  # of each run of the oracle's tokens
    for row, sequence in enumerate(expected):
        for at, (document, token) in enumerate(sequence):
            if at == 0 or sequence[at - 1] != (document, token - 1):
                firsts.append((row, document, token))
    assert list(got) == firsts
    assert packing.num_cut == (lengths > length + 1).sum()


def test_pads_little_where_documents_are_short() -> None:
    """Ding et al. find as few sequences as concatenation has; ours are padded where neighbours shared a token."""
    lengths = np.maximum(2, np.random.default_rng(1).lognormal(5.5, 1, 20_000).astype(np.int64))
    packing = BestFitPacking(lengths, 2048, 65_536)
    assert packing.pad_tokens / (packing.num_sequences * 2049) < 1e-3
