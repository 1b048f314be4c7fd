"""`tune` against real reruns: the documents it names are those that a rerun gains and loses, with the same texts."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sample_runs
from sample_runs import CORPUS_STEPS, DOCUMENT_STAGES, PRODUCTS

from corpusmill.core.errors import InputError, UserError
from corpusmill.pipeline import recipe, scores, sweep
from corpusmill.pipeline.chain import Chain
from corpusmill.pipeline.document_tasks import DocumentJob, run_document_job
from corpusmill.pipeline.inputs import Shard
from corpusmill.pipeline.shift import ShardNow, StageShift, shift
from corpusmill.pipeline.status import status
from corpusmill.pipeline.trial import open_scored, trial
from corpusmill.pipeline.tune import tune

LAST = DOCUMENT_STAGES[-1]


def rerun(run: Path, copy: Path, *overrides: str) -> Chain:
    """The chain of a copy of `run` whose document stages were run again with other settings, without Ray."""
    shutil.copytree(run, copy, symlinks=True, ignore=shutil.ignore_patterns(*PRODUCTS, *CORPUS_STEPS))
    resolved = recipe.load(str(run / "resolved.yaml"), overrides)
    chain = Chain.of(str(copy), resolved, sample_runs.chain(run).shards)
    for shard in chain.shards:
        first = chain.first_stale(shard, chain.documents_end)
        if first < chain.documents_end:
            run_document_job(DocumentJob(chain, shard, first, chain.documents_end))
    (copy / "resolved.yaml").write_text(resolved.to_yaml(), encoding="utf-8")
    return chain


@pytest.fixture(scope="module")
def wide_run(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run's document stages with more stages that judge by scores; without corpus steps."""
    run = tmp_path_factory.mktemp("wide") / "run"
    rerun(finished_run, run, "stages.c4={}", "stages.fineweb={}", "stages.swallow={}")
    return run


def random_settings(chain: Chain, seed: int) -> list[str]:
    """Some thresholds of several stages, each put amid the scores of the run."""
    generator = random.Random(seed)
    found: dict[str, float] = {}
    for name, stage in scores.scored_stages(chain).items():
        config = chain.steps[chain.index(name)].config
        quantiles = {one.score: one.quantiles for one in scores.distributions(chain, name)}
        for bound in stage.bounds("en"):
            value = quantiles[bound.score].get(generator.choice(["0.05", "0.5", "0.95"]))
            if value and isinstance(config[bound.setting], float):
                found[f"stages.{name}.{bound.setting}"] = value
    return [f"{key}={found[key]}" for key in generator.sample(sorted(found), 3)]


SETTINGS = [
    ["stages.repetition.duplicate_line_fraction=null", "stages.repetition.top_2_gram_character_fraction=0.02"],
    ["stages.quality.min_words=20"],
    ["stages.quality.min_words=210"],
    ["stages.quality.languages.ja.max_mean_word_length=1.6", "stages.quality.min_words=null"],
    ["stages.c4.min_sentences=8", "stages.fineweb.min_line_punctuation=0.9", "stages.quality.min_words=20"],
    [
        "stages.swallow.min_hiragana_fraction=0.5",
        "stages.swallow.min_letters=100",
        "stages.swallow.min_japanese_letters=500",
    ],
    ["stages.language.languages={en: 0.2, ja: 0.65, de: 0.5}"],
    ["stages.language.threshold=0.97", "stages.language.languages.en=0.97", "stages.quality.min_words=20"],
    ["stages.lines.max_corrected_words=0.5", "stages.repetition.duplicate_5_gram_character_fraction=1"],
    ["stages.lines.max_corrected_words=0.15", "stages.quality.min_words=20"],
    ["stages.lines.count=removed", "stages.lines.max_corrected_words=0.01"],
]


def ids(table: Any) -> set[str]:
    return set(table.column("doc_id").to_pylist())


def kept(chain: Chain, index: int, shard: Shard) -> dict[str, str]:
    table = chain.kept(index, shard.name, ["doc_id", "text"])
    return dict(zip(table.column("doc_id").to_pylist(), table.column("text").to_pylist(), strict=True))


def rules(chain: Chain, index: int, shard: Shard) -> dict[str, str]:
    rows = chain.folder(index).read("removed", shard.name, ["doc_id", "rule"]).to_pylist()
    return {row["doc_id"]: row["rule"] for row in rows}


