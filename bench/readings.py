"""Why two readings of Gopher's rules judge a text differently: datatrove's turned into the project's own, step by step.

    python bench/readings.py --texts TEXTS.parquet [--examples 3]

TEXTS has the columns doc_id, text and language, as those of bench/filters.py (its work folder keeps them); the English
ones count. Every score is worked out here in plain Python with a set of switches: with none it is that of the variant
"datatrove", with all that of "paper" (both are asserted). Where the two verdicts differ, one switch is set at a time:
printed is, for every rule and direction, in how many texts a switch alone changes datatrove's verdict, and in how many
it takes several together. --examples prints doc_ids of each kind.
"""

from __future__ import annotations

import argparse
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filters import LANGUAGE, load_stages, reference
from side_by_side import table

from corpusmill.core.text import Text
from corpusmill.pipeline import recipe
from corpusmill.stages.quality import QualityConfig
from corpusmill.stages.quality_scores import DATATROVE_PUNCTUATION
from corpusmill.stages.scored import Bound

Switches = frozenset[str]
LINES, WORDS, PUNCTUATION, SPACES = "lines", "words", "punctuation", "whitespace"
ONCE, OVERLAPS, TIES, SCAN, FORMS, DOTS = "once", "overlaps", "ties", "scan", "forms", "dots"
TOGETHER = "together"
MEANING = {
    LINES: "lines without their outer whitespace, blank ones left out",
    WORDS: "words as whitespace separates them",
    PUNCTUATION: "words that are all punctuation count",
    SPACES: "no whitespace among the characters, in n-gram, lines or text",
    ONCE: "an n-gram that occurs once is no top n-gram",
    OVERLAPS: "overlapping occurrences of the top n-gram count once",
    TIES: "of equally frequent n-grams the one that covers most",
    SCAN: "all copies of n-grams, not a scan that jumps on",
    FORMS: "stop words capitalised, too, and with punctuation attached",
    DOTS: "a run of dots is one ellipsis",
}


RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "fineweb.yaml"
_RANGES = [part.split("-") for part in DATATROVE_PUNCTUATION.split()]
PUNCTUATION_MARKS = {chr(c) for ends in _RANGES for c in range(int(ends[0], 16), int(ends[-1], 16) + 1)}


class Page:
    """A text and what both readings take from it."""

    def __init__(self, text: str) -> None:
        self.text = text
        tokens = Text.of(text, LANGUAGE).tokens
        self.tokens = tokens.texts(text)
        self.words = text.split()

    def chosen(self, switches: Switches) -> list[str]:
        """Words by the switch."""
        return self.words if WORDS in switches else self.tokens


def copied_lines(page: Page, switches: Switches, *, characters: bool) -> float:
    lines = re.split(r"\n+", page.text)
    if LINES in switches:
        lines = [line.strip() for line in lines if line.strip()]
    seen: set[str] = set()
    copies = [line for line in lines if line in seen or seen.add(line)]  # type: ignore[func-returns-value]
    if not characters:
        return len(copies) / max(1, len(lines))
    return sum(map(len, copies)) / (sum(map(len, lines)) if SPACES in switches else len(page.text))


def top_ngram(page: Page, switches: Switches, *, n: int) -> float:
    words = page.chosen(switches)
    where: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i in range(len(words) - n + 1):
        where[tuple(words[i : i + n])].append(i)
    most = max(map(len, where.values()), default=0)
    if most == 0 or (ONCE in switches and most == 1):
        return 0.0
    between = 0 if SPACES in switches else n - 1

    def covered(starts: list[int]) -> int:
        if OVERLAPS not in switches:
            return len(starts) * (sum(map(len, words[starts[0] : starts[0] + n])) + between)
        inside = {i for start in starts for i in range(start, start + n)}
        pairs = {i for start in starts for i in range(start, start + n - 1)}  # with the word after it
        return sum(len(words[i]) for i in inside) + (len(pairs) if between else 0)

    tops = [covered(starts) for starts in where.values() if len(starts) == most]
    return (max(tops) if TIES in switches else tops[0]) / all_characters(page, words, switches)


def duplicate_ngrams(page: Page, switches: Switches, *, n: int) -> float:
    words = page.chosen(switches)
    characters = i = 0
    seen: set[str] = set()
    inside: set[int] = set()
    while i <= len(words) - n:
        gram = words[i : i + n]
        joined = ("\0" if SCAN in switches else "").join(gram)
        copy = joined in seen
        seen.add(joined)
        if copy:
            inside.update(range(i, i + n))
            characters += sum(map(len, gram))
        i += n if copy and SCAN not in switches else 1
    if SCAN in switches:
        characters = sum(len(words[i]) for i in inside)
    return characters / all_characters(page, words, switches)


def all_characters(page: Page, words: list[str], switches: Switches) -> int:
    return max(1, sum(map(len, words))) if SPACES in switches else len(page.text)


def counted_words(page: Page, switches: Switches) -> list[str]:
    words = page.chosen(switches)
    return words if PUNCTUATION in switches else [word for word in words if not set(word) <= PUNCTUATION_MARKS]


def mean_length(page: Page, switches: Switches) -> float:
    words = counted_words(page, switches)
    return sum(map(len, words)) / len(words) if words else math.nan


def ellipses(page: Page, switches: Switches) -> float:
    runs = len(re.findall(r"\.\.\.+|…+", page.text))
    found = runs if DOTS in switches else page.text.count("...") + page.text.count("…")
    return found / max(1, len(page.chosen(switches)))


