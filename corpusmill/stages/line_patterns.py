"""What makes a line a counter, and which phrases are cut from short lines: the lists' reading and DCLM's."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final, Protocol

from corpusmill.core.documents import Cut
from corpusmill.stages.phrases import PhraseFinder

_NUMBER = r"\d[\d.,]*+\s?(?:[kmb]\b|[万千億])?"
# A letter or digit of a script with spaces: a phrase must not begin or end amid them. Han and kana have no such bounds.
_SPACED_LETTER = re.compile(r"[^\W\u2e80-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]")
# Letters of both cases are in it anyway, and without IGNORECASE it compiles a hundred times faster.
_NOT_AFTER = f"(?<!(?-i:{_SPACED_LETTER.pattern}))"
_NOT_BEFORE = f"(?!(?-i:{_SPACED_LETTER.pattern}))"
# What goes with a phrase: separators and opening brackets before one at the end, closing ones after one at the start.
_OPENING = " \t\u3000\xa0|｜/／·・•:：<>«»‹›…-–—[(（【"
_CLOSING = r"\s|｜/／·・•:：<>«»‹›…\-–—\])）】"

# DCLM's three phrases and its counter, as its configuration and code have them; dots match any character.
DCLM_ANYWHERE: Final = r"\s?(?:items in cart)"
DCLM_END: Final = r"\s?(?:read more...)$"
DCLM_START: Final = r"^(?:sign-in)\s?"
_DCLM_COUNTED = "likes|shares|comments|retweets|reposts|quotes|bookmarks|upvotes|downvotes|downloads|views|followers"
DCLM_COUNTER: Final = rf"^\W*\d(?:,|\.|\d)*(?:K|k|M|m|B|b)?\s+(?:{_DCLM_COUNTED})\W*$"


# What the finder sees in a line: a phrase of one of the lists, or of several.
START, END, ANYWHERE, COUNTED = 1, 2, 4, 8


class Patterns(Protocol):
    """Judges single lines, which have no outer whitespace.

    finder: marks every line of which `cuts` takes out anything with START, END or ANYWHERE, and every counter with
        COUNTED; lines that it does not mark are not asked about.
    counter_letters: a counter has at most so many letters.
    """

    finder: PhraseFinder
    counter_letters: int

    def is_counter(self, line: str) -> bool:
        """Whether `line` is a number and what it counts, and nothing else."""

    def cuts(self, line: str, marks: int) -> list[Cut]:
        """What is taken out of `line`, in which the finder sees `marks`: offsets in `line`, ascending, disjoint."""

    def goes_whole(self, left: str) -> bool:
        """Whether the whole line goes when `left` is what the cuts leave of it."""


class ListedPatterns:
    """The phrases of four lists (see stages/lists/ for what each holds)."""

    def __init__(
        self, start: Sequence[str], end: Sequence[str], anywhere: Sequence[str], counters: Sequence[str]
    ) -> None:
        counted = _any_of(counters)
        self._counter = _compile(rf"{_gap(counters)}(?:{_NUMBER}\s*{counted}|{counted}[\s:：(（\[・]*{_NUMBER})\W*")
        # Japanese that goes on after the phrase is prose: "ログインする" is, "ログイン 新規登録" is not.
        first = _any_of(start, _NOT_AFTER, _NOT_BEFORE, rf"(?=\W|$|{_any_of(start)})")
        closing = rf"(?:{_gap(start, f'[{_CLOSING}]')})"
        self._start = _compile(rf"{_gap(start)}(?:{first}{closing})+")
        self._end = _compile(rf"(?:{_bounded(end)}{_gap(end)})+$")
        self._anywhere = _compile(rf"(?:{_bounded(anywhere)}\s*)+")
        marks: Counter[str] = Counter()
        for mark, listed in ((START, start), (END, end), (ANYWHERE, anywhere), (COUNTED, counters)):
            marks.update(dict.fromkeys(listed, mark))
        self.finder = PhraseFinder(marks)
        self.counter_letters = max((len(phrase) for phrase in counters), default=0) + 1  # and the k of 12k

    def is_counter(self, line: str) -> bool:
        """Whether `line` is one number and what it counts, in either order."""
        return self._counter.fullmatch(line) is not None

    def cuts(self, line: str, marks: int) -> list[Cut]:
        """The phrases in `line`. Separators and brackets around a phrase go with it."""
        head = self._start.match(line) if marks & START else None
        begin = head.end() if head else 0
        tail = self._end.search(line, begin) if marks & END else None
        end = tail.start() if tail else len(line)
        while tail and end > begin and line[end - 1] in _OPENING:
            end -= 1
        found = [Cut("pattern_start", 0, begin)] if head else []
        for match in self._anywhere.finditer(line, begin, end) if marks & ANYWHERE else ():
            a, b = match.span()
            while b == end and a > begin and line[a - 1].isspace():
                a -= 1  # nothing follows, so the space before would be left at the end
            found.append(Cut("pattern_anywhere", a, b))
        return [*found, Cut("pattern_end", end, len(line))] if tail else found

    def goes_whole(self, left: str) -> bool:
        """A line without a letter goes."""
        return not any(c.isalpha() for c in left)


class DclmPatterns:
    """DCLM's counter and three phrases, cut as substrings one after another: anywhere, at the end, at the start."""

    def __init__(self) -> None:
        self._counter = re.compile(DCLM_COUNTER)
        self._steps = (
            ("pattern_anywhere", _compile(DCLM_ANYWHERE)),
            ("pattern_end", _compile(DCLM_END)),
            ("pattern_start", _compile(DCLM_START)),
        )
        self.finder = PhraseFinder(
            {
                **dict.fromkeys(_DCLM_COUNTED.split("|"), COUNTED),
                "sign-in": START,
                "read more": END,
                "items in cart": ANYWHERE,
            }
        )
        self.counter_letters = max(map(len, _DCLM_COUNTED.split("|"))) + 1

    def is_counter(self, line: str) -> bool:
        """Whether the lower-case `line` matches DCLM's expression."""
        return self._counter.search(line.lower()) is not None

    def cuts(self, line: str, marks: int) -> list[Cut]:
        """The substrings that the three expressions take out, each of what the one before left, whatever is marked."""
        cuts: list[Cut] = []
        left = list(range(len(line)))  # offsets in `line` of what is left
        for rule, pattern in self._steps:
            gone: set[int] = set()
            for match in pattern.finditer("".join(line[i] for i in left)):
                offsets = left[match.start() : match.end()]
                gone.update(offsets)
                cuts += [Cut(rule, i, i + 1) for i in offsets]
            left = [i for i in left if i not in gone]
        return _joined(sorted(cuts, key=lambda cut: cut.start))

    def goes_whole(self, left: str) -> bool:
        """A line of which nothing but whitespace is left goes."""
        return not left.strip()


