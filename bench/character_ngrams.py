"""How long n-grams of letters must be to behave like word 5-grams: Japanese news, edited and compared.

    .venv/bin/python bench/character_ngrams.py ../shared/data/crawl/text/livedoor_news_ja.jsonl.gz

Prints, for word 5-grams and letter n-grams: the median Jaccard similarity of an article and itself with one word in
fifty replaced, and the 99.9 % quantile of the similarity of different articles.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections.abc import Callable
from itertools import combinations, islice

import numpy as np

from corpusmill.core.normalise import normalised_letters, normalised_words
from corpusmill.core.words import words
from corpusmill.dedup.signatures import shingles

ARTICLES = 250
EDITED = 0.02  # share of the words
LENGTHS = (5, 8, 10, 12, 16)

Shingles = Callable[[str], set[int]]


def edited(text: str, chooser: random.Random) -> str:
    """`text` with words replaced."""
    spans = words(text, "ja")
    pieces, at = [], 0
    for start, end in zip(spans.starts.tolist(), spans.ends.tolist(), strict=True):
        if chooser.random() < EDITED:
            pieces += [text[at:start], "編集"]
            at = end
    return "".join([*pieces, text[at:]])


def jaccard(a: set[int], b: set[int]) -> float:
    """Of two sets that are not both empty."""
    return len(a & b) / len(a | b)


def of_letters(n: int) -> Shingles:
    """Shingles of n letters."""
    return lambda text: set(shingles(normalised_letters(text).hashes, n).tolist())


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("articles", help="JSON lines, gzip, with a key `text`")
    with gzip.open(parser.parse_args().articles, "rt") as file:
        texts = [json.loads(line)["text"] for line in islice(file, ARTICLES)]
    chooser = random.Random(0)
    changed = [edited(text, chooser) for text in texts]
    kinds: dict[str, Shingles] = {
        "5 words": lambda text: set(shingles(normalised_words(text, "ja").hashes, 5).tolist()),
        **{f"{n} letters": of_letters(n) for n in LENGTHS},
    }
    letters, units = (sum(len(f(t)) for t in texts) for f in (normalised_letters, lambda t: normalised_words(t, "ja")))
    print(f"{len(texts)} articles, {letters / units:.2f} letters a word")
    for name, shingled in kinds.items():
        sets = [shingled(text) for text in texts]
        own = np.median([jaccard(a, shingled(b)) for a, b in zip(sets, changed, strict=True)])
        others = np.quantile([jaccard(a, b) for a, b in combinations(sets, 2)], 0.999)
        print(f"{name:<12} {own:.3f}  {others:.4f}")


if __name__ == "__main__":
    main()
