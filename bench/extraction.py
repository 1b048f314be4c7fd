"""Extraction quality and cost on pages with known main text: both back ends, and trafilatura's options.

    python bench/extraction.py [--data ../shared/data/crawl] [--limit N] [--only NAME ...] [--json]

Every variant is a config of ExtractStage: WARC -> charset -> back end in its sandbox -> RefinedWeb's two rules. Two are
also called directly, in this process, to tell what the sandbox costs and that it changes nothing (`other texts`). All
are scored on the same pages; a page that a variant lost scores 0 there.

- F1 on bags of words, and on bags of 3-grams of words, mean over pages. Words are runs of letters and digits; in
  languages without spaces every letter or digit is one.
- Where the gold is a list of snippets that must or must not be in the text: F1 of the snippets, over all pages together
  (found = true positive, missing = false negative, unwanted but there = false positive).

Pages whose gold is mostly absent from the page (`gold_coverage` below 0.5) are left out.
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
from corpusmill.stages import with_resiliparse, with_trafilatura
from corpusmill.stages.charset import decode
from corpusmill.stages.extract import ExtractConfig, ExtractStage
from corpusmill.stages.main_text import tidy
from corpusmill.stages.warc import WarcConfig, WarcStage, plan_slices

MINIMUM_COVERAGE = 0.5
SMALL_GROUP = 5  # pages; languages with fewer are one line in the table
_WORD = re.compile(r"\w+")
_LETTER = re.compile(r"\w")

VARIANTS = {
    "trafilatura": ExtractConfig(),
    "fast": ExtractConfig(fast=True),
    "precision": ExtractConfig(focus="precision"),
    "precision+fast": ExtractConfig(focus="precision", fast=True),
    "resiliparse": ExtractConfig(backend="resiliparse"),
}
DIRECT = ("trafilatura", "resiliparse")
LIBRARIES = {"trafilatura": with_trafilatura, "resiliparse": with_resiliparse}


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
    """Scores of one variant on a group of pages."""

    def __init__(self) -> None:
        self._measures: dict[str, list[float]] = defaultdict(list)
        self._snippets: Counter[str] = Counter()
        self.pages = 0

    def add(self, gold: Gold, text: str) -> None:
        self.pages += 1
        if gold.kind == "snippets":
            flat = _flat(text)
            found = sum(s in flat for s in gold.wanted)
            there = sum(s in flat for s in gold.unwanted)
            self._snippets.update(tp=found, fn=len(gold.wanted) - found, fp=there)
        else:
            a, b = units(text, gold.language), units(gold.text, gold.language)
            self._measures["word_f1"].append(f1(a, b, 1))
            self._measures["trigram_f1"].append(f1(a, b, 3))

    def summary(self) -> dict[str, float]:
        """Mean of every measure that has pages."""
        means = {name: fmean(values) for name, values in self._measures.items()}
        if c := self._snippets:
            means["snippet_f1"] = 2 * c["tp"] / max(1, 2 * c["tp"] + c["fn"] + c["fp"])
        return means


@dataclass
class Outcome:
    """What a variant made of the pages."""

    texts: dict[str, str]
    not_kept: dict[str, int]
    seconds: float
    cpu_seconds: float


def through_stage(tables: list[pa.Table], config: ExtractConfig) -> Outcome:
    """The stage in its sandbox. CPU time is that of this process and the child."""
    stage = ExtractStage(config)
    failures: Counter[str] = Counter()
    texts: dict[str, str] = {}
    child = resource.getrusage(resource.RUSAGE_CHILDREN)
    started, started_cpu = time.perf_counter(), time.process_time()
    for table in tables:
        result = stage.process(table)
        failures.update(f"removed {rule}" for rule in result.removed["rule"].to_pylist())
        failures.update(f"quarantined {reason}" for reason in result.quarantined["reason"].to_pylist())
        texts.update(zip(result.kept["doc_id"].to_pylist(), result.kept["text"].to_pylist(), strict=True))
    seconds, cpu = time.perf_counter() - started, time.process_time() - started_cpu
    stage.close()
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu += ended.ru_utime + ended.ru_stime - child.ru_utime - child.ru_stime
    return Outcome(texts, dict(failures), seconds, cpu)


def directly(tables: list[pa.Table], config: ExtractConfig) -> Outcome:
    """The same functions called in this process."""
    options = config.options()
    remove_urls = options.pop("remove_urls")
    main_text = LIBRARIES[config.backend].main_text
    texts = {}
    started, started_cpu = time.perf_counter(), time.process_time()
    for table in tables:
        columns = (table[name].to_pylist() for name in ("doc_id", "payload", "http_charset"))
        for key, payload, charset in zip(*columns, strict=True):
            texts[key] = tidy(main_text(decode(payload, charset)[0], **options), remove_urls)
    return Outcome(texts, {}, time.perf_counter() - started, time.process_time() - started_cpu)


def run(data: Path, limit: int | None, names: Sequence[str]) -> dict[str, Any]:
    gold = read_gold(data, limit)
    tables = [table for table in records(data, gold) if table.num_rows]
    pages = sum(table.num_rows for table in tables)
    sizes = Counter((g.repo, g.language) for g in gold.values())
    groups: dict[tuple[str, str], dict[str, Scores]] = defaultdict(lambda: defaultdict(Scores))
    variants = {}
    for name in names:
        outcome = through_stage(tables, VARIANTS[name])
        variants[name] = {
            "not_kept": outcome.not_kept,
            "pages_per_cpu_second": pages / outcome.cpu_seconds,
            "pages_per_second": pages / outcome.seconds,
        }
        if name in DIRECT:
            bare = directly(tables, VARIANTS[name])
            variants[name] |= {
                "direct_pages_per_cpu_second": pages / bare.cpu_seconds,
                "direct_pages_per_second": pages / bare.seconds,
                "other_texts": sum(bare.texts[key] != text for key, text in outcome.texts.items()),
            }
        for key, page in gold.items():
            text = outcome.texts.get(key, "")
            small = sizes[page.repo, page.language] < SMALL_GROUP
            part = "English" if page.language == "en" else "not English"
            for group in (("total", page.kind), ("total", part), (page.repo, "other" if small else page.language)):
                groups[group][name].add(page, text)
    return {
        "pages": pages,
        "not_read_from_their_warc": len(gold) - pages,
        "variants": variants,
        "groups": [
            {
                "repository": repo,
                "group": name,
                "pages": next(iter(groups[repo, name].values())).pages,
                "scores": {variant: scores.summary() for variant, scores in groups[repo, name].items()},
            }
            for repo, name in sorted(groups, key=lambda k: (k[0] != "total", k))
        ],
    }


def show(report: dict[str, Any]) -> None:
    names = list(report["variants"])
    print(f"{'repository':<40} {'gold or language':<16} {'pages':>5}  {'measure':<10}", *(f"{n:>14}" for n in names))
    for row in report["groups"]:
        for measure in ("word_f1", "trigram_f1", "snippet_f1"):
            if measure in row["scores"][names[0]]:
                values = (f"{row['scores'][name][measure]:>14.4f}" for name in names)
                print(f"{row['repository']:<40} {row['group']:<16} {row['pages']:>5}  {measure:<10}", *values)
    print(f"\n{report['pages']} pages; not read from their WARC: {report['not_read_from_their_warc']}")
    for key in ("pages_per_cpu_second", "pages_per_second", "direct_pages_per_cpu_second", "direct_pages_per_second"):
        values = (f"{v[key]:>14.1f}" if key in v else f"{'':>14}" for v in report["variants"].values())
        print(f"{key:<74}", *values)
    for name, variant in report["variants"].items():
        print(f"{name}: not kept: {variant['not_kept'] or 'none'}; other texts: {variant.get('other_texts', '-')}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "crawl"
    parser.add_argument("--data", type=Path, default=beside, help="folder with pages.jsonl, gold/ and warc/")
    parser.add_argument("--limit", type=int, help="number of pages, evenly spread")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="variants")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    report = run(arguments.data, arguments.limit, arguments.only)
    if arguments.json:
        print(json.dumps(report, indent=1))
    else:
        show(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
