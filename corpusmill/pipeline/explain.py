"""The life of one document through every stage, then the steps that used it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpusmill.core import storage, urls
from corpusmill.core.documents import split_doc_id
from corpusmill.core.errors import InputError
from corpusmill.pipeline.chain import Chain
from corpusmill.pipeline.inputs import Shard
from corpusmill.pipeline.scores import scored_stages


@dataclass(frozen=True)
class Fate:
    """What one stage did to the document. outcome: kept, edited, removed, quarantined, or not run."""

    stage: str
    outcome: str
    rule: str | None = None
    value: float | None = None
    threshold: float | None = None
    detail: str | None = None
    twin: str | None = None
    twin_history: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The row of `explain --json`."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class RuleScore:
    """One rule that judged the document, and how near the document was to its limit.

    value: None where the document has no such score. distance: of the value from the limit, relative to the limit;
    negative below it. breaks: whether the value is on the side that goes.
    """

    stage: str
    rule: str
    value: float | None
    removes: str
    limit: float
    distance: float | None
    breaks: bool


@dataclass(frozen=True)
class Life:
    """A document's fates in running order; `text` is what was last kept of it, "" if it never had any.

    scores: by stage, of the stages that judge by scores and that it entered; rules: what judged them.
    """

    doc_id: str
    url: str
    fates: list[Fate] = field(default_factory=list)
    text: str = ""
    scores: dict[str, dict[str, float | None]] = field(default_factory=dict)
    rules: list[RuleScore] = field(default_factory=list)

    def scores_json(self) -> dict[str, Any]:
        """The key `scores` of `explain --json`."""
        rules = [asdict(rule) for rule in self.rules]
        return {
            stage: {"values": values, "rules": [rule for rule in rules if rule["stage"] == stage]}
            for stage, values in self.scores.items()
        }

    @property
    def survived(self) -> bool:
        """Whether every stage kept it."""
        return all(f.outcome in ("kept", "edited") for f in self.fates)


def find(chain: Chain, document: str) -> list[str]:
    """doc_ids that `document` names: itself if it is a doc_id, else every document fetched from that URL.

    Raises InputError when the run knows none.
    """
    try:
        split_doc_id(document)
        if "://" not in document:
            return [document]
    except ValueError:
        pass
    wanted = pa.array(sorted({document, urls.normalise(document) or document}))
    found: dict[str, bool] = {}  # doc_id -> whether it is a page, not a request or metadata record about one
    for shard in chain.shards:
        for path, has_rule in _tables_with_urls(chain, shard):
            if not storage.exists(path):
                continue
            table = storage.read_parquet(path, ["doc_id", "url", *(["rule"] if has_rule else [])])
            match = table.filter(pc.is_in(table.column("url"), value_set=wanted))
            rules = match.column("rule").to_pylist() if has_rule else [""] * match.num_rows
            for name, rule in zip(match.column("doc_id").to_pylist(), rules, strict=True):
                found[name] = found.get(name, True) and rule != "record_type"
    if not found:
        raise InputError(
            "no document with this URL was in the input",
            where=document,
            remedy="give the URL as the crawl wrote it, or a doc_id",
        )
    pages = [name for name, is_page in found.items() if is_page]
    return pages or list(found)


def explain(chain: Chain, doc_id: str) -> Life:
    """The life of `doc_id`. Raises InputError when no shard of the run holds it."""
    for shard in _candidates(chain, doc_id):
        life = _life(chain, shard, doc_id)
        if life is not None:
            return _with_scores(chain, shard, life)
    raise InputError(
        "no such document in this run", where=doc_id, remedy="corpusmill inspect RUN extract -n 5 shows some doc_ids"
    )


def _candidates(chain: Chain, doc_id: str) -> list[Shard]:
    name, offset = split_doc_id(doc_id)
    of_file = [s for s in chain.shards if s.slice.warc_file == name]
    # Its own slice first; a record may still have been read by a neighbour when slices were mended.
    return sorted(of_file, key=lambda s: not s.slice.start <= offset < s.slice.end)


def _tables_with_urls(chain: Chain, shard: Shard) -> list[tuple[str, bool]]:
    """Paths of the tables of `shard` that name URLs, and whether they have a column `rule`."""
    paths = []
    for index, step in enumerate(chain.steps):
        folder = chain.folder(index)
        kinds = ["removed", "quarantine", *(["out"] if step.stored else [])]
        paths += [(folder.path(kind, shard.name), kind == "removed") for kind in kinds]
    return paths


def _life(chain: Chain, shard: Shard, doc_id: str) -> Life | None:
    url = ""
    text = ""
    known = False
    fates: list[Fate] = []
    for index, step in enumerate(chain.steps):
        if chain.committed(index, shard) is None:
            fates.append(Fate(step.name, "not run"))
            break
        folder = chain.folder(index)
        row = _row(folder.path("removed", shard.name), doc_id)
        if row is not None:
            columns = ("rule", "value", "threshold", "detail", "twin", "twin_history")
            fates.append(Fate(step.name, "removed", **{c: row.get(c) for c in columns}))
            return Life(doc_id, row["url"] or url, fates, text or row["excerpt"])
        row = _row(folder.path("quarantine", shard.name), doc_id)
        if row is not None:
            fates.append(Fate(step.name, "quarantined", rule=row["reason"], detail=row["detail"]))
            return Life(doc_id, row["url"] or url, fates, text)
        spans = folder.path("spans", shard.name)
        span = _row(spans, doc_id) if storage.exists(spans) else None
        edited = span is not None and span["replacement"] != span["text"]  # else its passages were only marked
        fates.append(Fate(step.name, "edited" if edited else "kept"))
        if step.stored:
            row = _row(folder.path("out", shard.name), doc_id)
            if row is None:
                return None
            known, url, text = True, row["url"], row["text"]
    stopped = fates[-1].outcome == "not run"
    return Life(doc_id, url, fates, text) if known or stopped else None


def _with_scores(chain: Chain, shard: Shard, life: Life) -> Life:
    scores: dict[str, dict[str, float | None]] = {}
    rules: list[RuleScore] = []
    entered = [fate.stage for fate in life.fates if fate.outcome != "not run"]
    for name, stage in scored_stages(chain).items():
        path = chain.folder(chain.index(name)).path("scores", shard.name)
        row = _row(path, life.doc_id) if name in entered and storage.exists(path) else None
        if row is None:
            continue
        scores[name] = {score: None if math.isnan(row[score]) else row[score] for score in stage.score_names}
        for bound in stage.bounds(row["language"]):
            value = scores[name][bound.score]
            distance = None if value is None else (value - bound.limit) / max(abs(bound.limit), 1e-9)
            breaks = value is not None and bool(bound.broken_by(np.array([value]))[0])
            rules.append(RuleScore(name, bound.rule, value, bound.removes, bound.limit, distance, breaks))
    return replace(life, scores=scores, rules=rules)


def _row(path: str, doc_id: str) -> dict[str, Any] | None:
    with storage.open_read(path) as file:
        table = pq.read_table(file, filters=[("doc_id", "=", doc_id)])
    return table.slice(0, 1).to_pylist()[0] if table.num_rows else None
