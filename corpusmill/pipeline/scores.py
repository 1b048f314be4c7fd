"""The stored scores of a stage: how they are distributed, where the limits lie, what each rule removes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from corpusmill.core import documents
from corpusmill.core.errors import InputError, UserError
from corpusmill.core.verdicts import StageResult
from corpusmill.pipeline.chain import Chain, document_stage
from corpusmill.pipeline.inputs import Shard
from corpusmill.pipeline.registry import DOCUMENT_STAGES
from corpusmill.stages.scored import Bound, Broken

Floats = npt.NDArray[np.float64]
QUANTILES: Final = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_BINS: Final = 16  # about so many, where a scale is linear; fewer for few documents
_ABOVE_ZERO: Final = float(np.nextafter(0, 1))
_WIDE: Final = (
    50.0  # a score whose 95 % quantile is more than so many times its 5 % quantile is shown on a logarithmic scale
)


@runtime_checkable
class Scored(Protocol):
    """A document stage that judges by stored scores (stages/scored.py says what each member means)."""

    name: str
    score_names: tuple[str, ...]
    threshold_keys: frozenset[str]

    @property
    def only_filters(self) -> bool:
        """Whether the kept rows are a subset of the input rows, unchanged."""

    def bounds(self, language: str) -> Sequence[Bound]:
        """Rules for documents in `language`."""

    def judge(self, scores: pa.Table) -> list[Broken | None]:
        """The first rule that each row breaks."""

    def process(self, table: pa.Table) -> StageResult:
        """Judges every row."""


def scored_stages(chain: Chain) -> dict[str, Scored]:
    """The stages of the run that judge by scores, in running order."""
    stages = {s.name: document_stage(s.name, s.config) for s in chain.steps if s.name in DOCUMENT_STAGES}
    return {name: stage for name, stage in stages.items() if isinstance(stage, Scored)}


def scored_stage(chain: Chain, name: str) -> Scored:
    """The stage `name` of the run. Raises InputError or UserError unless it is there and judges by scores."""
    scored = scored_stages(chain)
    if name in scored:
        return scored[name]
    remedy = f"stages of this run that do: {', '.join(scored)}"
    if name in chain.names:
        raise UserError(f"`{name}` does not judge by scores", value=name, remedy=remedy)
    raise InputError("no such stage in this run", value=name, remedy=remedy.replace("that do", "with scores"))


def read(chain: Chain, index: int, shard: Shard, columns: Sequence[str] | None = None) -> pa.Table:
    """The scores of the documents of `shard` that entered step `index`, a scored stage.

    Raises InputError where they are missing or were made with other settings.
    """
    stage = scored_stage(chain, chain.names[index])
    manifest = chain.committed(index, shard)
    if manifest is None or ("scores" not in manifest.files and manifest.counts.into.documents):
        raise InputError(
            f"the scores of `{stage.name}` are missing or stale",
            where=f"shard {shard.name}",
            remedy=f"corpusmill run {chain.run}/resolved.yaml --out {chain.run} --until {stage.name}",
        )
    if "scores" not in manifest.files:
        return documents.empty(documents.scores_schema(stage.score_names))
    return chain.folder(index).read("scores", shard.name, None if columns is None else list(columns))


# Distributions


@dataclass(frozen=True)
class Bin:
    """Documents whose score is at least `start` and below `end`; the last bin includes `end`."""

    start: float
    end: float
    documents: int


@dataclass(frozen=True)
class Limit:
    """A rule that judges the score, and how many documents it concerns.

    languages: those whose documents it judges with this limit.
    breaks: documents that break it; reported: those that were removed under it, as they break none before it;
    alone: those that break no other rule of the stage, which would stay without it.
    """

    rule: str
    setting: str
    removes: str
    limit: float
    languages: list[str]
    documents: int
    breaks: int
    reported: int
    alone: int


@dataclass(frozen=True)
class Distribution:
    """How one score is distributed. Quantiles are values that occur; `scale` is that of the bins.

    language: that of the documents; None: all.
    documents: with a score; none: without, as the score does not apply to their language.
    """

    score: str
    language: str | None
    documents: int
    none: int
    quantiles: dict[str, float]
    scale: Literal["linear", "logarithmic"]
    bins: list[Bin]
    limits: list[Limit] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The object of `scores --json`."""
        return asdict(self)


