"""What the prescreen saves, costs and loses on real pages.

    python bench/prescreen.py [--data ../shared/data/crawl] [--recipe recipes/refinedweb.yaml] [--cache FILE]

Documents are judged one by one up to the stage `lines`, so what a prescreen loses are the documents that the recipe's
chain keeps without it and that it removes. `--cache` keeps the ids of the former between calls: to find them takes
minutes.

- lossless: `too_few_words` alone, on every page, and on pieces of pages that are small enough to be removed. Each page
  and piece that is removed is extracted with both back ends after all: its words must be fewer than `min_words`.
- languages: pages in English, by threshold and length of the text that is classified.

Milliseconds are of one process and its sandbox, decoding included.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from corpusmill.core import words
from corpusmill.pipeline import recipe as recipes
from corpusmill.pipeline.registry import DOCUMENT_STAGES
from corpusmill.stages.extract import ExtractConfig, ExtractStage
from corpusmill.stages.prescreen import PrescreenConfig, PrescreenStage
from corpusmill.stages.warc import WarcConfig, WarcStage, plan_slices

SETTINGS = [(1000, 0.02), (1000, 0.05), (1000, 0.1), (500, 0.05), (2000, 0.05), (4000, 0.05)]
PIECE_BYTES = (12, 20, 40)


def tables(data: Path) -> Iterator[pa.Table]:
    """RECORD tables of all pages."""
    stage = WarcStage(WarcConfig())
    for path in sorted((data / "warc").glob("*.warc.gz")):
        for piece in plan_slices(str(path), "", 1 << 40):
            for result in stage.read(piece):
                yield result.kept


def finally_kept(data: Path, recipe: str, cache: Path | None) -> list[str]:
    """doc_ids that the recipe's document stages keep."""
    if cache is not None and cache.is_file():
        known: list[str] = json.loads(cache.read_text())
        return known
    loaded = recipes.load(recipe, ["stages.prescreen=false"])
    stages = [DOCUMENT_STAGES[name](loaded.stage_config(name)) for name in loaded.stages if name in DOCUMENT_STAGES]
    kept: list[str] = []
    for table in tables(data):
        for stage in stages:
            table = stage.process(table).kept
        kept += table["doc_id"].to_pylist()
    for stage in stages:
        stage.close()
    if cache is not None:
        cache.write_text(json.dumps(kept))
    return kept


def screened(data: Path, config: PrescreenConfig) -> tuple[dict[str, str], int, float]:
    """doc_id and rule of the removed pages, pages, milliseconds a page."""
    stage = PrescreenStage(config)
    removed: dict[str, str] = {}
    pages, seconds = 0, 0.0
    for table in tables(data):
        started = time.perf_counter()
        result = stage.process(table)
        seconds += time.perf_counter() - started
        pages += table.num_rows
        removed.update(zip(result.removed["doc_id"].to_pylist(), result.removed["rule"].to_pylist(), strict=True))
    stage.close()
    return removed, pages, 1000 * seconds / pages


def with_payloads(table: pa.Table, payloads: list[bytes]) -> pa.Table:
    at = table.schema.get_field_index("payload")
    return table.set_column(at, table.schema.field(at), pa.array(payloads, pa.large_binary()))


def words_of_removed(data: Path) -> dict[str, int]:
    """How many pages and pieces the lossless rule removes, and the most words that any back end finds in one."""
    screen = PrescreenStage(PrescreenConfig())
    backends = [ExtractStage(ExtractConfig()), ExtractStage(ExtractConfig(backend="resiliparse"))]
    counts = {"pages": 0, "pieces": 0, "most words": 0}
    for whole in tables(data):
        middles = {size: [p[len(p) // 2 :][:size] for p in whole["payload"].to_pylist()] for size in PIECE_BYTES}
        pieces = [with_payloads(whole, payloads) for payloads in middles.values()]
        for kind, table in (("pages", whole), *(("pieces", piece) for piece in pieces)):
            gone = set(screen.process(table).removed["doc_id"].to_pylist())
            counts[kind] += len(gone)
            removed = table.filter(pa.array([i in gone for i in table["doc_id"].to_pylist()], pa.bool_()))
            for backend in backends:
                for text in backend.process(removed).kept["text"].to_pylist():
                    found = max(len(words.words(text, language)) for language in ("en", "ja", "zh"))
                    counts["most words"] = max(counts["most words"], found)
    for stage in (screen, *backends):
        stage.close()
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = Path(__file__).resolve().parents[1]
    parser.add_argument("--data", type=Path, default=root.parent / "shared" / "data" / "crawl")
    parser.add_argument("--recipe", default=str(root / "recipes" / "refinedweb.yaml"))
    parser.add_argument("--cache", type=Path, help="JSON file of the ids of the documents that are finally kept")
    arguments = parser.parse_args()

    final = set(finally_kept(arguments.data, arguments.recipe, arguments.cache))
    counts = words_of_removed(arguments.data)
    print(
        f"lossless: {counts['pages']} pages and {counts['pieces']} pieces of pages removed; "
        f"most words found in one of them: {counts['most words']}"
    )
    print("\n| characters | threshold | pages extracted | finally kept | lost | kept of them | ms a page |")
    print("|---:|---:|---:|---:|---:|---:|---:|")

    def row(characters: Any, threshold: Any, config: PrescreenConfig) -> None:
        removed, pages, cost = screened(arguments.data, config)
        lost = len(final & removed.keys())
        share = f"{100 * (1 - lost / len(final)):.2f} %"
        on = f"{pages - len(removed):,} of {pages:,}"
        print(f"| {characters} | {threshold} | {on} | {len(final):,} | {lost} | {share} | {cost:.2f} |", flush=True)

    row("-", "-", PrescreenConfig())
    for characters, threshold in SETTINGS:
        row(characters, threshold, PrescreenConfig(languages={"en": threshold}, text_characters=characters))


if __name__ == "__main__":
    main()
