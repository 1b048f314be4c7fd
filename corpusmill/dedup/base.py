"""What a corpus-wide step is: a map over shards, reduces over partitions, and an application to every shard.

    map(shard table)            -> rows with a partition number     (one task a shard)
    reduce(0, rows of one p)    -> rows with a partition number     (one task a partition)
    ...
    reduce(last, rows of one p) -> decisions, partitioned by shard
    apply(shard table, its decisions) -> StageResult (+ clusters)   (one task a shard)

In a VisitingStep a round may be a visit instead of a reduce: its rows are partitioned by shard, and its tasks read
their shard's documents again (`visit(round, rows, shard table)`). So what is large, a text or a set of shingles, is
shipped only for the documents of which an earlier round found that it is needed.

Rounds follow one another as they are numbered. A step may say in `branches` that other rounds can follow one, earlier
ones too; then the number that the tasks of that round reported, all together, decides (`following`). Every run of a
round is a turn. What a task reported is a number about the rows it wrote, so a run that was killed inside a loop takes
the same way again.

The engine schedules the tasks and keeps the exchange between them on disk. It hands `reduce` the rows in the order of
the files they came from, which is fixed; a reduce that cares sorts them itself. Results must not depend on the number
of partitions: memory is what it bounds.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Generic, NamedTuple, TypeVar

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from corpusmill.core.errors import InternalError
from corpusmill.core.verdicts import StageResult
from corpusmill.dedup.history import NO_PAST, HistoryTable, Outcome, Past

PARTITION = "partition"  # int32 column that every exchanged table carries
_REMARKS = b"remarks"
_LEAST_PARTITIONS, _MOST_PARTITIONS = 16, 4096
_SHARDS_A_PARTITION = 64  # keys of so many shards are some 100 MB in memory


class CorpusStepConfig(BaseModel):
    """Base of every corpus step's config: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
    neutral: ClassVar[frozenset[str]] = frozenset({"partitions"})  # keys that never change results

    partitions: Annotated[int, Field(ge=1, le=_MOST_PARTITIONS)] | None = Field(
        None, description="key partitions of an exchange; null: one for 64 shards, at least 16; never changes results"
    )

    def identity(self) -> dict[str, object]:
        """The settings that decide results: all but those in `neutral`."""
        return self.model_dump(mode="json", exclude=set(self.neutral))


ConfigT = TypeVar("ConfigT", bound=CorpusStepConfig)


class CorpusStep(ABC, Generic[ConfigT]):
    """A corpus-wide step. Subclasses set the class variables and write `map`, `reduce` and `apply`.

    name: key in the recipe and folder in the run.
    version: raised whenever the same input and config would give another result; part of the fingerprint.
    packages: distributions whose version decides results; it is part of the fingerprint too.
    columns: the document columns that `map` reads (doc_id included); the engine reads no others for it. It knows
        groups.QUALITY too, the score of the classifier.
    rounds: number of reduces and visits; the last one partitions its rows by shard number.
    reported_as: rounds in `branches` whose numbers `status` shows, one a turn, and what they count.
    edits_text: whether `apply` may change texts; otherwise it only filters and its output need not be stored.
    history_tables: what it commits for later snapshots (dedup/history.py), by `remember`; none: it has no history.
    history_version: raised whenever the same documents and settings would give other keys there.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    Config: ClassVar[type[CorpusStepConfig]]
    packages: ClassVar[tuple[str, ...]] = ()
    columns: tuple[str, ...]
    rounds: int
    branches: Mapping[int, tuple[int, ...]] = MappingProxyType({})
    reported_as: ClassVar[Mapping[int, str]] = MappingProxyType({})
    most_turns: ClassVar[int] = 100
    edits_text: ClassVar[bool] = False
    history_tables: tuple[HistoryTable, ...] = ()
    history_version: ClassVar[int] = 1

    def __init__(self, config: ConfigT, past: Past = NO_PAST) -> None:
        self.config = config
        self.past = past

    def resource_files(self) -> Sequence[str]:
        """Paths of the model files that decide results; their SHA-256 is part of the fingerprint."""
        return []

    def partitions(self, round_number: int, shards: int) -> int:
        """Number of tasks of round `round_number`, of partitions it reads (0: what `map` writes; `rounds`: by shard).

        The task of a round with one reads all rows, whatever partition they name.
        """
        if round_number == self.rounds:
            return shards
        return self.config.partitions or min(
            max(_LEAST_PARTITIONS, -(-shards // _SHARDS_A_PARTITION)), _MOST_PARTITIONS
        )

    def report(self, round_number: int, rows: pa.Table) -> int:
        """The number that a task reports which wrote `rows` (with `partition`) in round `round_number`; their number.

        Asked only where more than one round may follow.
        """
        return int(rows.num_rows)

    def following(self, round_number: int, turn: int, reported: int) -> int:
        """The round after turn `turn` (from 0) of round `round_number`: one of `branches[round_number]`.

        reported: the sum of what all its tasks reported.
        """
        raise InternalError("a step has branches and does not say which to take", where=self.name)

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
    lasting: a round that partitions its rows by shard and whose rows last: every later visit sees its documents as
        `revised` by those of all its turns, and `apply`, where it comes right after, is given those of all its turns.
    """

    visits: frozenset[int]
    lasting: int | None = None

    def partitions(self, round_number: int, shards: int) -> int:
        """As for any step; visits read one partition a shard."""
        return shards if round_number in self.visits else super().partitions(round_number, shards)

    @abstractmethod
    def visit(self, round_number: int, rows: pa.Table, table: pa.Table, shard: int, shards: int) -> pa.Table:
        """Rows for one shard (without the `partition` column) and its documents to rows for the next round.

        `table` holds `columns` of the shard, as it did for `map`, but `revised`.
        """

    def revised(self, table: pa.Table, lasting: pa.Table) -> pa.Table:
        """The documents of a shard after `lasting`, its rows of all turns of that round so far, oldest first."""
        return table


