"""Warnings about rules that remove more than expected: when, what they say, where they are shown."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import sample_runs

from corpusmill.core.artifacts import Counts, Tally
from corpusmill.core.errors import ConfigError
from corpusmill.pipeline import recipe
from corpusmill.pipeline.alarms import alarms
from corpusmill.pipeline.runner import rerun_stage
from corpusmill.pipeline.status import status


def _counts(into: int, **removed: int) -> Counts:
    gone = {rule: Tally(documents=n) for rule, n in removed.items()}
    return Counts(into=Tally(documents=into), kept=Tally(documents=into - sum(removed.values())), removed=gone)


def test_a_rule_above_its_band_is_named_with_value_threshold_and_setting(finished_run: Path) -> None:
    chain = sample_runs.chain(finished_run)
    index = chain.index("quality")
    (alarm,) = alarms(
        chain, index, _counts(1000, words_min=401, stop_words=400), {"quality": {"words_min": 0.4, "stop_words": None}}
    )
    assert (alarm.stage, alarm.rule, alarm.removed, alarm.share, alarm.expected) == (
        "quality",
        "words_min",
        401,
        0.401,
        0.4,
    )
    assert alarm.threshold == 50
    assert alarm.value is not None
    assert 15 < alarm.value < 50
    assert alarm.setting == "stages.quality.min_words"
    for text in (
        "40.1 % of 1,000 documents under words_min",
        f"corpusmill removed {finished_run} --stage quality --rule words_min --near-threshold",
        f"corpusmill tune {finished_run} --set stages.quality.min_words=",
        "expected are at most 40 %",
    ):
        assert text in alarm.message


@pytest.mark.parametrize(
    ("counts", "expected", "number"),
    [
        (_counts(1000, words_min=400), {"words_min": 0.4}, 0),  # at the band
        (_counts(199, words_min=190), {"words_min": 0.4}, 0),  # too few to say
        (_counts(200, words_min=190), {"words_min": 0.4}, 1),
        (_counts(1000, words_min=990), {"words_min": None}, 0),
        (_counts(3, words_min=3), {"words_min": None}, 1),  # nothing is left
        (_counts(0), {}, 0),
    ],
)
def test_when_there_is_a_warning(
    finished_run: Path, counts: Counts, expected: dict[str, float | None], number: int
) -> None:
    chain = sample_runs.chain(finished_run)
    assert len(alarms(chain, chain.index("quality"), counts, {"quality": expected})) == number


def test_rules_without_numbers_and_corpus_steps_can_have_bands(finished_run: Path) -> None:
    chain = sample_runs.chain(finished_run)
    (alarm,) = alarms(chain, chain.index("url_dedup"), _counts(900, same_url=500), {"url_dedup": {"same_url": 0}})
    assert (alarm.value, alarm.threshold, alarm.setting) == (None, None, "stages.url_dedup")
    assert "--near-threshold" not in alarm.message
    assert "corpusmill tune" not in alarm.message
    (alarm,) = alarms(
        chain, chain.index("minhash"), _counts(900, near_duplicate=500), {"minhash": {"near_duplicate": 0}}
    )
    assert (alarm.threshold, alarm.setting) == (0.7, "stages.minhash")
    assert "--near-threshold" in alarm.message
    assert "corpusmill tune" not in alarm.message


def test_bands_of_stages_lie_between_0_and_1() -> None:
    from corpusmill.pipeline.registry import DOCUMENT_STAGES

    for stage in DOCUMENT_STAGES.values():
        assert all(0 < share <= 1 for share in stage.expected_share.values()), stage.name


def test_a_band_for_an_unknown_stage_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown recipe key `expected\.qualty`") as caught:
        recipe.load(sample_runs.RECIPE, ["expected.qualty.words_min=0.4"])
    assert "quality" in caught.value.remedy
    with pytest.raises(ConfigError, match="expected"):
        recipe.load(sample_runs.RECIPE, ["expected.quality.words_min=4"])


def test_a_warning_is_printed_logged_and_shown_while_it_holds(
    finished_run: Path, tmp_path: Path, ray_session: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run", symlinks=True))
    band = "expected.language.language=0.01"
    assert status(str(run)).to_json()["warnings"] == []
    rerun_stage(str(run), "language", [band], quiet=True, force=True)
    said = capsys.readouterr()
    assert said.out == ""
    assert "warning: language removed 8.1 % of 223 documents under language" in said.err
    (logged,) = [e for e in sample_runs.events(run) if e["event"] == "warning"]
    (shown,) = status(str(run)).to_json()["warnings"]
    assert {**shown, "time": logged["time"], "event": "warning"} == logged
    before = sample_runs.digests(finished_run)
    assert sample_runs.digests(run) == before
    rerun_stage(str(run), "language", ["expected.language.language=null"], quiet=True, force=True)
    assert status(str(run)).to_json()["warnings"] == []
