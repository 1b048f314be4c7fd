"""From WARC to filtered text beside datatrove's FineWeb chain: pages per second of one process on one core each.

    bench/peers/setup                                     # once; prints the PYTHON of the peer's environment
    python bench/chain.py --peer-python PYTHON [--pages 1061]
    python bench/chain.py --peer-result RESULT.json       # a result of an earlier call: WORK/datatrove-*.json

Both sides read the same WARC files, in file order: the first --pages response records of --data (the last file is cut
after a record), 0 for all. Ours are the document stages of --recipe in this process and the sandboxes it starts,
without Ray and without writing files; theirs is bench/peers/datatrove_chain.py, which writes none either. Both are tied
to one core. Loading of lists and models, and a made page through all stages before the clock starts, are reported
apart. Each of our variants runs in a process of its own, the best of --repeat counts.

Of every variant is printed: wall seconds, CPU seconds with those of the sandboxes, where they go, how many documents
stay, what share of the documents that the exact chain keeps is among them, and how many times faster than datatrove it
is. Another extraction keeps other documents: what the prescreen of languages loses by itself is the share that it keeps
of what the same extraction keeps without it. What a faster extraction does to texts is told by extraction.py.
--differences FILE gets one JSON line for each page that only one of the exact chain and datatrove keeps: the step
and the rule that took it out.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from side_by_side import CACHE, DATA, cpu_seconds, in_fresh_process, machine, run_peer, table, use_one_core

from corpusmill.core import documents, models, urls
from corpusmill.core.verdicts import StageResult
from corpusmill.pipeline import recipe
from corpusmill.pipeline.chain import document_stage, warc_stage
from corpusmill.pipeline.registry import DOCUMENT_STAGES
from corpusmill.stages.warc import plan_slices

REPOSITORY = Path(__file__).resolve().parent.parent
WHOLE_FILE = 1 << 50  # bytes of a slice
PEER_STEPS = ("warc", "url_filter", "extract", "language", "repetition", "quality", "c4", "fineweb")


MADE_TEXT = """\
The ferry that crosses the bay at Linden was built to carry sheep, and the old people of the village call it that.
On most mornings it leaves half empty, with a postman, two teachers and somebody's dog standing in the wind at the rail.
What the timetable does not say is that the captain waits for anyone she can see running down the hill.
Visitors have been known to complain, because they expect to be on the far side by nine and to have their coffee there.
Nobody else minds: a quarter of an hour is little to ask, and it might be you who is late tomorrow.
When the bridge was proposed, forty years ago, the council wanted to know how many passengers would be left.
They counted for a month, wrote the numbers in a green book, and never opened that book again."""


@dataclass(frozen=True)
class Variant:
    """One way to run our chain, as overrides of the recipe.

    target: in times datatrove's speed. beside: the variant that extracts alike, without a prescreen of languages.
    """

    name: str
    overrides: tuple[str, ...]
    target: float | None = None
    beside: str | None = None


_LOSSLESS = ("stages.prescreen.languages=null",)
_LANGUAGE = ("stages.prescreen.languages={en: 0.05}",)
_FAST = ("stages.extract.focus=balance", "stages.extract.fast=true")
_RESILIPARSE = ("stages.extract.backend=resiliparse", "stages.extract.focus=balance", "stages.extract.fast=false")
EXACT = "no prescreen"
VARIANTS = (
    Variant(EXACT, ("stages.prescreen=false",)),
    Variant("lossless prescreen", _LOSSLESS, 2.5),
    Variant("language prescreen", _LANGUAGE, 6.0, EXACT),
    Variant("fast, lossless prescreen", (*_LOSSLESS, *_FAST), 2.5),
    Variant("fast, language prescreen", (*_LANGUAGE, *_FAST), 6.0, "fast, lossless prescreen"),
    Variant("resiliparse, lossless prescreen", (*_LOSSLESS, *_RESILIPARSE)),
    Variant("resiliparse, language prescreen", (*_LANGUAGE, *_RESILIPARSE), 18.0, "resiliparse, lossless prescreen"),
)


def _no_seconds() -> dict[str, float]:
    return defaultdict(float)


@dataclass
class Outcome:
    """What a chain did with the files.

    seconds, cpu_seconds: by step. kept: record ids; removed: the step and rule of each page that came out of `warc`.
    """

    pages: int = 0
    loading_seconds: float = 0.0
    seconds: dict[str, float] = field(default_factory=_no_seconds)
    cpu_seconds: dict[str, float] = field(default_factory=_no_seconds)
    kept: set[str] = field(default_factory=set)
    removed: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def wall(self) -> float:
        """Seconds of all steps by the clock."""
        return sum(self.seconds.values())

    @property
    def cpu(self) -> float:
        """CPU seconds of all steps."""
        return sum(self.cpu_seconds.values())


def pages_of(data: Path, number: int, work: Path) -> list[Path]:
    """WARC files that hold the first `number` pages of `data`, all for 0; the last one is cut, under its name."""
    if not number:
        return sorted((data / "warc").glob("*.warc.gz"))
    ends: dict[str, list[int]] = {}
    with (data / "pages.jsonl").open(encoding="utf-8") as lines:
        for page in map(json.loads, lines):
            ends.setdefault(page["warc"], []).append(page["offset"] + page["length"])
    paths = []
    for name in sorted(ends):
        path = data / name
        if number < len(ends[name]):
            cut = work / f"first-{number}" / path.name
            cut.parent.mkdir(parents=True, exist_ok=True)
            cut.write_bytes(path.read_bytes()[: sorted(ends[name])[number - 1]])
            path = cut
        paths.append(path)
        number -= len(ends[name])
        if number <= 0:
            break
    return paths


def record_ids(data: Path) -> dict[str, str]:
    """WARC-Record-ID by doc_id."""
    with (data / "pages.jsonl").open(encoding="utf-8") as lines:
        pages = map(json.loads, lines)
        return {documents.doc_id(Path(p["warc"]).name, p["offset"]): p["record_id"] for p in pages}


def made_page() -> pa.Table:
    """A RECORD table of one English page that every stage keeps, so that what is loaded at first use is loaded."""
    body = "".join(f"<p>{line}</p>" for line in MADE_TEXT.splitlines())
    row = {
        "doc_id": documents.doc_id("made.warc.gz", 0),
        "url": "https://example.org/made",
        "domain": "example.org",
        "warc_file": "made.warc.gz",
        "warc_offset": 0,
        "warc_length": 1,
        "crawl": "",
        "media_type": "text/html",
        "http_charset": "utf-8",
        "payload": f"<html><body><article>{body}</article></body></html>".encode(),
    }
    return documents.table_of([row], documents.RECORD)


def run_chain(paths: Sequence[Path], recipe_path: str, overrides: Sequence[str], ids: dict[str, str]) -> Outcome:
    """Our document stages over the files."""
    outcome = Outcome()
    started = time.perf_counter()
    configs = recipe.load(recipe_path, overrides).stages
    stages = {name: document_stage(name, configs[name]) for name in configs if name in DOCUMENT_STAGES}
    urls.registered_domain("https://example.org/")  # the public suffix list
    rows = made_page()
    for stage in stages.values():
        result = stage.process(rows)
        if result.kept.num_rows != 1:
            raise RuntimeError(f"stages behind {stage.name} are not loaded: {result.removed.to_pylist()}")
        rows = result.kept
    outcome.loading_seconds = time.perf_counter() - started

    def clocked(name: str, work: Any, *arguments: Any) -> Any:
        started, started_cpu = time.perf_counter(), cpu_seconds()
        result = work(*arguments)
        outcome.seconds[name] += time.perf_counter() - started
        outcome.cpu_seconds[name] += cpu_seconds() - started_cpu
        return result

    for path in paths:
        (piece,) = plan_slices(str(path), "", WHOLE_FILE)
        batches = iter(warc_stage(configs["warc"]).read(piece))
        while (result := clocked("warc", next, batches, None)) is not None:
            outcome.pages += result.kept.num_rows
            for name, stage in stages.items():
                result = clocked(name, stage.process, result.kept)
                note(outcome.removed, result, ids)
            outcome.kept.update(ids[key] for key in result.kept["doc_id"].to_pylist())
    for stage in stages.values():
        stage.close()
    return outcome


def note(removed: dict[str, tuple[str, str]], result: StageResult, ids: dict[str, str]) -> None:
    """Notes the pages that a stage did not keep."""
    for rows, why in ((result.removed, "rule"), (result.quarantined, "reason")):
        for key, stage, reason in zip(*(rows[c].to_pylist() for c in ("doc_id", "stage", why)), strict=True):
            removed[ids[key]] = (stage, reason)


def peer_outcome(arguments: argparse.Namespace, paths: Sequence[Path]) -> tuple[Outcome, str]:
    """datatrove's result on the files, from an earlier call where there is one, and what it ran with."""
    saved: Path = arguments.peer_result or arguments.work / f"datatrove-{arguments.pages or 'all'}.json"
    if arguments.peer_python:
        run_peer(
            arguments.peer_python, "datatrove_chain.py", *paths, "--model", models.fetch("lid.176"), "--out", saved
        )
    result = json.loads(saved.read_text(encoding="utf-8"))
    if result["files"] != {path.name: path.stat().st_size for path in paths}:
        sys.exit(f"error: {saved} is not of these files; give --peer-python to run datatrove on them")
    outcome = Outcome(
        pages=result["pages"],
        loading_seconds=sum(result["loading_seconds"].values()),
        seconds={step: seconds["wall"] for step, seconds in result["steps"].items()},
        cpu_seconds={step: seconds["cpu"] for step, seconds in result["steps"].items()},
        kept=set(result["kept"]),
        removed={key: (step, reason) for key, (step, reason) in result["removed"].items()},
    )
    packages = result["packages"]
    return outcome, f"datatrove {packages['datatrove']}, trafilatura {packages['trafilatura']}"


