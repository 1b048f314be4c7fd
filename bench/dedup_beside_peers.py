"""MinHash beside datatrove's and rensa's on the same documents and one core; part of bench/dedup_scale.py."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from scale_corpus import Corpus, InTurn, MeasuredRefinery, prepare
from side_by_side import in_fresh_process, machine, run_peer, table, use_one_core

from corpusmill.core.documents import utf8
from corpusmill.core.normalise import folds
from corpusmill.dedup import signatures
from corpusmill.dedup.minhash import MinHashConfig
from corpusmill.pipeline.events import EventLog

WARM_UP_DOCUMENTS = 500
REPEAT = 3
# Times the peer's speed.
TARGETS = {"datatrove signatures": 100.0, "datatrove stages": 20.0, "rensa RMinHash": 3.0, "rensa CMinHash": 3.0}


def signature_seconds(folder: Path) -> list[float]:
    """Wall seconds of each repetition: from texts in an Arrow column to the keys of all bands."""
    config = MinHashConfig()
    maps = signatures.permutations(config.bands * config.rows, config.seed)
    columns = [pq.read_table(path, columns=["text"])["text"].combine_chunks() for path in sorted(folder.iterdir())]

    def run(limit: int | None = None) -> None:
        for column in columns:
            rows = np.arange(len(column))[:limit]
            signatures.band_keys_of_texts(*utf8(column), rows, folds(), config.ngram, *maps, config.bands, config.rows)

    run(WARM_UP_DOCUMENTS)
    seconds = []
    for _ in range(REPEAT):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return seconds


def stage_seconds(pages: Path, size: int, work: Path) -> tuple[float, int]:
    """Wall seconds of the whole step in one process, from Parquet to Parquet, the exchange on disk between; kept."""
    for name, count in (("warm-up", WARM_UP_DOCUMENTS), ("run", size)):
        corpus = Corpus(pages, count)
        chain = prepare(work / name, corpus.shard, corpus.shards, {"minhash": {}})
        refinery = MeasuredRefinery(chain, InTurn(), EventLog(chain.run))
        index = chain.index("minhash")
        started = time.perf_counter()
        refinery.run(index, index + 1)
        seconds = time.perf_counter() - started
    kept = 0
    for shard in chain.shards:
        manifest = chain.committed(index, shard)
        assert manifest is not None
        kept += manifest.counts.kept.documents
    return seconds, kept


def beside_peers(pages: Path, size: int, work: Path, datatrove: Path | None, rensa: Path | None) -> dict[str, Any]:
    """Prints speeds and ratios; returns them. `datatrove`, `rensa`: Pythons of their environments."""
    cores = os.sched_getaffinity(0)
    use_one_core(max(cores))
    try:
        return _beside_peers(pages, size, work, datatrove, rensa)
    finally:
        os.sched_setaffinity(0, cores)


def _beside_peers(pages: Path, size: int, work: Path, datatrove: Path | None, rensa: Path | None) -> dict[str, Any]:
    work.mkdir()
    print(f"\n{machine()}; {size:,} documents, one core")
    ours, kept = in_fresh_process(stage_seconds, pages, size, work)
    documents = work / "run" / "stages" / "language" / "out"
    of_signatures = min(in_fresh_process(signature_seconds, documents))
    lines = [("corpusmill signatures", of_signatures), ("corpusmill stages", ours)]
    found: dict[str, Any] = {"documents": size, "kept": {"corpusmill": kept}, "ratios": {}}
    if datatrove is not None:
        scratch = work / "datatrove"
        scratch.mkdir()
        report = run_peer(datatrove, "datatrove_minhash.py", documents, "--work", scratch)
        found["datatrove"] = report
        found["kept"]["datatrove"] = report["kept"]
        lines += [("datatrove signatures", min(report["signatures"]))]
        lines += [("datatrove stages", sum(report["stages"].values()))]
    if rensa is not None:
        texts = work / "texts.jsonl"
        with texts.open("w", encoding="utf-8") as file:
            for path in sorted(documents.iterdir()):
                for text in pq.read_table(path, columns=["text"])["text"].to_pylist():
                    file.write(json.dumps({"text": text}) + "\n")
        report = run_peer(rensa, "rensa_signatures.py", texts, "--repeat", REPEAT)
        found["rensa"] = report
        lines += [(f"rensa {name}", min(seconds)) for name, seconds in report["seconds"].items()]
    rows = []
    for name, seconds in lines:
        target = TARGETS.get(name)
        mine = ours if name.endswith("stages") else of_signatures
        found["ratios"][name] = seconds / mine
        times = "" if target is None else f"{seconds / mine:.1f}"
        rows.append(
            [name, f"{seconds:.2f}", f"{size / seconds:,.0f}", times, "" if target is None else f"{target:.0f}"]
        )
    print(table(["", "s", "documents/s", "times as fast is corpusmill", "target"], rows))
    print(f"documents kept: {found['kept']}")
    found["missed"] = [n for n, target in TARGETS.items() if n in found["ratios"] and found["ratios"][n] < target]
    return found
