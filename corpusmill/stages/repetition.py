"""Repetition removal: the thirteen rules of Gopher, Table A1 (Rae et al. 2021), used by RefinedWeb G.2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal, get_args

from pydantic import Field, field_validator

from corpusmill.core import words as text_words
from corpusmill.core.text import Text
from corpusmill.stages.base import StageConfig
from corpusmill.stages.ngrams import duplicates, ngram_characters
from corpusmill.stages.scored import Bound, Measured, ScoredStage

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
RULES: Final[tuple[Rule, ...]] = get_args(Rule)

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


def _built_in() -> dict[str, dict[Rule, Threshold]]:
    letters_are_words = sorted(text_words.UNSPACED - {"ja"})
    return {"ja": dict(_JAPANESE), **{language: dict(_LETTERS_ARE_WORDS) for language in letters_are_words}}


class RepetitionConfig(StageConfig):
    """Thresholds: a document goes when a score is greater. null switches a rule off.

    languages: thresholds that differ in a language, by language code. What is given here is laid over the built-in
        values: Japanese has those of FineWeb-2 for jpn_Jpan; in the other languages without spaces, whose words are
        single letters here, duplicate n-grams are not judged.
    """

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

    @field_validator("languages")
    @classmethod
    def _over_built_in(cls, given: dict[str, dict[Rule, Threshold]]) -> dict[str, dict[Rule, Threshold]]:
        built_in = _built_in()
        return {code: {**built_in.get(code, {}), **given.get(code, {})} for code in sorted({*built_in, *given})}

    def threshold(self, rule: Rule, language: str) -> Threshold:
        """The threshold of `rule` for documents in `language`; None when the rule is off."""
        threshold: Threshold = self.languages.get(language, {}).get(rule, getattr(self, rule))
        return threshold


def scores(text: Text) -> list[float]:
    """The thirteen scores of `text`, each 0..1, in the order of Table A1; 0 for a text without words.

    - A line or paragraph (core/words.py: blank ones left out, outer whitespace stripped) is a duplicate when it is a
      copy of an earlier one in the document; the first is not counted. The fraction is of lines (paragraphs), the
      character fraction of the characters in lines (paragraphs). A document of one paragraph has no duplicates.
    - Top n-gram, n = 2, 3, 4: the most frequent n-gram, if it occurs at least twice; of equally frequent ones that
      which covers the most characters. The score is the share of word characters inside its occurrences.
    - Duplicate n-grams, n = 5..10: the share of word characters inside n-grams that are copies of an earlier one;
      a character counts once, however n-grams overlap.

    The paper gives the thresholds, not these details; datatrove and DCLM differ from each other. Here:
    [CHOICE] copies only, as datatrove; DCLM counts the first occurrence too. Counting it takes out 18 instead of 6 of
        436 English main texts marked by hand, and the thresholds for Japanese were fitted to copies only.
    [CHOICE] denominators hold no whitespace, as DCLM; datatrove divides by len(text).
    [CHOICE] n-grams that occur once have no top, as DCLM; datatrove counts them.
    [DEVIATION from both] overlapping occurrences of the top n-gram count once ("contained within"), so that no
        score exceeds 1. [DEVIATION from datatrove] duplicate n-grams are the exact union, not a greedy scan that jumps
        n words on, and words are compared as words, not joined without a separator.
    """
    values = [0.0] * len(RULES)
    for i, items in enumerate((text.lines, text.paragraphs)):
        copies, characters = duplicates(items.hashes(text.points), items.lengths)
        if copies:
            values[i] = copies / len(items)
            values[i + 2] = characters / int(items.lengths.sum())
    if len(text.words):
        covered = ngram_characters(text.word_hashes, text.words.lengths)
        values[4:] = (covered / text.words.lengths.sum()).tolist()
    return values


class Repetition(ScoredStage[RepetitionConfig]):
    """Removes documents in which lines, paragraphs or n-grams repeat; see `scores` for the rules.

    A document goes under the first rule of Table A1 that it breaks.
    """

    name = "repetition"
    version = 2
    packages = text_words.PACKAGES
    Config = RepetitionConfig
    score_names = RULES
    threshold_keys = frozenset({*RULES, "languages"})

    def measure(self, text: Text) -> Measured:
        """The thirteen scores."""
        return Measured(scores(text))

    def bounds(self, language: str) -> Sequence[Bound]:
        """The rules that are on in `language`, in the order of Table A1."""
        limits = [(rule, self.config.threshold(rule, language)) for rule in RULES]
        return [Bound(rule, rule, ">", limit, rule) for rule, limit in limits if limit is not None]