def ellipsis_lines(page: Page, switches: Switches) -> float:
    lines = page.text.splitlines()
    if LINES in switches:
        lines = [line for line in page.text.split("\n") if line.strip()]
    return sum(line.rstrip().endswith(("...", "…")) for line in lines) / max(1, len(lines))


def alphabetic(page: Page, switches: Switches) -> float:
    words = page.chosen(switches)
    return sum(any(map(str.isalpha, word)) for word in words) / max(1, len(words))


def stop_words(page: Page, switches: Switches) -> float:
    listed = QualityConfig().stop_words[LANGUAGE]
    words = set(page.chosen(switches))
    if FORMS not in switches:
        return len(words.intersection(listed))
    bare = {re.sub(r"^[\W_]+|[\W_]+$", "", word) for word in words}
    return sum(bool({word, word.capitalize(), word.upper()} & bare) for word in listed)


def newline_ratio(page: Page, switches: Switches) -> float:
    return page.text.count("\n") / max(1, len(page.chosen(switches)))


Score = Callable[[Page, Switches], float]
GRAM = (WORDS, SPACES)
# Stage and rule: how its score is worked out, and what changes from datatrove's reading to our own.
SCORES: dict[tuple[str, str], tuple[Score, tuple[str, ...]]] = {
    ("repetition", "duplicate_line_fraction"): (partial(copied_lines, characters=False), (LINES,)),
    ("repetition", "duplicate_line_character_fraction"): (partial(copied_lines, characters=True), (LINES, SPACES)),
    **{
        ("repetition", f"top_{n}_gram_character_fraction"): (partial(top_ngram, n=n), (*GRAM, ONCE, OVERLAPS, TIES))
        for n in (2, 3, 4)
    },
    **{
        ("repetition", f"duplicate_{n}_gram_character_fraction"): (partial(duplicate_ngrams, n=n), (*GRAM, SCAN))
        for n in range(5, 11)
    },
    ("quality", "words_min"): (lambda page, switches: len(counted_words(page, switches)), (WORDS, PUNCTUATION)),
    ("quality", "mean_word_length_min"): (mean_length, (WORDS, PUNCTUATION)),
    ("quality", "mean_word_length_max"): (mean_length, (WORDS, PUNCTUATION)),
    ("quality", "ellipsis_ratio"): (ellipses, (WORDS, DOTS)),
    ("quality", "ellipsis_lines"): (ellipsis_lines, (LINES,)),
    ("quality", "alphabetic_words"): (alphabetic, (WORDS,)),
    ("quality", "stop_words"): (stop_words, (WORDS, FORMS)),
    ("fineweb", "newline_ratio"): (newline_ratio, (WORDS,)),
}


def explanations(texts: Sequence[str]) -> Iterator[tuple[str, str, bool, int, frozenset[str]]]:
    """Where verdicts differ: stage, rule, whether datatrove removes, number of text, switches that suffice alone."""
    slow = reference()
    stages = load_stages({name: recipe.load(str(RECIPE)).stages[name] for name in ("repetition", "quality", "fineweb")})
    bounds = {(name, bound.rule): bound for name, stage in stages.items() for bound in stage.bounds(LANGUAGE)}
    for i, text in enumerate(texts):
        page = Page(text)
        whole = {
            (name, variant): slow.reference_scores(name, text, LANGUAGE, variant)
            for name in stages
            for variant in ("datatrove", "paper")
        }
        for (name, rule), (score, switches) in SCORES.items():
            bound = bounds[name, rule]

            def removes(value: float, bound: Bound = bound) -> bool:
                return bool(bound.broken_by(np.array([value]))[0])

            theirs, ours = (whole[name, variant][bound.score] for variant in ("datatrove", "paper"))
            if removes(theirs) == removes(ours):
                continue
            assert math.isclose(score(page, Switches()), theirs), (i, rule)
            assert math.isclose(score(page, Switches(switches)), ours), (i, rule)
            alone = {switch for switch in switches if removes(score(page, Switches({switch}))) == removes(ours)}
            yield name, rule, removes(theirs), i, frozenset(alone)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--examples", type=int, default=0, help="so many doc_ids of each kind")
    arguments = parser.parse_args()
    documents = pq.read_table(arguments.texts, columns=["doc_id", "text", "language"])
    documents = documents.filter(pc.equal(documents["language"], LANGUAGE))
    ids = documents["doc_id"].to_pylist()
    kinds: dict[tuple[str, str, bool], Counter[str]] = defaultdict(Counter)
    examples: dict[tuple[str, str, bool, str], list[str]] = defaultdict(list)
    for name, rule, theirs, i, alone in explanations(documents["text"].to_pylist()):
        kind = kinds[name, rule, theirs]
        kind["texts"] += 1
        for switch in alone or {TOGETHER}:
            kind[switch] += 1
            examples[name, rule, theirs, switch].append(ids[i])
    used = [switch for switch in (*MEANING, TOGETHER) if any(kind[switch] for kind in kinds.values())]
    rows = [
        [name, rule, "datatrove" if theirs else "corpusmill", str(kind["texts"]), *(str(kind[s] or "") for s in used)]
        for (name, rule, theirs), kind in sorted(kinds.items(), key=lambda item: list(SCORES).index(item[0][:2]))
    ]
    print(table(["stage", "rule", "removed only by", "texts", *used], rows, text_columns=3))
    for switch in MEANING:
        print(f"\n{switch}: {MEANING[switch]}", end="")
    print(f"\n{TOGETHER}: no switch alone, several together")
    for key, found in examples.items() if arguments.examples else ():
        print(*key[:2], "datatrove" if key[2] else "corpusmill", key[3], *found[: arguments.examples])


if __name__ == "__main__":
    main()
