"""FineWeb's own filters (Penedo et al. 2024, arXiv 2406.17557), as datatrove's FineWebQualityFilter reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Final, Literal

import numba
import numpy as np
from pydantic import Field

from corpusmill.core import words as text_words
from corpusmill.core.hashing import Int64Array, UInt64Array, hash_end, hash_more, hash_start
from corpusmill.core.text import Text
from corpusmill.core.words import CodePoints
from corpusmill.stages.scored import Bound, LimitsConfig, Measured, Removes, ScoredStage

Rule = Literal["line_punctuation", "short_lines", "duplicate_line_characters", "newline_ratio"]
Limit = Literal["min_line_punctuation", "max_short_lines", "max_duplicate_line_characters", "max_newline_ratio"]
# Rule, which is the score's name too, what it removes, and the limit in the config; in datatrove's order.
RULES: Final[tuple[tuple[Rule, Removes, Limit], ...]] = (
    ("line_punctuation", "<", "min_line_punctuation"),
    ("short_lines", ">", "max_short_lines"),
    ("duplicate_line_characters", ">", "max_duplicate_line_characters"),
    ("newline_ratio", ">", "max_newline_ratio"),
)

# What ends a sentence in any script, as datatrove lists it: Unicode's Sentence_Terminal and three marks of Khmer. Code
# points and ranges of them, hexadecimal.
_STOP_CHARACTERS: Final = (
    "21 2e 3f 589 61d-61f 6d4 700-702 7f9 837 839 83d-83e 964-965 104a-104b 1362 1367-1368 166e 1735-1736 17d4-17d6 "
    "17d9-17da 1803 1809 1944-1945 1aa8-1aab 1b5a-1b5b 1b5e-1b5f 1b7d-1b7e 1c3b-1c3c 1c7e-1c7f 203c-203d 2047-2049 "
    "2e2e 2e3c 2e53-2e54 3002 a4ff a60e-a60f a6f3 a6f7 a876-a877 a8ce-a8cf a92f a9c8-a9c9 aa5d-aa5f aaf0-aaf1 abeb "
    "fe52 fe56-fe57 ff01 ff0e ff1f ff61 10a56-10a57 10f55-10f59 10f86-10f89 11047-11048 110be-110c1 11141-11143 "
    "111c5-111c6 111cd 111de-111df 11238-11239 1123b-1123c 112a9 1144b-1144c 115c2-115c3 115c9-115d7 11641-11642 "
    "1173c-1173e 11944 11946 11a42-11a43 11a9b-11a9c 11c41-11c42 11ef7-11ef8 11f43-11f44 16a6e-16a6f 16af5 "
    "16b37-16b38 16b44 16e98 1bc9f 1da88"
)

_LINE_FEED: Final = 10

Number = Annotated[float, Field(ge=0)] | None  # None: the rule is off


_BUILT_IN: Final[dict[str, dict[Limit, Number]]] = {
    "ja": {
        "min_line_punctuation": 0.096,
        "max_short_lines": None,
        "max_duplicate_line_characters": 0.1,
        "max_newline_ratio": 0.13,
    }
}


class FineWebConfig(LimitsConfig):
    """Limits: a document goes when a score is below a minimum or above a maximum. null switches a rule off.

    variant: how words are counted for the share of line feeds: "paper" by the words of core/words.py, as all stages do
        where nothing else is said; "datatrove" by its tokens, of which punctuation marks are some.
    short_line_characters: a line is short that has at most so many code points.
    keep_unpunctuated: a document in which no line ends in a stop character stays: FineWeb-2 has it for languages that
        write without.
    stop_characters: what ends a sentence; null: what ends one in any script.
    languages: limits that differ in a language, by language code, laid over the built-in ones: Japanese has those of
        FineWeb-2 for jpn_Jpan.
    """

    built_in = _BUILT_IN

    variant: Literal["paper", "datatrove"] = "paper"
    min_line_punctuation: Number = 0.12
    max_short_lines: Number = 0.67
    max_duplicate_line_characters: Number = 0.01
    max_newline_ratio: Number = 0.3
    short_line_characters: Annotated[int, Field(ge=0)] = 30
    keep_unpunctuated: bool = False
    stop_characters: str | None = None
    languages: dict[str, dict[Limit, Number]] = Field(default={})


def stop_characters(listed: str | None = None) -> CodePoints:
    """What ends a sentence, uint32, ascending: the characters of `listed`, those of every script if it is None."""
    if listed is not None:
        return np.unique(text_words.codepoints(listed))
    ranges = [[int(end, 16) for end in part.split("-")] for part in _STOP_CHARACTERS.split()]
    return np.concatenate([np.arange(ends[0], ends[-1] + 1, dtype=np.uint32) for ends in ranges])


def scores(text: Text, stops: CodePoints, config: FineWebConfig) -> list[float]:
    """The four scores of `text`; all 0 for one without lines.

    Lines are what line feeds separate, those left out that are blank; outer whitespace is part of a line.

    - line_punctuation: share of lines that end in a stop character.
    - short_lines: share of lines of at most so many code points as the config says.
    - duplicate_line_characters: code points in lines that are copies of an earlier one, by those of the text without
      its line feeds.
    - newline_ratio: line feeds a word. [DEVIATION] In the variant "paper" words are those of core/words.py; datatrove's
      are more, so that its ratios are lower.
    """
    num_lines = len(text.lines)
    if not num_lines:
        return [0.0] * len(RULES)
    ended, short, copied, newlines = _counted(
        text.points, *text.lines, text.line_hashes, stops, config.short_line_characters
    )
    words = text.tokens if config.variant == "datatrove" else text.words
    return [
        ended / num_lines,
        short / num_lines,
        copied / (len(text.string) - newlines),
        newlines / max(1, len(words)),
    ]


@numba.njit(cache=True, nogil=True)
def _counted(
    points: CodePoints,
    starts: Int64Array,
    ends: Int64Array,
    hashes: UInt64Array,
    stops: CodePoints,
    short_line_characters: int,
) -> tuple[int, int, int, int]:
    """Lines that end in a stop character, lines that are short, code points of lines that are copies, line feeds.

    starts, ends, hashes: lines without the whitespace around them, which is given back to them here.
    """
    n, num_lines = len(points), len(starts)
    size = 16
    while size < 2 * num_lines:
        size *= 2
    mask = np.uint64(size - 1)
    used = np.zeros(size, dtype=np.bool_)  # open addressing: hashes of the lines so far
    keys = np.empty(size, dtype=np.uint64)
    ended = short = copied = 0
    newlines = 0  # those between lines: there are no others
    start = 0
    for j in range(starts[0]):
        if points[j] == _LINE_FEED:
            newlines += 1
            start = j + 1
    for i in range(num_lines):
        end = -1
        next_start = starts[i]
        for j in range(ends[i], starts[i + 1] if i + 1 < num_lines else n):
            if points[j] == _LINE_FEED:
                newlines += 1
                next_start = j + 1
                if end < 0:
                    end = j
        if end < 0:
            end = n
        last = points[end - 1]
        at = np.searchsorted(stops, last)
        ended += at < len(stops) and stops[at] == last
        short += end - start <= short_line_characters
        key = hashes[i]
        if start < starts[i] or ends[i] < end:
            state = hash_start(1)
            for j in range(start, end):
                state = hash_more(state, points[j])
            key = hash_end(state, end - start)
        slot = key & mask
        while used[slot] and keys[slot] != key:
            slot = (slot + np.uint64(1)) & mask
        if used[slot]:
            copied += end - start
        else:
            used[slot], keys[slot] = True, key
        start = next_start
    return ended, short, copied, newlines


class FineWeb(ScoredStage[FineWebConfig]):
    """Removes documents whose lines are not those of prose; see `scores` for what is measured, RULES for the rules.

    expected_share: of the shared sample's main texts that pass repetition and quality, line punctuation removes 4 %
    (de) to 23 % (zh), short lines up to 8 %, duplicates up to 5 %, line feeds up to 7 % (ja). The bands leave room for
    the pages of a crawl.
    """

    name = "fineweb"
    version = 1
    packages = text_words.PACKAGES
    Config = FineWebConfig
    score_names = tuple(rule for rule, _, _ in RULES)
    threshold_keys = frozenset({*(limit for _, _, limit in RULES), "languages"})
    expected_share: ClassVar[Mapping[str, float]] = {
        "line_punctuation": 0.30,
        "short_lines": 0.15,
        "duplicate_line_characters": 0.15,
        "newline_ratio": 0.10,
    }

    def __init__(self, config: FineWebConfig) -> None:
        super().__init__(config)
        self._stops = stop_characters(config.stop_characters)

    def measure(self, text: Text) -> Measured:
        """The four scores."""
        values = scores(text, self._stops, self.config)
        if self.config.keep_unpunctuated and values[0] == 0:
            values[0] = float("nan")
        return Measured(values)

    def bounds(self, language: str) -> Sequence[Bound]:
        """The rules that are on in `language`, in datatrove's order."""
        limits = [(rule, removes, self.config.limit(key, language), key) for rule, removes, key in RULES]
        return [Bound(rule, rule, removes, limit, key) for rule, removes, limit, key in limits if limit is not None]