def _joined(cuts: Sequence[Cut]) -> list[Cut]:
    joined: list[Cut] = []
    for cut in cuts:
        if joined and joined[-1].end == cut.start and joined[-1].rule == cut.rule:
            joined[-1] = joined[-1]._replace(end=cut.end)
        else:
            joined.append(cut)
    return joined


def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def _any_of(phrases: Sequence[str], before: str = "", after: str = "", after_unspaced: str = "") -> str:
    """An expression for any of `phrases`, the longest first; for nothing if there are none.

    `before` and `after` are added where a phrase begins or ends with a letter of a script with spaces, `after_unspaced`
    where it ends with another letter.
    """
    if not phrases:
        return "(?!)"
    choices: list[tuple[tuple[str, str], str]] = []
    for phrase in sorted(set(phrases), key=lambda phrase: (-len(phrase), phrase)):
        head = before if _SPACED_LETTER.match(phrase[0]) else ""
        tail = after if _SPACED_LETTER.match(phrase[-1]) else after_unspaced if phrase[-1].isalpha() else ""
        choices.append(((head, tail), r"\s+".join(re.escape(part) for part in phrase.split())))
    # Neighbours with the same bounds share them: a bound costs more to compile than a phrase.
    grouped = [
        f"{head}(?:{'|'.join(body for _, body in group)}){tail}"
        for (head, tail), group in groupby(choices, key=itemgetter(0))
    ]
    return f"(?:{'|'.join(grouped)})"


def _gap(phrases: Sequence[str], marks: str = r"\W") -> str:
    """An expression for any number of `marks` before one of `phrases`.

    It never gives back what it took where no phrase can begin in it: a line of millions of dots is looked at once.
    """
    return f"{marks}*+" if all(re.match(r"\w", phrase) for phrase in phrases) else f"{marks}*"


def _bounded(phrases: Sequence[str]) -> str:
    return _any_of(phrases, _NOT_AFTER, _NOT_BEFORE)
