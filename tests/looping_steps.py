"""Corpus steps that loop, for the tests of the local runner and of the engine."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import pyarrow as pa

from corpusmill.core.verdicts import StageResult, Verdicts
from corpusmill.dedup.base import PARTITION, CorpusStepConfig, VisitingStep

_LETTER = pa.schema([("letter", pa.string()), ("shard", pa.int32()), (PARTITION, pa.int32())])


class Peel(VisitingStep[CorpusStepConfig]):
    """Takes letters off the front of the texts that two texts begin with, until no two begin alike; empty texts go.

    Letters that went once go wherever they come to the front.
    """

    name = "peel"
    version = 1
    Config = CorpusStepConfig
    columns = ("doc_id", "text")
    rounds = 2
    visits = frozenset({1})
    lasting = 0
    branches = MappingProxyType({0: (1, 2), 1: (0,)})
    most_turns = 30

    def following(self, round_number: int, turn: int, reported: int) -> int:
        return 1 if reported else 2

    def map(self, table: pa.Table, shard: int, shards: int) -> pa.Table:
        first = [text[0] for text in table.column("text").to_pylist() if text]
        partitions = self.partitions(0, shards)
        numbers = [ord(letter) % partitions for letter in first]
        return pa.table([first, [shard] * len(first), numbers], schema=_LETTER)

    def visit(self, round_number: int, rows: pa.Table, table: pa.Table, shard: int, shards: int) -> pa.Table:
        return self.map(table, shard, shards)

    def reduce(self, round_number: int, rows: pa.Table, shards: int) -> pa.Table:
        letters: list[str] = rows.column("letter").to_pylist()
        again = sorted({letter for letter in letters if letters.count(letter) > 1})
        everywhere = [(letter, shard) for letter in again for shard in range(shards)]
        return pa.table(
            [[pair[0] for pair in everywhere], [0] * len(everywhere), [pair[1] for pair in everywhere]], schema=_LETTER
        )

    def revised(self, table: pa.Table, lasting: pa.Table) -> pa.Table:
        gone = "".join(lasting.column("letter").to_pylist())
        texts = [text.lstrip(gone) if gone else text for text in table.column("text").to_pylist()]
        field = table.schema.field("text")
        return table.set_column(table.schema.get_field_index("text"), field, pa.array(texts, field.type))

    def apply(self, table: pa.Table, decisions: pa.Table) -> StageResult:
        verdicts = Verdicts(self.name, table)
        gone = "".join(sorted(decisions.column("letter").to_pylist()))
        for row, text in enumerate(self.revised(table, decisions).column("text").to_pylist()):
            if not text:
                verdicts.remove(row, "peeled", detail=gone, text=table.column("text")[row].as_py())
        return verdicts.result()


class Endless(Peel):
    """Never comes to an end."""

    name = "endless"

    def following(self, round_number: int, turn: int, reported: int) -> int:
        return 1


class Lost(Peel):
    """Goes where it may not."""

    name = "lost"

    def following(self, round_number: int, turn: int, reported: int) -> int:
        return 3


def peeled(texts: Sequence[str]) -> list[str]:
    """What `Peel` leaves of `texts`."""
    gone = ""
    while True:
        left = [text.lstrip(gone) if gone else text for text in texts]
        first = [text[0] for text in left if text]
        more = {letter for letter in first if first.count(letter) > 1}
        if not more:
            return left
        gone += "".join(more)
