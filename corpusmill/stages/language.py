"""Language identification, and the documents of the wanted languages.

RefinedWeb (arXiv 2306.01116, section 3.1) uses CCNet's fastText classifier at document level (lid.176, character
n-grams, 176 languages) and removes "documents for which the top language scores below 0.65"; then it keeps English.
Rules, in this order:

    language_score   top language's score below the threshold (0.65, or that of the language)
    language         top language is not among the wanted ones
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any

import pyarrow as pa
from pydantic import Field

from corpusmill.core import documents, models
from corpusmill.core.errors import ConfigError
from corpusmill.core.verdicts import StageResult, Verdicts
from corpusmill.stages.base import DocumentStage, StageConfig

_PREFIX = "__label__"
_SCORE_DECIMALS = 4
Share = Annotated[float, Field(ge=0, le=1)]


class LanguageConfig(StageConfig):
    """Which languages are kept, and how sure the classifier must be."""

    model: str = "lid.176"
    """A name that `corpusmill models list` shows, or the path of a fastText `.bin` or `.ftz` file."""
    languages: Annotated[dict[str, Share | None], Field(min_length=1)] | None = None
    """Wanted languages, as the model names them, each with its threshold (null: `threshold`). Null keeps all."""
    threshold: Share = 0.65
    """Least score of the top language, where `languages` does not say otherwise."""


class LanguageModel:
    """A fastText classifier of languages. `path` is that of a local `.bin` or `.ftz` file."""

    def __init__(self, path: str) -> None:
        import fasttext

        try:
            self._model: Any = fasttext.load_model(path)
        except ValueError as error:
            raise ConfigError("not a fastText model", where=path, value=str(error)) from error
        self.languages = sorted(label.removeprefix(_PREFIX) for label in self._model.get_labels())

    def identify(self, text: str) -> tuple[str, float]:
        """Top language and its score in 0..1, rounded to 4 decimals, below which the sums of floats differ by machine.

        fastText reads one line, so line feeds become blanks.
        """
        # The list form: that for one string fails with numpy 2 in other builds of the library.
        labels, scores = self._model.predict([text.replace("\n", " ")], k=1)
        return labels[0][0].removeprefix(_PREFIX), min(1.0, round(float(scores[0][0]), _SCORE_DECIMALS))


@lru_cache(maxsize=4)
def load(path: str) -> LanguageModel:
    """The model at `path`, read once in a process."""
    return LanguageModel(path)


class LanguageStage(DocumentStage[LanguageConfig]):
    """Adds `language` and `language_score`; removes what is uncertain or unwanted."""

    name = "language"
    version = 1
    packages = ("fasttext-community",)
    Config = LanguageConfig
    output_schema = documents.DOCUMENT_WITH_LANGUAGE

    def resource_files(self) -> Sequence[str]:
        """The model's file."""
        return (models.find(self.config.model),)

    def process(self, table: pa.Table) -> StageResult:
        """Identifies every document's language; see the module for the rules."""
        model = load(models.find(self.config.model))
        self._check_languages(model)
        wanted = self.config.languages
        verdicts = Verdicts(self.name, table)
        languages: list[str] = []
        scores: list[float] = []
        for row, text in enumerate(table["text"].to_pylist()):
            language, score = model.identify(text)
            threshold = (wanted or {}).get(language)
            if threshold is None:
                threshold = self.config.threshold
            if score < threshold:
                verdicts.remove(row, "language_score", value=score, threshold=threshold, detail=language, text=text)
            elif wanted is not None and language not in wanted:
                verdicts.remove(row, "language", value=score, detail=language, text=text)
            else:
                languages.append(language)
                scores.append(score)
        kept = table.take(pa.array(verdicts.surviving, pa.int64()))
        for field, values in zip(documents.LANGUAGE_FIELDS, (languages, scores), strict=True):
            kept = kept.append_column(field, pa.array(values, field.type))
        return verdicts.result(kept)

    def _check_languages(self, model: LanguageModel) -> None:
        for language in self.config.languages or {}:
            if language not in model.languages:
                near = difflib.get_close_matches(language, model.languages, n=3, cutoff=0.3)
                raise ConfigError(
                    "the language model does not know this language",
                    where="stages.language.languages",
                    value=language,
                    remedy=f"use a code that the model gives, such as {', '.join(near or model.languages[:3])}",
                )
