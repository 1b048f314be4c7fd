"""What a corpus-wide step is: a map over shards, reduces over partitions, and an application to every shard.

    map(shard table)            -> rows with a partition number     (one task a shard)
    reduce(0, rows of one p)    -> rows with a partition number     (one task a partition)
    ...
    reduce(last, rows of one p) -> decisions, partitioned by shard
    apply(shard table, its decisions) -> StageResult (+ clusters)   (one task a shard)

In a VisitingStep a round may be a visit instead of a reduce: its rows are partitioned by shard, and its tasks read
their shard's documents again (`visit(round, rows, shard table)`). So what is large, a text or a set of shingles, is
shipped only for the documents of which an earlier round found that it is needed.

The engine schedules the tasks and keeps the exchange between them on disk. It hands `reduce` the rows in the order of
the files they came from, which is fixed; a reduce that cares sorts them itself. Results must not depend on the number
of partitions: memory is what it bounds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from corpusmill.core.errors import InternalError
from corpusmill.core.verdicts import StageResult
from corpusmill.dedup.history import NO_PAST, HistoryTable, Outcome, Past

PARTITION = "partition"  # int32 column that every exchanged table carries


class CorpusStepConfig(BaseModel):
    """Base of every corpus step's config: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    partitions: int = Field(16, ge=1, le=4096, description="key partitions of an exchange; never changes results")

    def identity(self) -> dict[str, object]:
        """The settings that decide results: all but `partitions`."""
        return self.model_dump(mode="json", exclude={"partitions"})


ConfigT = TypeVar("ConfigT", bound=CorpusStepConfig)


class CorpusStep(ABC, Generic[ConfigT]):
    """A corpus-wide step. Subclasses set the class variables and write `map`, `reduce` and `apply`.

    name: key in the recipe and folder in the run.
    version: raised whenever the same input and config would give another result; part of the fingerprint.
    packages: distributions whose version decides results; it is part of the fingerprint too.
    columns: the document columns that `map` reads (doc_id included); the engine reads no others for it.
    rounds: number of reduces and visits; the last one partitions its rows by shard number.
    edits_text: whether `apply` may change texts; otherwise it only filters and its output need not be stored.
    history_tables: what it commits for later snapshots (dedup/history.py), by `remember`; none: it has no history.
    history_version: raised whenever the same documents and settings would give other keys there.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    Config: ClassVar[type[CorpusStepConfig]]
    packages: ClassVar[tuple[str, ...]] = ()
    columns: ClassVar[tuple[str, ...]]
    rounds: int
    edits_text: ClassVar[bool] = False
    history_tables: ClassVar[tuple[HistoryTable, ...]] = ()
    history_version: ClassVar[int] = 1

    def __init__(self, config: ConfigT, past: Past = NO_PAST) -> None:
        self.config = config
        self.past = past

    def partitions(self, round_number: int, shards: int) -> int:
        """Number of partitions that round `round_number` reads (0 = what `map` writes; `rounds` = by shard)."""
        return shards if round_number == self.rounds else self.config.partitions

    @abstractmethod
    def map(self, table: pa.Table, shard: int, shards: int) -> pa.Table:
        """Rows for round 0: any columns plus `partition`, 0 <= partition < partitions(0, shards).

        `table` holds `columns` of one shard; `shard` is its number, 0 <= shard < shards.
        """

    @abstractmethod
    def reduce(self, round_number: int, rows: pa.Table, shards: int) -> pa.Table:
        """Rows of one partition (without the `partition` column) to rows for the next round."""

    @abstractmethod
    def apply(self, table: pa.Table, decisions: pa.Table) -> StageResult:
        """All columns of one shard, and the decisions for it, to what is kept and removed."""

    def history_settings(self) -> dict[str, object]:
        """The settings that decide which keys stand in the history; a history made under others is refused."""
        return {}

    def remember(self, table: HistoryTable, outcome: Outcome) -> pa.Table:
        """Rows of one of `history_tables` for one shard that is finished. Called for steps that have tables."""
        raise InternalError(f"`{self.name}` has no history", where=table.name, value=len(outcome.removed))


class VisitingStep(CorpusStep[ConfigT]):
    """A corpus-wide step that reads documents again between its reduces.

    visits: the rounds that are visits; their tasks are shards.
    """

    visits: frozenset[int]

    def partitions(self, round_number: int, shards: int) -> int:
        """As for any step; visits read one partition a shard."""
        return shards if round_number in self.visits else super().partitions(round_number, shards)

    @abstractmethod
    def visit(self, round_number: int, rows: pa.Table, table: pa.Table, shard: int, shards: int) -> pa.Table:
        """Rows for one shard (without the `partition` column) and its documents to rows for the next round.

        `table` holds `columns` of the shard, as it did for `map`.
        """


def next_rows(
    step: CorpusStep[Any],
    round_number: int,
    rows: pa.Table,
    documents: Callable[[int], pa.Table],
    task: int,
    shards: int,
) -> pa.Table:
    """What task `task` of a round makes of its rows. `documents` reads the `columns` of a shard, for a visit alone."""
    if isinstance(step, VisitingStep) and round_number in step.visits:
        return step.visit(round_number, rows, documents(task), task, shards)
    return step.reduce(round_number, rows, shards)
