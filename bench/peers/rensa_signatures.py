"""rensa's signatures of texts: the time they take.

    PEER/bin/python bench/peers/rensa_signatures.py TEXTS.jsonl [--permutations 112] [--ngram 5] [--repeat 3]

TEXTS: JSONL with the key text. Runs in the environment that bench/peers/setup_rensa makes; bench/dedup_scale.py calls
it. As rensa's README has it: one object a text, `update` with a list of strings, here the runs of n words between
whitespace, joined by spaces; nothing is normalised.

On stdout one JSON object: {"documents", "packages", "seconds": {class: [wall of each repetition]}}.
"""

from __future__ import annotations

import argparse
import json
import time
from importlib.metadata import version
from pathlib import Path

from rensa import CMinHash, RMinHash

SEED = 42


def shingles(text: str, ngram: int) -> list[str]:
    """Runs of `ngram` words; all words together when there are fewer."""
    words = text.split()
    return [" ".join(words[i : i + ngram]) for i in range(max(1, len(words) - ngram + 1))]


def main() -> None:
    """Prints times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--permutations", type=int, default=112)
    parser.add_argument("--ngram", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    with options.texts.open(encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    seconds: dict[str, list[float]] = {}
    for kind in (RMinHash, CMinHash):
        for _ in range(options.repeat):
            started = time.perf_counter()
            for text in texts:
                signature = kind(num_perm=options.permutations, seed=SEED)
                signature.update(shingles(text, options.ngram))
            seconds.setdefault(kind.__name__, []).append(time.perf_counter() - started)
    print(json.dumps({"documents": len(texts), "packages": {"rensa": version("rensa")}, "seconds": seconds}))


if __name__ == "__main__":
    main()
