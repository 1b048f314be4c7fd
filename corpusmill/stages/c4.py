"""The rules of C4 (Raffel et al. 2020, arXiv 1910.10683, section 2.2), as datatrove's C4QualityFilter reads them.

Line by line, in this order:

- a line with a word of more than 1,000 characters goes (in C4's code, not in the paper);
- citations in Wikipedia's style are taken out: `[1]`, `[]`, `[edit]`, `[citation needed]` (code);
- a line that does not end in a terminal punctuation mark, or ends in an ellipsis, goes;
- a line of fewer than 3 words goes; words in citations count. [In C4's own code they do not]
- "lorem ipsum" in a line that came so far: the document goes;
- a line with the word JavaScript goes;
- a curly bracket in a line that came so far: the document goes;
- a line with a phrase of POLICY goes (code).

Then a document goes whose lines hold fewer than 5 sentences. The paper says "any page" where lorem ipsum or a bracket
appears; its code asks only lines that came through the rules before.

Two more rules are off unless asked for: mC4's, that a document needs 3 lines of 200 characters (Xue et al. 2021, arXiv
2010.11934), and the list of bad words, which the user gives.

The text that stays has one line feed between its lines and no whitespace around them, as in datatrove.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Final, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from corpusmill.core import segments
from corpusmill.core import words as text_words
from corpusmill.core.documents import Cut
from corpusmill.core.hashing import Int64Array, hash64
from corpusmill.core.text import Text
from corpusmill.core.verdicts import Cuts
from corpusmill.core.words import CodePoints
from corpusmill.stages import phrases
from corpusmill.stages.bad_words import BadWords
from corpusmill.stages.base import StageConfig
from corpusmill.stages.line_cuts import in_order, lines_and_whitespace, stripped
from corpusmill.stages.phrases import PhraseFinder
from corpusmill.stages.scored import Bound, Measured, ScoredStage

CITATION: Final = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
# datatrove's five marks; [DEVIATION] and those that end sentences and quotations in Chinese and Japanese.
END_MARKS: Final = (".", "?", "!", '"', "'", "。", "．", "？", "！", "」", "』")
ELLIPSIS: Final = "..."
LOREM_IPSUM: Final = "lorem ipsum"
JAVASCRIPT: Final = "javascript"
POLICY: Final = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)
# Entries of the published lists that more than a tenth of the pages of a language without spaces hold, as parts of
# harmless words: C4's code passes over them.
_ALLOWED: Final[dict[str, tuple[str, ...]]] = {"ja": ("sm", "グロ", "女の子"), "zh": ("性",)}

_LONG_WORD, _UNTERMINATED, _FEW_WORDS, _SQUARE_BRACKET, _CURLY_BRACKET, _PHRASE = 1, 2, 4, 8, 16, 32
# Rules of cuts by number; 0: the line stays. The first three in the order in which they are looked at.
_RULES: Final = (
    "",
    "long_word_line",
    "unterminated_line",
    "few_words_line",
    "javascript_line",
    "policy_line",
    "blank_line",
    "whitespace",
)
_STAYS, _LONG, _UNENDED, _FEW, _SCRIPT, _OF_POLICY, _BLANK, _WHITESPACE = range(len(_RULES))
_MARKS: Final = np.array([ord(mark) for mark in END_MARKS], dtype=np.uint32)

Count = Annotated[int, Field(ge=0)] | None  # None: the rule is off


class C4Config(StageConfig):
    """Rules for lines, then those for documents. null or false switches a rule off.

    max_word_length: a line goes that has a longer word, in code points.
    remove_citations: citations in Wikipedia's style are taken out of lines.
    terminal_punctuation: a line goes that does not end with one of END_MARKS, or ends with "...".
    min_line_words: a line of fewer words goes.
    remove_javascript, remove_policy: a line goes that holds "javascript" or a phrase of POLICY, in any case.
    max_lorem_ipsum, max_curly_brackets: the document goes when more of its lines hold one.
    min_sentences: the document goes when the lines that are left hold fewer sentences.
    min_paragraphs, paragraph_characters: the document goes when fewer of its lines, as they came in, are so long.
    bad_words: files of words by language, one a line; a document that holds one goes. Languages without a file are not
        judged.
    bad_words_allowed: entries of the files that are passed over, by language, laid over the built-in ones.
    bad_words_keep: share of the documents with bad words that stay, 0..1, chosen by a hash of the text.
    seed: another seed chooses others.
    """

    max_word_length: Count = 1000
    remove_citations: bool = True
    terminal_punctuation: bool = True
    min_line_words: Count = 3
    remove_javascript: bool = True
    remove_policy: bool = True
    max_lorem_ipsum: Count = 0
    max_curly_brackets: Count = 0
    min_sentences: Count = 5
    min_paragraphs: Count = None
    paragraph_characters: Annotated[int, Field(ge=0)] = 200
    bad_words: dict[str, str] = Field(default={})
    bad_words_allowed: dict[str, tuple[str, ...]] = Field(default={})
    bad_words_keep: Annotated[float, Field(ge=0, le=1)] = 0.0
    seed: int = 0

    @field_validator("bad_words_allowed")
    @classmethod
    def _over_built_in(cls, given: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        return dict(sorted({**_ALLOWED, **given}.items()))


class Lines(NamedTuple):
    """What the rules for lines find.

    cuts: ascending, disjoint.
    lorem_ipsum, curly_bracket: lines that hold one and came so far.
    sentences: in the lines that are left.
    long_lines: lines as they came in, blank ones and outer whitespace included, that are long.
    """

    cuts: Sequence[Cut]
    lorem_ipsum: int
    curly_bracket: int
    sentences: int
    long_lines: int


_FINDER: Final = PhraseFinder(
    {"[": _SQUARE_BRACKET, "{": _CURLY_BRACKET, **dict.fromkeys((LOREM_IPSUM, JAVASCRIPT, *POLICY), _PHRASE)}
)


def judge_lines(text: Text, config: C4Config) -> Lines:
    """Applies the rules for lines; see the module for their order.

    Words and lines are those of core/words.py: in languages without spaces words are found by a segmenter or are
    letters. [DEVIATION] datatrove takes what whitespace separates in every language, and splits lines at all of
    Python's line boundaries.
    [DEVIATION] sentences are those of core/words.py, which know no abbreviations; C4 and datatrove ask a trained
    tokenizer.
    """
    lines, words = text.lines, text.words
    suspicions, rules, counts, sentences = _looked_at(
        text.points,
        lines.starts,
        lines.ends,
        words.starts,
        words.ends,
        len(text.string) if config.max_word_length is None else config.max_word_length,
        config.min_line_words or 0,
        config.terminal_punctuation,
        _MARKS,
    )
    looked_for = _PHRASE | _CURLY_BRACKET | (_SQUARE_BRACKET if config.remove_citations else 0)
    held = _FINDER.in_spans(text.points, lines.starts, lines.ends) & np.uint8(looked_for)
    cited: dict[int, list[Cut]] = {}
    lorem_ipsum = curly_bracket = 0
    for i in np.flatnonzero(held).tolist():
        marks, rule = int(held[i]), int(rules[i])
        if rule != _STAYS and not (marks & _SQUARE_BRACKET and rule == _UNENDED):
            continue
        at = int(lines.starts[i])
        line = text.string[at : int(lines.ends[i])]
        citations = list(CITATION.finditer(line)) if marks & _SQUARE_BRACKET else []
        if citations:
            line = CITATION.sub("", line)
            if config.terminal_punctuation:
                rule = _UNENDED if _unterminated(line) else _FEW if suspicions[i] & _FEW_WORDS else _STAYS
        if rule == _STAYS and marks & (_PHRASE | _CURLY_BRACKET):
            lowered = line.lower()
            lorem_ipsum += LOREM_IPSUM in lowered
            if config.remove_javascript and JAVASCRIPT in lowered:
                rule = _SCRIPT
            else:
                curly_bracket += "{" in line
                if config.remove_policy and any(phrase in lowered for phrase in POLICY):
                    rule = _OF_POLICY
        if rule == _STAYS and citations:
            cited[i] = [Cut("citation", at + match.start(), at + match.end()) for match in citations]
            sentences += len(text_words.sentences(line))
        if citations or rule != _STAYS:
            sentences -= int(counts[i])
        rules[i] = rule
    cuts, long_lines = _cuts(text, rules, cited, config)
    return Lines(cuts, lorem_ipsum, curly_bracket, sentences, long_lines)


def _unterminated(line: str) -> bool:
    return not line.endswith(END_MARKS) or line.endswith(ELLIPSIS)


def _cuts(
    text: Text, rules: npt.NDArray[np.uint8], cited: Mapping[int, list[Cut]], config: C4Config
) -> tuple[Sequence[Cut], int]:
    """Cuts of the lines that go, of citations, and of whitespace that does not separate lines; number of long lines."""
    blank_goes = config.terminal_punctuation or bool(config.min_line_words)
    of_blank = _BLANK if blank_goes else _STAYS
    starts, ends, found, long_lines = lines_and_whitespace(
        text.points, *text.lines, rules, of_blank, _WHITESPACE, config.paragraph_characters
    )
    cuts: Sequence[Cut] = Cuts([_RULES[rule] for rule in found.tolist()], starts.tolist(), ends.tolist())
    if cited:
        cuts = in_order([*cuts, *(cut for of_line in cited.values() for cut in of_line)])
    if cited or not blank_goes:
        cuts = stripped(text.string, cuts, _RULES[_WHITESPACE])
    return cuts, long_lines


@numba.njit(cache=True, nogil=True)
def _looked_at(
    points: CodePoints,
    starts: Int64Array,
    ends: Int64Array,
    word_starts: Int64Array,
    word_ends: Int64Array,
    max_word_length: int,
    min_line_words: int,
    terminal_punctuation: bool,
    marks: CodePoints,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], Int64Array, int]:
    """What every line is by its form, uint8 (k,), a sum of constants above; the rule under which it goes whatever it
    says, uint8 (k,); sentences of the lines that stay, int64 (k,), 0 for the others; their sum."""
    suspicions = np.zeros(len(starts), dtype=np.uint8)
    rules = np.zeros(len(starts), dtype=np.uint8)
    sentences = np.zeros(len(starts), dtype=np.int64)
    word = 0
    for i in range(len(starts)):
        found = 0
        first = word
        while word < len(word_starts) and word_starts[word] < ends[i]:
            if word_ends[word] - word_starts[word] > max_word_length:
                found |= _LONG_WORD
            word += 1
        if word - first < min_line_words:
            found |= _FEW_WORDS
        if terminal_punctuation:
            last = ends[i] - 1
            ended = False
            for mark in marks:
                ended |= points[last] == mark
            if last - 2 >= starts[i] and points[last] == points[last - 1] == points[last - 2] == ord("."):
                ended = False
            if not ended:
                found |= _UNTERMINATED
        suspicions[i] = found
        if found & _LONG_WORD:
            rules[i] = _LONG
        elif found & _UNTERMINATED:
            rules[i] = _UNENDED
        elif found & _FEW_WORDS:
            rules[i] = _FEW
        else:
            sentences[i] = segments.count_sentences(points, starts[i], ends[i])
    return suspicions, rules, sentences, sentences.sum()


class C4(ScoredStage[C4Config]):
    """Takes lines out and removes documents by the rules of C4; see the module for them.

    Scores: `long_paragraphs`, lines of at least `paragraph_characters` as they came in; `lorem_ipsum` and
    `curly_bracket`, lines that hold one and came so far; `sentences` that are left; `bad_words`, how many different
    ones of the language's list the text holds, as it came in, none without a list; `bad_words_draw`, 0..1, by which it
    stays or goes, none where no bad word is found.

    expected_share: of the shared sample's main texts that pass repetition and quality, sentences remove 5 % (de) to
    29 % (zh), curly brackets up to 2 %, save 17 % of Japanese manuals of software; mC4's paragraphs remove a third of
    the English. The bands leave room for the pages of a crawl.
    """

    name = "c4"
    version = 1
    packages = text_words.PACKAGES
    Config = C4Config
    edits_text = True
    score_names = ("long_paragraphs", "lorem_ipsum", "curly_bracket", "sentences", "bad_words", "bad_words_draw")
    threshold_keys = frozenset(
        {"min_paragraphs", "max_lorem_ipsum", "max_curly_brackets", "min_sentences", "bad_words_keep"}
    )
    expected_share: ClassVar[Mapping[str, float]] = {
        "paragraphs": 0.60,
        "lorem_ipsum": 0.01,
        "curly_bracket": 0.10,
        "sentences": 0.40,
        "bad_words": 0.15,
    }

    def __init__(self, config: C4Config) -> None:
        super().__init__(config)
        self._bad_words = {
            language: BadWords(set(phrases.read(path)) - set(config.bad_words_allowed.get(language, ())), language)
            for language, path in config.bad_words.items()
        }

    def resource_files(self) -> Sequence[str]:
        """The lists of bad words."""
        return list(self.config.bad_words.values())

    def measure(self, text: Text) -> Measured:
        """The six scores, and what the rules for lines cut."""
        config = self.config
        found = judge_lines(text, config)
        bad_words = draw = float("nan")
        detail = None
        if text.language in self._bad_words:
            held = self._bad_words[text.language].found(text.string)
            bad_words = len(held)
            if held:
                draw = hash64(f"{config.seed}\0{text.string}".encode("utf-8", "surrogatepass")) / 2**64
                detail = f"bad words: {', '.join(held)}"
        scores = [found.long_lines, found.lorem_ipsum, found.curly_bracket, found.sentences, bad_words, draw]
        return Measured(scores, found.cuts, detail)

    def bounds(self, language: str) -> Sequence[Bound]:
        """mC4's rule, C4's three rules for documents, then bad words."""
        config = self.config
        limits = [
            Bound("paragraphs", "long_paragraphs", "<", _limit(config.min_paragraphs), "min_paragraphs"),
            Bound("lorem_ipsum", "lorem_ipsum", ">", _limit(config.max_lorem_ipsum), "max_lorem_ipsum"),
            Bound("curly_bracket", "curly_bracket", ">", _limit(config.max_curly_brackets), "max_curly_brackets"),
            Bound("sentences", "sentences", "<", _limit(config.min_sentences), "min_sentences"),
            Bound("bad_words", "bad_words_draw", ">=", config.bad_words_keep, "bad_words_keep"),
        ]
        return [bound for bound in limits if bound.limit == bound.limit]


def _limit(value: int | None) -> float:
    return float("nan") if value is None else value
