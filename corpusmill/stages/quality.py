"""Document-wise filtering: the quality rules of Gopher, section A1.1 (Rae et al. 2021), used by RefinedWeb G.2.

stages/quality_scores.py measures, in one of three readings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal, get_args

from pydantic import Field, field_validator, model_validator

from corpusmill.core import word_break
from corpusmill.core import words as text_words
from corpusmill.core.text import Text
from corpusmill.stages import quality_scores
from corpusmill.stages.quality_scores import Scores
from corpusmill.stages.scored import Bound, LimitsConfig, Measured, ScoredStage
from corpusmill.stages.stop_words import Forms, StopWords

Score = Literal[
    "words",
    "mean_word_length",
    "hash_ratio",
    "ellipsis_ratio",
    "symbol_ratio",
    "bullet_lines",
    "ellipsis_lines",
    "alphabetic_words",
    "stop_words",
]
Limit = Literal[
    "min_words",
    "max_words",
    "min_mean_word_length",
    "max_mean_word_length",
    "max_hash_ratio",
    "max_ellipsis_ratio",
    "max_symbol_ratio",
    "max_bullet_lines",
    "max_ellipsis_lines",
    "min_alphabetic_words",
    "min_stop_words",
]
# Rule, the score it judges, the limit in the config. In the order of the paper: the first broken rule is reported.
RULES: Final[tuple[tuple[str, Score, Limit], ...]] = (
    ("words_min", "words", "min_words"),
    ("words_max", "words", "max_words"),
    ("mean_word_length_min", "mean_word_length", "min_mean_word_length"),
    ("mean_word_length_max", "mean_word_length", "max_mean_word_length"),
    ("hash_ratio", "hash_ratio", "max_hash_ratio"),
    ("ellipsis_ratio", "ellipsis_ratio", "max_ellipsis_ratio"),
    ("symbol_ratio", "symbol_ratio", "max_symbol_ratio"),
    ("bullet_lines", "bullet_lines", "max_bullet_lines"),
    ("ellipsis_lines", "ellipsis_lines", "max_ellipsis_lines"),
    ("alphabetic_words", "alphabetic_words", "min_alphabetic_words"),
    ("stop_words", "stop_words", "min_stop_words"),
)

Variant = Literal["paper", "datatrove", "dclm"]
_READINGS: Final[dict[Variant, tuple[Callable[[Text, StopWords | None], Scores], Forms]]] = {
    "paper": (quality_scores.paper, quality_scores.PAPER_FORMS),
    "datatrove": (quality_scores.datatrove, quality_scores.DATATROVE_FORMS),
    "dclm": (quality_scores.dclm, quality_scores.DCLM_FORMS),
}

Count = Annotated[int, Field(ge=0)] | None  # None: the rule is off
Number = Annotated[float, Field(ge=0)] | None
Fraction = Annotated[float, Field(ge=0, le=1)] | None

_STOP_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "en": ("the", "be", "to", "of", "and", "that", "have", "with"),
    "ja": ("の", "に", "を", "は", "た", "て", "が", "と", "で", "年", "し", "月", "れ", "さ"),
}


_BUILT_IN: Final[dict[str, dict[Limit, Number]]] = {
    "ja": {"min_mean_word_length": 1, "max_mean_word_length": 6, "min_alphabetic_words": 0.759},
    **{language: {"min_mean_word_length": None} for language in sorted(text_words.UNSPACED - {"ja"})},
}


class QualityConfig(LimitsConfig):
    """Limits: a document goes when a score is below a minimum or above a maximum. null switches a rule off.

    variant: how the scores are read (stages/quality_scores.py): "paper" is the project's own reading of Gopher and
        RefinedWeb, "datatrove" and "dclm" are the definitions of these implementations. The limits are the same, but
        "dclm" judges "#" and ellipses together: max_symbol_ratio is 0.1 there, max_hash_ratio and max_ellipsis_ratio
        are off.
    stop_words: the rule is applied to the languages that have a list here, and to no others. A list given here
        replaces the built-in one of its language (en: Gopher's; ja: FineWeb-2's for jpn_Jpan without "・", which is no
        word here); an empty list switches the rule off for its language.
    languages: limits that differ in a language, by language code, laid over the built-in ones: Japanese has those of
        FineWeb-2 for jpn_Jpan; the other languages without spaces, whose words are single letters here, have no
        minimum of the mean word length.
    """

    built_in = _BUILT_IN

    variant: Variant = "paper"
    min_words: Count = 50
    max_words: Count = 100_000
    min_mean_word_length: Number = 3
    max_mean_word_length: Number = 10
    max_hash_ratio: Number = 0.1
    max_ellipsis_ratio: Number = 0.1
    max_symbol_ratio: Number = None
    max_bullet_lines: Fraction = 0.9
    max_ellipsis_lines: Fraction = 0.3
    min_alphabetic_words: Fraction = 0.8
    min_stop_words: Count = 2
    stop_words: dict[str, tuple[str, ...]] = Field(default={})
    languages: dict[str, dict[Limit, Number]] = Field(default={})

    @model_validator(mode="before")
    @classmethod
    def _limits_of_variant(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("variant") == "dclm":
            return {"max_hash_ratio": None, "max_ellipsis_ratio": None, "max_symbol_ratio": 0.1, **given}
        return given

    @field_validator("stop_words")
    @classmethod
    def _with_built_in(cls, given: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        return dict(sorted({**_STOP_WORDS, **given}.items()))


class Quality(ScoredStage[QualityConfig]):
    """Removes documents that do not read like prose; stages/quality_scores.py measures, RULES judge.

    A document goes under the first rule that it breaks, in the order of RULES.

    expected_share: Dolma 3 loses 64 % to its basic rules, most of it to short pages. On the main texts of the shared
        sample no other rule removes more than 6 % (stop words, of Japanese lists of links), save that datatrove's
        reading of alphabetic words removes 6 % of the English and 17 % of the texts in other languages.
    """

    name = "quality"
    version = 2
    packages = (*text_words.PACKAGES, *word_break.PACKAGES)
    Config = QualityConfig
    score_names = get_args(Score)
    threshold_keys = frozenset({*get_args(Limit), "languages"})
    expected_share: ClassVar[Mapping[str, float]] = {
        "words_min": 0.65,
        "words_max": 0.01,
        "mean_word_length_min": 0.05,
        "mean_word_length_max": 0.05,
        "hash_ratio": 0.02,
        "ellipsis_ratio": 0.02,
        "symbol_ratio": 0.03,
        "bullet_lines": 0.02,
        "ellipsis_lines": 0.10,
        "alphabetic_words": 0.25,
        "stop_words": 0.20,
    }

    def __init__(self, config: QualityConfig) -> None:
        super().__init__(config)
        self._read, forms = _READINGS[config.variant]
        self._stop_words = {code: StopWords(listed, forms) for code, listed in config.stop_words.items() if listed}

    def measure(self, text: Text) -> Measured:
        """The nine scores."""
        return Measured(self._read(text, self._stop_words.get(text.language)).tolist())

    def bounds(self, language: str) -> Sequence[Bound]:
        """The rules that are on in `language`, in the order of RULES."""
        limits = [(*rule, self.config.limit(rule[2], language)) for rule in RULES]
        return [
            Bound(rule, score, "<" if setting.startswith("min_") else ">", limit, setting)
            for rule, score, setting, limit in limits
            if limit is not None
        ]
