"""Stages that remove by thresholds on scores: every score is computed once and stored, thresholds act on scores.

The scores of every document that enters such a stage, kept or not, are rows of the stage's table `scores`: so another
threshold can be tried without running the stage again (`corpusmill tune`).
"""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import field_validator

from corpusmill.core import documents
from corpusmill.core.documents import Cut
from corpusmill.core.text import Text
from corpusmill.core.verdicts import Cuts, StageResult, Verdicts
from corpusmill.stages.base import ConfigT, DocumentStage, StageConfig

Removes = Literal["<", ">", "<=", ">="]
_COMPARE: Final[dict[Removes, Callable[[Any, Any], Any]]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


class Bound(NamedTuple):
    """One rule: a document goes when its `score` is `removes` `limit`; never when it has no such score (NaN).

    setting: the key of the stage's config that sets the limit.
    """

    rule: str
    score: str
    removes: Removes
    limit: float
    setting: str

    def broken_by(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Which of `values` (float64 (n,), NaN for none) break the rule, bool (n,)."""
        broken: npt.NDArray[np.bool_] = _COMPARE[self.removes](values, self.limit)
        return broken


class Broken(NamedTuple):
    """The rule that a document breaks, its score and the limit."""

    rule: str
    value: float
    threshold: float | None
    detail: str | None = None


class Measured(NamedTuple):
    """What a stage finds in a text: its scores, in the order of `score_names`, and what it would cut or replace.

    cuts: ascending, disjoint; taken out of the text if the document stays. Where there may be many: `Cuts`.
    detail: for the removal, if the document goes; None: a summary of the cuts.
    """

    scores: Sequence[float]
    cuts: Sequence[Cut] = ()
    detail: str | None = None


class LimitsConfig(StageConfig):
    """Base of configs whose limits differ by language.

    A subclass has a key for every limit, null where its rule is off, and `languages`: limits by language code, that are
    laid over `built_in`.
    """

    built_in: ClassVar[Mapping[str, Mapping[Any, float | None]]]

    @field_validator("languages", check_fields=False)
    @classmethod
    def _over_built_in(cls, given: dict[str, dict[str, float | None]]) -> dict[str, dict[str, float | None]]:
        codes = sorted({*cls.built_in, *given})
        return {code: {**cls.built_in.get(code, {}), **given.get(code, {})} for code in codes}

    def limit(self, key: str, language: str) -> float | None:
        """The value of the limit `key` for documents in `language`; None when its rule is off."""
        of_language: Mapping[str, float | None] = getattr(self, "languages").get(language, {})  # noqa: B009
        value: float | None = of_language.get(key, getattr(self, key))
        return value


class ScoredStage(DocumentStage[ConfigT]):
    """A stage that measures every text and removes those whose scores break a bound.

    score_names: columns of the table of scores. A rule's value is a score; several rules may judge one.
    threshold_keys: keys of the config that act on scores alone: changing them changes no score.
    """

    score_names: ClassVar[tuple[str, ...]]
    threshold_keys: ClassVar[frozenset[str]]

    @abstractmethod
    def measure(self, text: Text) -> Measured:
        """Scores and cuts of one text."""

    @abstractmethod
    def bounds(self, language: str) -> Sequence[Bound]:
        """The rules for documents in `language` that are switched on, in the order in which they are reported."""

    def recorded(self, passage: str) -> str:
        """What the spans keep of a passage that was cut: the passage, unless a stage must not store it."""
        return passage

    def judge(self, scores: pa.Table) -> list[Broken | None]:
        """The first rule that each row of a table of scores breaks, None for documents that stay."""
        judged: list[Broken | None] = [None] * scores.num_rows
        languages = np.array(scores.column("language").to_pylist(), dtype=object)
        columns = {name: scores.column(name).to_numpy() for name in self.score_names}
        for language in dict.fromkeys(languages):
            rows = np.flatnonzero(languages == language)
            open_rows = np.ones(len(rows), dtype=bool)
            for bound in self.bounds(language):
                values = columns[bound.score][rows]
                for at in np.flatnonzero(bound.broken_by(values) & open_rows):
                    judged[rows[at]] = Broken(bound.rule, float(values[at]), bound.limit)
                    open_rows[at] = False
        return judged

    def process(self, table: pa.Table) -> StageResult:
        """Judges every row; needs `text` and `language`, and `content_hash` where the stage edits text."""
        strings: list[str] = table.column("text").to_pylist()
        languages: list[str] = table.column("language").to_pylist()
        # No object a text is kept that Python's garbage collector would have to look at.
        matrix = np.empty((len(strings), len(self.score_names)), dtype=np.float64)
        cuts_of: dict[int, Sequence[Cut]] = {}
        details: dict[int, str] = {}
        for row, (string, language) in enumerate(zip(strings, languages, strict=True)):
            matrix[row], cuts, detail = self.measure(Text.of(string, language))
            if cuts:
                cuts_of[row] = cuts
            if detail is not None:
                details[row] = detail
        scores = self._score_table(table, strings, matrix)
        verdicts = Verdicts(self.name, table)
        edited: dict[int, str] = {}
        for row, broken in enumerate(self.judge(scores)):
            string, cuts = strings[row], cuts_of.get(row, ())
            if broken is not None:
                detail = broken.detail or details.get(row) or _summary(cuts)
                verdicts.remove(
                    row, broken.rule, value=broken.value, threshold=broken.threshold, detail=detail, text=string
                )
            elif cuts:
                columns = Cuts.of(cuts)
                kept = documents.with_replacements(
                    string, zip(columns.starts, columns.ends, columns.replacements, strict=True)
                )
                if not kept.strip():
                    verdicts.remove(row, f"empty_after_{self.name}", detail=_summary(cuts), text=string)
                    continue
                passages = [string[start:end] for start, end in zip(columns.starts, columns.ends, strict=True)]
                verdicts.cut_all(row, columns, map(self.recorded, passages))
                if kept != string:
                    edited[row] = kept
        if not edited:
            return verdicts.result(scores=scores)
        kept_rows = documents.with_texts(table, edited).take(pa.array(verdicts.surviving, pa.int64()))
        return verdicts.result(kept_rows, scores=scores)

    def _score_table(self, table: pa.Table, strings: Sequence[str], matrix: npt.NDArray[np.float64]) -> pa.Table:
        return pa.table(
            [
                table.column("doc_id").combine_chunks(),
                table.column("language").combine_chunks(),
                pa.array([len(s) for s in strings], pa.int64()),
                *(pa.array(np.ascontiguousarray(column)) for column in matrix.T),
            ],
            schema=documents.scores_schema(self.score_names),
        )


def _summary(cuts: Sequence[Cut]) -> str | None:
    """How many cuts of each rule, for the removals of a stage that cuts."""
    by_rule = sorted(Counter(Cuts.of(cuts).rules).items())
    return ", ".join(f"{rule} {times}" for rule, times in by_rule) or None
