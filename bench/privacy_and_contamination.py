"""Speed of the stages `pii` and `decontaminate`: texts of 600 words, an index of a million n-grams.

    .venv/bin/python bench/privacy_and_contamination.py

Prints microseconds a text for the part of each stage that looks at it, and the size of the index.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial

from corpusmill.core.text import Text
from corpusmill.stages.evaluation_index import EvaluationIndex, units
from corpusmill.stages.pii import Pii, PiiConfig

ITEMS, ITEM_WORDS, TEXT_WORDS, REPEATS = 20_000, 62, 600, 2_000


def microseconds(look: Callable[[], object]) -> float:
    look()
    best = float("inf")
    for _ in range(5):
        started = time.process_time()
        for _ in range(REPEATS // 5):
            look()
        best = min(best, (time.process_time() - started) / (REPEATS // 5))
    return best * 1e6


def look(stage: Pii, text: str) -> None:
    stage.measure(Text(text, "en"))


def main() -> None:
    rng = random.Random(0)
    vocabulary = ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(2, 9))) for _ in range(20_000)]
    text = ". ".join(" ".join(rng.choices(vocabulary, k=12)).capitalize() for _ in range(TEXT_WORDS // 12))
    private = f"{text}. Write to john.doe@acme.com or call 415-555-2671; the server is 8.8.8.8."
    for name, config in (("pii", PiiConfig()), ("pii, phones of US and JP", PiiConfig(phone_regions=("US", "JP")))):
        without, with_matches = (microseconds(partial(look, Pii(config), t)) for t in (text, private))
        print(f"{name}: {without:.0f} us without a match, {with_matches:.0f} us with matches")
    started = time.process_time()
    items = (Text(" ".join(rng.choices(vocabulary, k=ITEM_WORDS)), "") for _ in range(ITEMS))
    index = EvaluationIndex(items, ngram=13, characters=26, min_words=8)
    size = f"{ITEMS * (ITEM_WORDS - 12):,} n-grams, {index.nbytes / 1e6:.0f} MB"
    print(f"index: {size}, built in {time.process_time() - started:.1f} s")
    print(f"decontaminate: {microseconds(lambda: index.hits(units(Text(text, 'en')))):.0f} us without a hit")


if __name__ == "__main__":
    main()