def distributions(
    chain: Chain, name: str, wanted: Sequence[str] = (), *, by_language: bool = False
) -> list[Distribution]:
    """The distribution of every score of the stage `name`, or of those `wanted`; of every language by itself if so.

    Raises UserError when the stage has no such score.
    """
    stage = scored_stage(chain, name)
    for score in wanted:
        if score not in stage.score_names:
            raise UserError("no such score", value=score, remedy=f"one of: {', '.join(stage.score_names)}")
    index = chain.index(name)
    table = pa.concat_tables([read(chain, index, shard) for shard in chain.shards])
    reported = np.array([broken.rule if broken else "" for broken in stage.judge(table)], dtype=object)
    languages = np.array(table.column("language").to_pylist(), dtype=object)
    columns = {score: table.column(score).to_numpy() for score in stage.score_names}
    limits = _limits(stage, languages, columns, reported)
    groups: list[tuple[str | None, npt.NDArray[np.bool_]]] = [(None, np.ones(len(languages), dtype=bool))]
    if by_language:
        counted = sorted(set(languages), key=lambda code: (-np.count_nonzero(languages == code), code))
        groups = [(code, languages == code) for code in counted]
    found = []
    for score in wanted or stage.score_names:
        for language, rows in groups:
            judged = [m for m in limits if m.score == score and (language is None or language == m.language)]
            found.append(_distribution(score, language, columns[score][rows], judged))
    return found


@dataclass(frozen=True)
class _Judged:
    """One bound in one language."""

    score: str
    language: str
    limit: Limit


def _limits(
    stage: Scored, languages: npt.NDArray[np.object_], columns: Mapping[str, Floats], reported: Any
) -> list[_Judged]:
    found = []
    for language in sorted(set(languages)):
        rows = np.flatnonzero(languages == language)
        bounds = stage.bounds(language)
        broken = {bound.rule: bound.broken_by(columns[bound.score][rows]) for bound in bounds}
        number = np.sum(list(broken.values()), axis=0, dtype=np.int64) if broken else np.zeros(len(rows), np.int64)
        for bound in bounds:
            breaks = broken[bound.rule]
            limit = Limit(
                bound.rule,
                bound.setting,
                bound.removes,
                bound.limit,
                [language],
                int(np.count_nonzero(~np.isnan(columns[bound.score][rows]))),
                int(np.count_nonzero(breaks)),
                int(np.count_nonzero(reported[rows] == bound.rule)),
                int(np.count_nonzero(breaks & (number == 1))),
            )
            found.append(_Judged(bound.score, language, limit))
    return found


def _merged(judged: Iterable[_Judged]) -> list[Limit]:
    """One Limit for all languages that have the same one."""
    merged: dict[tuple[str, str, float], Limit] = {}
    for one in (j.limit for j in judged):
        key = (one.rule, one.removes, one.limit)
        before = merged.get(key)
        merged[key] = (
            one
            if before is None
            else replace(
                before,
                languages=[*before.languages, *one.languages],
                documents=before.documents + one.documents,
                breaks=before.breaks + one.breaks,
                reported=before.reported + one.reported,
                alone=before.alone + one.alone,
            )
        )
    return sorted(merged.values(), key=lambda m: (m.limit, m.rule))


