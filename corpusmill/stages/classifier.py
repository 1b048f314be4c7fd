"""A quality classifier: a fastText model says how likely a text is of the wanted kind; those below a threshold go.

DCLM (arXiv 2406.11794, section 4.4) trains fastText on instructions and well-explained answers (label `hq`) against
pages of the crawl (`cc`) and keeps the tenth of the pages that scores best: for its own model, P(hq) >= 0.018112. Such
a number belongs to its model: for another one give a percentile, which is looked up in the model's card
(stages/classifier_card.py). `corpusmill classifier train` makes models, any other of fastText works by its path.

    missing_language   there is no model for the document's language, and `missing_languages` is `remove`
    classifier_score   probability of the label below the threshold

What the model reads: where the language writes spaces, the text with line breaks as blanks, as DCLM does; elsewhere the
words of core/words.py, blanks between them, for fastText would take a sentence for one word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from corpusmill.core import fasttext_model, models
from corpusmill.core import words as text_words
from corpusmill.core.errors import ConfigError
from corpusmill.core.languages import LABEL_PREFIX
from corpusmill.core.text import Text
from corpusmill.stages.base import StageConfig
from corpusmill.stages.classifier_card import SCORE_DECIMALS, card_path, read_card
from corpusmill.stages.scored import Bound, Measured, ScoredStage

CLASSIFIER_SCORE: Final = "classifier_score"  # probability of the wanted label, 0..1; NaN without a model
_NONE: Final = float("nan")


def document_line(text: Text) -> str:
    """What a classifier reads of a text; see the module."""
    if text_words.writes_spaces(text.language):
        return text.string
    return " ".join(text.words.texts(text.string))


class Cutoff(StageConfig):
    """Where a language's threshold lies: a score, or the share of documents that is kept, in percent."""

    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    percentile: Annotated[float, Field(gt=0, le=100)] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.threshold is not None and self.percentile is not None:
            raise ValueError("give either `threshold` or `percentile`")
        return self

    @property
    def is_given(self) -> bool:
        """Whether there is one."""
        return self.threshold is not None or self.percentile is not None


class Classifier(StageConfig):
    """A model and the label that is wanted.

    model: path of a fastText `.bin` or `.ftz` file.
    label: with or without `__label__`.
    """

    model: str
    label: str = "hq"


class ClassifierConfig(Cutoff):
    """Models and thresholds.

    model, label: the model for all languages that `models` does not name; null: for none.
    models: models by language.
    threshold: least probability of the label, 0..1.
    percentile: share of documents that is kept, in percent, by the quantiles in the model's card.
    languages: thresholds that differ in a language.
    missing_languages: what becomes of documents in languages without a model.
    """

    model: str | None = None
    label: str = "hq"
    models: dict[str, Classifier] = Field(default={})
    languages: dict[str, Cutoff] = Field(default={})
    missing_languages: Literal["keep", "remove"] = "keep"

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.model is None and not self.models:
            raise ValueError("give a `model`, or `models` by language")
        if self.model is not None and not self.is_given:
            raise ValueError("give `threshold` or `percentile`")
        for language in sorted({*self.models, *self.languages}):
            if self.classifier(language) is None:
                raise ValueError(f"`languages` names {language}, for which there is no model")
            if not self.cutoff(language).is_given:
                raise ValueError(f"give `threshold` or `percentile` for {language}")
        return self

    def classifier(self, language: str) -> Classifier | None:
        """The model for documents in `language`, None if there is none."""
        default = Classifier(model=self.model, label=self.label) if self.model is not None else None
        return self.models.get(language, default)

    def cutoff(self, language: str) -> Cutoff:
        """Where the threshold for documents in `language` lies."""
        own = self.languages.get(language)
        return own if own is not None and own.is_given else self


def wanted_label(model: fasttext_model.FastTextModel, classifier: Classifier) -> str:
    """The label as the model names it. ConfigError when the model does not know it."""
    label = classifier.label.removeprefix(LABEL_PREFIX)
    if label not in model.labels:
        raise ConfigError(
            "the classifier does not know this label",
            where=classifier.model,
            value=label,
            remedy=f"its labels: {', '.join(model.labels)}",
        )
    return label


def score(model: fasttext_model.FastTextModel, label: str, text: Text) -> float:
    """Probability of `label`, 0..1; NaN where the model knows nothing of what the text holds."""
    (prediction,) = model.predict([document_line(text)], len(model.labels), SCORE_DECIMALS)
    return dict(zip(prediction.labels, prediction.scores, strict=True)).get(label, _NONE)


class ClassifierStage(ScoredStage[ClassifierConfig]):
    """Removes what a classifier finds unlike the wanted texts; see the module."""

    name = "classifier"
    version = 1
    packages = (*fasttext_model.PACKAGES, *text_words.PACKAGES)
    Config = ClassifierConfig
    score_names = ("has_model", CLASSIFIER_SCORE)
    threshold_keys = frozenset({"threshold", "percentile", "languages", "missing_languages"})
    expected_share: ClassVar[Mapping[str, float]] = {"missing_language": 0.5}

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__(config)
        self._limits: dict[tuple[str, float], float] = {}  # by model and percentile; a card is read once

    def resource_files(self) -> Sequence[str]:
        """The models, and the cards of those whose percentile counts."""
        files = []
        for language in ("", *self.config.models):
            classifier = self.config.classifier(language)
            if classifier is not None:
                model = models.find(classifier.model)
                files += [model, *([card_path(model)] if self.config.cutoff(language).percentile is not None else [])]
        by_percentile = [
            language for language, cutoff in self.config.languages.items() if cutoff.percentile is not None
        ]
        files += [card_path(c.model) for language in by_percentile if (c := self.config.classifier(language))]
        return list(dict.fromkeys(files))

    def measure(self, text: Text) -> Measured:
        """Whether there is a model for the text's language, 1 or 0, and the probability of the label."""
        classifier = self.config.classifier(text.language)
        if classifier is None:
            return Measured([0, _NONE])
        model = fasttext_model.load(models.find(classifier.model))
        return Measured([1, score(model, wanted_label(model, classifier), text)])

    def bounds(self, language: str) -> Sequence[Bound]:
        """The two rules of the module."""
        classifier = self.config.classifier(language)
        if classifier is None:
            missing = Bound("missing_language", "has_model", "<", 1, "missing_languages")
            return [missing] if self.config.missing_languages == "remove" else []
        cutoff = self.config.cutoff(language)
        if cutoff.threshold is not None:
            return [Bound("classifier_score", "classifier_score", "<", cutoff.threshold, "threshold")]
        assert cutoff.percentile is not None  # the config is complete
        limit = self._quantile(classifier, cutoff.percentile)
        return [Bound("classifier_score", "classifier_score", "<", limit, "percentile")]

    def _quantile(self, classifier: Classifier, percentile: float) -> float:
        key = (classifier.model, percentile)
        if key not in self._limits:
            card = read_card(models.find(classifier.model))
            label = classifier.label.removeprefix(LABEL_PREFIX)
            if card is None or card.quantiles is None or card.quantiles.label != label:
                raise ConfigError(
                    "a percentile needs the scores of a sample, and the model's card has none of this label",
                    where=card_path(classifier.model),
                    value=label,
                    remedy=f"corpusmill classifier calibrate {classifier.model} RUN --label {label}",
                )
            self._limits[key] = card.quantiles.threshold(percentile)
        return self._limits[key]
