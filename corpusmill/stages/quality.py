"""Document-wise filtering: the quality rules of Gopher, section A1.1 (Rae et al. 2021), used by RefinedWeb G.2."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator

from corpusmill.core import characters
from corpusmill.core import words as text_words
from corpusmill.core.verdicts import StageResult, Verdicts
from corpusmill.core.words import CodePoints, Spans
from corpusmill.stages.base import DocumentStage, StageConfig

Score = Literal[
    "words",
    "mean_word_length",
    "hash_ratio",
    "ellipsis_ratio",
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
    ("bullet_lines", "bullet_lines", "max_bullet_lines"),
    ("ellipsis_lines", "ellipsis_lines", "max_ellipsis_lines"),
    ("alphabetic_words", "alphabetic_words", "min_alphabetic_words"),
    ("stop_words", "stop_words", "min_stop_words"),
)

BULLETS: Final = "•●○◦‣⁃▪▫■□◆◇▶►・･·*-"
_ELLIPSIS = re.compile(r"\.{3,}|…+")

Count = Annotated[int, Field(ge=0)] | None  # None: the rule is off
Number = Annotated[float, Field(ge=0)] | None
Fraction = Annotated[float, Field(ge=0, le=1)] | None

_STOP_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "en": ("the", "be", "to", "of", "and", "that", "have", "with"),
    "ja": ("の", "に", "を", "は", "た", "て", "が", "と", "で", "年", "し", "月", "れ", "さ"),
}


def _built_in() -> dict[str, dict[Limit, Number]]:
    letters_are_words = sorted(text_words.UNSPACED - {"ja"})
    return {
        "ja": {"min_mean_word_length": 1, "max_mean_word_length": 6, "min_alphabetic_words": 0.759},
        **{language: {"min_mean_word_length": None} for language in letters_are_words},
    }


class QualityConfig(StageConfig):
    """Limits: a document goes when a score is below a minimum or above a maximum. null switches a rule off.

    stop_words: the rule is applied to the languages that have a list here, and to no others. A list given here
        replaces the built-in one of its language (en: Gopher's; ja: FineWeb-2's for jpn_Jpan without "・", which is no
        word here); an empty list switches the rule off for its language.
    languages: limits that differ in a language, by language code, laid over the built-in ones: Japanese has those of
        FineWeb-2 for jpn_Jpan; the other languages without spaces, whose words are single letters here, have no
        minimum of the mean word length.
    """

    min_words: Count = 50
    max_words: Count = 100_000
    min_mean_word_length: Number = 3
    max_mean_word_length: Number = 10
    max_hash_ratio: Number = 0.1
    max_ellipsis_ratio: Number = 0.1
    max_bullet_lines: Fraction = 0.9
    max_ellipsis_lines: Fraction = 0.3
    min_alphabetic_words: Fraction = 0.8
    min_stop_words: Count = 2
    stop_words: dict[str, tuple[str, ...]] = Field(default={})
    languages: dict[str, dict[Limit, Number]] = Field(default={})

    @field_validator("stop_words")
    @classmethod
    def _with_built_in(cls, given: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        return dict(sorted({**_STOP_WORDS, **given}.items()))

    @field_validator("languages")
    @classmethod
    def _over_built_in(cls, given: dict[str, dict[Limit, Number]]) -> dict[str, dict[Limit, Number]]:
        built_in = _built_in()
        return {code: {**built_in.get(code, {}), **given.get(code, {})} for code in sorted({*built_in, *given})}

    def limit(self, limit: Limit, language: str) -> float | None:
        """The value of `limit` for documents in `language`; None when the rule is off."""
        value: float | None = self.languages.get(language, {}).get(limit, getattr(self, limit))
        return value


class StopWords:
    """Counts which words of a list a text holds.

    A word of the text matches as it is, capitalised or in capitals; punctuation at its ends is left aside ("that,").
    """

    def __init__(self, listed: tuple[str, ...]) -> None:
        forms = {form: i for i, word in enumerate(listed) for form in (word, word.capitalize(), word.upper())}
        joined = "".join(forms)
        ends = np.cumsum([len(form) for form in forms], dtype=np.int64)
        starts = ends - np.array([len(form) for form in forms], dtype=np.int64)
        self._hashes = Spans(starts, ends).hashes(text_words.codepoints(joined))
        self._word = np.array(list(forms.values()), dtype=np.int64)

    def distinct(self, points: CodePoints, words: Spans) -> int:
        """How many different words of the list occur among `words` (without outer punctuation) of `points`."""
        held = np.isin(self._hashes, words.hashes(points))
        return len(np.unique(self._word[held]))


def scores(text: str, language: str, stop_words: StopWords | None = None) -> dict[Score, float]:
    """The eight scores of `text`; a text without words is divided by one word, one without lines by one line.

    Words are those of core/words.py: between whitespace, punctuation attached, where the language writes spaces;
    morphemes in Japanese. Lines are those that are not blank, without their outer whitespace.

    - words: how many.
    - mean_word_length: code points.
    - hash_ratio, ellipsis_ratio: occurrences of "#" ("＃") and of ellipses a word. An ellipsis is three or more dots or
      one or more "…". [DEVIATION from datatrove: "……", the usual form in Japanese, is one] Judged one by one, as in the
      paper; DCLM adds them up.
    - bullet_lines: share of lines that start with one of BULLETS. [paper: "a bullet point"; datatrove: • and -]
    - ellipsis_lines: share of lines that end with "..." or "…".
    - alphabetic_words: share of words that hold a letter (Unicode category L).
    - stop_words: how many different words of the list occur, as in datatrove; DCLM counts occurrences. Only where a
      list is given.

    [DEVIATION from datatrove and DCLM] Both split off punctuation. In datatrove a punctuation mark then is a word
    without a letter, which uses up what the alphabetic rule allows.
    """
    points = text_words.codepoints(text)
    words = text_words.words(text, language)
    classes = characters.classes(points)
    lines = text_words.lines(text).texts(text)
    num_words, num_lines = max(1, len(words)), max(1, len(lines))
    letters = characters.counts(classes, characters.LETTER, words.starts, words.ends)
    values: dict[Score, float] = {
        "words": len(words),
        "mean_word_length": int(words.lengths.sum()) / num_words,
        "hash_ratio": (text.count("#") + text.count("＃")) / num_words,
        "ellipsis_ratio": len(_ELLIPSIS.findall(text)) / num_words,
        "bullet_lines": sum(line[0] in BULLETS for line in lines) / num_lines,
        "ellipsis_lines": sum(line.endswith(("...", "…")) for line in lines) / num_lines,
        "alphabetic_words": int(np.count_nonzero(letters)) / num_words,
    }
    if stop_words is not None:
        values["stop_words"] = stop_words.distinct(points, text_words.without_outer_punctuation(words, classes))
    return values


def verdict(values: Mapping[Score, float], language: str, config: QualityConfig) -> tuple[str, float, float] | None:
    """The first rule, in the order of RULES, that `values` break: (rule, value, limit), or None."""
    for rule, score, limit_name in RULES:
        limit = config.limit(limit_name, language)
        if limit is None or score not in values:
            continue
        value = values[score]
        if value < limit if limit_name.startswith("min_") else value > limit:
            return rule, value, limit
    return None


class Quality(DocumentStage[QualityConfig]):
    """Removes documents that do not read like prose; see `scores` for what is measured and RULES for the rules."""

    name = "quality"
    version = 1
    packages = text_words.PACKAGES
    Config = QualityConfig

    def __init__(self, config: QualityConfig) -> None:
        super().__init__(config)
        self._stop_words = {code: StopWords(listed) for code, listed in config.stop_words.items() if listed}

    def process(self, table: pa.Table) -> StageResult:
        """Removes a row under the first rule it breaks; needs the columns `text` and `language`."""
        verdicts = Verdicts(self.name, table)
        rows = zip(table.column("text").to_pylist(), table.column("language").to_pylist(), strict=True)
        for row, (text, language) in enumerate(rows):
            values = scores(text, language, self._stop_words.get(language))
            found = verdict(values, language, self.config)
            if found:
                rule, value, limit = found
                verdicts.remove(row, rule, value=value, threshold=limit, text=text)
        return verdicts.result()