def _distribution(score: str, language: str | None, column: Floats, judged: Sequence[_Judged]) -> Distribution:
    values = np.sort(column[np.isfinite(column)])
    limits = _merged(judged)
    none = len(column) - len(values)
    if len(values) == 0:
        return Distribution(score, language, 0, none, {}, "linear", [], limits)
    at = [("minimum", values[0])]
    at += [(f"{q:g}", values[int(q * (len(values) - 1))]) for q in QUANTILES]
    quantiles = {name: float(value) for name, value in [*at, ("maximum", values[-1])]}
    scale, edges = _edges(values, quantiles, limits)
    counts = np.histogram(values, edges)[0]
    bins = [Bin(float(a), float(b), int(n)) for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)]
    return Distribution(score, language, len(values), none, quantiles, scale, bins, limits)


def _edges(
    values: Floats, quantiles: Mapping[str, float], limits: Sequence[Limit]
) -> tuple[Literal["linear", "logarithmic"], Floats]:
    """Ascending edges at round numbers and at the limits that lie between them; the outermost hold every value."""
    low, high = float(values[0]), float(values[-1])
    positive = values[values > 0]
    logarithmic = low >= 0 and len(positive) > 0 and _ratio(positive) > _WIDE
    edges = _logarithmic_edges(positive) if logarithmic else _linear_edges(values, quantiles)
    if low == 0 and (logarithmic or np.mean(values == 0) > 0.05):  # zeros apart: often most, and they hide the rest
        edges = np.concatenate([[0.0, _ABOVE_ZERO], edges[edges > _ABOVE_ZERO]])
    edges = np.unique([min(low, edges[0]), *edges, max(high, edges[-1])])
    if len(edges) == 1:
        edges = np.array([low, np.nextafter(low, np.inf)])
    return ("logarithmic" if logarithmic else "linear"), _with_limits(edges, limits)


def _logarithmic_edges(positive: Floats) -> Floats:
    """1, 2, 5 times powers of ten around ascending values above zero; what is tiny shares the lowest bin."""
    low, high = float(positive[int(0.01 * (len(positive) - 1))]), float(positive[-1])
    powers = np.arange(np.floor(np.log10(max(low, high * 1e-6))), np.ceil(np.log10(high)) + 1)
    edges = np.array([float(f"{digit}e{int(power)}") for power in powers for digit in (1, 2, 5)])
    first, last = np.searchsorted(edges, low, "right") - 1, np.searchsorted(edges, high, "left")
    return edges[max(0, first) : last + 1]


def _linear_edges(values: Floats, quantiles: Mapping[str, float]) -> Floats:
    """Equal steps from the 1 % to the 99 % quantile."""
    low, high = quantiles["0.01"], quantiles["0.99"]
    wanted = min(_BINS, 2 * np.ceil(np.cbrt(len(values))))
    step = _round_step((high - low) / wanted or abs(high) / wanted or 1.0, whole=bool(np.all(values % 1 == 0)))
    return np.array([float(f"{i * step:.12g}") for i in np.arange(np.floor(low / step), np.floor(high / step) + 2)])


def _with_limits(edges: Floats, limits: Sequence[Limit]) -> Floats:
    """`edges` with the limits between them, so that a bin is on one side of a limit; edges close to one give way."""
    # A value on the limit belongs to what stays: bins end behind it where the rule removes what is greater.
    wanted = np.array([np.nextafter(m.limit, np.inf) if m.removes in (">", "<=") else m.limit for m in limits])
    wanted = wanted[(wanted > edges[0]) & (wanted < edges[-1])]
    for edge in wanted:
        at = int(np.searchsorted(edges, edge))
        near = np.abs(edges - edge) <= 0.1 * (edges[at] - edges[at - 1])
        near[[0, -1]] = False
        edges = np.unique([*edges[~near], *wanted])
    return edges


def _ratio(positive: Floats) -> float:
    """Of the 95 % to the 5 % quantile."""
    return float(positive[int(0.95 * (len(positive) - 1))]) / float(positive[int(0.05 * (len(positive) - 1))])


def _round_step(least: float, *, whole: bool) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten; at least 1 for whole numbers."""
    power = 10.0 ** np.floor(np.log10(least))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= least * (1 - 1e-9))
    return max(1.0, float(np.ceil(step))) if whole else float(step)
