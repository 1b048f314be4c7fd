"""What holds for every packing method, against the oracle; see also test_concatenate.py and test_best_fit.py."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packing_oracle import ORACLES, Run, Token, blocks_of

from corpusmill.core.errors import ConfigError
from corpusmill.tokenize.packing import (
    PAD,
    TRUNCATED_HEAD,
    TRUNCATED_TAIL,
    Packing,
    Pieces,
    make_packing,
    report_packing,
)

METHODS = ["concatenate", "best_fit"]
every_method = pytest.mark.parametrize("method", METHODS)


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[int], int, int, list[int]]:
    """Lengths, L, block_sequences, excluded documents."""
    longest = draw(st.sampled_from([3, 12, 50]))
    lengths = draw(st.lists(st.integers(1, longest), min_size=1, max_size=30))
    excluded = draw(st.sets(st.integers(0, len(lengths) - 1), max_size=4))
    return lengths, draw(st.integers(1, 12)), draw(st.integers(1, 6)), sorted(excluded)


@st.composite
def runs_of_documents(draw: st.DrawFn) -> tuple[list[int], list[Run]]:
    """Lengths, and runs of the documents in order of (document, start); they may share tokens."""
    lengths = draw(st.lists(st.integers(1, 40), min_size=1, max_size=12))
    runs: list[Run] = []
    for document, tokens in enumerate(lengths):
        for start in sorted(draw(st.sets(st.integers(0, tokens - 1), max_size=3))):
            runs.append((document, start, draw(st.integers(1, tokens - start))))
    return lengths, runs or [(0, 0, lengths[0])]


def whole(lengths: list[int]) -> list[Run]:
    return [(document, 0, tokens) for document, tokens in enumerate(lengths)]


def ints(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def tokens_of(packing: Packing, lengths: list[int]) -> list[list[Token]]:
    """The tokens of all sequences; checks what every answer of `segments` must fulfil."""
    found = packing.segments(np.arange(packing.num_sequences))
    assert np.all(np.bincount(found.row, weights=found.num_tokens) == packing.sequence_length + 1)
    assert [a.dtype for a in found] == [np.int64] * 5 + [np.uint8]
    sequences: list[list[Token]] = [[] for _ in range(packing.num_sequences)]
    before, padded = (-1, 0), False
    for row, segment, document, start, count, flags in zip(*(a.tolist() for a in found), strict=True):
        assert (row, segment) in {(before[0], before[1] + 1), (before[0] + 1, 0)}
        assert not (row == before[0] and padded), "padding is the last segment"
        before, padded = (row, segment), flags == PAD
        if document < 0:
            assert (start, flags) == (0, PAD)
            continue
        tail = start + count < lengths[document]
        assert flags == (TRUNCATED_HEAD if start else 0) | (TRUNCATED_TAIL if tail else 0)
        sequences[row] += [(document, start + i) for i in range(count)]
    return sequences


def holding(sequences: list[list[Token]], document: int) -> list[int]:
    return [i for i, sequence in enumerate(sequences) if any(d == document for d, _ in sequence)]


@every_method
@given(corpus=corpora())
def test_equals_brute_force(method: str, corpus: tuple[list[int], int, int, list[int]]) -> None:
    lengths, length, block_sequences, excluded = corpus
    packing = make_packing(method, ints(lengths), length, block_sequences, ints(excluded))
    expected = ORACLES[method](whole(lengths), length, block_sequences, set(excluded))
    assert packing.num_sequences == len(expected)
    assert packing.num_blocks == len(blocks_of(whole(lengths), length, block_sequences))
    assert tokens_of(packing, lengths) == expected
    assert packing.pad_tokens == sum(length + 1 - len(sequence) for sequence in expected)
    cut = 0
    for document, tokens in enumerate(lengths):
        mine = holding(expected, document)
        assert packing.sequences_of(document).tolist() == mine
        cut += bool(mine) and max(sum(d == document for d, _ in expected[i]) for i in mine) < tokens
    assert packing.num_cut == cut


@every_method
@given(drawn=runs_of_documents(), length=st.integers(1, 12), block_sequences=st.integers(1, 6), data=st.data())
def test_pieces_equal_brute_force(
    method: str, drawn: tuple[list[int], list[Run]], length: int, block_sequences: int, data: st.DataObject
) -> None:
    lengths, runs = drawn
    excluded = sorted(data.draw(st.sets(st.integers(0, len(lengths) - 1), max_size=3)))
    shuffled = data.draw(st.permutations(runs))
    pieces = Pieces.of_runs(*(ints([run[i] for run in shuffled]) for i in range(3)), ints(lengths))
    packing = make_packing(method, pieces, length, block_sequences, ints(excluded))
    expected = ORACLES[method](runs, length, block_sequences, set(excluded))
    assert packing.num_sequences == len(expected)
    if expected:
        assert tokens_of(packing, lengths) == expected
    for document in range(len(lengths)):
        assert packing.sequences_of(document).tolist() == holding(expected, document)


@every_method
@given(corpus=corpora(), data=st.data())
def test_any_sequences_in_any_order(
    method: str, corpus: tuple[list[int], int, int, list[int]], data: st.DataObject
) -> None:
    lengths, length, block_sequences, excluded = corpus
    packing = make_packing(method, ints(lengths), length, block_sequences, ints(excluded))
    if packing.num_sequences == 0:
        return
    asked = data.draw(st.lists(st.integers(0, packing.num_sequences - 1), min_size=1, max_size=5))
    found = packing.segments(np.array(asked))
    for row, sequence in enumerate(asked):
        alone = packing.segments(np.array([sequence]))
        for column in range(1, 6):
            assert np.array_equal(found[column][found.row == row], alone[column])


@every_method
@given(corpus=corpora())
def test_every_token_but_a_documents_first_is_a_label_once(
    method: str, corpus: tuple[list[int], int, int, list[int]]
) -> None:
    """Labels that count are all tokens of a segment but its first: rows.counted_labels. The excluded are never read."""
    lengths, length, block_sequences, excluded = corpus
    packing = make_packing(method, ints(lengths), length, block_sequences, ints(excluded))
    found = packing.segments(np.arange(packing.num_sequences))
    assert not np.isin(found.document, excluded).any()
    labels: Counter[Token] = Counter()
    for document, start, count in zip(found.document, found.doc_token_start, found.num_tokens, strict=True):
        labels.update((int(document), int(start) + i) for i in range(1, count) if document >= 0)
    expected = {(d, t) for d, n in enumerate(lengths) if d not in excluded for t in range(1, n)}
    assert labels == Counter(expected)


@every_method
@given(corpus=corpora())
def test_an_exclusion_changes_its_blocks_only(method: str, corpus: tuple[list[int], int, int, list[int]]) -> None:
    """concatenate: the blocks that held an excluded document; best_fit: the sequences that did."""
    lengths, length, block_sequences, excluded = corpus
    before = tokens_of(make_packing(method, ints(lengths), length, block_sequences), lengths)
    packing = make_packing(method, ints(lengths), length, block_sequences, ints(excluded))
    after = tokens_of(packing, lengths)
    assert len(before) == len(after)
    block_of = {run[0]: i for i, b in enumerate(blocks_of(whole(lengths), length, block_sequences)) for run in b}
    changed_blocks = {block_of[d] for d in excluded}
    for old, new in zip(before, after, strict=True):
        held = {d for d, _ in old}
        if method == "best_fit":
            assert new == [token for token in old if token[0] not in excluded]
        elif block_of[min(held)] not in changed_blocks:
            assert new == old
        else:
            assert all(block_of[d] == block_of[min(held)] for d, _ in new)


@every_method
def test_all_documents_excluded_leave_padding(method: str) -> None:
    packing = make_packing(method, ints([5, 9, 2]), 4, 2, ints([0, 1, 2]))
    found = packing.segments(np.arange(packing.num_sequences))
    assert packing.num_sequences >= 4
    assert found.flags.tolist() == [PAD] * packing.num_sequences
    assert found.num_tokens.tolist() == [5] * packing.num_sequences
    assert packing.pad_tokens == 5 * packing.num_sequences
    assert not len(packing.sequences_of(1))


@every_method
def test_no_documents_make_no_sequences(method: str) -> None:
    packing = make_packing(method, ints([]), 4, 2)
    assert (packing.num_sequences, packing.num_blocks, packing.pad_tokens, packing.num_cut) == (0, 0, 0, 0)
    assert not len(packing.segments(ints([])).row)


@every_method
def test_pieces_out_of_order_are_refused(method: str) -> None:
    with pytest.raises(AssertionError, match="order"):
        make_packing(method, Pieces(ints([2, 2]), ints([1, 0]), ints([0, 0])), 4, 2)


def test_an_unknown_method_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="concatenate, best_fit"):
        make_packing("worst_fit", ints([3]), 4, 2)  # type: ignore[arg-type]


def test_report_known_answer() -> None:
    # L = 4, one block: concatenate cuts the stream of 18 tokens at 4, 8, 12 and 16.
    concatenate, best_fit = report_packing(ints([3, 9, 2, 4]), 4, 100)
    assert concatenate == ("concatenate", 4, 5, 3 / 25, 2 / 4, 1 / 4)
    # best_fit: parts of 5, 5 (of the 9), 4, 3, 2 tokens; sequences 5 | 5 | 4 and padding | 3 + 2.
    assert best_fit == ("best_fit", 4, 4, 1 / 20, 1 / 4, 1 / 4)
