"""Language identification, and the documents of the wanted languages.

RefinedWeb (arXiv 2306.01116, section 3.1) uses CCNet's fastText classifier at document level (lid.176, character
n-grams, 176 languages) and removes "documents for which the top language scores below 0.65"; then it keeps English.
FineWeb-2 does the same with GlotLID and a threshold for each language (jpn_Jpan 0.886). Rules, in this order:

    language_score   top language's score below the threshold (0.65, or that of the language)
    language         top language is not among the wanted ones

The column `language` holds the code that the rest of the chain knows (core/languages.py: `ja`, whatever the model calls
it). The table of scores holds the model's own labels, the `top_k` likeliest with their scores.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Final

import pyarrow as pa
from pydantic import Field

from corpusmill.core import documents, fasttext_model, models
from corpusmill.core.errors import ConfigError
from corpusmill.core.fasttext_model import FastTextModel, Prediction
from corpusmill.core.languages import normalised
from corpusmill.core.verdicts import StageResult, Verdicts
from corpusmill.stages.base import DocumentStage, StageConfig
from corpusmill.stages.scored import Bound, Broken

SCORE_DECIMALS: Final = 4
Share = Annotated[float, Field(ge=0, le=1)]

# One row for every document that entered the stage. language_score: of the likeliest label. labels, label_scores: the
# likeliest labels as the model names them, best first, and their scores.
SCORES = (
    documents.scores_schema(["language_score"])
    .append(pa.field("labels", pa.list_(pa.string()), nullable=False))
    .append(pa.field("label_scores", pa.list_(pa.float64()), nullable=False))
)


class LanguageConfig(StageConfig):
    """Which languages are kept, and how sure the classifier must be."""

    model: str = "lid.176"
    """A name that `corpusmill models list` shows, or the path of a fastText `.bin` or `.ftz` file."""
    languages: Annotated[dict[str, Share | None], Field(min_length=1)] | None = None
    """Wanted languages (`ja`) or labels of the model (`jpn_Jpan`), each with its threshold (null: `threshold`). Null
    keeps all. A label goes before its language."""
    threshold: Share = 0.65
    """Least score of the top language, where `languages` does not say otherwise."""
    top_k: Annotated[int, Field(ge=1)] = 3
    """Labels whose scores are stored for every document; never changes which are kept."""


def _top(prediction: Prediction) -> tuple[str, float]:
    """The likeliest label and its score; none and 0 where the model knows nothing of what the text holds."""
    return (prediction.labels[0], prediction.scores[0]) if prediction.labels else ("", 0.0)


class LanguageStage(DocumentStage[LanguageConfig]):
    """Adds `language` and `language_score`; removes what is uncertain or unwanted."""

    name = "language"
    version = 2
    packages = fasttext_model.PACKAGES
    Config = LanguageConfig
    output_schema = documents.DOCUMENT_WITH_LANGUAGE
    score_names: ClassVar[tuple[str, ...]] = ("language_score",)
    threshold_keys: ClassVar[frozenset[str]] = frozenset({"languages", "threshold"})
    expected_share: ClassVar[Mapping[str, float]] = {"language_score": 0.25}
    """Largest share of its input that each rule removes on a normal crawl (`language` may remove nearly all)."""

    def resource_files(self) -> Sequence[str]:
        """The model's file."""
        return (models.find(self.config.model),)

    def bounds(self, language: str) -> Sequence[Bound]:
        """The rule for documents in `language` that is a threshold."""
        return [Bound("language_score", "language_score", "<", self._threshold(language, language), "threshold")]

    def judge(self, scores: pa.Table) -> list[Broken | None]:
        """The first rule that each row of a table of scores breaks, None for documents that stay."""
        judged: list[Broken | None] = []
        columns = (scores.column(name).to_pylist() for name in ("language", "language_score", "labels"))
        for language, score, labels in zip(*columns, strict=True):
            label = labels[0] if labels else ""
            threshold = self._threshold(label, language)
            if score < threshold:
                judged.append(Broken("language_score", score, threshold, label))
            elif not self._is_wanted(label, language):
                judged.append(Broken("language", score, None, label))
            else:
                judged.append(None)
        return judged

    def process(self, table: pa.Table) -> StageResult:
        """Identifies every document's language; see the module for the rules."""
        model = fasttext_model.load(models.find(self.config.model))
        self._check_languages(model)
        texts: list[str] = table.column("text").to_pylist()
        found = model.predict(texts, self.config.top_k, SCORE_DECIMALS)
        languages = [normalised(label) for label, _ in map(_top, found)]
        best = [score for _, score in map(_top, found)]
        scores = pa.table(
            [
                table.column("doc_id").combine_chunks(),
                pa.array(languages, pa.string()),
                pa.array([len(text) for text in texts], pa.int64()),
                pa.array(best, pa.float64()),
                pa.array([prediction.labels for prediction in found], pa.list_(pa.string())),
                pa.array([prediction.scores for prediction in found], pa.list_(pa.float64())),
            ],
            schema=SCORES,
        )
        verdicts = Verdicts(self.name, table)
        for row, broken in enumerate(self.judge(scores)):
            if broken is not None:
                rule, value, threshold, detail = broken
                verdicts.remove(row, rule, value=value, threshold=threshold, detail=detail, text=texts[row])
        surviving = pa.array(verdicts.surviving, pa.int64())
        kept = table.take(surviving)
        for field, values in zip(documents.LANGUAGE_FIELDS, (languages, best), strict=True):
            kept = kept.append_column(field, pa.array(values, field.type).take(surviving))
        return verdicts.result(kept, scores=scores)

    def _threshold(self, label: str, language: str) -> float:
        wanted = self.config.languages or {}
        own = wanted.get(label, wanted.get(language))
        return self.config.threshold if own is None else own

    def _is_wanted(self, label: str, language: str) -> bool:
        wanted = self.config.languages
        return wanted is None or label in wanted or language in wanted

    def _check_languages(self, model: FastTextModel) -> None:
        known = {*model.labels, *map(normalised, model.labels)}
        for language in self.config.languages or {}:
            if language not in known:
                near = difflib.get_close_matches(language, sorted(known), n=3, cutoff=0.3)
                raise ConfigError(
                    "the language model does not know this language",
                    where="stages.language.languages",
                    value=language,
                    remedy=f"use a code such as {', '.join(near or sorted(known)[:3])}",
                )
