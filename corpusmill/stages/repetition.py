"""Repetition removal: the thirteen rules of Gopher, Table A1 (Rae et al. 2021), used by RefinedWeb G.2.

stages/repetition_scores.py measures, in one of three readings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, ClassVar, Final, Literal, get_args

from pydantic import Field

from corpusmill.core import word_break
from corpusmill.core import words as text_words
from corpusmill.core.text import Text
from corpusmill.stages import repetition_scores
from corpusmill.stages.repetition_scores import Scores
from corpusmill.stages.scored import Bound, LimitsConfig, Measured, ScoredStage

Rule = Literal[
    "duplicate_line_fraction",
    "duplicate_paragraph_fraction",
    "duplicate_line_character_fraction",
    "duplicate_paragraph_character_fraction",
    "top_2_gram_character_fraction",
    "top_3_gram_character_fraction",
    "top_4_gram_character_fraction",
    "duplicate_5_gram_character_fraction",
    "duplicate_6_gram_character_fraction",
    "duplicate_7_gram_character_fraction",
    "duplicate_8_gram_character_fraction",
    "duplicate_9_gram_character_fraction",
    "duplicate_10_gram_character_fraction",
]
RULES: Final[tuple[Rule, ...]] = get_args(Rule)  # in the order of Table A1: the first broken rule is reported

Variant = Literal["paper", "datatrove", "dclm"]
_READINGS: Final[dict[Variant, Callable[[Text], Scores]]] = {
    "paper": repetition_scores.paper,
    "datatrove": repetition_scores.datatrove,
    "dclm": repetition_scores.dclm,
}
# datatrove looks at paragraphs first, at fraction and characters together.
_DATATROVE_ORDER: Final = (RULES[1], RULES[3], RULES[0], RULES[2], *RULES[4:])

Fraction = Annotated[float, Field(ge=0, le=1)]
Threshold = Fraction | None  # None: the rule is off

_JAPANESE: Final[dict[Rule, Threshold]] = {
    "duplicate_line_fraction": 0.328,
    "duplicate_paragraph_fraction": None,
    "duplicate_line_character_fraction": None,
    "duplicate_paragraph_character_fraction": None,
    "top_2_gram_character_fraction": 0.239,
    "top_3_gram_character_fraction": 0.196,
    "top_4_gram_character_fraction": 0.172,
    "duplicate_5_gram_character_fraction": 0.243,
    "duplicate_6_gram_character_fraction": 0.225,
    "duplicate_7_gram_character_fraction": 0.207,
    "duplicate_8_gram_character_fraction": 0.19,
    "duplicate_9_gram_character_fraction": 0.175,
    "duplicate_10_gram_character_fraction": 0.159,
}
# Where every letter is a word, five words are a word or three: that they occur twice says nothing.
_LETTERS_ARE_WORDS: Final[dict[Rule, Threshold]] = dict.fromkeys(RULES[7:])


_BUILT_IN: Final = {
    "ja": _JAPANESE,
    **dict.fromkeys(sorted(text_words.UNSPACED - {"ja"}), _LETTERS_ARE_WORDS),
}


class RepetitionConfig(LimitsConfig):
    """Thresholds: a document goes when a score is greater. null switches a rule off.

    variant: how the scores are read (stages/repetition_scores.py): "paper" is the project's own reading of Gopher and
        RefinedWeb, "datatrove" and "dclm" are the definitions of these implementations. The thresholds are the same.
    languages: thresholds that differ in a language, by language code. What is given here is laid over the built-in
        values: Japanese has those of FineWeb-2 for jpn_Jpan; in the other languages without spaces, whose words are
        single letters here, duplicate n-grams are not judged.
    """

    built_in = _BUILT_IN

    variant: Variant = "paper"
    duplicate_line_fraction: Threshold = 0.30
    duplicate_paragraph_fraction: Threshold = 0.30
    duplicate_line_character_fraction: Threshold = 0.20
    duplicate_paragraph_character_fraction: Threshold = 0.20
    top_2_gram_character_fraction: Threshold = 0.20
    top_3_gram_character_fraction: Threshold = 0.18
    top_4_gram_character_fraction: Threshold = 0.16
    duplicate_5_gram_character_fraction: Threshold = 0.15
    duplicate_6_gram_character_fraction: Threshold = 0.14
    duplicate_7_gram_character_fraction: Threshold = 0.13
    duplicate_8_gram_character_fraction: Threshold = 0.12
    duplicate_9_gram_character_fraction: Threshold = 0.11
    duplicate_10_gram_character_fraction: Threshold = 0.10
    languages: dict[str, dict[Rule, Threshold]] = Field(default={})


class Repetition(ScoredStage[RepetitionConfig]):
    """Removes documents in which lines, paragraphs or n-grams repeat; see stages/repetition_scores.py for the rules.

    A document goes under the first rule that it breaks: in the order of Table A1; in datatrove's variant both rules of
    paragraphs come before those of lines.

    expected_share: a rule removes up to 2 % of the main texts of the shared sample, 5-grams up to 10 % of the Japanese
        and up to 24 % of pages of manuals. Dolma 3 loses 12 % to repetition as a whole; RefinedWeb loses half of its
        input to all filters after the language. The bands leave room for the pages of a crawl.
    """

    name = "repetition"
    version = 3
    packages = (*text_words.PACKAGES, *word_break.PACKAGES)
    Config = RepetitionConfig
    score_names = RULES
    threshold_keys = frozenset({*RULES, "languages"})
    expected_share: ClassVar[Mapping[str, float]] = {
        **dict.fromkeys(RULES, 0.05),
        "duplicate_line_fraction": 0.15,
        "duplicate_paragraph_fraction": 0.10,
        "duplicate_line_character_fraction": 0.10,
        "duplicate_paragraph_character_fraction": 0.10,
        "duplicate_5_gram_character_fraction": 0.20,
    }

    def __init__(self, config: RepetitionConfig) -> None:
        super().__init__(config)
        self._read = _READINGS[config.variant]

    def measure(self, text: Text) -> Measured:
        """The thirteen scores."""
        return Measured(self._read(text).tolist())

    def bounds(self, language: str) -> Sequence[Bound]:
        """The rules that are on in `language`, in the order in which they are reported."""
        order = _DATATROVE_ORDER if self.config.variant == "datatrove" else RULES
        limits = [(rule, self.config.limit(rule, language)) for rule in order]
        return [Bound(rule, rule, ">", limit, rule) for rule, limit in limits if limit is not None]
