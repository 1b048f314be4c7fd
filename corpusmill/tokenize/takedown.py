"""Documents that a revision of an order leaves out (`rederive`) or masks from a step on (`mask`).

order/takedown.parquet has one row a document and mode, by ordinal. The rule names the file's SHA-256, so it is part of
the order root.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from corpusmill.core import storage
from corpusmill.core.errors import VerificationFailed
from corpusmill.core.hashing import Int64Array
from corpusmill.tokenize.rule import Rule, TakedownFile

FILE = "takedown.parquet"
EXCLUDE, MASK = "exclude", "mask"

TAKEDOWN = pa.schema(
    [
        pa.field("doc_ordinal", pa.int64(), nullable=False),
        pa.field("mode", pa.string(), nullable=False),  # EXCLUDE or MASK
        pa.field("first_step", pa.int64(), nullable=False),  # MASK: from this step on; EXCLUDE: 0
    ]
)


@dataclass(frozen=True)
class Takedown:
    """excluded: ordinals, int64, ascending. masked, masked_from: ordinals, ascending, and the first step of each."""

    excluded: Int64Array
    masked: Int64Array
    masked_from: Int64Array

    @classmethod
    def of(cls, table: pa.Table) -> Takedown:
        """From TAKEDOWN rows in any order; a document that is masked twice is masked from the earlier step on."""
        table = table.sort_by([("doc_ordinal", "ascending"), ("first_step", "ascending")])
        modes = np.array(table.column("mode").to_pylist(), dtype=object)
        ordinals = table.column("doc_ordinal").to_numpy()
        steps = table.column("first_step").to_numpy()
        masked, first = np.unique(ordinals[modes == MASK], return_index=True)
        return cls(np.unique(ordinals[modes == EXCLUDE]), masked, steps[modes == MASK][first])

    def to_table(self) -> pa.Table:
        """TAKEDOWN rows: by ordinal, then mode."""
        modes = [EXCLUDE] * len(self.excluded) + [MASK] * len(self.masked)
        steps = np.concatenate([np.zeros(len(self.excluded), np.int64), self.masked_from])
        table = pa.table([np.concatenate([self.excluded, self.masked]), modes, steps], schema=TAKEDOWN)
        return table.sort_by([("doc_ordinal", "ascending"), ("mode", "ascending")])


NOTHING = Takedown(*(np.empty(0, np.int64) for _ in range(3)))


def load_takedown(order_folder: str, rule: Rule) -> Takedown:
    """What the rule's revision takes down. Raises VerificationFailed when the file is not the rule's."""
    if rule.takedown is None:
        return NOTHING
    path = storage.join(order_folder, FILE)
    seen = storage.sha256_file(path) if storage.exists(path) else "missing"
    if seen != rule.takedown.sha256:
        raise VerificationFailed(
            "takedown.parquet is not the file that the rule names", where=path, value=seen, remedy="restore the order"
        )
    return Takedown.of(storage.read_parquet(path))


def write_takedown(order_folder: str, takedown: Takedown) -> TakedownFile | None:
    """Writes takedown.parquet, where there is anything to write; for the rule."""
    path = storage.join(order_folder, FILE)
    if not len(takedown.excluded) and not len(takedown.masked):
        storage.remove(path)
        return None
    table = takedown.to_table()
    storage.write_parquet(path, table)
    return TakedownFile(sha256=storage.sha256_file(path), bytes=storage.size_bytes(path), documents=table.num_rows)
