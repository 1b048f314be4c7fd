"""`tune` and `scores` as people and programs see them."""

from __future__ import annotations

from pathlib import Path

import pytest
from sample_runs import Mill


def test_tune_for_people(mill: Mill, finished_run: Path) -> None:
    shown = mill("tune", finished_run, "--set", "stages.quality.min_words=20", "-n", "1")
    assert shown.code == 0
    for text in (
        "stages.quality.min_words: 50 -> 20",
        "words_min +",
        "gained at quality (words_min)",
        "Dedup is not simulated",
        f"corpusmill stage quality {finished_run} --set stages.quality.min_words=20",
        "quality words_min: removed, the nearest to the threshold first",
        "quality words_min: kept, the nearest to the threshold first",
        "  gained\n",
        "~",
    ):
        assert text in shown.out, text
    assert "nothing changes" in mill("tune", finished_run, "--set", "stages.quality.min_words=50").out


def test_tune_json(mill: Mill, finished_run: Path) -> None:
    body = mill("tune", finished_run, "--set", "stages.quality.min_words=20", "--json").json
    assert set(body) == {
        "run", "changes", "stages", "gained", "lost", "lost_from_corpus", "characters_per_token", "rerun", "samples",
    }  # fmt: skip
    assert body["changes"] == [{"key": "stages.quality.min_words", "before": 50, "after": 20}]
    assert (
        body["stages"][0]["gained"]["words_min"]["documents"]
        == body["stages"][0]["kept_then"] - body["stages"][0]["kept_now"]
    )


def test_a_sweep_and_its_figure(mill: Mill, finished_run: Path, tmp_path: Path) -> None:
    sweep = ["--sweep", "stages.quality.min_words=10:210:50"]
    body = mill("tune", finished_run, *sweep, "--json", "--plot", tmp_path / "curve.svg").json
    assert set(body) == {"key", "stage", "last", "documents_in", "points"}
    assert [point["value"] for point in body["points"]] == [10, 60, 110, 160, 210]
    kept = [point["stage"]["documents"] for point in body["points"]]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] > kept[-1]
    assert (tmp_path / "curve.svg").read_text().startswith("<svg")
    shown = mill("tune", finished_run, *sweep, "--set", "stages.lines.max_corrected_words=0.5").out
    assert f"{kept[0]:,}" in shown
    assert "kept by lines" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "stages.lines.max_uppercase=0.2"], "stored scores do not fit"),
        (["--plot", "x.svg"], "--plot draws the curve of a sweep"),
        (["--sweep", "nonsense"], "a sweep is not of the form"),
        ([], "name a threshold to try"),
    ],
)
def test_what_tune_refuses(mill: Mill, finished_run: Path, arguments: list[str], said: str) -> None:
    result = mill("tune", finished_run, *arguments)
    assert (result.code, result.out) == (2, "")
    assert said in result.err
    assert "remedy: " in result.err


def test_scores_for_people(mill: Mill, finished_run: Path) -> None:
    overview = mill("scores", finished_run, "quality").out
    assert "words_min < 50: " in overview
    assert "█" in overview
    shown = mill("scores", finished_run, "quality", "--score", "words").out
    assert "words  " in shown
    assert "── words_min: removes < 50: " in shown
    assert shown.count("█") > 20
    apart = mill("scores", finished_run, "quality", "--score", "words", "--by", "language").out
    assert "words [en]" in apart
    assert "words [ja]" in apart
    near = mill("scores", finished_run, "quality", "--near", "words_min", "-n", "2").out
    assert near.count("(threshold 50)") == 4


def test_scores_json(mill: Mill, finished_run: Path) -> None:
    body = mill("scores", finished_run, "quality", "--json").json
    assert set(body) == {"stage", "scores"}
    assert set(body["scores"][0]) == {"score", "language", "documents", "none", "quantiles", "scale", "bins", "limits"}
    near = mill("scores", finished_run, "quality", "--near", "words_min", "--json").json
    assert {row["side"] for row in near} == {"removed", "kept"}
    assert mill("scores", finished_run, "quality", "--by", "domain").code == 2
