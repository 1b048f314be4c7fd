"""The rules of the Swallow corpus, version 1 (Okazaki et al. 2024), for Japanese; computed on characters.

Definitions and thresholds are those of the code that the corpus was made with (swallow-corpus, 2d03507), which counts
copies where its own description says otherwise. Documents in other languages are not judged.

Letters are code points of any kind. Japanese letters are hiragana, katakana, Han, 、，and 。．！？. A paragraph is a
line. A sentence is a run of characters up to 。．！？!? or the end of the line; further marks of the kind belong to
nothing.

- duplicate paragraphs and sentences: copies of an earlier one, of all; in characters likewise
- top n-gram, n = 2, 3, 4: occurrences of the most frequent one, of all occurrences
- duplicate n-grams, n = 5..10: different ones that occur more than once, of all different ones
- hiragana and katakana: of the Japanese letters; Japanese letters: of all letters
- ellipsis: sentences that end with … or ・
- words of a list that the user gives (the corpus's own is not published): their characters, for each Japanese letter

[DEVIATION] Blanks alone are neither paragraph nor sentence: in the reference code blank lines are copies of one
another, so that a text with an empty line between its paragraphs would go. [DEVIATION] Han letters beyond U+FFFF
count, as its expression means to. [DEVIATION] A text that is too short for an n-gram scores 0; the reference code fails
on it.

Two edits of the corpus's last phase, off by default. They come after the rules, as there: the scores are of the text
as it came in.

    footer        of the last ten lines, the first that consists of footer words by more than 30 %, and what follows it,
                  are cut. [DEVIATION] the words were chosen for this project.
    punctuation   where ，is more frequent than 、, it is replaced by it; ．and 。likewise. Only marks behind Japanese
                  letters and closing brackets are compared; none behind full-width letters and digits is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal, NamedTuple

import numpy as np
from pydantic import Field

from corpusmill.core import words
from corpusmill.core.characters import SPACE
from corpusmill.core.documents import Cut
from corpusmill.core.hashing import Int64Array, UInt64Array
from corpusmill.core.text import Text
from corpusmill.core.words import CodePoints, Spans
from corpusmill.stages import character_ngrams, phrases
from corpusmill.stages.base import StageConfig
from corpusmill.stages.ngrams import duplicates
from corpusmill.stages.scored import Bound, Measured, Removes, ScoredStage

LANGUAGE: Final = "ja"
_FOOTER_LIST = str(Path(__file__).parent / "lists" / "swallow_footer.txt")
_FOOTER_LINES, _FOOTER_SHARE = 10, 0.3
_BEFORE_PUNCTUATION = "）」』］〕】〉》\u3041-\u3096\u30a1-\u30fa々〇〻\u3400-\u9fff\uf900-\ufaff\U00020000-\U0002ffff"
_FULL_WIDTH = "０-９Ａ-Ｚａ-ｚ"

Fraction = Annotated[float, Field(ge=0, le=1)] | None
Count = Annotated[int, Field(ge=0)] | None  # None: the rule is off


class Rule(NamedTuple):
    """A rule: what it judges, and the key of the config that sets its limit."""

    name: str
    score: str
    removes: Removes
    setting: str


def _fraction_rules(*names: str) -> list[Rule]:
    return [Rule(name, name, ">", name) for name in names]


# In the order of the reference code: the first broken rule is reported.
RULES: Final = (
    Rule("letters", "letters", "<", "min_letters"),
    *_fraction_rules(
        "duplicate_paragraph_fraction",
        "duplicate_sentence_fraction",
        "duplicate_paragraph_character_fraction",
        "duplicate_sentence_character_fraction",
        *(f"top_{n}_gram_fraction" for n in (2, 3, 4)),
        *(f"duplicate_{n}_gram_fraction" for n in (5, 6, 7, 8, 9, 10)),
    ),
    Rule("hiragana_fraction", "hiragana_fraction", "<", "min_hiragana_fraction"),
    Rule("katakana_fraction", "katakana_fraction", ">", "max_katakana_fraction"),
    Rule("japanese_fraction", "japanese_fraction", "<", "min_japanese_fraction"),
    Rule("japanese_letters", "japanese_letters", "<", "min_japanese_letters"),
    Rule("mean_sentence_length_min", "mean_sentence_length", "<", "min_mean_sentence_length"),
    Rule("mean_sentence_length_max", "mean_sentence_length", ">", "max_mean_sentence_length"),
    Rule("max_sentence_length", "max_sentence_length", ">", "max_sentence_length"),
    Rule("ellipsis_sentences", "ellipsis_sentences", ">", "max_ellipsis_sentences"),
    Rule("ng_words", "ng_words", ">=", "max_ng_words"),
)


class SwallowConfig(StageConfig):
    """Limits of the rules; null switches a rule off. Lengths are code points.

    ng_words: file of words, one a line, "#" for comments; null: the rule `ng_words` is not applied.
    max_ng_words: a document goes when it reaches this share.
    footer, punctuation: the edits of the module.
    footer_list: file of footer words; null: the project's own.
    """

    min_letters: Count = 400
    duplicate_paragraph_fraction: Fraction = 0.30
    duplicate_sentence_fraction: Fraction = 0.30
    duplicate_paragraph_character_fraction: Fraction = 0.20
    duplicate_sentence_character_fraction: Fraction = 0.20
    top_2_gram_fraction: Fraction = 0.20
    top_3_gram_fraction: Fraction = 0.18
    top_4_gram_fraction: Fraction = 0.16
    duplicate_5_gram_fraction: Fraction = 0.15
    duplicate_6_gram_fraction: Fraction = 0.14
    duplicate_7_gram_fraction: Fraction = 0.13
    duplicate_8_gram_fraction: Fraction = 0.12
    duplicate_9_gram_fraction: Fraction = 0.11
    duplicate_10_gram_fraction: Fraction = 0.10
    min_hiragana_fraction: Fraction = 0.2
    max_katakana_fraction: Fraction = 0.5
    min_japanese_fraction: Fraction = 0.5
    min_japanese_letters: Count = 400
    min_mean_sentence_length: Annotated[float, Field(ge=0)] | None = 20
    max_mean_sentence_length: Annotated[float, Field(ge=0)] | None = 90
    max_sentence_length: Count = 200
    max_ellipsis_sentences: Fraction = 0.2
    max_ng_words: Fraction = 0.05
    ng_words: str | None = None
    footer: Literal["keep", "cut"] = "keep"
    footer_list: str | None = None
    punctuation: Literal["keep", "unify"] = "keep"


class NgWords:
    """The words of a list, as hashes."""

    def __init__(self, path: str) -> None:
        strings = sorted(set(phrases.read(path)))
        points = [words.codepoints(word) for word in strings]
        ends = np.cumsum([len(p) for p in points], dtype=np.int64)
        lengths = np.array([len(p) for p in points], dtype=np.int64)
        joined = np.concatenate(points) if points else np.empty(0, dtype=np.uint32)
        self._listed: UInt64Array = np.sort(Spans(ends - lengths, ends).hashes(joined))
        self._first: CodePoints = np.unique(np.array([p[0] for p in points], dtype=np.uint32))
        self._longest = int(lengths.max(initial=0))

    def characters(self, points: CodePoints) -> int:
        """Characters of a text inside words of the list: from the left, the longest first, not overlapping."""
        return int(character_ngrams.listed_characters(points, self._listed, self._first, self._longest))


def scores(text: Text, ng_words: NgWords | None = None) -> dict[str, float]:
    """The scores of a text by name, in the order of `Swallow.score_names`; `ng_words` is NaN without a list."""
    points = text.points
    is_space = (text.classes & SPACE) != 0
    starts, ends = character_ngrams.sentences(points, is_space)
    sentence_lengths = ends - starts
    paragraph_hashes, paragraph_lengths = character_ngrams.lines_of_sentences(points, starts, ends)
    paragraph = _copies(paragraph_hashes, paragraph_lengths)
    sentence = _copies(Spans(starts, ends).hashes(points), sentence_lengths)
    grams = character_ngrams.ngram_fractions(points).tolist()
    letters = character_ngrams.japanese_letters(points).tolist()
    japanese = sum(letters)
    num_sentences = len(starts)
    ellipses = character_ngrams.with_ellipsis(points, is_space, starts, ends)
    return {
        "letters": len(points),
        "duplicate_paragraph_fraction": paragraph[0],
        "duplicate_sentence_fraction": sentence[0],
        "duplicate_paragraph_character_fraction": paragraph[1],
        "duplicate_sentence_character_fraction": sentence[1],
        **{f"top_{n}_gram_fraction": grams[n - 2] for n in (2, 3, 4)},
        **{f"duplicate_{n}_gram_fraction": grams[n - 2] for n in (5, 6, 7, 8, 9, 10)},
        "hiragana_fraction": letters[0] / japanese if japanese else 0,
        "katakana_fraction": letters[1] / japanese if japanese else 0,
        "japanese_fraction": japanese / len(points) if len(points) else 0,
        "japanese_letters": japanese,
        "mean_sentence_length": float(sentence_lengths.sum()) / num_sentences if num_sentences else 0,
        "max_sentence_length": float(sentence_lengths.max(initial=0)),
        "ellipsis_sentences": ellipses / num_sentences if num_sentences else 0,
        "ng_words": _NONE if ng_words is None else ng_words.characters(points) / japanese if japanese else 0,
    }


_NONE: Final = float("nan")


def _copies(hashes: UInt64Array, lengths: Int64Array) -> tuple[float, float]:
    """Copies of an earlier item as a share of items and of characters; 0 without items."""
    copies, characters = duplicates(hashes, lengths)
    return (copies / len(hashes), characters / int(lengths.sum())) if copies else (0.0, 0.0)


class _Mark(NamedTuple):
    """A Japanese mark of punctuation, what finds the Western and the Japanese one, and the Western ones to replace."""

    japanese: str
    western_behind: re.Pattern[str]
    japanese_behind: re.Pattern[str]
    replaced: re.Pattern[str]


def _mark(japanese: str, western: str) -> _Mark:
    behind = rf"(?<=[{_BEFORE_PUNCTUATION}])"
    return _Mark(
        japanese,
        re.compile(rf"{behind}{western}+"),
        re.compile(rf"{behind}{japanese}+"),
        re.compile(rf"(?<=[^{_FULL_WIDTH}{western}]){western}+"),
    )


_MARKS: Final = (_mark("、", "，"), _mark("。", "．"))


def punctuation(text: str) -> list[Cut]:
    """Replacements that unify the punctuation of `text`, ascending."""
    cuts = []
    for mark in _MARKS:
        western = sum(1 for _ in mark.western_behind.finditer(text))
        if western > sum(1 for _ in mark.japanese_behind.finditer(text)):
            cuts += [
                Cut("punctuation", m.start(), m.end(), mark.japanese * len(m.group()))
                for m in mark.replaced.finditer(text)
            ]
    return sorted(cuts)


class Swallow(ScoredStage[SwallowConfig]):
    """Removes Japanese documents by the rules of the Swallow corpus; see the module."""

    name = "swallow"
    version = 1
    Config = SwallowConfig
    score_names = tuple(dict.fromkeys(rule.score for rule in RULES))
    threshold_keys = frozenset(rule.setting for rule in RULES)
    edits_text = True
    expected_share: ClassVar[Mapping[str, float]] = {
        "letters": 0.5,
        "japanese_letters": 0.2,
        "mean_sentence_length_min": 0.3,
        "max_sentence_length": 0.3,
    }

    @property
    def only_filters(self) -> bool:
        """Whether both edits are off."""
        return self.config.footer == "keep" and self.config.punctuation == "keep"

    def resource_files(self) -> Sequence[str]:
        """The lists that are read."""
        footer = [self.config.footer_list or _FOOTER_LIST] if self.config.footer == "cut" else []
        return [*footer, *([self.config.ng_words] if self.config.ng_words else [])]

    @cached_property
    def _ng_words(self) -> NgWords | None:
        return NgWords(self.config.ng_words) if self.config.ng_words else None

    @cached_property
    def _footer(self) -> re.Pattern[str]:
        listed = sorted(set(phrases.read(self.config.footer_list or _FOOTER_LIST)), key=lambda word: (-len(word), word))
        return re.compile("|".join(map(re.escape, listed)) or r"(?!)")

    def measure(self, text: Text) -> Measured:
        """The scores of a Japanese text, and the edits that are on; NaN in other languages."""
        if text.language != LANGUAGE:
            return Measured([_NONE] * len(self.score_names))
        return Measured(list(scores(text, self._ng_words).values()), self._edits(text.string))

    def bounds(self, language: str) -> Sequence[Bound]:
        """The rules that are on, in the order of the reference code."""
        if language != LANGUAGE:
            return []
        limits = [(rule, getattr(self.config, rule.setting)) for rule in RULES]
        return [
            Bound(rule.name, rule.score, rule.removes, limit, rule.setting)
            for rule, limit in limits
            if limit is not None
        ]

    def footer_start(self, text: str) -> int:
        """Where the footer of `text` begins, the line feed before it included; len(text) if it has none."""
        lines = text.split("\n")
        first = max(0, len(lines) - _FOOTER_LINES)
        start = len("\n".join(lines[:first]))
        for number in range(first, len(lines)):
            line = lines[number]
            matched = sum(len(m.group()) for m in self._footer.finditer(line))
            if matched > _FOOTER_SHARE * len(line):
                return start
            start += len(line) + (number > 0)
        return len(text)

    def _edits(self, text: str) -> list[Cut]:
        end = self.footer_start(text) if self.config.footer == "cut" else len(text)
        cuts = punctuation(text) if self.config.punctuation == "unify" else []
        footer = [Cut("footer", end, len(text))] if end < len(text) else []
        return [*(cut for cut in cuts if cut.end <= end), *footer]