@pytest.mark.parametrize("number", range(len(SETTINGS) + 3))
def test_tune_names_the_documents_that_a_rerun_gains_and_loses(
    number: int, wide_run: Path, finished_run: Path, tmp_path: Path
) -> None:
    # C4's rules leave nothing for those of lines to do.
    run = finished_run if number < len(SETTINGS) and "stages.lines" in SETTINGS[number][0] else wide_run
    resolved, before = open_scored(str(run))
    settings = SETTINGS[number] if number < len(SETTINGS) else random_settings(before, number)
    tried = trial(resolved, before, settings)
    after = rerun(run, tmp_path / "run", *settings)
    moved = 0
    for shard in before.shards:
        stages, texts = shift(ShardNow(before, shard), tried)
        assert [one.stage for one in stages] == list(before.names[tried.first : before.documents_end])
        for index, one in zip(range(tried.first, before.documents_end), stages, strict=True):
            old, new = kept(before, index, shard), kept(after, index, shard)
            assert ids(one.more) == new.keys() - old.keys()
            assert ids(one.fewer) == old.keys() - new.keys()
            check_stage(before, after, index, shard, one)
            for moved_rows, there in ((one.more, new), (one.fewer, old)):
                for row in moved_rows.to_pylist():
                    assert row["characters"] == len(there[row["doc_id"]])
            moved += one.more.num_rows + one.fewer.num_rows
        if texts is not None:
            found = dict(zip(texts.column("doc_id").to_pylist(), texts.column("text").to_pylist(), strict=True))
            assert found == {doc_id: new[doc_id] for doc_id in new.keys() - old.keys()}
    assert moved or number >= len(SETTINGS), f"no document moves under {settings}"


def check_stage(before: Chain, after: Chain, index: int, shard: Shard, one: StageShift) -> None:
    """Gained, lost and stopped documents, and the rules under which they go."""
    came = kept(before, index - 1, shard).keys(), kept(after, index - 1, shard).keys()
    both = came[0] & came[1]
    old, new = kept(before, index, shard).keys(), kept(after, index, shard).keys()
    old_rules, new_rules = rules(before, index, shard), rules(after, index, shard)
    assert ids(one.gained) == (new - old) & both
    assert ids(one.lost) == (old - new) & both
    assert ids(one.stopped) == came[1] - came[0] - new
    assert one.arrived == len(came[1] - came[0])
    assert one.anyway == len(came[0] - came[1] - old)
    for moved, known in ((one.gained, old_rules), (one.lost, new_rules), (one.stopped, new_rules)):
        for row in moved.to_pylist():
            assert row["rule"] == known[row["doc_id"]]


def test_sums_over_shards_are_those_of_the_rerun(finished_run: Path, tmp_path: Path) -> None:
    settings = ["stages.quality.min_words=210", "stages.repetition.duplicate_5_gram_character_fraction=1"]
    found = tune(str(finished_run), settings, 2)
    before, after = sample_runs.chain(finished_run), rerun(finished_run, tmp_path / "run", *settings)
    for stage in found.stages:
        index = before.index(stage.stage)
        assert stage.kept_now == sum(len(kept(before, index, shard)) for shard in before.shards)
        assert stage.kept_then == sum(len(kept(after, index, shard)) for shard in before.shards)
    end = before.documents_end - 1
    old, new = ({k: v for s in c.shards for k, v in kept(c, end, s).items()} for c in (before, after))
    assert (found.gained.documents, found.lost.documents) == (
        len(new.keys() - old.keys()),
        len(old.keys() - new.keys()),
    )
    assert found.lost.characters == sum(len(old[d]) for d in old.keys() - new.keys())
    corpus = {row["doc_id"] for row in sample_runs.rows(finished_run, "substring", "out")}
    tokens = {
        row["doc_id"]: row["num_tokens"]
        for path in (finished_run / "tokens" / "documents").iterdir()
        for row in sample_runs.storage.read_parquet(str(path)).to_pylist()
    }
    lost = (old.keys() - new.keys()) & corpus
    assert found.lost_from_corpus is not None
    assert found.lost_from_corpus.documents == len(lost) > 5
    assert (found.lost_from_corpus.tokens, found.lost_from_corpus.exact) == (sum(tokens[d] for d in lost), True)
    assert not found.lost.exact
    assert found.lost.tokens is not None
    counted = sum(tokens[d] for d in lost) / len(lost)
    assert found.lost.tokens / found.lost.documents == pytest.approx(counted, rel=0.2)
    json.dumps(found.to_json(), allow_nan=False)


