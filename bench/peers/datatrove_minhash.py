"""datatrove's MinHash over documents: signatures alone, and its four stages from Parquet to Parquet.

    PEER/bin/python bench/peers/datatrove_minhash.py FOLDER --work WORK [--repeat 1]

FOLDER: Parquet files with the columns doc_id and text. Runs in the environment that bench/peers/setup makes;
bench/dedup_scale.py calls it. datatrove's defaults: 14 buckets of 8 hashes of 64 bits (xxHash) over 5 words, English.

Signatures: `get_signature(get_shingles(text))` for every text, after a warm-up. Stages: MinhashDedupSignature,
MinhashDedupBuckets, MinhashDedupCluster and MinhashDedupFilter, each by LocalPipelineExecutor with one worker, a task
for every file (for every bucket), reading and writing included; texts come from and go to Parquet.

On stdout one JSON object: {"documents", "packages", "signatures": [wall seconds of each repetition], "stages": {stage:
wall seconds}, "kept": documents that are left}.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import ParquetWriter

WARM_UP_TEXTS = 20


def signature_seconds(texts: list[str], work: Path, repeat: int) -> list[float]:
    """Wall seconds of each repetition."""
    step = MinhashDedupSignature(str(work / "unused"))
    for text in texts[:WARM_UP_TEXTS]:
        step.get_signature(step.get_shingles(text))
    seconds = []
    for _ in range(repeat):
        started = time.perf_counter()
        for text in texts:
            shingles = step.get_shingles(text)
            if shingles.size:
                step.get_signature(shingles)
        seconds.append(time.perf_counter() - started)
    return seconds


def stage_seconds(folder: Path, work: Path) -> dict[str, float]:
    """Wall seconds of each stage."""
    config = MinhashConfig()
    files = len(list(folder.glob("*.parquet")))

    def reader() -> Any:
        return ParquetReader(str(folder), id_key="doc_id")

    signatures, buckets, removed = (str(work / name) for name in ("signatures", "buckets", "removed"))
    stages: dict[str, tuple[list[Any], int]] = {
        "signatures": ([reader(), MinhashDedupSignature(signatures, config=config)], files),
        "buckets": ([MinhashDedupBuckets(signatures, buckets, config=config)], config.num_buckets),
        "cluster": ([MinhashDedupCluster(buckets, removed, config=config)], 1),
        "filter": ([reader(), MinhashDedupFilter(removed), ParquetWriter(str(work / "kept"))], files),
    }
    seconds = {}
    for name, (pipeline, tasks) in stages.items():
        executor = LocalPipelineExecutor(pipeline, tasks=tasks, workers=1, logging_dir=str(work / "logs" / name))
        started = time.perf_counter()
        executor.run()
        seconds[name] = time.perf_counter() - started
    return seconds


def main() -> None:
    """Prints times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="an empty folder")
    parser.add_argument("--repeat", type=int, default=1)
    options = parser.parse_args()
    paths = sorted(options.folder.glob("*.parquet"))
    texts = [text for path in paths for text in pq.read_table(path, columns=["text"])["text"].to_pylist()]
    log = options.work / "log.txt"  # datatrove's, of every task
    with log.open("w", encoding="utf-8") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        signatures = signature_seconds(texts, options.work, options.repeat)
        stages = stage_seconds(options.folder, options.work)
    kept = sum(pq.read_metadata(path).num_rows for path in (options.work / "kept").glob("*.parquet"))
    packages = {name: version(name) for name in ("datatrove", "spacy", "xxhash")}
    found = {"documents": len(texts), "packages": packages, "signatures": signatures, "stages": stages, "kept": kept}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
