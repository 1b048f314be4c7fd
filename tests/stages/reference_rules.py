"""Every score of the rules by its definition: strings, lists and sets, slow and plain.

bench/filters.py compares verdicts with these on all real pages, the tests on a sample.
"""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from corpusmill.core import words as text_words
from corpusmill.stages.quality import QualityConfig
from corpusmill.stages.quality import Score as QualityScore
from corpusmill.stages.quality_scores import BULLETS, DATATROVE_PUNCTUATION
from corpusmill.stages.repetition import RULES as REPETITION_RULES

sys.path.append(str(Path(__file__).resolve().parent))  # benchmarks load this file by its path

import reference_lines
from ngram_reference import reference as paper_ngram
from reference_words import tokens, unicode_words

Scores = dict[str, float]
_QUALITY_SCORES: tuple[QualityScore, ...] = QualityScore.__args__  # type: ignore[attr-defined]

# Repetition


def _stripped(pieces: list[str]) -> list[str]:
    return [piece.strip() for piece in pieces if piece.strip()]


def _copies(items: list[str]) -> tuple[int, int]:
    again = [item for i, item in enumerate(items) if item in items[:i]]
    return len(again), sum(map(len, again))


def _repetition_paper(text: str, language: str) -> list[float]:
    found = {}
    for kind, separator in (("line", "\n"), ("paragraph", "\n\n")):
        items = _stripped(text.split(separator))
        copies, characters = _copies(items)
        found[kind] = (copies / len(items), characters / sum(map(len, items))) if items else (0.0, 0.0)
    words = text.split() if text_words.writes_spaces(language) else text_words.words(text, language).texts(text)
    characters = max(1, sum(map(len, words)))
    fractions, shares = zip(*found.values(), strict=True)
    return [*fractions, *shares, *(paper_ngram(words, n) / characters for n in range(2, 11))]


def _repetition_dclm(text: str, language: str) -> list[float]:
    found = {}
    for kind, separator in (("line", "\n"), ("paragraph", "\n\n")):
        items = _stripped(text.split(separator))
        repeated = {item: times for item, times in Counter(items).items() if times > 1}
        found[kind] = (1.0, 1.0)  # nothing at all is removed
        if items:
            characters = sum(len(item) * times for item, times in repeated.items())
            found[kind] = (sum(repeated.values()) / len(items), characters / sum(map(len, items)))
    words = unicode_words(text)
    total = sum(map(len, words))
    grams = []
    for n in range(2, 11):
        ngrams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        times = Counter(ngrams)
        most = max(times.values(), default=1)
        if most == 1:
            grams.append(0.0)
        elif n < 5:
            longest = max(len("".join(gram)) for gram in times if times[gram] == most)
            grams.append(most * longest / total)
        else:
            inside = {j for i, gram in enumerate(ngrams) if times[gram] > 1 for j in range(i, i + n)}
            grams.append(sum(len(words[j]) for j in inside) / total)
    fractions, shares = zip(*found.values(), strict=True)
    return [*fractions, *shares, *grams]


def _repetition_datatrove(text: str, language: str) -> list[float]:
    if not text:
        return [1.0] * 4 + [0.0] * 9
    lines, paragraphs = re.split(r"\n+", text), re.split(r"\n{2,}", text.strip())
    (line, line_characters), (paragraph, paragraph_characters) = _copies(lines), _copies(paragraphs)
    words = tokens(text, language)
    grams = []
    for n in range(2, 5):
        ngrams = [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]
        top = max(Counter(ngrams).items(), key=lambda item: item[1], default=("", 0))  # the first of the most frequent
        grams.append(len(top[0]) * top[1] / len(text))
    for n in range(5, 11):
        seen: set[str] = set()
        characters = i = 0
        while i + n <= len(words):
            joined = "".join(words[i : i + n])
            if joined in seen:
                characters += len(joined)
                i += n
            else:
                seen.add(joined)
                i += 1
        grams.append(characters / len(text))
    shares = (line_characters / len(text), paragraph_characters / len(text))
    return [line / len(lines), paragraph / len(paragraphs), *shares, *grams]


# Quality


def _with_letter(words: list[str]) -> int:
    return sum(any(map(str.isalpha, word)) for word in words)


