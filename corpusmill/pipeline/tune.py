"""`tune`: what other thresholds would change in a whole run, in documents, characters and tokens, with samples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from corpusmill.core.errors import UserError
from corpusmill.pipeline.amounts import Amount, Amounts, TokenCounts
from corpusmill.pipeline.chain import Chain
from corpusmill.pipeline.inputs import Shard
from corpusmill.pipeline.near import Near, Side, nearest, with_texts
from corpusmill.pipeline.scores import scored_stage
from corpusmill.pipeline.shift import ShardNow, StageShift, shift
from corpusmill.pipeline.trial import Change, Trial, open_scored, trial
from corpusmill.stages.scored import Bound


@dataclass(frozen=True)
class StageTuning:
    """What a trial changes at one stage.

    kept_now, kept_then: documents that leave the stage.
    gained, lost: at this stage, by rule: the one that removed them so far, the one that would remove them.
    arrived, stopped: documents gained at earlier stages that come here, and those of them that go here, by rule.
    anyway: documents lost at earlier stages that this stage removed so far.
    """

    stage: str
    kept_now: int
    kept_then: int
    gained: dict[str, Amount]
    lost: dict[str, Amount]
    arrived: int
    stopped: dict[str, Amount]
    anyway: int


@dataclass(frozen=True)
class Tuning:
    """What a trial changes in a run.

    stages: document stages from the first changed one on.
    gained, lost: documents that would newly reach the end of the document stages, and no longer would.
    lost_from_corpus: those lost that are in the corpus now; None when the corpus is not up to date.
    characters_per_token: by language, of all under ""; empty when the run has no token shards.
    rerun: the command that makes the change.
    """

    run: str
    changes: tuple[Change, ...]
    stages: list[StageTuning]
    gained: Amount
    lost: Amount
    lost_from_corpus: Amount | None
    characters_per_token: dict[str, float]
    rerun: str
    samples: list[Near] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The object of `tune --json`."""
        return asdict(self)


class _Sums:
    """Sums over the shards of what one stage does."""

    def __init__(self, tokens: TokenCounts) -> None:
        self.gained, self.lost, self.stopped = Amounts(tokens), Amounts(tokens), Amounts(tokens)
        self.arrived = self.anyway = self.more = 0

    def add(self, one: StageShift) -> None:
        self.gained.add(one.gained)
        self.lost.add(one.lost)
        self.stopped.add(one.stopped)
        self.arrived += one.arrived
        self.anyway += one.anyway
        self.more += one.more.num_rows - one.fewer.num_rows

    def stage(self, name: str, kept: int) -> StageTuning:
        return StageTuning(
            stage=name,
            kept_now=kept,
            kept_then=kept + self.more,
            gained=self.gained.by_rule(),
            lost=self.lost.by_rule(),
            arrived=self.arrived,
            stopped=self.stopped.by_rule(),
            anyway=self.anyway,
        )


def tune(run: str, overrides: Sequence[str], samples: int = 5) -> Tuning:
    """What the run would gain and lose under `overrides`, from its stored scores; `samples` for each rule and side.

    Raises UserError or InputError, see `trial.trial`.
    """
    if not overrides:
        raise UserError("name a threshold to try", remedy=f"corpusmill tune {run} --set stages.quality.min_words=40")
    resolved, chain = open_scored(run)
    tried = trial(resolved, chain, overrides)
    tokens = TokenCounts(resolved, chain)
    sums = {name: _Sums(tokens) for name in chain.names[tried.first : chain.documents_end]}
    gained, lost = Amounts(tokens), Amounts(tokens)
    corpus_is_done = all(chain.committed(len(chain.steps) - 1, shard) is not None for shard in chain.shards)
    in_corpus: list[Amount] = []
    examples: dict[str, list[tuple[Near, Shard]]] = {name: [] for name in sums}
    for shard in chain.shards:
        stages, _ = shift(ShardNow(chain, shard), tried)
        for one in stages:
            sums[one.stage].add(one)
            examples[one.stage] += [(near, shard) for near in _moved(one)]
        if stages:
            gained.add(stages[-1].more)
            lost.add(stages[-1].fewer)
            if corpus_is_done and stages[-1].fewer.num_rows:
                in_corpus.append(tokens.in_corpus(shard.name, stages[-1].fewer))
    return Tuning(
        run=run,
        changes=tried.changes,
        stages=[one.stage(name, _kept(chain, name)) for name, one in sums.items()],
        gained=gained.total(),
        lost=lost.total(),
        lost_from_corpus=_added(in_corpus, exact=bool(tokens.ratios)) if corpus_is_done else None,
        characters_per_token=tokens.ratios,
        rerun=rerun_command(run, tried, overrides),
        samples=[near for name in tried.changed for near in _samples(tried, name, examples[name], samples)],
    )


def rerun_command(run: str, tried: Trial, overrides: Sequence[str]) -> str:
    """The command that makes the change: of one stage, or of the run where several stages change."""
    settings = " ".join(f"--set '{s}'" if any(c in s for c in " {}[],*") else f"--set {s}" for s in overrides)
    if len(tried.changed) == 1:
        return f"corpusmill stage {tried.changed[0]} {run} {settings}"
    return f"corpusmill run {run}/resolved.yaml --out {run} {settings}"


def _kept(chain: Chain, name: str) -> int:
    folder = chain.folder(chain.index(name))
    manifests = [folder.manifest(shard.name) for shard in chain.shards]
    return sum(manifest.counts.kept.documents for manifest in manifests if manifest is not None)


def _added(amounts: Iterable[Amount], *, exact: bool) -> Amount:
    total = Amount(tokens=0 if exact else None, exact=exact)
    for one in amounts:
        tokens = None if one.tokens is None or total.tokens is None else total.tokens + one.tokens
        total = Amount(total.documents + one.documents, total.characters + one.characters, tokens, exact)
    return total


def _moved(one: StageShift) -> list[Near]:
    """What one stage gains and loses in a shard, without numbers."""
    sides: tuple[tuple[pa.Table, Side, str], ...] = ((one.gained, "kept", "gained"), (one.lost, "removed", "lost"))
    return [
        Near(one.stage, row["rule"], side, change, row["doc_id"])
        for moved, side, change in sides
        for row in moved.to_pylist()
    ]


def _samples(tried: Trial, name: str, moved: Sequence[tuple[Near, Shard]], number: int) -> list[Near]:
    """Documents nearest to the limits that change, on both sides of what they would be; of a rule that goes, what it is
    now. Of rules without a number, documents that they gain or lose.
    """
    if number == 0:
        return []
    before, after = scored_stage(tried.chain, name), tried.stage(name)

    def changed(language: str) -> list[Bound]:
        old, new = before.bounds(language), after.bounds(language)
        on = {bound.rule for bound in new}
        return [b for b in new if b not in old] + [b for b in old if b.rule not in on]

    found = nearest(tried.chain, after, changed, number)
    shown = {near.rule for near in found}
    others: dict[tuple[str, str], list[tuple[Near, Shard]]] = {}
    for near, shard in moved:
        if near.rule not in shown:
            others.setdefault((near.rule, near.change), []).append((near, shard))
    chosen = [pair for pairs in others.values() for pair in pairs[:number]]
    return found + with_texts(tried.chain, tried.chain.index(name), chosen)
