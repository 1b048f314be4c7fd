"""Warnings about rules that remove more than a normal crawl would lose to them. They change no result and no exit code.

The band of a rule is `expected_share` of its stage, or what the recipe says under `expected`; null there: no warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import pyarrow.compute as pc

from corpusmill.core import documents
from corpusmill.core.artifacts import Counts
from corpusmill.dedup.minhash import MinHash, MinHashConfig
from corpusmill.pipeline import near_duplicates
from corpusmill.pipeline.chain import Chain
from corpusmill.pipeline.registry import DOCUMENT_STAGES
from corpusmill.pipeline.scores import scored_stages

Expected = Mapping[str, Mapping[str, float | None]]  # stage -> rule -> largest share of the stage's input

_LEAST_DOCUMENTS: Final = near_duplicates.LEAST_DOCUMENTS
_SHARDS_READ: Final = 8  # so many tell the median value of what was removed


@dataclass(frozen=True)
class Alarm:
    """A rule outside its band; with rule "" a stage that left nothing; with rule bucket, cluster or source the worst of
    what `minhash` reports (pipeline/near_duplicates.py).

    share: of the stage's input, 0..1; expected: the band. value: median of what was removed; threshold: it was judged
    by; both None for rules without a number. setting: the recipe key to look at.
    """

    stage: str
    rule: str
    documents_in: int
    removed: int
    share: float
    expected: float | None
    value: float | None
    threshold: float | None
    setting: str
    message: str

    def to_json(self) -> dict[str, Any]:
        """The object of `status --json` and of the event log."""
        return asdict(self)


def alarms(chain: Chain, index: int, counts: Counts, expected: Expected) -> list[Alarm]:
    """Warnings about step `index`, which is committed and has `counts`; the largest share first."""
    name = chain.names[index]
    bands: dict[str, float | None] = dict(_stage_bands(chain, index))
    bands.update(expected.get(name, {}))
    into = counts.into.documents
    found = []
    for rule, tally in sorted(counts.removed.items(), key=lambda item: -item[1].documents):
        band = bands.get(rule)
        if band is not None and into >= _LEAST_DOCUMENTS and tally.documents > band * into:
            found.append(_rule_alarm(chain, index, rule, into, tally.documents, band))
    if into and not counts.kept.documents:
        message = (
            f"{name} left nothing of {into:,} documents; corpusmill status {chain.run} shows the rules, "
            f"corpusmill removed {chain.run} --stage {name} the documents"
        )
        gone = sum(tally.documents for tally in counts.removed.values())
        found.append(Alarm(name, "", into, gone, gone / into, None, None, None, f"stages.{name}", message))
    return [*found, *(_striking(chain, index, into) if name == MinHash.name else ())]


def _stage_bands(chain: Chain, index: int) -> Mapping[str, float]:
    name = chain.names[index]
    return DOCUMENT_STAGES[name].expected_share if name in DOCUMENT_STAGES else {}


def _striking(chain: Chain, index: int, into: int) -> Iterator[Alarm]:
    """Warnings about what the report of `minhash` shows: one for each of the three limits, with the worst that is over.

    documents_in and removed are those of the source, or of the step and the bucket or cluster.
    """
    report = near_duplicates.read_report(chain, index)
    if report is None:
        return
    name = chain.names[index]
    config = MinHashConfig.model_validate(chain.steps[index].config)
    limits = {"bucket": "large_bucket", "cluster": "large_cluster", "source": "max_source_loss"}
    for kind, key in limits.items():
        limit = getattr(config, key)
        rows = [row for row in report.to_pylist() if row["kind"] == kind]
        if kind == "source":
            over = [row for row in rows if row["removed"] > limit * row["documents"]]
        else:
            over = [row for row in rows if row["documents"] > limit]
        if not over:
            continue
        worst, setting = over[0], f"stages.{name}.{key}"
        number = f"{len(over)} or more" if len(over) == near_duplicates.LARGEST else str(len(over))
        if kind == "source":
            share = worst["removed"] / worst["documents"]
            what = (
                f"{name} removed {100 * share:.1f} % of the {worst['documents']:,} documents of {worst['name']}; "
                f"expected are at most {100 * limit:g} % of a domain. Domains above it: {number}"
            )
        else:
            share = worst["documents"] / max(1, into)
            shown = f" ({', '.join(worst['examples'])}, ...)" if worst["examples"] else ""
            what = (
                f"{name} has a {kind} of {worst['documents']:,} documents: {worst['name']}{shown}. "
                f"{kind.capitalize()}s of more than {limit:,}: {number}"
            )
        parts = [
            what,
            f"{chain.folder(index).root}/report.parquet names them",
            f"if they are right: {setting} in the recipe; if not, min_similarity compares the documents of a bucket",
        ]
        gone = worst["removed"] if kind == "source" else worst["documents"]
        whole = worst["documents"] if kind == "source" else into
        message = "\n    ".join(parts)
        yield Alarm(name, kind, whole, gone, share, limit, None, None, setting, message)


def _rule_alarm(chain: Chain, index: int, rule: str, into: int, removed: int, band: float) -> Alarm:
    name = chain.names[index]
    value, threshold = _numbers(chain, index, rule)
    key = _setting(chain, index, rule)
    setting = f"stages.{name}.{key}" if key else f"stages.{name}"
    share = removed / into
    judged = "" if value is None else f", median value {value:.4g}, threshold {threshold:.4g}"
    near = "" if value is None else " --near-threshold"
    parts = [
        f"{name} removed {100 * share:.1f} % of {into:,} documents under {rule}{judged}; expected are at most "
        f"{100 * band:g} %. Look at {setting}",
        f"corpusmill removed {chain.run} --stage {name} --rule {rule}{near}",
    ]
    if key:
        parts.append(f"corpusmill tune {chain.run} --set {setting}=...")
    parts.append(f"if it is right: expected.{name}.{rule} in the recipe")
    return Alarm(name, rule, into, removed, share, band, value, threshold, setting, "\n    ".join(parts))


def _numbers(chain: Chain, index: int, rule: str) -> tuple[float | None, float | None]:
    """Median value and threshold of what the rule removed in the first shards that have any."""
    rows = []
    for shard in chain.shards:
        manifest = chain.folder(index).manifest(shard.name)
        if manifest is not None and rule in manifest.counts.removed:
            table = chain.folder(index).read("removed", shard.name, ["rule", "value", "threshold"])
            rows.append(table.filter(pc.equal(table.column("rule"), rule)))
        if len(rows) == _SHARDS_READ:
            break
    table = documents.concat(rows, documents.REMOVAL)
    judged = table.filter(table.column("threshold").is_valid())
    if judged.num_rows == 0:
        return None, None
    medians = [float(np.quantile(judged.column(n).to_numpy(), 0.5, method="lower")) for n in ("value", "threshold")]
    return medians[0], medians[1]


def _setting(chain: Chain, index: int, rule: str) -> str:
    """The key of the stage's config that sets the limit of `rule`; "" if none does."""
    stage = scored_stages(chain).get(chain.names[index])
    if stage is None:
        return ""
    language = dict(chain.steps[chain.index("language")].config).get("languages") or {}
    bounds = [bound for code in ("en", *language) for bound in stage.bounds(code)]
    return next((bound.setting for bound in bounds if bound.rule == rule), "")
