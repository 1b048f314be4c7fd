"""Repetition removal: the thirteen rules of Gopher, Table A1 (Rae et al. 2021), used by RefinedWeb G.2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal, get_args

import pyarrow as pa
from pydantic import Field, field_validator

from corpusmill.core import words as text_words
from corpusmill.core.verdicts import StageResult, Verdicts
from corpusmill.stages.base import DocumentStage, StageConfig
from corpusmill.stages.ngrams import duplicates, ngram_characters

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


def scores(text: str, language: str) -> dict[Rule, float]:
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
    points = text_words.codepoints(text)
    lines, paragraphs, words = text_words.lines(text), text_words.paragraphs(text), text_words.words(text, language)
    values = [0.0] * len(RULES)
    for i, items in enumerate((lines, paragraphs)):
        copies, characters = duplicates(items.hashes(points), items.lengths)
        if copies:
            values[i] = copies / len(items)
            values[i + 2] = characters / int(items.lengths.sum())
    if len(words):
        covered = ngram_characters(words.hashes(points), words.lengths)
        values[4:] = (covered / words.lengths.sum()).tolist()
    return dict(zip(RULES, values, strict=True))


def verdict(values: Mapping[Rule, float], language: str, config: RepetitionConfig) -> tuple[Rule, float, float] | None:
    """The first rule of Table A1 whose threshold is exceeded: (rule, value, threshold), or None."""
    for rule in RULES:
        threshold = config.threshold(rule, language)
        if threshold is not None and values[rule] > threshold:
            return rule, values[rule], threshold
    return None


class Repetition(DocumentStage[RepetitionConfig]):
    """Removes documents in which lines, paragraphs or n-grams repeat; see `scores` for the rules."""

    name = "repetition"
    version = 1
    packages = text_words.PACKAGES
    Config = RepetitionConfig

    def process(self, table: pa.Table) -> StageResult:
        """Removes a row under the first rule it breaks; needs the columns `text` and `language`."""
        verdicts = Verdicts(self.name, table)
        rows = zip(table.column("text").to_pylist(), table.column("language").to_pylist(), strict=True)
        for row, (text, language) in enumerate(rows):
            found = verdict(scores(text, language), language, self.config)
            if found:
                rule, value, threshold = found
                verdicts.remove(row, rule, value=value, threshold=threshold, text=text)
        return verdicts.result()
