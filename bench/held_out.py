"""How near the pages that a run trains on are to those it holds out.

    corpusmill run recipes/quickstart.yaml --input 'crawl/*.warc.gz' --out RUN --set 'held_out={key: k, share: 1/10}'
    python bench/held_out.py RUN [--json result.json]

Every held-out page is compared with every page that is trained on, by the exact Jaccard similarity of their n-grams
(those of `minhash` in the recipe), of the texts as they entered `minhash`: no buckets, no sketches. Prints how many
have a page of this similarity among those that are trained on: from `min_similarity` on these are what MinHash missed.
The same for the chosen pages that went at `minhash`, with the split as it is and if it left their copies in training.
Pages like these may be trained on where they are not like the page that stands for the chosen one (docs/held-out.md).
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from corpusmill.core import storage
from corpusmill.dedup.minhash import MinHash, MinHashConfig
from corpusmill.pipeline import held_out
from corpusmill.pipeline.chain import Chain
from corpusmill.pipeline.status import open_run

LIMITS = (0.5, 0.6, 0.7, 0.8, 0.9)
Sets = dict[str, npt.NDArray[np.uint64]]


def shingle_sets(chain: Chain, config: MinHashConfig) -> Sets:
    """The distinct n-grams of every document that entered `minhash`, by doc_id."""
    sets: Sets = {}
    before = chain.index(MinHash.name) - 1
    for shard in chain.shards:
        table = chain.kept(before, shard.name, ["doc_id", "language", "text"])
        texts, languages = table.column("text").combine_chunks().cast(pa.large_string()), table.column("language")
        ids = table.column("doc_id").to_pylist()
        rows = np.arange(table.num_rows)
        for row, found in config.shingling.of_texts(texts, languages.to_pylist(), rows):
            sets[ids[row]] = np.unique(found)
    return sets


def nearest(sets: Sets, pages: Iterable[str], others: Iterable[str]) -> dict[str, float]:
    """For each of `pages` the highest similarity to one of `others`, 0..1."""
    having: dict[int, list[str]] = defaultdict(list)
    for other in others:
        for shingle in sets[other].tolist():
            having[shingle].append(other)
    found = {}
    for page in pages:
        common: dict[str, int] = defaultdict(int)
        for shingle in sets[page].tolist():
            for other in having.get(shingle, ()):
                common[other] += 1
        size = len(sets[page])
        found[page] = max((n / (size + len(sets[other]) - n) for other, n in common.items()), default=0.0)
    return found


def ids_of(folder: str) -> set[str]:
    """doc_ids of a folder of token shards."""
    return set(storage.read_parquet(storage.join(folder, "documents.parquet"), ["doc_id"]).column("doc_id").to_pylist())


def at_least(similarities: Mapping[str, float]) -> dict[str, int]:
    """How many have each of LIMITS."""
    return {str(limit): sum(s >= limit for s in similarities.values()) for limit in LIMITS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    recipe, chain = open_run(arguments.run)
    if recipe.held_out is None or MinHash.name not in chain.names:
        parser.error("the run holds nothing out, or has no `minhash`")
    config = recipe.stage_config(MinHash.name)
    assert isinstance(config, MinHashConfig)
    sets = shingle_sets(chain, config)
    folders = held_out.folders(chain.run)
    held, copies = ids_of(folders[held_out.CHOSEN]), ids_of(folders[held_out.COPIES])
    training = ids_of(storage.join(chain.run, "tokens")) & set(sets)
    gone = {doc_id for doc_id in sets if recipe.held_out.is_chosen(doc_id)} - held
    rows = {
        "held out": at_least(nearest(sets, held, training)),
        "chosen, went at minhash": at_least(nearest(sets, gone, training)),
        "the same, if their copies were trained on": at_least(nearest(sets, gone, training | copies)),
    }
    parts = {"training": len(training), "held out": len(held), "copies": len(copies), "chosen, went": len(gone)}
    print(", ".join(f"{name} {number}" for name, number in parts.items()))
    print(f"{'pages with a training page at least as similar as':50}" + "".join(f"{limit:>7}" for limit in LIMITS))
    for name, counts in rows.items():
        print(f"{name:50}" + "".join(f"{number:7}" for number in counts.values()))
    if arguments.json:
        arguments.json.write_text(json.dumps({"parts": parts, "pages": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
