"""What a span of training was made of: by source, registered domain or language.

The table is read row group by row group, only where the steps asked for are; documents.parquet row group by row group,
only where the span has documents, and not at all by source. Memory: 1 byte a document of the corpus, one row group of
each, and the names that were seen; on disk 4 bytes a document while it works.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpusmill.audit.order_folder import OrderFolder
from corpusmill.core import storage
from corpusmill.core.errors import InputError
from corpusmill.core.hashing import Int64Array
from corpusmill.tokenize.packing import MASKED, PAD

By = Literal["source", "domain", "language"]

_COLUMNS = ["segment", "doc_ordinal", "num_tokens", "flags"]
CodeArray = npt.NDArray[np.int32]


@dataclass
class _Counts:
    """Of every name, by its code; grows as codes come."""

    values: dict[str, Int64Array] = field(
        default_factory=lambda: {c: np.zeros(0, np.int64) for c in ("tokens", "labels", "sequences", "documents")}
    )

    def add(self, column: str, codes: npt.NDArray[np.integer], amounts: Int64Array | None = None) -> None:
        """Adds to the codes; 1 each where no amounts are given. A code may come several times."""
        distinct, places = np.unique(codes, return_inverse=True)
        if not len(distinct):
            return
        missing = int(distinct[-1]) + 1 - len(self.values[column])
        if missing > 0:
            self.values[column] = np.concatenate([self.values[column], np.zeros(missing, np.int64)])
        # Sums of a row group are far below 2^53, so that they are exact.
        sums = np.bincount(places, None if amounts is None else amounts)
        self.values[column][distinct] += sums.astype(np.int64)

    def of(self, column: str, code: int) -> int:
        values = self.values[column]
        return int(values[code]) if code < len(values) else 0


def mix_of(run: str, first_step: int, stop_step: int, by: By) -> dict[str, Any]:
    """What the steps [first_step, stop_step) are made of.

    Args:
        run: run folder, or order folder.
        first_step: 0-based.
        stop_step: the first step that is left out.
        by: what documents are counted by.

    Returns:
        {"steps", "steps_total", "by", "sequences", "tokens", "labels", "pad_tokens", "documents", "phases", "rows"}.
        steps: [first_step, stop_step]. tokens: of documents, as they are read (L+1 a sequence, neighbours share one).
        labels: of them, those that count in the loss. rows: [{"name", "tokens", "labels", "sequences", "documents",
        "share"}], the most tokens first; sequences: that hold a token of it; documents: distinct; share: of the tokens,
        0..1. phases, by source only: [{"phase", "steps", "sources": [{"name", "sequences", "share", "target_share"}]}],
        shares of the sequences, the target as the rule says.

    Raises:
        InputError: the order has no such steps, or its documents are not there.
    """
    order = OrderFolder(run)
    if not 0 <= first_step < stop_step <= order.rule.steps:
        raise InputError(
            "the order has no such span of steps",
            value=f"{first_step}:{stop_step}",
            remedy=f"name A:B with 0 <= A < B <= {order.rule.steps}; step B is left out",
        )
    seen, totals = _documents_seen(order, first_step, stop_step)
    counts = _Counts()
    with _codes(order, by, seen) as (names, codes):
        for table in order.rows(first_step, stop_step, _COLUMNS):
            _count(table, codes, len(names), counts)
        for first in range(0, len(seen), 1 << 20):
            counts.add("documents", codes[first + np.flatnonzero(seen[first : first + (1 << 20)])])
    tokens = max(1, totals["tokens"])
    rows = [
        {
            "name": name,
            **{column: counts.of(column, code) for column in counts.values},
            "share": counts.of("tokens", code) / tokens,
        }
        for code, name in enumerate(names)
        if counts.of("documents", code)
    ]
    return {
        "steps": [first_step, stop_step],
        "steps_total": order.rule.steps,
        "by": by,
        **totals,
        "labels": int(counts.values["labels"].sum()),
        "phases": _targets(order, first_step, stop_step) if by == "source" else [],
        "rows": sorted(rows, key=lambda r: (-r["tokens"], r["name"])),
    }


def _documents_seen(
    order: OrderFolder, first_step: int, stop_step: int
) -> tuple[npt.NDArray[np.bool_], dict[str, int]]:
    """Which ordinals the span reads, and its sums."""
    seen = np.zeros(order.rule.documents.documents, np.bool_)
    totals = dict.fromkeys(("sequences", "tokens", "pad_tokens"), 0)
    for table in order.rows(first_step, stop_step, _COLUMNS):
        segment, ordinals, lengths, flags = (table.column(c).to_numpy() for c in _COLUMNS)
        pad = (flags & PAD) != 0
        seen[ordinals[~pad]] = True
        totals["sequences"] += int((segment == 0).sum())
        totals["tokens"] += int(lengths[~pad].sum(dtype=np.int64))
        totals["pad_tokens"] += int(lengths[pad].sum(dtype=np.int64))
    return seen, totals | {"documents": int(seen.sum())}


def _count(table: pa.Table, codes: npt.NDArray[np.int32], num_names: int, counts: _Counts) -> None:
    segment, ordinals, lengths, flags = (table.column(c).to_numpy() for c in _COLUMNS)
    sequence = np.cumsum(segment == 0)
    real = (flags & PAD) == 0
    code = codes[ordinals[real]].astype(np.int64)
    tokens = lengths[real].astype(np.int64)
    counts.add("tokens", code, tokens)
    # The first token of a segment is no label that counts; see rows.counted_labels.
    counts.add("labels", code, np.where((flags[real] & MASKED) == 0, tokens - 1, 0))
    counts.add("sequences", np.unique(sequence[real] * num_names + code) % num_names)


@contextmanager
def _codes(
    order: OrderFolder, by: By, seen: npt.NDArray[np.bool_]
) -> Iterator[tuple[list[str], npt.NDArray[np.int32]]]:
    """The names, and the number of its name for every document that was seen, int32 by ordinal, in a scratch file."""
    with TemporaryFile(prefix="corpusmill-mix-") as scratch:
        scratch.truncate(4 * max(1, len(seen)))
        codes: CodeArray = np.memmap(scratch, np.int32, "r+")
        numbers: dict[str, int] = {}
        if by == "source":
            ordinal = 0
            for shard in order.rule.shards:
                codes[ordinal : ordinal + shard.documents] = numbers.setdefault(shard.source, len(numbers))
                ordinal += shard.documents
        else:
            _read_codes(order.documents_path, by, seen, codes, numbers)
        yield list(numbers), codes


def _read_codes(path: str, by: By, seen: npt.NDArray[np.bool_], codes: CodeArray, numbers: dict[str, int]) -> None:
    with storage.open_read(path) as file:
        source = pq.ParquetFile(file)
        first = 0
        for group in range(source.num_row_groups):
            stop = first + source.metadata.row_group(group).num_rows
            wanted = np.flatnonzero(seen[first:stop])
            if len(wanted):
                column = source.read_row_group(group, [by]).column(by).take(pa.array(wanted))
                encoded = pc.dictionary_encode(column).combine_chunks()
                encoded = encoded.chunk(0) if isinstance(encoded, pa.ChunkedArray) else encoded
                of_group = [numbers.setdefault(name, len(numbers)) for name in encoded.dictionary.to_pylist()]
                codes[first + wanted] = np.array(of_group, np.int32)[encoded.indices.to_numpy()]
            first = stop


def _targets(order: OrderFolder, first_step: int, stop_step: int) -> list[dict[str, Any]]:
    """By phase: sequences of each source in the span, and what the rule wants."""
    found = []
    for number, steps in order.rule.steps_by_phase(first_step, stop_step).items():
        taken = _sequences_by_source(order, steps)
        total = sum(taken.values())
        found.append(
            {
                "phase": number,
                "steps": [steps.start, steps.stop],
                "sources": [
                    {
                        "name": use.name,
                        "sequences": taken.get(use.name, 0),
                        "share": taken.get(use.name, 0) / total,
                        "target_share": float(use.share),
                    }
                    for use in order.rule.phases[number].sources
                ],
            }
        )
    return found


def _sequences_by_source(order: OrderFolder, steps: range) -> dict[str, int]:
    taken: dict[str, int] = {}
    for table in order.rows(steps.start, steps.stop, ["segment", "source"]):
        begins = table.filter(pc.equal(table.column("segment"), 0)).column("source")
        for pair in pc.value_counts(pc.cast(begins, pa.string())).to_pylist():
            taken[pair["values"]] = taken.get(pair["values"], 0) + pair["counts"]
    return taken
