"""Extraction quality and cost on pages with known main text: the chain against the bare library.

    python bench/extraction.py [--data ../shared/data/crawl] [--limit N] [--json]

chain: WARC -> charset -> ExtractStage in its sandbox. bare: `trafilatura.extract` on the same decoded HTML with the
same options, in this process. rules: the bare text after RefinedWeb's two rules, to tell what they change from what the
chain does. All are scored on the same pages; a page that one lost scores 0 there.

- F1 on bags of words, and on bags of 3-grams of words, mean over pages. Words are runs of letters and digits; in
  languages without spaces every letter or digit is one.
- Where the gold is a list of snippets that must or must not be in the text: F1 of the snippets, over all pages together
  (found = true positive, missing = false negative, unwanted but there = false positive).

Pages whose gold is mostly absent from the page (`gold_coverage` below 0.5) are left out. Target: chain and bare differ
by at most 0.01, and chain and rules by nothing.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from corpusmill.core.documents import doc_id
from corpusmill.core.words import writes_spaces
from corpusmill.stages.charset import decode
from corpusmill.stages.extract import ExtractConfig, ExtractStage
from corpusmill.stages.main_text import main_text, tidy
from corpusmill.stages.warc import WarcConfig, WarcStage, plan_slices

MINIMUM_COVERAGE = 0.5
SMALL_GROUP = 5  # pages; languages with fewer are one line in the table
_WORD = re.compile(r"\w+")
_LETTER = re.compile(r"\w")
SIDES = ("chain", "bare", "rules")
TIMED = ("chain", "bare")


@dataclass(frozen=True)
class Gold:
    """Main text of one page (`text`), or snippets of it."""

    repo: str
    language: str
    kind: str
    text: str
    wanted: tuple[str, ...] = ()
    unwanted: tuple[str, ...] = ()


def read_gold(data: Path, limit: int | None) -> dict[str, Gold]:
    """Gold by doc_id; `limit` takes that many pages, evenly spread."""
    with (data / "pages.jsonl").open() as file:
        pages = [json.loads(line) for line in file]
    pages = [p for p in pages if p["gold"] and p["gold_coverage"] >= MINIMUM_COVERAGE]
    if limit is not None and limit < len(pages):
        pages = [pages[i * len(pages) // limit] for i in range(limit)]
    return {doc_id(Path(p["warc"]).name, p["offset"]): _gold(data, p) for p in pages}


def _gold(data: Path, page: dict[str, Any]) -> Gold:
    content = (data / page["gold"]).read_text(encoding="utf-8")
    if page["gold_kind"] != "snippets":
        return Gold(page["repo"], page["lang"], page["gold_kind"], content)
    snippets = json.loads(content)
    wanted = tuple(_flat(s) for s in snippets["with"])
    unwanted = tuple(_flat(s) for s in snippets["without"])
    return Gold(page["repo"], page["lang"], "snippets", "", wanted, unwanted)


def _flat(text: str) -> str:
    return " ".join(text.split())


def f1(found: Sequence[str], gold: Sequence[str], n: int) -> float:
    """F1 of two bags of n-grams."""
    a, b = (Counter(zip(*(items[i:] for i in range(n)), strict=False)) for items in (found, gold))
    if not a or not b:
        return float(a == b)
    return 2 * (a & b).total() / (a.total() + b.total())


def units(text: str, language: str) -> list[str]:
    return (_WORD if writes_spaces(language) else _LETTER).findall(text)


def records(data: Path, wanted: Iterable[str]) -> Iterator[pa.Table]:
    """RECORD tables of the wanted doc_ids."""
    ids = pa.array(sorted(wanted), pa.string())
    stage = WarcStage(WarcConfig())
    for path in sorted((data / "warc").glob("*.warc.gz")):
        for piece in plan_slices(str(path), "", 1 << 40):
            for result in stage.read(piece):
                yield result.kept.filter(pc.is_in(result.kept["doc_id"], ids))


class Scores:
    """Scores of both sides of a group of pages."""

    def __init__(self) -> None:
        self._word: dict[str, list[float]] = defaultdict(list)
        self._trigram: dict[str, list[float]] = defaultdict(list)
        self._snippets: dict[str, Counter[str]] = defaultdict(Counter)
        self.pages = 0

    def add(self, gold: Gold, texts: dict[str, str]) -> None:
        self.pages += 1
        for side, text in texts.items():
            if gold.kind == "snippets":
                flat = _flat(text)
                found = sum(s in flat for s in gold.wanted)
                there = sum(s in flat for s in gold.unwanted)
                self._snippets[side].update(tp=found, fn=len(gold.wanted) - found, fp=there)
            else:
                a, b = units(text, gold.language), units(gold.text, gold.language)
                self._word[side].append(f1(a, b, 1))
                self._trigram[side].append(f1(a, b, 3))

    def summary(self) -> dict[str, Any]:
        """Means of each side and chain - bare, for every measure that has pages."""
        measures: dict[str, dict[str, float]] = {}
        for name, values in (("word_f1", self._word), ("trigram_f1", self._trigram)):
            if values:
                measures[name] = {side: fmean(values[side]) for side in SIDES}
        if self._snippets:
            counts = {side: self._snippets[side] for side in SIDES}
            measures["snippet_f1"] = {
                side: 2 * c["tp"] / max(1, 2 * c["tp"] + c["fn"] + c["fp"]) for side, c in counts.items()
            }
        for sides in measures.values():
            sides["difference"] = sides["chain"] - sides["bare"]
        return {"pages": self.pages, **measures}


def run(data: Path, limit: int | None, config: ExtractConfig) -> dict[str, Any]:
    gold = read_gold(data, limit)
    stage = ExtractStage(config)
    groups: dict[tuple[str, str], Scores] = defaultdict(Scores)
    sizes = Counter((g.repo, g.language) for g in gold.values())
    failures: Counter[str] = Counter()
    seconds = dict.fromkeys(TIMED, 0.0)
    wall = dict.fromkeys(TIMED, 0.0)
    seen = set()
    for table in records(data, gold):
        started, started_cpu = time.perf_counter(), time.process_time()
        result = stage.process(table)
        wall["chain"] += time.perf_counter() - started
        seconds["chain"] += time.process_time() - started_cpu
        failures.update(f"removed {rule}" for rule in result.removed["rule"].to_pylist())
        failures.update(f"quarantined {reason}" for reason in result.quarantined["reason"].to_pylist())
        texts = dict(zip(result.kept["doc_id"].to_pylist(), result.kept["text"].to_pylist(), strict=True))
        for record in table.to_pylist():
            html, _ = decode(record["payload"], record["http_charset"])
            started, started_cpu = time.perf_counter(), time.process_time()
            bare = main_text(
                html,
                focus=config.focus,
                tables=config.include_tables,
                comments=config.include_comments,
                fast=config.fast,
                formatting=config.include_formatting,
            )
            wall["bare"] += time.perf_counter() - started
            seconds["bare"] += time.process_time() - started_cpu
            key = record["doc_id"]
            page = gold[key]
            sides = {"chain": texts.get(key, ""), "bare": bare, "rules": tidy(bare, remove_urls=True)}
            seen.add(key)
            small = sizes[page.repo, page.language] < SMALL_GROUP
            groups["total", "all"].add(page, sides)
            groups["total", page.kind].add(page, sides)
            groups[page.repo, "other" if small else page.language].add(page, sides)
    stage.close()
    child = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds["chain"] += child.ru_utime + child.ru_stime
    failures.update({"not read from its WARC": len(gold.keys() - seen)})
    return {
        "pages": len(seen),
        "pages_per_cpu_second": {side: len(seen) / seconds[side] for side in TIMED},
        "pages_per_second": {side: len(seen) / wall[side] for side in TIMED},
        "not_kept": dict(sorted((k, n) for k, n in failures.items() if n)),
        "groups": [
            {"repository": repo, "group": name, **groups[repo, name].summary()}
            for repo, name in sorted(groups, key=lambda k: (k[0] != "total", k))
        ],
    }


def show(report: dict[str, Any]) -> None:
    print(f"{'repository':<40} {'group':<12} {'pages':>5}  measure      chain    bare   rules  chain-bare")
    for row in report["groups"]:
        for name in ("word_f1", "trigram_f1", "snippet_f1"):
            if name in row:
                m = row[name]
                print(
                    f"{row['repository']:<40} {row['group']:<12} {row['pages']:>5}  {name:<10}"
                    f"  {m['chain']:.4f}  {m['bare']:.4f}  {m['rules']:.4f}  {m['difference']:+.4f}"
                )
    print(f"\n{report['pages']} pages; not kept by the chain: {report['not_kept'] or 'none'}")
    for name, title in (("pages_per_cpu_second", "CPU second"), ("pages_per_second", "second")):
        chain, bare = (report[name][side] for side in TIMED)
        print(f"pages per {title}: chain {chain:.1f}, bare {bare:.1f}, ratio {chain / bare:.2f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "crawl"
    parser.add_argument("--data", type=Path, default=beside, help="folder with pages.jsonl, gold/ and warc/")
    parser.add_argument("--limit", type=int, help="number of pages, evenly spread")
    parser.add_argument("--focus", choices=("balance", "precision", "recall"), default="balance")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    report = run(arguments.data, arguments.limit, ExtractConfig(focus=arguments.focus))
    if arguments.json:
        print(json.dumps(report, indent=1))
    else:
        show(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