def _quality_paper(text: str, language: str, stop_words: tuple[str, ...]) -> list[float]:
    words = text.split() if text_words.writes_spaces(language) else text_words.words(text, language).texts(text)
    lines = _stripped(text.split("\n"))
    num_words, num_lines = len(words) or 1, len(lines) or 1
    hashes, ellipses = len(re.findall("[#＃]", text)), len(re.findall(r"\.\.\.+|…+", text))
    inner = {re.sub(r"^[\W_]+|[\W_]+$", "", word) for word in words}
    return [
        len(words),
        sum(map(len, words)) / num_words,
        hashes / num_words,
        ellipses / num_words,
        (hashes + ellipses) / num_words,
        sum(line.startswith(tuple(BULLETS)) for line in lines) / num_lines,
        sum(line.endswith(("...", "…")) for line in lines) / num_lines,
        _with_letter(words) / num_words,
        sum(bool({word, word.capitalize(), word.upper()} & inner) for word in stop_words),
    ]


def _punctuation() -> set[str]:
    ends = [part.split("-") for part in DATATROVE_PUNCTUATION.split()]
    return {chr(c) for part in ends for c in range(int(part[0], 16), int(part[-1], 16) + 1)}


def _quality_datatrove(text: str, language: str, stop_words: tuple[str, ...]) -> list[float]:
    words = tokens(text, language)
    punctuation = _punctuation()
    judged = [word for word in words if not set(word) <= punctuation]
    lines = text.splitlines()
    num_words, num_lines = len(words) or 1, len(lines) or 1
    hashes, ellipses = text.count("#"), text.count("...") + text.count("…")
    return [
        len(judged),
        sum(map(len, judged)) / len(judged) if judged else math.nan,
        hashes / num_words,
        ellipses / num_words,
        (hashes + ellipses) / num_words,
        sum(line.lstrip().startswith(("•", "-")) for line in lines) / num_lines,
        sum(line.rstrip().endswith(("...", "…")) for line in lines) / num_lines,
        _with_letter(words) / num_words,
        len(set(stop_words) & set(words)),
    ]


def _quality_dclm(text: str, language: str, stop_words: tuple[str, ...]) -> list[float]:
    words = text.split()
    lines = _stripped(text.split("\n"))
    num_words, num_lines = len(words) or 1, len(lines) or 1
    hashes, ellipses = text.count("#"), text.count("...") + text.count(". . .") + text.count("…")
    return [
        sum(word[:1].isalnum() for word in re.split("[ \n\r\t\v\f\0]", text)),
        sum(map(len, words)) / num_words,
        hashes / num_words,
        ellipses / num_words,
        (hashes + ellipses) / num_words,
        sum(line.startswith(("●", "•", "*", "-")) for line in lines) / num_lines,
        sum(line.endswith(("...", ". . .", "…")) for line in lines) / num_lines,
        _with_letter(words) / num_words,
        sum("".join(map(_lower, word)) in {"".join(map(_lower, stop)) for stop in stop_words} for word in words),
    ]


def _lower(character: str) -> str:
    lower = character.lower()
    return lower if len(lower) == 1 else character


_REPETITION: dict[str, Callable[[str, str], list[float]]] = {
    "paper": _repetition_paper,
    "datatrove": _repetition_datatrove,
    "dclm": _repetition_dclm,
}
_QUALITY: dict[str, Callable[[str, str, tuple[str, ...]], list[float]]] = {
    "paper": _quality_paper,
    "datatrove": _quality_datatrove,
    "dclm": _quality_dclm,
}


def reference_scores(stage: str, text: str, language: str, variant: str = "paper") -> Scores:
    """Scores of `text` in `stage` by name, with the stage's default settings besides the variant.

    stage: "repetition", "quality", or one of reference_lines. A score that the text does not have is NaN.
    """
    if stage == "repetition":
        return dict(zip(REPETITION_RULES, _REPETITION[variant](text, language), strict=True))
    if stage != "quality":
        return reference_lines.reference_scores(stage, text, language, variant)
    listed = QualityConfig().stop_words.get(language, ())
    scores = _QUALITY[variant](text, language, listed)
    return dict(zip(_QUALITY_SCORES, scores if listed else [*scores[:-1], math.nan], strict=True))
