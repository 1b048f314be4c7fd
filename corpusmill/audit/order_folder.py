"""An order folder and the rows of its table, a stretch of steps at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from corpusmill.core import storage
from corpusmill.core.errors import InputError
from corpusmill.tokenize.derivation import Derivation
from corpusmill.tokenize.document_tree import ByteArray
from corpusmill.tokenize.order import OrderSummary, TableFile
from corpusmill.tokenize.rule import Rule
from corpusmill.tokenize.shards import load_model
from corpusmill.tokenize.store import DocumentIndex
from corpusmill.tokenize.takedown import Takedown, load_takedown


class OrderFolder:
    """The order of a run folder, or an order folder by itself, whose tokens are then beside it (`../tokens`)."""

    def __init__(self, path: str) -> None:
        inner = storage.join(path, "order")
        self.path = inner if storage.exists(storage.join(inner, "order.json")) else path
        if not storage.exists(storage.join(self.path, "order.json")):
            raise InputError(
                "there is no training order", where=path, remedy="name a run folder whose order was made, or its order/"
            )
        self.tokens = storage.join(path if self.path == inner else storage.join(path, ".."), "tokens")
        self.summary = load_model(OrderSummary, storage.join(self.path, "order.json"))
        self.rule = load_model(Rule, storage.join(self.path, "rule.json"))

    @property
    def documents_path(self) -> str:
        """documents.parquet; InputError when it is not there."""
        path = storage.join(self.tokens, "documents.parquet")
        if not storage.exists(path):
            raise InputError(
                "the documents of the order are not there",
                where=path,
                remedy="name the run folder, with tokens/ and order/",
            )
        return path

    @cached_property
    def takedown(self) -> Takedown:
        """What this revision takes down."""
        return load_takedown(self.path, self.rule)

    @cached_property
    def derivation(self) -> Derivation:
        """The order derived from its rule."""
        return Derivation(self.rule, DocumentIndex.load(self.tokens, self.rule.shards), self.takedown)

    def roots(self) -> ByteArray:
        """(steps, 32) the step roots."""
        column = storage.read_parquet(storage.join(self.path, self.summary.roots.path), ["root"]).column("root")
        return np.frombuffer(b"".join(column.to_pylist()), np.uint8).reshape(-1, 32)

    def rows(self, first_step: int, stop_step: int, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Columns of the table's rows of steps [first_step, stop_step), row group by row group; reads no other."""
        names = list(dict.fromkeys(["step", *columns]))
        for entry in self.summary.table:
            groups = _groups(entry, first_step, stop_step)
            if not groups:
                continue
            with storage.open_read(storage.join(self.path, entry.path)) as file:
                source = pq.ParquetFile(file)
                for group in groups:
                    table = source.read_row_group(group, names)
                    a, b = np.searchsorted(table.column("step").to_numpy(), [first_step, stop_step]).tolist()
                    if b > a:
                        yield table.slice(a, b - a)


def _groups(entry: TableFile, first_step: int, stop_step: int) -> range:
    first = max(first_step, entry.first_step) - entry.first_step
    stop = min(stop_step, entry.first_step + entry.steps) - entry.first_step
    return range(first // entry.group_steps, -(-stop // entry.group_steps)) if first < stop else range(0)