def with_remarks(rows: pa.Table, remarks: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The rows of a task with remarks about them: few and small JSON objects that reports read at the end of a step."""
    return rows.replace_schema_metadata({_REMARKS: json.dumps(remarks)})


def remarks_of(rows: pa.Table) -> list[dict[str, Any]]:
    """The remarks about the rows of a task."""
    found: list[dict[str, Any]] = json.loads((rows.schema.metadata or {}).get(_REMARKS, "[]"))
    return found


class Turn(NamedTuple):
    """One run of a round. round: its number, -1 for `map`. time: how often it was run before."""

    round: int
    time: int

    def __str__(self) -> str:
        return "map" if self.round < 0 else f"{self.round}.{self.time}"


MAP = Turn(-1, 0)


def successors(step: CorpusStep[Any], round_number: int) -> tuple[int, ...]:
    """The rounds that may follow a round (-1: `map`)."""
    return step.branches.get(round_number, (round_number + 1,))


def next_turn(step: CorpusStep[Any], done: Sequence[Turn], reported: Callable[[], int]) -> Turn | None:
    """The turn that comes after the turns `done`, `map` first; None when `apply` comes.

    reported: gives the sum of what the tasks of the last turn reported.
    Raises InternalError when the step names a round that may not follow, or does not come to an end.
    """
    last = done[-1]
    rounds = successors(step, last.round)
    chosen = rounds[0] if len(rounds) == 1 else step.following(last.round, last.time, reported())
    if chosen not in rounds:
        raise InternalError(f"round {last} of {step.name} chose a round that may not follow it", value=chosen)
    if chosen == step.rounds:
        return None
    turn = Turn(chosen, sum(before.round == chosen for before in done))
    if turn.time >= step.most_turns:
        raise InternalError(f"{step.name} does not come to an end", where=f"round {chosen}", value=f"{turn.time} turns")
    return turn


def lasting_turns(step: CorpusStep[Any], done: Sequence[Turn]) -> list[Turn]:
    """The turns among `done` whose rows last."""
    return [turn for turn in done if isinstance(step, VisitingStep) and turn.round == step.lasting]


def turns_before_apply(step: CorpusStep[Any], done: Sequence[Turn]) -> list[Turn]:
    """The turns whose rows are the decisions, when all turns are `done`."""
    return [turn for turn in lasting_turns(step, done) if turn.round == done[-1].round] or [done[-1]]


def next_rows(
    step: CorpusStep[Any],
    round_number: int,
    rows: pa.Table,
    documents: Callable[[int], pa.Table],
    task: int,
    shards: int,
) -> pa.Table:
    """What task `task` of a round makes of its rows. `documents` gives a shard as a visit sees it."""
    if isinstance(step, VisitingStep) and round_number in step.visits:
        return step.visit(round_number, rows, documents(task), task, shards)
    return step.reduce(round_number, rows, shards)
