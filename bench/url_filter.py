"""Cost of the URL filter and what its words find: making and opening the table, memory, URLs a second, hits.

    python bench/url_filter.py [--list PATH ...] [--data ../shared/data/crawl]

`--list` takes what `stages.url_filter.blocklists` takes; without it, the files of RefinedWeb's categories that the data
have. Times are the best of several, as wall clock and as CPU seconds of the process (the same on an idle machine). The
URLs are those of the shared pages and variations of them (other labels, numbers and parameters), in tables of records
without payload. Memory is that of a fresh process before the table is opened and after random look-ups, Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from corpusmill.core import documents, key_table
from corpusmill.core.urls import normalise
from corpusmill.stages.url_filter import UrlFilterConfig, UrlFilterStage, UrlRules
from corpusmill.stages.url_lists import REFINEDWEB_CATEGORIES, BlockLists

VARIATIONS = 20
BATCHES = (256, 10_000)
LOOK_UPS = 1_000_000


def best(call: Callable[[], object], times: int = 5) -> tuple[float, float]:
    """Least wall seconds and least CPU seconds of `times` calls."""
    wall, cpu = [], []
    for _ in range(times):
        start = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - start[0])
        cpu.append(time.process_time() - start[1])
    return min(wall), min(cpu)


def page_urls(data: Path) -> list[str]:
    with (data / "pages.jsonl").open() as file:
        return [normalise(json.loads(line)["url"]) or "" for line in file]


def varied(urls: Sequence[str]) -> list[str]:
    """`urls` and VARIATIONS of each: the host, the path or the query is another one."""
    pick = random.Random(0)
    out = list(urls)
    for url in urls:
        scheme, _, rest = url.partition("://")
        host, _, path = rest.partition("/")
        for _ in range(VARIATIONS):
            number = pick.randrange(1_000_000)
            kind = pick.randrange(4)
            name = pick.choice(("news", "blog", "shop", "static", "m", "en"))
            out.append(
                normalise(
                    (
                        f"{scheme}://{name}{number}.{host}/{path}",
                        f"{scheme}://{name}-{number}.example/{path}",
                        f"{scheme}://{host}/{name}/{number}/{path}",
                        f"{scheme}://{host}/{path}{'&' if '?' in path else '?'}id={number}&page={name}",
                    )[kind]
                )
                or url
            )
    return out


def records(urls: Sequence[str]) -> pa.Table:
    rows = {
        "doc_id": [f"x:{i}" for i in range(len(urls))],
        "url": list(urls),
        **dict.fromkeys(("domain", "warc_file", "crawl", "media_type"), [""] * len(urls)),
        **dict.fromkeys(("warc_offset", "warc_length"), [0] * len(urls)),
        **dict.fromkeys(("payload_digest", "digest_ok", "fetched_at", "http_charset"), [None] * len(urls)),
        "payload": [b""] * len(urls),
    }
    return pa.table([pa.array(rows[f.name], f.type) for f in documents.RECORD], schema=documents.RECORD)


def resident_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def print_growth(path: str) -> None:
    """In a fresh process: megabytes by which it grows when it opens the table at `path` and looks up at random."""
    keys = np.random.default_rng(0).integers(0, 2**64, LOOK_UPS, np.uint64)
    key_table.KeyTable([1]).have(keys)
    before = resident_mb()
    table = key_table.KeyTable.open(path)
    table.have(keys)
    print(resident_mb() - before)


def table_costs(lists: BlockLists, folder: Path) -> None:
    with tempfile.TemporaryDirectory() as other:
        tiny = Path(other) / "list"
        tiny.write_text("a.example\n")
        UrlRules(UrlFilterConfig(blocklists=(str(tiny),))).match("http://a.example/")  # kernels are loaded
    known = set(folder.iterdir())
    start = time.perf_counter()
    table = lists.table()
    print(f"table made          {time.perf_counter() - start:8.2f} s, {len(table):,} entries")
    for report in table.notes["lists"]:
        counts = ", ".join(f"{report[key]:,} {key}" for key in ("domains", "addresses", "unreadable"))
        print(f"                             {report['name']}: {counts}")
    (path,) = map(str, set(folder.iterdir()) - known)
    print(f"file                {Path(path).stat().st_size / 1e6:8.1f} MB")
    print(f"opened              {1000 * best(lists.table)[0]:8.1f} ms, the lists' content compared")
    print(f"mapped              {1000 * best(lambda: key_table.KeyTable.open(path))[0]:8.1f} ms, checksum included")
    command = [sys.executable, __file__, "--growth-of", path]
    grown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    print(f"resident            {float(grown):8.1f} MB more, after {LOOK_UPS:,} random look-ups")


def speed(config: UrlFilterConfig, urls: Sequence[str]) -> None:
    stage = UrlFilterStage(config)
    table = records(urls)
    removed = stage.process(table).removed
    share = removed.num_rows / table.num_rows
    print(f"\n{len(urls):,} URLs, {sum(map(len, urls)) / len(urls):.0f} characters each, {share:.2%} removed, one core")
    for rows in BATCHES:
        batches = [table.slice(at, rows) for at in range(0, table.num_rows, rows)]
        wall, cpu = best(lambda batches=batches: [stage.process(batch) for batch in batches])
        print(f"batches of {rows:6,}   {len(urls) / wall:12,.0f} URLs/s; {len(urls) / cpu:,.0f} by CPU time")
    rules = UrlRules(config)
    some = urls[:: max(1, len(urls) // 2000)]
    wall, cpu = best(lambda: [rules.match(url) for url in some], times=3)
    print(f"general path only   {len(some) / wall:12,.0f} URLs/s; {len(some) / cpu:,.0f} by CPU time")


def hits(data: Path, lists: Sequence[str], pages: Sequence[str]) -> None:
    """What the words find, without and with block lists, by the origin of the case."""
    words = UrlRules(UrlFilterConfig(curated_sources=False))
    listed = UrlRules(UrlFilterConfig(blocklists=tuple(lists), curated_sources=False))
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for line in (data / "blocklists" / "url_cases.jsonl").read_text().splitlines():
        case = json.loads(line)
        url = normalise(case["url"]) or case["url"]
        origin = case["why"].split("/")[0] if case["block"] else f"harmless: {case['why']}"
        found[origin].update(all=1, words=words.match(url) is not None, either=listed.match(url) is not None)
    print("\nurl_cases.jsonl                                          cases   words   words or lists")
    for origin, counts in found.items():
        print(f"{origin:55} {counts['all']:6} {counts['words']:7} {counts['either']:16}")
    matches = [match for match in map(words.match, pages) if match]
    print(f"words on the {len(pages):,} page URLs: {len(matches)} hits {[m.detail for m in matches]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="append", default=[], help="block list, folder or archive; may be repeated")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/crawl"))
    parser.add_argument("--growth-of", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.growth_of:
        print_growth(given.growth_of)
        return
    folder = given.data / "blocklists"
    ut1 = [str(p) for c in REFINEDWEB_CATEGORIES for p in sorted(folder.glob(f"ut1-{c}-[du]*s.txt.gz"))]
    paths = given.list or ut1
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as tables:
        os.environ[key_table.FOLDER_VARIABLE] = tables
        table_costs(BlockLists.find(paths, None), Path(tables))
        pages = page_urls(given.data)
        speed(UrlFilterConfig(blocklists=tuple(paths)), varied(pages))
        every = [str(p) for p in sorted(folder.glob("ut1-*-[du]*s.txt.gz")) if _blocks(p.name)]
        hits(given.data, every, pages)


def _blocks(name: str) -> bool:
    """Whether the cases count a UT1 file among those that block."""
    kinds = ("adult", "mixed_adult", "gambling", "dating", "phishing", "malware", "warez", "drogue")
    return name.split("-")[1] in kinds


if __name__ == "__main__":
    main()
