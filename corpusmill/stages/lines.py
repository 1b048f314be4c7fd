"""Line-wise corrections of RefinedWeb, G.2 (Penedo et al. 2023): lines that belong to the page, not to its text.

A line is discarded if it is mainly uppercase, only digits, a counter ("3 likes") or a single word. A line of at most
ten words loses phrases at its start ("sign-in"), at its end ("Read more...") or anywhere ("items in cart"). When these
lines hold more than 5 % of the document's words, the document goes instead. Blank lines stay, and so do lines without
a letter or digit: `|---|---|` is part of a table, and no word.

The paper does not publish its phrases: those in stages/lists/ were written for this project. [DEVIATION]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
from pydantic import Field

from corpusmill.core import documents
from corpusmill.core import words as text_words
from corpusmill.core.characters import ALPHANUMERIC, DIGIT, LETTER, SPACE, UPPERCASE, WORD, Classes
from corpusmill.core.documents import Cut
from corpusmill.core.hashing import Int64Array
from corpusmill.core.text import Text
from corpusmill.stages import phrases
from corpusmill.stages.base import StageConfig
from corpusmill.stages.line_cuts import all_lines, in_order, whole_lines
from corpusmill.stages.line_patterns import ANYWHERE, COUNTED, END, START, DclmPatterns, ListedPatterns, Patterns
from corpusmill.stages.scored import Bound, Measured, ScoredStage

_LISTS = Path(__file__).parent / "lists"

# What a line may be, as the kernel sees it; whether it is a counter or holds a phrase is then looked at.
_UPPERCASE_LINE, _NUMERIC_LINE, _COUNTER_LINE, _ONE_WORD_LINE, _SHORT_LINE = 1, 2, 4, 8, 16


class LinesConfig(StageConfig):
    """Limits and phrase lists of the line-wise corrections.

    variant: "paper": the rules as this module describes them. "dclm": DCLM's reading of them; see `correct`.
    max_uppercase: a line goes when more than this share of its characters is uppercase. In the variant "paper" only in
        languages that write spaces: elsewhere capitals are names and acronyms.
    max_edited_words: phrases are looked for in lines of at most so many words.
    max_corrected_words: the document goes when the share of its words that `count` counts is greater; null: never.
    count: "flagged": words in lines that were discarded or edited, as G.2 of the paper has it. "removed": words
        that were taken out, as its section 3.2 and DCLM have it. null: "flagged" for "paper", "removed" for "dclm".
    start_list, end_list, anywhere_list, counter_list: files of phrases for "paper", one a line, "#" at the start of a
        line for comments; null: the project's own (English and Japanese).
    """

    variant: Literal["paper", "dclm"] = "paper"
    max_uppercase: Annotated[float, Field(ge=0, le=1)] = 0.5
    max_edited_words: Annotated[int, Field(ge=0)] = 10
    max_corrected_words: Annotated[float, Field(ge=0, le=1)] | None = 0.05
    count: Literal["flagged", "removed"] | None = None
    start_list: str | None = None
    end_list: str | None = None
    anywhere_list: str | None = None
    counter_list: str | None = None

    def list_files(self) -> tuple[str, ...]:
        """Paths of the lists in use: start, end, anywhere, counters; none for "dclm"."""
        if self.variant == "dclm":
            return ()
        return (
            self.start_list or str(_LISTS / "line_start.txt"),
            self.end_list or str(_LISTS / "line_end.txt"),
            self.anywhere_list or str(_LISTS / "line_anywhere.txt"),
            self.counter_list or str(_LISTS / "line_counters.txt"),
        )

    def patterns(self) -> Patterns:
        """The patterns of the variant; reads the lists."""
        return DclmPatterns() if self.variant == "dclm" else ListedPatterns(*map(phrases.read, self.list_files()))


class Corrections(NamedTuple):
    """What the rules find in a text.

    cuts: ascending, not overlapping.
    words, flagged, removed: words of the text, those in lines with a cut, those cut.
    """

    cuts: list[Cut]
    words: int
    flagged: int
    removed: int


def correct(text: Text, config: LinesConfig, patterns: Patterns) -> Corrections:
    """Finds what the rules take out of `text`. Lines are those of core/words.py: blank ones are left out, outer
    whitespace is no part of them.

    A discarded line goes with the newline after it, or with the one before it where no line that stays follows.

    Variant "paper": words are those of core/words.py. An edited line that no letter is left of goes whole, under the
    rule of its first cut.
    [CHOICE] "mainly" uppercase: more than half of the characters that are not whitespace; DCLM divides by all.
    [DEVIATION] "Comments (12)" is a counter like "12 comments".
    [DEVIATION from DCLM] a line without a letter or digit is not a line of one word.

    Variant "dclm": uppercase is a share of all characters; words are what whitespace separates, and those that begin
    with a letter or digit are counted, before and after; a line goes whole when an edit leaves nothing but whitespace.
    [DEVIATION from DCLM] classes and whitespace are those of core/characters.py and core/words.py: Python's isupper and
    isdigit, which DCLM asks, also take "Ⅷ" and "²", and fastText's words, which DCLM counts, end at ASCII whitespace
    alone. A line of nothing but whitespace, and blank lines at the ends of the text, stay.
    """
    dclm = config.variant == "dclm"
    spaced = text_words.writes_spaces(text.language)
    lines, classes = text.lines, text.classes
    words = (text if spaced or not dclm else Text.of(text.string, "")).words
    suspicions = _suspicions(
        classes,
        lines.starts,
        lines.ends,
        words.starts,
        config.max_uppercase if spaced or dclm else 1.0,
        patterns.counter_letters,
        config.max_edited_words,
        dclm,
    )
    counted = _counted_starts(classes, words.starts) if dclm else words.starts
    asked = np.flatnonzero(suspicions & (_SHORT_LINE | _COUNTER_LINE))
    marks = np.zeros_like(suspicions)
    marks[asked] = patterns.finder.in_spans(text.points, lines.starts[asked], lines.ends[asked])
    suspicions[(marks & COUNTED) == 0] &= ~np.uint8(_COUNTER_LINE)
    suspicions[(marks & (START | END | ANYWHERE)) == 0] &= ~np.uint8(_SHORT_LINE)

    cuts: list[Cut] = []
    flagged: list[int] = []
    gone: dict[int, str] = {}  # line -> rule
    for i in np.flatnonzero(suspicions).tolist():
        at = int(lines.starts[i])
        line = text.string[at : int(lines.ends[i])]
        rule = _whole_line(line, int(suspicions[i]), patterns)
        edits = []
        if rule is None and suspicions[i] & _SHORT_LINE:
            edits = patterns.cuts(line, int(marks[i]))
            left = documents.without_spans(line, ((edit.start, edit.end) for edit in edits))
            if edits and patterns.goes_whole(left):
                rule = edits[0].rule
        if rule:
            gone[i] = rule
        else:
            cuts += [Cut(edit.rule, at + edit.start, at + edit.end) for edit in edits]
        if rule or edits:
            flagged.append(i)
    if not flagged:
        return Corrections([], len(counted), 0, 0)
    if gone:
        every = all_lines(text.points)
        numbers = np.searchsorted(every.starts, lines.starts[list(gone)], side="right") - 1
        cuts += whole_lines(every, dict(zip(numbers.tolist(), gone.values(), strict=True)))
        cuts = in_order(cuts)
    num_flagged = int(_starting_in(counted, lines.starts[flagged], lines.ends[flagged]).sum())
    if dclm:
        kept = Text(documents.without_spans(text.string, ((cut.start, cut.end) for cut in cuts)), "")
        removed = len(counted) - len(_counted_starts(kept.classes, kept.words.starts))
    else:
        starts, ends = (np.array([cut[i] for cut in cuts], dtype=np.int64) for i in (1, 2))
        removed = int(_starting_in(counted, starts, ends).sum())
    return Corrections(cuts, len(counted), num_flagged, removed)


def _whole_line(line: str, suspicion: int, patterns: Patterns) -> str | None:
    """The rule under which the whole line goes, as long as no phrase is looked at."""
    if suspicion & _UPPERCASE_LINE:
        return "uppercase_line"
    if suspicion & _NUMERIC_LINE:
        return "numeric_line"
    if suspicion & _COUNTER_LINE and patterns.is_counter(line):
        return "counter_line"
    return "one_word_line" if suspicion & _ONE_WORD_LINE else None


def _starting_in(items: Int64Array, starts: Int64Array, ends: Int64Array) -> Int64Array:
    """How many of the ascending offsets `items` lie in [starts[i], ends[i]), int64 (k,)."""
    inside: Int64Array = np.searchsorted(items, ends) - np.searchsorted(items, starts)
    return inside


def _counted_starts(classes: Classes, starts: Int64Array) -> Int64Array:
    """Of the words that begin at `starts`, those that DCLM counts."""
    counted: Int64Array = starts[(classes[starts] & ALPHANUMERIC) != 0]
    return counted


@numba.njit(cache=True, nogil=True)
def _suspicions(
    classes: Classes,
    starts: Int64Array,
    ends: Int64Array,
    word_starts: Int64Array,
    max_uppercase: float,
    counter_letters: int,
    max_edited_words: int,
    dclm: bool,
) -> npt.NDArray[np.uint8]:
    """What every line may be, uint8 (k,): a sum of the constants above."""
    suspicions = np.zeros(len(starts), dtype=np.uint8)
    word = 0
    for i in range(len(starts)):
        uppercase = digits = letters = spaces = of_words = 0
        for j in range(starts[i], ends[i]):
            flags = classes[j]
            uppercase += (flags & UPPERCASE) != 0
            digits += (flags & DIGIT) != 0
            letters += (flags & LETTER) != 0
            spaces += (flags & SPACE) != 0
            of_words += (flags & WORD) != 0
        first = word
        while word < len(word_starts) and word_starts[word] < ends[i]:
            word += 1
        num_words = word - first
        characters = ends[i] - starts[i]
        if not dclm:
            characters -= spaces
        found = 0
        if uppercase > max_uppercase * characters:
            found |= _UPPERCASE_LINE
        if digits == characters:
            found |= _NUMERIC_LINE
        if digits > 0 and letters <= counter_letters:
            found |= _COUNTER_LINE
        if num_words < 2 and (dclm or of_words > 0):
            found |= _ONE_WORD_LINE
        if num_words <= max_edited_words:
            found |= _SHORT_LINE
        suspicions[i] = found
    return suspicions


class Lines(ScoredStage[LinesConfig]):
    """Discards and edits lines; removes documents that had too many of them; see the module for the rules.

    Scores: shares of the document's words, 0..1 each: `flagged_words`, those in lines that were discarded or edited;
    `removed_words`, those taken out. In the variant "dclm" a document without words has a share of 1.

    Removals: `corrected_words` (detail: lines and cuts by rule) and `empty_after_lines` (nothing but whitespace is
    left). Cuts of kept documents are recorded as spans: their text is the text before less its spans.
    """

    name = "lines"
    version = 2
    packages = text_words.PACKAGES
    Config = LinesConfig
    edits_text = True
    score_names = ("flagged_words", "removed_words")
    threshold_keys = frozenset({"max_corrected_words", "count"})
    expected_share: ClassVar[Mapping[str, float]] = {"corrected_words": 0.25}

    @cached_property
    def _patterns(self) -> Patterns:
        return self.config.patterns()  # seconds to compile: not for those who only look at a run

    def resource_files(self) -> Sequence[str]:
        """The four phrase lists."""
        return self.config.list_files()

    def measure(self, text: Text) -> Measured:
        """The two shares, and what is cut."""
        found = correct(text, self.config, self._patterns)
        if found.words == 0:
            share = float(self.config.variant == "dclm")
            return Measured([share, share], found.cuts)
        return Measured([found.flagged / found.words, found.removed / found.words], found.cuts)

    def bounds(self, language: str) -> Sequence[Bound]:
        """The one rule, on the share that `count` names."""
        limit = self.config.max_corrected_words
        if limit is None:
            return []
        count = self.config.count or ("removed" if self.config.variant == "dclm" else "flagged")
        return [Bound("corrected_words", f"{count}_words", ">", limit, "max_corrected_words")]
