"""C4's, FineWeb's and RefinedWeb's line rules, written as plainly as can be: line after line, string after string.

Slow, and free of the kernels and look-ups of the stages that are compared with it. Scores have the stages' names. What
the lists' phrases take out of a single line is asked of stages/line_patterns.py, for every line.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

from reference_words import tokens

from corpusmill.core import documents
from corpusmill.core.words import words, writes_spaces
from corpusmill.stages.c4 import CITATION, END_MARKS, POLICY
from corpusmill.stages.fineweb import stop_characters
from corpusmill.stages.line_patterns import DCLM_ANYWHERE, DCLM_COUNTER, DCLM_END, DCLM_START, ListedPatterns
from corpusmill.stages.lines import LinesConfig

STOPS = tuple(map(chr, stop_characters().tolist()))
LISTED = LinesConfig().patterns()
ALL_MARKS = 255
SENTENCE_END = re.compile(r"[。．！？!?.]+[」』）)\"'”’]*")


class Outcome(NamedTuple):
    """scores: by name. text: what is left. rules: lines (or cuts in them) by rule."""

    scores: dict[str, float]
    text: str
    rules: Counter[str]


def reference_scores(stage: str, text: str, language: str, variant: str = "paper") -> dict[str, float]:
    """Scores of `c4` (variants paper, datatrove: FineWeb's settings), `fineweb` (the same) or `lines` (paper, dclm)."""
    return outcome(stage, text, language, variant).scores


def outcome(stage: str, text: str, language: str, variant: str = "paper") -> Outcome:
    """All that the stage finds in `text`, with its default settings besides the variant."""
    if stage == "c4":
        return c4(text, language, terminal_punctuation=variant == "paper")
    if stage == "fineweb":
        return Outcome(fineweb(text, language, variant), text, Counter())
    return lines_of_dclm(text) if variant == "dclm" else lines(text, language)


def words_of(text: str, language: str) -> list[str]:
    return text.split() if writes_spaces(language) else words(text, language).texts(text)


def words_in_lines(text: str, language: str) -> list[list[str]]:
    """Words of every line; a segmenter sees the whole text."""
    if writes_spaces(language):
        return [line.split() for line in text.split("\n")]
    found = words(text, language)
    of_line: list[list[str]] = [[] for _ in text.split("\n")]
    for start, word in zip(found.starts.tolist(), found.texts(text), strict=True):
        of_line[text[:start].count("\n")].append(word)
    return of_line


def sentences(line: str) -> int:
    pieces, start = [], 0
    for match in SENTENCE_END.finditer(line):
        after = line[match.end() : match.end() + 1]
        if re.search("[。．！？]", match.group()) or not after or after.isspace() or after >= "\u2e80":
            pieces.append(line[start : match.end()])
            start = match.end()
    return sum(bool(piece.strip()) for piece in [*pieces, line[start:]])


def c4(text: str, language: str, *, terminal_punctuation: bool) -> Outcome:
    kept: list[str] = []
    rules: Counter[str] = Counter()
    values = {"long_paragraphs": 0.0, "lorem_ipsum": 0.0, "curly_bracket": 0.0, "sentences": 0.0}
    for raw, of_line in zip(text.split("\n"), words_in_lines(text, language), strict=True):
        values["long_paragraphs"] += len(raw) >= 200
        line = raw.strip()
        if not line:
            rules["blank_line"] += 1
            continue
        if any(len(word) > 1000 for word in of_line):
            rules["long_word_line"] += 1
            continue
        citations = len(CITATION.findall(line))
        line = CITATION.sub("", line)
        if terminal_punctuation and (not line.endswith(END_MARKS) or line.endswith("...")):
            rules["unterminated_line"] += 1
            continue
        if len(of_line) < 3:
            rules["few_words_line"] += 1
            continue
        if "lorem ipsum" in line.lower():
            values["lorem_ipsum"] += 1
        if "javascript" in line.lower():
            rules["javascript_line"] += 1
            continue
        if "{" in line:
            values["curly_bracket"] += 1
        if any(phrase in line.lower() for phrase in POLICY):
            rules["policy_line"] += 1
            continue
        rules["citation"] += citations
        values["sentences"] += sentences(line)
        kept.append(line)
    nan = float("nan")
    return Outcome({**values, "bad_words": nan, "bad_words_draw": nan}, "\n".join(kept).strip(), +rules)


def fineweb(text: str, language: str, variant: str) -> dict[str, float]:
    held = [line for line in text.split("\n") if line.strip()]
    if not held:
        return dict.fromkeys(("line_punctuation", "short_lines", "duplicate_line_characters", "newline_ratio"), 0.0)
    counted = tokens(text, language) if variant == "datatrove" else words_of(text, language)
    copied = sum(len(line) for i, line in enumerate(held) if line in held[:i])
    return {
        "line_punctuation": sum(line.endswith(STOPS) for line in held) / len(held),
        "short_lines": sum(len(line) <= 30 for line in held) / len(held),
        "duplicate_line_characters": copied / len(text.replace("\n", "")),
        "newline_ratio": text.count("\n") / max(1, len(counted)),
    }


def lines(text: str, language: str) -> Outcome:
    assert isinstance(LISTED, ListedPatterns)
    kept: list[str] = []
    rules: Counter[str] = Counter()
    total = flagged = removed = 0
    for raw, of_line in zip(text.split("\n"), words_in_lines(text, language), strict=True):
        total += len(of_line)
        line = raw.strip()
        visible = "".join(line.split())
        rule = None
        if not line:
            pass
        elif writes_spaces(language) and sum(c.isupper() for c in visible) > 0.5 * len(visible):
            rule = "uppercase_line"
        elif all(c.isdecimal() for c in visible):
            rule = "numeric_line"
        elif LISTED.is_counter(line):
            rule = "counter_line"
        elif len(of_line) < 2 and any(c.isalnum() for c in line):
            rule = "one_word_line"
        cuts = LISTED.cuts(line, ALL_MARKS) if line and not rule and len(of_line) <= 10 else []
        left = documents.without_spans(line, ((cut.start, cut.end) for cut in cuts))
        if cuts and not any(c.isalpha() for c in left):
            rule = cuts[0].rule
        if rule:
            rules[rule] += 1
            removed += len(of_line)
        else:
            rules.update(cut.rule for cut in cuts)
            kept.append(raw.replace(line, left) if line else raw)
            head = len(raw) - len(raw.lstrip())
            for cut in cuts:
                removed += words_starting(raw, language, head + cut.start, head + cut.end)
        flagged += len(of_line) if rule or cuts else 0
    shares = {"flagged_words": flagged / max(1, total), "removed_words": removed / max(1, total)}
    return Outcome(shares, "\n".join(kept), rules)


def words_starting(line: str, language: str, start: int, end: int) -> int:
    found = re.finditer(r"\S+", line) if writes_spaces(language) else None
    if found is None:
        return sum(start <= at < end for at in words(line, language).starts.tolist())
    return sum(start <= match.start() < end for match in found)


def lines_of_dclm(text: str) -> Outcome:
    """DCLM's steps over the list of lines, one after another; a line's words are counted if it loses some."""
    rules: Counter[str] = Counter()
    left = text.split("\n")
    before = counted_by_dclm(text)
    flagged = 0

    def discard(rule: str, wrong: list[bool]) -> None:
        nonlocal left, flagged
        rules[rule] += sum(wrong)
        flagged += sum(counted_by_dclm(line) for line, is_wrong in zip(left, wrong, strict=True) if is_wrong)
        left = [line for line, is_wrong in zip(left, wrong, strict=True) if not is_wrong]

    discard("uppercase_line", [bool(line) and sum(c.isupper() for c in line) / len(line) > 0.5 for line in left])
    discard("numeric_line", [bool(line) and sum(c.isdigit() for c in line) / len(line) > 0.999999 for line in left])
    discard("counter_line", [re.search(DCLM_COUNTER, line.lower()) is not None for line in left])
    discard("one_word_line", [bool(line) and len(line.split()) < 2 for line in left])
    originals = list(left)
    for rule, expression in (
        ("pattern_anywhere", DCLM_ANYWHERE),
        ("pattern_end", DCLM_END),
        ("pattern_start", DCLM_START),
    ):
        edited = []
        for line in left:
            shorter = re.sub(expression, "", line, flags=re.IGNORECASE) if len(line.split()) <= 10 else line
            rules[rule] += shorter != line
            edited.append(shorter)
        left = edited
    edits = [(line, original) for line, original in zip(left, originals, strict=True) if line != original]
    flagged += sum(counted_by_dclm(original) for _, original in edits)
    left = [line for line, original in zip(left, originals, strict=True) if line.strip() or not original]
    rest = "\n".join(left)
    if before == 0:
        return Outcome({"flagged_words": 1.0, "removed_words": 1.0}, rest, +rules)
    removed = (before - counted_by_dclm(rest)) / before
    return Outcome({"flagged_words": flagged / before, "removed_words": removed}, rest, +rules)


def counted_by_dclm(text: str) -> int:
    return sum(word[0].isalnum() for word in text.split())
