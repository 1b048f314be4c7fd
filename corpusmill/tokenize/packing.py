"""Documents to sequences: which methods there are, and how they compare.

- `concatenate`: documents one after another, cut every L tokens; no padding but at the end of blocks (concatenate.py).
- `best_fit`: documents of at most L+1 tokens are whole; a little padding (best_fit.py).

What they have in common (pieces, blocks, segments, exclusion) is in pieces.py.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from corpusmill.core.errors import ConfigError
from corpusmill.core.hashing import Int64Array
from corpusmill.tokenize.best_fit import BestFitPacking
from corpusmill.tokenize.concatenate import ConcatenatePacking
from corpusmill.tokenize.pieces import MASKED, PAD, TRUNCATED_HEAD, TRUNCATED_TAIL, Packing, Pieces, Segments

__all__ = [
    "MASKED",
    "PAD",
    "TRUNCATED_HEAD",
    "TRUNCATED_TAIL",
    "Packing",
    "PackingMethod",
    "PackingReport",
    "Pieces",
    "Segments",
    "make_packing",
    "report_packing",
]

PackingMethod = Literal["concatenate", "best_fit"]


def make_packing(
    method: PackingMethod,
    pieces: Pieces | Int64Array,
    sequence_length: int,
    block_sequences: int,
    excluded: Int64Array | None = None,
) -> Packing:
    """The packing of pieces by a method.

    Args:
        method: see the module.
        pieces: what is packed; an int64 array is the lengths of whole documents, tokens incl. EOS, each >= 1.
        sequence_length: L, labels of a sequence; it reads one token more.
        block_sequences: sequences of a block, by concatenate.
        excluded: documents left out, int64, ascending; None: none.

    Raises:
        ConfigError: there is no such method.
    """
    if method == "concatenate":
        return ConcatenatePacking(pieces, sequence_length, block_sequences, excluded)
    if method == "best_fit":
        return BestFitPacking(pieces, sequence_length, block_sequences, excluded)
    raise ConfigError(
        "there is no such packing method", value=method, remedy=f"use one of {', '.join(get_args(PackingMethod))}"
    )


class PackingReport(NamedTuple):
    """What a method makes of documents. Shares are 0..1."""

    method: PackingMethod
    documents: int  # those excluded left out
    sequences: int
    pad_share: float  # of the tokens of all sequences (L+1 each)
    cut_share: float  # of the documents: those that no sequence holds whole
    long_share: float  # of the documents: those of more than L+1 tokens, which every method cuts


def report_packing(lengths: Int64Array, sequence_length: int, block_sequences: int) -> tuple[PackingReport, ...]:
    """Both methods on the same documents: lengths int64 (D,), tokens incl. EOS, each >= 1."""
    documents = max(1, len(lengths))
    long_share = int((lengths > sequence_length + 1).sum()) / documents
    reports = []
    for method in get_args(PackingMethod):
        packing = make_packing(method, lengths, sequence_length, block_sequences)
        sequences = packing.num_sequences
        reports.append(
            PackingReport(
                method=method,
                documents=len(lengths),
                sequences=sequences,
                pad_share=packing.pad_tokens / max(1, sequences * (sequence_length + 1)),
                cut_share=packing.num_cut / documents,
                long_share=long_share,
            )
        )
    return tuple(reports)
