"""Line-wise corrections of RefinedWeb, G.2 (Penedo et al. 2023): lines that belong to the page, not to its text.

A line is discarded if it is mainly uppercase, only digits, a counter ("3 likes") or a single word. A line of at most
ten words loses phrases at its start ("sign-in"), at its end ("Read more...") or anywhere ("items in cart"). When these
lines hold more than 5 % of the document's words, the document goes instead. Blank lines stay.

The paper does not publish its phrases: those in stages/lists/ were written for this project. [DEVIATION]
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import Field

from corpusmill.core import characters, documents, hashing, storage
from corpusmill.core import words as text_words
from corpusmill.core.documents import Cut
from corpusmill.core.hashing import Int64Array
from corpusmill.core.verdicts import StageResult, Verdicts
from corpusmill.stages.base import DocumentStage, StageConfig

_LISTS = Path(__file__).parent / "lists"
_NUMBER = r"\d[\d.,]*\s?(?:[kmb]\b|[万千億])?"
# A letter or digit of a script with spaces: a phrase must not begin or end amid them. Han and kana have no such bounds.
_SPACED_LETTER = re.compile(r"[^\W\u2e80-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]")
# What goes with a phrase: separators and opening brackets before one at the end, closing ones after one at the start.
_OPENING = " \t\u3000\xa0|｜/／·・•:：<>«»‹›…-–—[(（【"
_CLOSING = r"\s|｜/／·・•:：<>«»‹›…\-–—\])）】"


class LinesConfig(StageConfig):
    """Limits and phrase lists of the line-wise corrections.

    max_uppercase: a line goes when more than this share of its characters (whitespace aside) is uppercase. Only in
        languages that write spaces: elsewhere capitals are names and acronyms.
    max_edited_words: phrases are looked for in lines of at most so many words.
    max_corrected_words: the document goes when the share of its words that `count` counts is greater.
    count: "flagged": words in lines that were discarded or edited, as G.2 of the paper has it. "removed": words
        that were taken out, as its section 3.2 and DCLM have it.
    start_list, end_list, anywhere_list, counter_list: files of phrases, one a line, "#" at the start of a line for
        comments; null: the project's own (English and Japanese).
    """

    max_uppercase: Annotated[float, Field(ge=0, le=1)] = 0.5
    max_edited_words: Annotated[int, Field(ge=0)] = 10
    max_corrected_words: Annotated[float, Field(ge=0, le=1)] = 0.05
    count: Literal["flagged", "removed"] = "flagged"
    start_list: str | None = None
    end_list: str | None = None
    anywhere_list: str | None = None
    counter_list: str | None = None

    def list_files(self) -> tuple[str, str, str, str]:
        """Paths of the four lists in use: start, end, anywhere, counters."""
        return (
            self.start_list or str(_LISTS / "line_start.txt"),
            self.end_list or str(_LISTS / "line_end.txt"),
            self.anywhere_list or str(_LISTS / "line_anywhere.txt"),
            self.counter_list or str(_LISTS / "line_counters.txt"),
        )


class Corrections(NamedTuple):
    """What the rules find in a text.

    cuts: ascending, not overlapping.
    words, flagged, removed: words of the text, those in lines with a cut, those cut.
    """

    cuts: list[Cut]
    words: int
    flagged: int
    removed: int


class Patterns:
    """The compiled phrases of the four lists."""

    def __init__(
        self, start: Sequence[str], end: Sequence[str], anywhere: Sequence[str], counters: Sequence[str]
    ) -> None:
        counted = _any_of(counters)
        self._counter = _compile(rf"\W*(?:{_NUMBER}\s*{counted}|{counted}\W*{_NUMBER})\W*")
        self._start = _compile(rf"\W*(?:{_bounded(start)}[{_CLOSING}]*)+")
        self._end = _compile(rf"(?:{_bounded(end)}\W*)+$")
        self._anywhere = _compile(rf"(?:{_bounded(anywhere)}\s*)+")
        # A line that holds none of these holds no phrase, and most lines hold none: cheaper to see than by expressions.
        self._parts = sorted({max(phrase.casefold().split(), key=len) for phrase in (*start, *end, *anywhere)})

    @staticmethod
    def read(config: LinesConfig) -> Patterns:
        """Reads the lists that `config` names."""
        return Patterns(*(_phrases(path) for path in config.list_files()))

    def is_counter(self, line: str) -> bool:
        """Whether `line` is one number and what it counts, in either order, and nothing else."""
        return self._counter.fullmatch(line) is not None

    def cuts(self, line: str) -> list[Cut]:
        """What the phrases take out of `line` (which has no outer whitespace): offsets in `line`, ascending.

        Separators and brackets around a phrase go with it.
        """
        folded = line.casefold()
        if not any(part in folded for part in self._parts):
            return []
        head = self._start.match(line)
        begin = head.end() if head else 0
        tail = self._end.search(line, begin)
        end = tail.start() if tail else len(line)
        while tail and end > begin and line[end - 1] in _OPENING:
            end -= 1
        found = [Cut("pattern_start", 0, begin)] if head else []
        for match in self._anywhere.finditer(line, begin, end):
            a, b = match.span()
            while b == end and a > begin and line[a - 1].isspace():
                a -= 1  # nothing follows, so the space before would be left at the end
            found.append(Cut("pattern_anywhere", a, b))
        return [*found, Cut("pattern_end", end, len(line))] if tail else found


def _phrases(path: str) -> list[str]:
    listed = [line.strip() for line in storage.read_text(path).splitlines()]
    return [line for line in listed if line and not line.startswith("#")]


def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def _any_of(phrases: Sequence[str], before: str = "", after: str = "") -> str:
    """An expression for any of `phrases`, the longest first; for nothing if there are none.

    `before` and `after` are added where a phrase begins or ends with a letter of a script with spaces.
    """
    if not phrases:
        return "(?!)"
    choices = []
    for phrase in sorted(set(phrases), key=lambda phrase: (-len(phrase), phrase)):
        body = r"\s+".join(re.escape(part) for part in phrase.split())
        head = before if _SPACED_LETTER.match(phrase[0]) else ""
        tail = after if _SPACED_LETTER.match(phrase[-1]) else ""
        choices.append(f"{head}{body}{tail}")
    return f"(?:{'|'.join(choices)})"


def _bounded(phrases: Sequence[str]) -> str:
    return _any_of(phrases, f"(?<!{_SPACED_LETTER.pattern})", f"(?!{_SPACED_LETTER.pattern})")


def correct(text: str, language: str, config: LinesConfig, patterns: Patterns) -> Corrections:
    """Finds what the rules take out of `text`. Words and lines are those of core/words.py.

    A discarded line goes with the newline after it, or with the one before it where no line that stays follows. An
    edited line that no letter is left of goes whole, under the rule of its first cut.

    [CHOICE] "mainly" uppercase: more than half of the characters that are not whitespace; DCLM divides by all.
    [DEVIATION] "Comments (12)" is a counter like "12 comments".
    """
    points = text_words.codepoints(text)
    classes = characters.classes(points)
    words, lines = text_words.words(text, language), text_words.lines(text)
    newlines = np.flatnonzero(points == ord("\n"))
    line_starts = np.concatenate([[0], newlines + 1])
    line_ends = np.concatenate([newlines, [len(points)]])
    numbers = np.searchsorted(newlines, lines.starts)  # of the lines that are not blank
    num_words = _starting_in(words.starts, lines.starts, lines.ends)
    blank = characters.counts(classes, characters.SPACE, *lines)
    digits = characters.counts(classes, characters.DIGIT, *lines)
    uppercase = characters.counts(classes, characters.UPPERCASE, *lines)
    if not text_words.writes_spaces(language):
        uppercase[:] = 0
    visible = lines.lengths - blank

    cuts: list[Cut] = []
    flagged = 0
    gone: dict[int, str] = {}  # number of a discarded line -> rule
    for i, line in enumerate(lines.texts(text)):
        whole, edits = None, []
        if uppercase[i] > config.max_uppercase * visible[i]:
            whole = "uppercase_line"
        elif digits[i] == visible[i]:
            whole = "numeric_line"
        elif patterns.is_counter(line):
            whole = "counter_line"
        elif num_words[i] < 2:
            whole = "one_word_line"
        elif num_words[i] <= config.max_edited_words:
            edits = patterns.cuts(line)
            if edits and not any(c.isalpha() for c in _without(line, edits)):
                whole = edits[0].rule
        if whole:
            gone[int(numbers[i])] = whole
        else:
            at = int(lines.starts[i])
            cuts += [Cut(edit.rule, at + edit.start, at + edit.end) for edit in edits]
        flagged += int(num_words[i]) if whole or edits else 0

    last_kept = next((i for i in reversed(range(len(line_starts))) if i not in gone), -1)
    for number, rule in gone.items():
        start, end = int(line_starts[number]), int(line_ends[number])
        follows = number < last_kept
        cuts.append(Cut(rule, start if follows else max(0, start - 1), end + 1 if follows else end))
    cuts.sort(key=lambda cut: cut.start)
    starts, ends = (np.array([cut[i] for cut in cuts], dtype=np.int64) for i in (1, 2))
    removed = int(_starting_in(words.starts, starts, ends).sum())
    return Corrections(cuts, len(words), flagged, removed)


def _without(text: str, cuts: Sequence[Cut]) -> str:
    return documents.without_spans(text, ((cut.start, cut.end) for cut in cuts))


def _starting_in(items: Int64Array, starts: Int64Array, ends: Int64Array) -> Int64Array:
    """How many of the ascending offsets `items` lie in [starts[i], ends[i]), int64 (k,)."""
    inside: Int64Array = np.searchsorted(items, ends) - np.searchsorted(items, starts)
    return inside


class Lines(DocumentStage[LinesConfig]):
    """Discards and edits lines; removes documents that had too many of them; see the module for the rules.

    Removals: `corrected_words` (value: share of the words, threshold: max_corrected_words, detail: lines and cuts by
    rule) and `empty_after_lines` (nothing but whitespace is left). Cuts of kept documents are recorded as spans:
    their text is the text before less its spans.
    """

    name = "lines"
    version = 1
    packages = text_words.PACKAGES
    Config = LinesConfig
    edits_text = True

    def __init__(self, config: LinesConfig) -> None:
        super().__init__(config)
        self._patterns = Patterns.read(config)

    def resource_files(self) -> Sequence[str]:
        """The four phrase lists."""
        return self.config.list_files()

    def process(self, table: pa.Table) -> StageResult:
        """Judges every row; needs `text`, `language` and `content_hash`, keeps all other columns as they are."""
        verdicts = Verdicts(self.name, table)
        texts: list[str] = table.column("text").to_pylist()
        hashes: list[bytes] = table.column("content_hash").to_pylist()
        for row, (text, language) in enumerate(zip(texts, table.column("language").to_pylist(), strict=True)):
            found = correct(text, language, self.config, self._patterns)
            counted = found.flagged if self.config.count == "flagged" else found.removed
            share = counted / max(1, found.words)
            kept = _without(text, found.cuts)
            if share > self.config.max_corrected_words:
                by_rule = sorted(Counter(cut.rule for cut in found.cuts).items())
                verdicts.remove(
                    row,
                    "corrected_words",
                    value=share,
                    threshold=self.config.max_corrected_words,
                    detail=", ".join(f"{rule} {times}" for rule, times in by_rule),
                    text=text,
                )
            elif not kept.strip():
                verdicts.remove(row, "empty_after_lines", text=text)
            elif found.cuts:
                for cut in found.cuts:
                    verdicts.cut(row, cut.rule, cut.start, cut.end, text[cut.start : cut.end])
                texts[row], hashes[row] = kept, hashing.content_hash(kept)
        return verdicts.result(
            documents.with_texts(table, texts, hashes).take(pa.array(verdicts.surviving, pa.int64()))
        )