def seconds_row(name: str, outcome: Outcome, steps: Iterable[str]) -> list[str]:
    """A row of the table of times: wall, CPU, CPU by step, loading."""
    return [
        name,
        f"{outcome.wall:.1f}",
        f"{outcome.cpu:.1f}",
        *(f"{outcome.cpu_seconds[step]:.2f}" if step in outcome.cpu_seconds else "-" for step in steps),
        f"{outcome.loading_seconds:.1f}",
    ]


def share_kept(outcome: Outcome, of: Outcome | None) -> str:
    """The share of the documents that `of` keeps, in percent."""
    return "-" if of is None else f"{100 * len(outcome.kept & of.kept) / max(1, len(of.kept)):.2f} %"


def kept_row(variant: Variant, outcomes: dict[str, Outcome], peer: Outcome) -> list[str]:
    """A row of the table of results: documents kept, shares of other variants', ratio, target."""
    outcome, exact = outcomes[variant.name], outcomes[EXACT]
    return [
        variant.name,
        str(len(outcome.kept)),
        share_kept(outcome, exact),
        str(len(outcome.kept - exact.kept)),
        share_kept(outcome, outcomes.get(variant.beside or "")),
        f"{peer.wall / outcome.wall:.2f}",
        f"{peer.cpu / outcome.cpu:.2f}",
        f"{variant.target:g}" if variant.target else "-",
    ]


