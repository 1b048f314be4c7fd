"""Fingerprints: what a changed setting makes stale, and what never makes anything stale."""

from __future__ import annotations

from pathlib import Path

import pytest
import sample_runs
from sample_runs import CORPUS_STEPS, DOCUMENT_STAGES

from corpusmill.pipeline.chain import Chain
from corpusmill.pipeline.inputs import Shard
from corpusmill.stages.warc import Slice

NAMES = DOCUMENT_STAGES + CORPUS_STEPS


def _shard(name: str = "a--0000", identity: str = "i:0-9") -> Shard:
    return Shard(name, identity, Slice("a.warc.gz", "a.warc.gz", "", 0, 0, 9))


def _fingerprints(*overrides: str, shards: tuple[Shard, ...] = ()) -> dict[str, str]:
    chain = Chain.of("RUN", sample_runs.load(*overrides), shards or (_shard(),))
    return {step.name: step.fingerprint for step in chain.steps}


@pytest.fixture(scope="module")
def base(lid_model: object) -> dict[str, str]:
    return _fingerprints()


@pytest.mark.parametrize(
    ("override", "first"),
    [
        ("stages.warc.statuses=[200, 203]", "warc"),
        ("stages.url_filter.curated_sources=false", "url_filter"),
        ("stages.language.languages={en: 0.5}", "language"),
        ("stages.quality.min_words=51", "quality"),
        ("stages.minhash.bands=13", "minhash"),
        ("stages.substring.min_words=51", "substring"),
    ],
)
def test_a_setting_touches_its_stage_and_those_after_it(base: dict[str, str], override: str, first: str) -> None:
    changed = [name for name, value in _fingerprints(override).items() if value != base[name]]
    assert changed == NAMES[NAMES.index(first) :]


def test_another_tokenizer_is_another_substring_step(base: dict[str, str], tmp_path: Path) -> None:
    """By what the file holds, not by its name alone."""
    model = tmp_path / "tokenizer.model"
    found = []
    for content in (b"one", b"two"):
        model.write_bytes(content)
        found.append(_fingerprints(f"stages.substring.tokenizer={model}")["substring"])
    assert len({*found, base["substring"]}) == 3


def test_what_never_changes_results_touches_nothing(base: dict[str, str]) -> None:
    partitions = [f"stages.{step}.partitions=3" for step in CORPUS_STEPS]
    others = [
        "stages.minhash.max_edges=0",
        "stages.warc.slice_bytes=1000000",
        "error_budget.records=1",
        "order.batch_size=16",
        "name=other",
    ]
    assert _fingerprints(*partitions, *others) == base


def test_a_stage_switched_off_touches_those_after_it(base: dict[str, str]) -> None:
    without = _fingerprints("stages.quality=false")
    assert [n for n in without if without[n] != base[n]] == NAMES[NAMES.index("lines") :]


def test_another_input_touches_the_corpus_steps_alone(base: dict[str, str]) -> None:
    changed = _fingerprints(shards=(_shard(), _shard("b--0000", "j:0-9")))
    assert [n for n in NAMES if changed[n] != base[n]] == CORPUS_STEPS


def test_shards_have_their_own_fingerprints() -> None:
    shards = (_shard(), _shard("b--0000", "j:0-9"), _shard("a--0000", "replaced:0-9"))
    chain = Chain.of("RUN", sample_runs.load(), shards)
    assert len({chain.fingerprint(0, shard) for shard in shards}) == 3


def test_what_is_stored() -> None:
    chain = Chain.of("RUN", sample_runs.load(), (_shard(),))
    stored = [step.name for step in chain.steps if step.stored]
    assert stored == ["extract", "language", "lines", "substring"]
    assert chain.stored_at(chain.index("url_filter")) is None
    assert chain.stored_at(chain.index("quality")) == chain.index("language")
    assert chain.documents_end == len(DOCUMENT_STAGES)


def test_the_last_stage_is_always_stored() -> None:
    chain = Chain.of("RUN", sample_runs.load("stages.substring=false"), (_shard(),))
    assert chain.steps[-1].name == "minhash"
    assert chain.steps[-1].stored
