"""Distributions of scores and documents near a limit, against the tables of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sample_runs
from hypothesis import given
from hypothesis import strategies as st

from corpusmill.core.errors import InputError, UserError
from corpusmill.pipeline import scores
from corpusmill.pipeline.near import near_rule
from corpusmill.pipeline.scores import Limit


def test_a_distribution_counts_every_document_once(finished_run: Path) -> None:
    chain = sample_runs.chain(finished_run)
    for name in scores.scored_stages(chain):
        rows = sample_runs.rows(finished_run, name, "scores")
        for one in scores.distributions(chain, name):
            values = sorted(row[one.score] for row in rows if row[one.score] == row[one.score])
            assert one.documents + one.none == len(rows)
            assert sum(b.documents for b in one.bins) == one.documents == len(values)
            assert [b.start for b in one.bins[1:]] == [b.end for b in one.bins[:-1]]
            if values:
                assert one.bins[0].start <= values[0]
                assert values[-1] <= one.bins[-1].end
                assert (one.quantiles["minimum"], one.quantiles["maximum"]) == (values[0], values[-1])
                assert one.quantiles["0.5"] == values[(len(values) - 1) // 2]


def test_limits_are_counted_as_the_stage_judges(finished_run: Path) -> None:
    chain = sample_runs.chain(finished_run)
    removed = sample_runs.rows(finished_run, "quality", "removed")
    found = {limit.rule: limit for one in scores.distributions(chain, "quality") for limit in one.limits}
    for rule in {row["rule"] for row in removed}:
        reported = sum(
            limit.reported
            for one in scores.distributions(chain, "quality")
            for limit in one.limits
            if limit.rule == rule
        )
        assert reported == sum(row["rule"] == rule for row in removed)
    words = [row["words"] for row in sample_runs.rows(finished_run, "quality", "scores")]
    limit = found["words_min"]
    assert (limit.removes, limit.limit, limit.setting, limit.languages) == ("<", 50, "min_words", ["en", "ja"])
    assert limit.breaks == sum(w < 50 for w in words) > 3
    assert limit.alone <= limit.reported <= limit.breaks


def test_bins_end_at_limits(finished_run: Path) -> None:
    (words,) = scores.distributions(sample_runs.chain(finished_run), "quality", ["words"])
    below = sum(b.documents for b in words.bins if b.end <= 50)
    assert below == next(limit.breaks for limit in words.limits if limit.rule == "words_min")


def test_by_language(finished_run: Path) -> None:
    chain = sample_runs.chain(finished_run)
    (together,) = scores.distributions(chain, "quality", ["mean_word_length"])
    apart = scores.distributions(chain, "quality", ["mean_word_length"], by_language=True)
    assert [one.language for one in apart] == ["en", "ja"]
    assert sum(one.documents for one in apart) == together.documents
    assert [limit.languages for limit in apart[1].limits] == [["ja"], ["ja"]]
    assert len(together.limits) == 4


def test_what_has_no_scores_is_refused(finished_run: Path) -> None:
    chain = sample_runs.chain(finished_run)
    with pytest.raises(InputError, match="no such stage") as missing:
        scores.distributions(chain, "qualty")
    assert "quality" in missing.value.remedy
    with pytest.raises(UserError, match="does not judge by scores"):
        scores.distributions(chain, "minhash")
    with pytest.raises(UserError, match="no such score") as caught:
        scores.distributions(chain, "quality", ["wrds"])
    assert "words" in caught.value.remedy
    with pytest.raises(UserError, match="no rule with a threshold") as caught:
        near_rule(chain, "quality", "words", 3)
    assert "words_min" in caught.value.remedy


def test_nearest_documents_are_those_of_a_full_sort(finished_run: Path) -> None:
    chain = sample_runs.chain(finished_run)
    rows = sample_runs.rows(finished_run, "quality", "scores")
    removed = {row["doc_id"]: row["rule"] for row in sample_runs.rows(finished_run, "quality", "removed")}
    for side in ("removed", "kept"):
        ids = [
            r
            for r in rows
            if (removed.get(r["doc_id"]) == "words_min" if side == "removed" else r["doc_id"] not in removed)
        ]
        nearest = sorted(ids, key=lambda r: (abs(r["words"] - 50) / 50, r["doc_id"]))[:4]
        found = [near for near in near_rule(chain, "quality", "words_min", 4) if near.side == side]
        assert [near.doc_id for near in found] == [r["doc_id"] for r in nearest]
        assert [near.value for near in found] == [r["words"] for r in nearest]
        assert all(near.url.startswith("http") and near.excerpt and near.change == "" for near in found)


Numbers = st.lists(st.floats(-1e9, 1e9) | st.floats(0, 1) | st.integers(0, 10**6).map(float), min_size=1, max_size=60)


@given(Numbers, st.floats(-10, 1e6), st.sampled_from(["<", ">", "<=", ">="]))
def test_any_values_fall_into_bins_that_a_limit_does_not_cut(values: list[float], at: float, removes: str) -> None:
    limit = Limit("rule", "key", removes, at, ["en"], 0, 0, 0, 0)
    one = scores._distribution("score", None, np.array(values), [scores._Judged("score", "en", limit)])
    assert sum(b.documents for b in one.bins) == len(values)
    assert len(one.bins) <= 60
    edges = [one.bins[0].start, *(b.end for b in one.bins)]
    assert edges == sorted(set(edges))
    compare = {"<": np.less, ">": np.greater, "<=": np.less_equal, ">=": np.greater_equal}[removes]
    if edges[0] < at < edges[-1]:
        behind = [b for b in one.bins if (b.end <= at * (1 + 1e-9) if removes[0] == "<" else b.start >= at)]
        inside = [v for v in values if compare(v, at)]
        assert abs(sum(b.documents for b in behind) - len(inside)) <= values.count(at)


def test_documents_without_a_score_are_counted_apart() -> None:
    nan = float("nan")
    one = scores._distribution("score", "en", np.array([nan, 1.0, nan]), [])
    assert (one.documents, one.none) == (1, 2)
    nothing = scores._distribution("score", "en", np.array([nan]), [])
    assert (nothing.documents, nothing.none, nothing.bins, nothing.quantiles) == (0, 1, [], {})