def differences(ours: Outcome, theirs: Outcome) -> list[dict[str, Any]]:
    """The pages that only one side keeps, with the step and rule of the other."""
    rows = []
    for label, keeps, removes in (("corpusmill", ours, theirs), ("datatrove", theirs, ours)):
        for key in sorted(keeps.kept - removes.kept):
            step, rule = removes.removed.get(key, ("warc", ""))
            rows.append({"id": key, "kept_by": label, "removed_at": step, "rule": rule})
    return rows


def main() -> None:
    """Runs the variants and the peer and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", type=Path, help="Python of the environment that bench/peers/setup made")
    parser.add_argument("--peer-result", type=Path, help="where datatrove's result is, or goes with --peer-python")
    parser.add_argument("--pages", type=int, default=1061, help="so many of the first pages; 0: all")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--work", type=Path, default=CACHE / "chain")
    parser.add_argument("--recipe", default=str(REPOSITORY / "recipes" / "fineweb.yaml"))
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    names = [variant.name for variant in VARIANTS]
    parser.add_argument("--variants", nargs="+", default=names, choices=names, help=f"beside {EXACT!r}; default: all")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--differences", type=Path)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    paths = pages_of(arguments.data, arguments.pages, arguments.work)
    ids = record_ids(arguments.data)
    use_one_core(arguments.core)
    print(f"{machine()}\n")

    outcomes: dict[str, Outcome] = {}
    variants = [variant for variant in VARIANTS if variant.name in (EXACT, *arguments.variants)]
    for variant in variants:
        overrides = (*arguments.overrides, *variant.overrides)
        runs = [in_fresh_process(run_chain, paths, arguments.recipe, overrides, ids) for _ in range(arguments.repeat)]
        outcomes[variant.name] = min(runs, key=lambda outcome: outcome.wall)
    peer, packages = peer_outcome(arguments, paths)
    exact = outcomes[EXACT]

    print(f"{exact.pages} pages in {len(paths)} files; {packages}: {peer.pages} pages, {len(peer.kept)} kept\n")
    steps = list(dict.fromkeys([*PEER_STEPS[:2], "prescreen", *PEER_STEPS[2:], *exact.seconds]))
    rows = [seconds_row(name, outcome, steps) for name, outcome in (*outcomes.items(), ("datatrove", peer))]
    print("Seconds: wall, CPU, CPU by step, loading before the clock starts\n")
    print(table(["", "wall", "CPU", *steps, "loading"], rows))
    share = "of the same extraction's without prescreen of languages"
    header = ["", "kept", "of the exact chain's", "others", share, "times datatrove's speed", "in CPU time", "target"]
    print("\n" + table(header, [kept_row(variant, outcomes, peer) for variant in variants]))
    found = differences(exact, peer)
    both = len(exact.kept & peer.kept)
    alone = f"{len(exact.kept) - both} by the exact chain alone, {len(peer.kept) - both} by datatrove alone"
    print(f"\n{both} pages kept by both, {alone}")
    for (side, step, rule), times in Counter((d["kept_by"], d["removed_at"], d["rule"]) for d in found).most_common():
        print(f"  {times:4} kept by {side} alone; the other's step {step}, {rule or 'no reason'}")
    if arguments.differences:
        with arguments.differences.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in found)


if __name__ == "__main__":
    main()
