from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stage_tables import check_conservation, documents_of

from corpusmill.core import documents
from corpusmill.core.documents import Cut
from corpusmill.core.hashing import content_hash
from corpusmill.core.text import Text
from corpusmill.stages.base import StageConfig
from corpusmill.stages.scored import Bound, Measured, ScoredStage


class ShoutConfig(StageConfig):
    max_shouts: float = 2
    min_length: float = 3
    cut: bool = False


class Shout(ScoredStage[ShoutConfig]):
    """Removes by exclamation marks and length; cuts question marks."""

    name, version, Config = "shout", 1, ShoutConfig
    score_names = ("shouts", "length")
    threshold_keys = frozenset({"max_shouts", "min_length"})
    edits_text = True

    def measure(self, text: Text) -> Measured:
        shouts = float("nan") if text.language == "ja" else text.string.count("!")
        cuts = [Cut("question", i, i + 1) for i, c in enumerate(text.string) if c == "?" and self.config.cut]
        return Measured([shouts, len(text.string)], cuts)

    def bounds(self, language: str) -> Sequence[Bound]:
        return [
            Bound("shouts", "shouts", ">", self.config.max_shouts, "max_shouts"),
            Bound("length", "length", "<", self.config.min_length, "min_length"),
        ]


def shout(*texts: tuple[str, str], **config: float) -> tuple[pa.Table, Shout]:
    return documents_of(*texts), Shout(ShoutConfig.model_validate(config))


def test_the_first_broken_rule_is_reported_and_limits_are_exclusive() -> None:
    table, stage = shout(("!!", "en"), ("!!!", "en"), ("!!!!", "en"), ("abc", "en"))
    result = stage.process(table)
    rules = result.removed.select(["rule", "value", "threshold"]).to_pylist()
    assert [tuple(row.values()) for row in rules] == [("length", 2, 3), ("shouts", 3, 2), ("shouts", 4, 2)]
    assert result.kept.column("text").to_pylist() == ["abc"]


def test_every_document_has_a_row_of_scores() -> None:
    table, stage = shout(("!!!", "en"), ("fine", "de"), ("", "ja"))
    scores = stage.process(table).scores
    assert scores is not None
    assert scores.schema == documents.scores_schema(["shouts", "length"])
    assert scores.column("doc_id").to_pylist() == table.column("doc_id").to_pylist()
    assert scores.column("characters").to_pylist() == scores.column("length").to_pylist() == [3, 4, 0]


def test_a_score_that_is_none_breaks_no_rule() -> None:
    table, stage = shout(("!!!!!!", "ja"))
    assert stage.process(table).removed.num_rows == 0


def test_other_thresholds_need_the_scores_only() -> None:
    table, stage = shout(*((("!" * i) + "abc", "en") for i in range(6)))
    scores = stage.process(table).scores
    assert scores is not None
    for limit in range(6):
        other = Shout(ShoutConfig(max_shouts=limit))
        gone = [row for row, broken in enumerate(other.judge(scores)) if broken]
        removed = other.process(table).removed.column("doc_id").to_pylist()
        assert removed == [table.column("doc_id")[row].as_py() for row in gone]


def test_cuts_are_taken_out_and_recorded() -> None:
    table, stage = shout(("what? yes?", "en"), ("????", "en"), ("none", "en"), cut=True)
    result = stage.process(table)
    check_conservation(table, result)
    assert result.kept.column("text").to_pylist() == ["what yes", "none"]
    assert result.kept.column("content_hash").to_pylist() == [content_hash("what yes"), content_hash("none")]
    assert result.spans.select(["start", "end", "text"]).to_pylist() == [
        {"start": 4, "end": 5, "text": "?"},
        {"start": 9, "end": 10, "text": "?"},
    ]
    assert result.removed.select(["rule", "detail"]).to_pylist() == [
        {"rule": "empty_after_shout", "detail": "question 4"}
    ]


@given(st.lists(st.tuples(st.text(alphabet="!a? \n"), st.sampled_from(["en", "ja"])), max_size=8), st.booleans())
def test_nothing_is_lost(texts: list[tuple[str, str]], cut: bool) -> None:
    table, stage = shout(*texts, cut=cut)
    result = stage.process(table)
    check_conservation(table, result)
    assert result.scores is not None
    assert result.scores.num_rows == table.num_rows


@pytest.mark.parametrize("removes", ["<", ">", "<=", ">="])
def test_a_bound_compares_as_it_says(removes: str) -> None:
    import numpy as np

    bound = Bound("rule", "score", removes, 1.0, "key")  # type: ignore[arg-type]
    expected = {"<": [1, 0, 0, 0], ">": [0, 0, 1, 0], "<=": [1, 1, 0, 0], ">=": [0, 1, 1, 0]}[removes]
    assert bound.broken_by(np.array([0.0, 1.0, 2.0, np.nan])).tolist() == [bool(e) for e in expected]


def test_passages_can_be_replaced_marked_and_recorded_otherwise() -> None:
    class Asked(Shout):
        def measure(self, text: Text) -> Measured:
            cuts = super().measure(text).cuts
            return Measured([0, 9], [cut._replace(replacement="?" if text.language == "de" else "...") for cut in cuts])

        def recorded(self, passage: str) -> str:
            return passage * 2

    table = documents_of(("a? b?", "en"), ("a?", "de"))
    result = Asked(ShoutConfig(cut=True)).process(table)
    assert result.kept.column("text").to_pylist() == ["a... b...", "a?"]
    assert result.kept.column("content_hash").to_pylist() == [content_hash("a... b..."), content_hash("a?")]
    spans = result.spans.select(["start", "end", "text", "replacement"]).to_pylist()
    assert [tuple(row.values()) for row in spans] == [(1, 2, "??", "..."), (4, 5, "??", "..."), (1, 2, "??", "?")]
