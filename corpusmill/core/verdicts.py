"""What a stage or a corpus-wide step says about the rows of a table, and how it collects it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import pyarrow as pa

from corpusmill.core import documents
from corpusmill.core.documents import Cut


@dataclass(frozen=True)
class StageResult:
    """What became of the rows of one table: kept + removed + quarantined = rows in.

    clusters: duplicate clusters the rows belong to, only from dedup.
    scores: one row for every row in, kept or not (documents.scores_schema), only from stages that store scores.
    """

    kept: pa.Table
    removed: pa.Table = field(default_factory=lambda: documents.empty(documents.REMOVAL))
    quarantined: pa.Table = field(default_factory=lambda: documents.empty(documents.QUARANTINE))
    spans: pa.Table = field(default_factory=lambda: documents.empty(documents.SPAN))
    clusters: pa.Table | None = None
    scores: pa.Table | None = None


class Cuts(Sequence[Cut]):
    """Cuts of one text by columns, for stages that find dozens: a sequence of `Cut` that holds no object a cut.

    rules: the rule of every cut; starts, ends: code points; replacements, details: None where no cut has one.
    """

    __slots__ = ("details", "ends", "replacements", "rules", "starts")

    def __init__(
        self,
        rules: list[str],
        starts: list[int],
        ends: list[int],
        replacements: list[str] | None = None,
        details: list[str | None] | None = None,
    ) -> None:
        self.rules, self.starts, self.ends = rules, starts, ends
        self.replacements = [""] * len(rules) if replacements is None else replacements
        self.details = [None] * len(rules) if details is None else details

    @staticmethod
    def of(cuts: Sequence[Cut]) -> Cuts:
        """The same cuts by columns."""
        if isinstance(cuts, Cuts):
            return cuts
        return Cuts(*map(list, zip(*cuts, strict=True))) if cuts else Cuts([], [], [])

    def __len__(self) -> int:
        return len(self.rules)

    def __iter__(self) -> Iterator[Cut]:
        return map(Cut, self.rules, self.starts, self.ends, self.replacements, self.details)

    @overload
    def __getitem__(self, at: int) -> Cut: ...
    @overload
    def __getitem__(self, at: slice) -> list[Cut]: ...
    def __getitem__(self, at: int | slice) -> Cut | list[Cut]:
        return list(self)[at]


class Verdicts:
    """Collects the fates of the rows of one table, in row order, and turns them into a StageResult.

    Rows that were not named by `remove` or `quarantine` are kept.
    """

    def __init__(self, stage: str, table: pa.Table) -> None:
        self._stage = stage
        self._table = table
        self._ids: list[str] = table.column("doc_id").to_pylist()
        self._urls: list[str] = table.column("url").to_pylist()
        self._gone = [False] * table.num_rows
        self._removed: list[dict[str, Any]] = []
        self._quarantined: list[dict[str, Any]] = []
        self._cut_rows: list[int] = []
        self._cuts = Cuts([], [], [])
        self._passages: list[str] = []

    def remove(
        self,
        row: int,
        rule: str,
        *,
        value: float | None = None,
        threshold: float | None = None,
        detail: str | None = None,
        twin: str | None = None,
        twin_history: str | None = None,
        text: str = "",
        excerpt_start: int = 0,
    ) -> None:
        """Removes `row` under `rule`. `text` is the document's text ("" before extraction)."""
        self._gone[row] = True
        self._removed.append(
            {
                "doc_id": self._ids[row],
                "url": self._urls[row],
                "stage": self._stage,
                "rule": rule,
                "value": value,
                "threshold": threshold,
                "detail": detail,
                "twin": twin,
                "twin_history": twin_history,
                "excerpt": documents.excerpt(text, excerpt_start),
                "characters": len(text),
            }
        )

    def quarantine(self, row: int, reason: str, detail: str, *, text: str = "") -> None:
        """Quarantines `row` under `reason`."""
        self._gone[row] = True
        self._quarantined.append(
            {
                "doc_id": self._ids[row],
                "url": self._urls[row],
                "stage": self._stage,
                "reason": reason,
                "warc_file": self._table.column("warc_file")[row].as_py(),
                "warc_offset": self._table.column("warc_offset")[row].as_py(),
                "detail": detail,
                "characters": len(text),
            }
        )

    def cut(
        self, row: int, rule: str, start: int, end: int, text: str, replacement: str = "", detail: str | None = None
    ) -> None:
        """Records that the stage replaced code points [start, end), that read `text`, of `row`."""
        self.cut_all(row, [Cut(rule, start, end, replacement, detail)], [text])

    def cut_all(self, row: int, cuts: Sequence[Cut], texts: Iterable[str]) -> None:
        """Records several cuts of `row`; texts: what each of them read."""
        self._cut_rows += [row] * len(cuts)
        found, into = Cuts.of(cuts), self._cuts
        into.rules += found.rules
        into.starts += found.starts
        into.ends += found.ends
        into.replacements += found.replacements
        into.details += found.details
        self._passages += texts

    def result(self, kept: pa.Table | None = None, *, scores: pa.Table | None = None) -> StageResult:
        """The result. `kept` replaces the surviving rows of the input where the stage edits or adds columns."""
        if kept is None:
            kept = self._table.filter(pa.array([not gone for gone in self._gone], pa.bool_()))
        return StageResult(
            kept=kept,
            removed=documents.table_of(self._removed, documents.REMOVAL),
            quarantined=documents.table_of(self._quarantined, documents.QUARANTINE),
            spans=self._spans(),
            scores=scores,
        )

    def _spans(self) -> pa.Table:
        """The cuts as a table of documents.SPAN, built by columns: a stage may cut dozens of passages of a document."""
        if not self._cut_rows:
            return documents.empty(documents.SPAN)
        columns = {
            "doc_id": self._table.column("doc_id").take(pa.array(self._cut_rows, pa.int64())),
            "stage": pa.repeat(self._stage, len(self._cut_rows)),
            "rule": self._cuts.rules,
            "start": self._cuts.starts,
            "end": self._cuts.ends,
            "text": self._passages,
            "replacement": self._cuts.replacements,
            "detail": self._cuts.details,
        }
        return pa.table(columns, schema=documents.SPAN)

    @property
    def surviving(self) -> list[int]:
        """Row numbers that are neither removed nor quarantined so far."""
        return [i for i, gone in enumerate(self._gone) if not gone]
