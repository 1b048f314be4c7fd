"""datatrove's FineWeb chain over WARC files, in this one process: what it keeps, and the time of every step.

    PEER/bin/python bench/peers/datatrove_chain.py a.warc.gz b.warc.gz --model lid.176.ftz --out result.json

WARC -> URLFilter -> Trafilatura -> LanguageFilter -> GopherRepetition -> GopherQuality -> C4Quality -> FineWebQuality,
datatrove's own steps with FineWeb's settings, one file after the other. Runs in the environment that bench/peers/setup
makes; bench/chain.py calls it.

Two settings differ from datatrove's defaults, so that results do not depend on what ran before or on the machine's
load: trafilatura's `deduplicate`, which remembers texts from page to page, is off, and a page may take --timeout
seconds.

Out: JSON with the packages' versions, seconds of loading lists and models, wall and CPU seconds over all files and by
step (the extractor's child included), the kept documents' WARC-Record-IDs, and of each other one the step and the
reason. What no step's own clock covers, reading and inflating records most of all, is the time of `warc`. Trafilatura
is imported before the clock starts, so that the extractor's child, of which every file has one, finds it loaded.
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import datatrove_parts as parts
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.readers import WarcReader


class Clock:
    """Takes the place of a step's own timer: wall and CPU seconds of this process inside `with`."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter(), time.process_time()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        wall, cpu = self._started
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu


class Journal:
    """What became of every document that the reader gave."""

    def __init__(self) -> None:
        self.at: dict[str, tuple[str, str]] = {}  # id -> step that it did not leave, and why

    def watch(self, name: str, step: BaseFilter) -> None:
        """Notes the reasons of a filter."""
        original = step.filter

        def filter(document: Document) -> Any:
            verdict = original(document)
            kept, reason = verdict if isinstance(verdict, tuple) else (verdict, "")
            if not kept:
                self.at[document.id] = (name, reason)
            return verdict

        step.filter = filter

    def entering(self, name: str, documents: Iterator[Document]) -> Iterator[Document]:
        """`documents`, each noted as not having left the step `name`."""
        for document in documents:
            self.at[document.id] = (name, "no_text")
            yield document


def children_cpu() -> float:
    """CPU seconds of this process's children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Runs the chain over the files and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--model", type=Path, required=True, help="fastText language model, lid.176.ftz")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--texts", type=Path, help="also write the extracted texts here: JSONL with id, url, text")
    parser.add_argument("--language", default=parts.LANGUAGE)
    parser.add_argument("--threshold", type=float, default=0.65)
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds that one page's extraction may take")
    parser.add_argument("--no-lists", action="store_true", help="no URL lists")
    arguments = parser.parse_args()

    started = time.perf_counter()
    url_filter = parts.url_filter(lists=not arguments.no_lists)
    lists_seconds = time.perf_counter() - started
    started = time.perf_counter()
    importlib.import_module("trafilatura")
    steps: dict[str, PipelineStep] = {
        "url_filter": url_filter,
        "extract": Trafilatura(favour_precision=True, deduplicate=False, timeout=arguments.timeout),
        "language": parts.language_filter(arguments.model, arguments.language, arguments.threshold),
        **parts.quality_filters(),
    }
    for name in ("repetition", "quality", "c4", "fineweb"):  # loads the word tokenizer
        parts.judged(steps[name], Document(text="One line to begin with.", id=""))
    models_seconds = time.perf_counter() - started

    journal = Journal()
    clocks: dict[str, Clock] = {}
    for name, step in steps.items():
        clocks[name] = clock = Clock()
        step.track_time = lambda unit=None, clock=clock: clock
        if isinstance(step, BaseFilter):
            journal.watch(name, step)
    extracted: list[dict[str, str]] = []

    def noting(documents: Iterator[Document]) -> Iterator[Document]:
        for document in documents:
            extracted.append({"id": document.id, "url": document.metadata["url"], "text": document.text})
            yield document

    kept: list[str] = []
    started, started_cpu = time.perf_counter(), time.process_time()
    for path in arguments.files:
        documents: Iterator[Document] = WarcReader(str(path.parent), glob_pattern=path.name)()
        for name, step in steps.items():
            if name == "extract":
                documents = journal.entering(name, documents)
            documents = step(documents)
            if name == "extract" and arguments.texts:
                documents = noting(documents)
        for document in documents:
            kept.append(document.id)
    wall, cpu = time.perf_counter() - started, time.process_time() - started_cpu
    for key in kept:
        del journal.at[key]
    pages = len(journal.at) + len(kept)
    clocks["extract"].cpu += children_cpu()
    by_step = {name: {"wall": clock.wall, "cpu": clock.cpu} for name, clock in clocks.items()}
    rest = wall - sum(c.wall for c in clocks.values())
    rest_cpu = cpu + children_cpu() - sum(c.cpu for c in clocks.values())
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    result = {
        "packages": parts.package_versions(),
        "files": {path.name: path.stat().st_size for path in arguments.files},
        "pages": pages,
        "loading_seconds": {"lists": lists_seconds, "models": models_seconds},
        "wall_seconds": wall,
        "cpu_seconds": cpu + children_cpu(),
        "steps": {"warc": {"wall": rest, "cpu": rest_cpu}, **by_step},
        "peak_rss_bytes": peak * 1024,
        "kept": kept,
        "removed": journal.at,
    }
    arguments.out.write_text(json.dumps(result, indent=1), encoding="utf-8")
    if arguments.texts:
        with arguments.texts.open("w", encoding="utf-8") as out:
            out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in extracted)
    print(json.dumps({key: value for key, value in result.items() if key not in ("kept", "removed")}, indent=1))


if __name__ == "__main__":
    main()
