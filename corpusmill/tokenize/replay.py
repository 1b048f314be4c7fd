"""Steps made again from the rule and the token bytes, and compared with what is on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from corpusmill.tokenize.derivation import Derivation
from corpusmill.tokenize.hashes import step_root
from corpusmill.tokenize.order import OrderSummary
from corpusmill.tokenize.permutation import Permutation
from corpusmill.tokenize.reader import TableReader
from corpusmill.tokenize.redaction import Commitments
from corpusmill.tokenize.rows import StepRows, leaves_of, materialise
from corpusmill.tokenize.store import DocumentIndex, TokenStore


class Difference(NamedTuple):
    """The first step that differs, the files it is made of, and what was seen there."""

    step: int
    path: str
    seen: str


class Replay(NamedTuple):
    """What the replay of some steps found."""

    steps: int  # replayed
    table_difference: Difference | None  # rule against table
    root_difference: Difference | None  # rule and token bytes against roots


def replay(
    order_folder: str,
    summary: OrderSummary,
    derivation: Derivation,
    index: DocumentIndex,
    store: TokenStore,
    roots: Sequence[bytes],
    redacted: Commitments,
    sample: int | None,
) -> Replay:
    """Replays `sample` steps, or all steps when it is None.

    Tokens are read where the rule says, not where the table says: a damaged table cannot lead astray.
    """
    rule = derivation.rule
    table = TableReader(order_folder, summary)
    table_difference: Difference | None = None
    root_difference: Difference | None = None
    steps = 0
    for first, stop in _ranges(rule.steps, summary, sample):
        derived = derivation.rows(first, stop)
        steps += stop - first
        if table_difference is None:
            table_difference = _compare(derived, table, first, stop)
        if root_difference is None:
            length = rule.phase_at(first).sequence_length
            for rows in materialise(derived, length, index, store, rule.tokenizer.pad_id):
                root = step_root(leaves_of(rows, index, store.dtype, redacted.get(rows.step, {})))
                if root != roots[rows.step]:
                    root_difference = Difference(rows.step, _shards_of(rows, index, store), root.hex())
                    break
    return Replay(steps, table_difference, root_difference)


def _ranges(steps: int, summary: OrderSummary, sample: int | None) -> Iterator[tuple[int, int]]:
    """Step ranges [first, stop), each inside one row group."""
    if sample is None or sample >= steps:
        for file in summary.table:
            stop = file.first_step + file.steps
            for first in range(file.first_step, stop, file.group_steps):
                yield first, min(first + file.group_steps, stop)
        return
    shuffle = Permutation(steps, bytes.fromhex(summary.order_root)[:16])
    chosen = {0, steps - 1, *shuffle.forward(np.arange(sample)).tolist()}
    yield from ((step, step + 1) for step in sorted(chosen))


def _compare(derived: pa.Table, table: TableReader, first: int, stop: int) -> Difference | None:
    path = table.path(first)
    try:
        stored = pa.concat_tables([table.step(s) for s in range(first, stop)])
    except (pa.ArrowException, OSError, IndexError) as error:
        return Difference(first, path, str(error)[:200])
    if derived.equals(stored):
        return None
    for row in range(min(derived.num_rows, stored.num_rows)):
        expected, seen = derived.slice(row, 1).to_pylist()[0], stored.slice(row, 1).to_pylist()[0]
        if expected != seen:
            wrong = {k: (seen[k], f"should be {v}") for k, v in expected.items() if seen[k] != v}
            return Difference(expected["step"], path, str(wrong))
    return Difference(stop - 1, path, f"{stored.num_rows} rows for {derived.num_rows}")


def _shards_of(rows: StepRows, index: DocumentIndex, store: TokenStore) -> str:
    """The token shards that a step reads."""
    ordinals = np.concatenate([s.doc_ordinals for s in rows.segments])
    numbers = np.unique(store.shards_of(index.offsets[ordinals[ordinals >= 0]])).tolist()
    return ", ".join(store.path(n) for n in numbers[:5])