def test_borderline_samples_lie_on_both_sides(finished_run: Path) -> None:
    found = tune(str(finished_run), ["stages.quality.min_words=20"], 3)
    assert {near.rule for near in found.samples} == {"words_min"}
    for near in found.samples:
        assert near.value is not None
        assert near.url
        assert near.excerpt
        assert near.side == ("removed" if near.value < 20 else "kept")
        assert near.change == ("gained" if 20 <= near.value < 50 else "")
    sides = [near.distance for near in found.samples if near.side == "kept"]
    assert len(sides) == 3
    assert sides == sorted(sides)


def test_a_rule_without_a_number_shows_what_it_gains(finished_run: Path) -> None:
    found = tune(str(finished_run), ["stages.language.languages.de=0.65"], 2)
    assert [(near.rule, near.change, near.value) for near in found.samples] == [("language", "gained", None)] * 2


def test_a_run_without_corpus_and_tokens_says_what_is_not_known(wide_run: Path) -> None:
    found = tune(str(wide_run), ["stages.quality.min_words=210"], 0)
    assert found.lost.documents > 0
    assert (found.lost_from_corpus, found.lost.tokens, found.characters_per_token) == (None, None, {})


def test_settings_of_the_run_change_nothing(finished_run: Path) -> None:
    found = tune(str(finished_run), ["stages.quality.min_words=50", "stages.lines.max_uppercase=0.5"])
    assert (found.changes, found.stages, found.samples) == ((), [], [])
    assert found.gained.documents == found.lost.documents == 0


@pytest.mark.parametrize(
    ("setting", "message", "remedy"),
    [
        ("stages.lines.max_uppercase=0.4", "changes what `lines` measures", "max_corrected_words"),
        ("stages.minhash.bands=9", "`minhash` stores no scores", "corpusmill stage minhash"),
        ("stages.quality=false", "not a threshold", "quality"),
        ("stages.quality.min_wrds=3", "unknown recipe key", "min_words"),
        ("order.batch_size=9", "not a threshold", "quality"),
    ],
)
def test_what_cannot_be_tuned_is_refused(finished_run: Path, setting: str, message: str, remedy: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        tune(str(finished_run), [setting])
    assert remedy in caught.value.remedy


def test_stale_scores_are_refused(finished_run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished_run, tmp_path / "run", symlinks=True))
    next((copy / "stages" / "quality" / "scores").iterdir()).unlink()
    with pytest.raises(InputError, match="`quality` is missing or stale in 1 of") as caught:
        tune(str(copy), ["stages.quality.min_words=40"])
    assert f"corpusmill run {copy}/resolved.yaml --out {copy} --until {LAST}" in caught.value.remedy
    with pytest.raises(UserError, match="name a threshold"):
        tune(str(copy), [])


# Sweeps


def test_a_sweep_is_as_many_tunings(finished_run: Path) -> None:
    curve = sweep.sweep(str(finished_run), "stages.quality.min_words", [10, 50, 210])
    stages = [
        {s.stage: s for s in tune(str(finished_run), [f"stages.quality.min_words={n}"], 0).stages} for n in (10, 210)
    ]
    assert [p.is_now for p in curve.points] == [False, True, False]
    for point, tuned in zip(curve.points[::2], stages, strict=True):
        assert (point.stage.documents, point.end.documents) == (tuned["quality"].kept_then, tuned[LAST].kept_then)
    now = {stage.name: stage.counts.kept for stage in status(str(finished_run)).stages}
    assert curve.points[1].stage == now["quality"]
    assert curve.points[1].end == now[LAST]
    drawn = sweep.figure(replace(curve, key="<b>"))
    assert drawn.count("<polyline") == 1 + (LAST != "quality")
    assert "&lt;b&gt;" in drawn


def test_sweep_texts() -> None:
    assert sweep.parse("a.b.c=20:60:20") == ("a.b.c", [20, 40, 60])
    assert sweep.parse("a.b.c=0.1:0.45:0.1") == ("a.b.c", [0.1, 0.2, 0.3, 0.4])
    assert sweep.parse("a.b.c=3,1,0.5") == ("a.b.c", [3, 1, 0.5])


@pytest.mark.parametrize(
    "text", ["a", "a=", "a=1:2", "a=1:2:0", "a=2:1:1", "a=0:1000:1", "a=nan", "a=x,y", "a=1:2:3:4"]
)
def test_sweep_texts_that_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="a sweep is not of the form"):
        sweep.parse(text)
