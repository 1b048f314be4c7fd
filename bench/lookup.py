"""The index of the documents: seconds and memory to build it, bytes a document, milliseconds of a look-up.

    python bench/lookup.py --work /tmp/lookup --documents 10000000

Makes documents.parquet of so many made-up documents, with URLs and doc_ids of the length of real ones and domains of
very different sizes, then the index. Cold: the page cache of the index is emptied (posix_fadvise) before every look-up,
and the index opened anew. Printed are times of 60 cold and 1,000 warm look-ups of random documents, and beside them
that of a filter over documents.parquet; also what does not depend on other work of the machine: the CPU's part of a
look-up, and how many pages it waited for (major faults).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from side_by_side import table

from corpusmill.core import storage
from corpusmill.tokenize.lookup import Lookup, build
from corpusmill.tokenize.shards import TOKEN_DOCUMENT, TokenShard, TokensManifest

_CHUNK = 1_000_000


def text(*parts: object) -> pa.Array:
    arrays = [pc.cast(pa.array(p), pa.string()) if isinstance(p, np.ndarray) else p for p in parts]
    return pc.binary_join_element_wise(*arrays, "")


def chunk(first: int, count: int) -> pa.Table:
    """Documents `first`.. of a corpus that is the same each time."""
    chance = np.random.default_rng(first)
    ordinal = np.arange(first, first + count)
    host = np.minimum(chance.pareto(0.6, count) * 50, 1e7).astype(np.int64)
    domain = text("site", host, ".example")
    warc = text("CC-MAIN-20240412101354-20240412131354-", 10_000 + ordinal // 40_000, ".warc.gz:")
    zeros = pa.array(np.zeros(count, np.int32))
    columns = {
        "doc_ordinal": ordinal,
        "doc_id": text(warc, ordinal % 40_000 * 30_011 + 17),
        "url": text("https://www.", domain, "/articles/2024/04/", chance.integers(0, 1 << 40, count), "/index.html"),
        "domain": domain,
        "content_hash": pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(16), count, [None, pa.py_buffer(chance.bytes(16 * count))]
        ),
        "language": pa.array(["en"] * count),
        "source": pa.DictionaryArray.from_arrays(zeros, pa.array(["crawl"])),
        "shard": pa.DictionaryArray.from_arrays(zeros, pa.array(["s"])),
        "token_offset": ordinal * 500,
        "num_tokens": np.full(count, 500),
        "cluster_id": pa.nulls(count, pa.string()),
        "salt": pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), count, [None, pa.py_buffer(bytes(16 * count))]),
    }
    return pa.table([columns[f.name] for f in TOKEN_DOCUMENT], schema=TOKEN_DOCUMENT)


def make_documents(folder: str, documents: int) -> None:
    path = storage.join(folder, "documents.parquet")
    with (
        storage.open_write(path) as file,
        pq.ParquetWriter(file, TOKEN_DOCUMENT, compression="zstd", write_page_index=True) as writer,
    ):
        for first in range(0, documents, _CHUNK):
            writer.write_table(chunk(first, min(_CHUNK, documents - first)), row_group_size=16_384)
    manifest = TokensManifest(
        dtype="uint16",
        tokenizer_sha256="",
        vocab_size=1,
        eos_id=0,
        pad_id=0,
        documents_sha256=storage.sha256_file(path),
        documents_bytes=storage.size_bytes(path),
        shards=(TokenShard(name="s", sha256="", bytes=0, documents=documents, tokens=0),),
    )
    storage.write_text(storage.join(folder, "manifest.json"), manifest.model_dump_json())


def forget(folder: Path) -> None:
    """Empties the page cache of the files; none of them may be mapped."""
    gc.collect()
    for path in folder.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


class Cost(NamedTuple):
    """Of one call."""

    wall_ms: float
    cpu_ms: float
    faults: int


def cost(call: Callable[[], object]) -> Cost:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
    cpu = time.process_time()
    begin = time.perf_counter()
    call()
    wall = time.perf_counter() - begin
    cpu = time.process_time() - cpu
    return Cost(1000 * wall, 1000 * cpu, resource.getrusage(resource.RUSAGE_SELF).ru_majflt - before)


def cold(tokens: str, calls: list[Callable[[Lookup], object]]) -> tuple[list[Cost], list[Cost]]:
    opening, asking = [], []
    for call in calls:
        forget(Path(tokens) / "index")
        opened: list[Lookup] = []
        opening.append(cost(lambda opened=opened: opened.append(Lookup.open(tokens))))
        asking.append(cost(lambda opened=opened, call=call: call(opened[0])))
        opened.clear()
    return opening, asking


def row(name: str, costs: list[Cost]) -> list[str]:
    wall, cpu, faults = zip(*costs, strict=True)
    figures = [np.median(wall), np.quantile(wall, 0.99), np.median(cpu), np.mean(faults)]
    return [name, *(f"{figure:.2f}" for figure in figures[:3]), f"{figures[3]:.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True, help="folder for some 300 bytes a document; reused")
    parser.add_argument("--documents", type=int, default=10_000_000)
    parser.add_argument("--build", action="store_true", help=argparse.SUPPRESS)  # in this process
    options = parser.parse_args()
    tokens = str(Path(options.work) / "tokens")
    index = Path(tokens) / "index"
    if options.build:
        begin = time.perf_counter()
        build(tokens)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        seconds = time.perf_counter() - begin
        print(json.dumps([seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]))
        return
    path = Path(tokens) / "documents.parquet"
    if not path.exists() or pq.ParquetFile(path).metadata.num_rows != options.documents:
        make_documents(tokens, options.documents)
    shutil.rmtree(index, ignore_errors=True)
    done = subprocess.run([sys.executable, *sys.argv, "--build"], check=True, capture_output=True, text=True)
    wall, cpu, memory = json.loads(done.stdout)
    sizes = {p.name: p.stat().st_size for p in index.iterdir()}
    print(
        f"{options.documents:,} documents: built in {wall:.0f} s ({cpu:.0f} s CPU), {memory:.0f} MB at most;"
        f" {sum(sizes.values()) / options.documents:.0f} bytes a document"
        f" ({sizes['names.arrow'] / options.documents:.0f} of them names),"
        f" documents.parquet has {path.stat().st_size / options.documents:.0f}\n"
    )

    chance = np.random.default_rng(5)
    ordinals = chance.integers(0, options.documents, 1000).tolist()
    found = Lookup.open(tokens)
    names = found.names(ordinals)
    rows = []
    calls: dict[str, list[Callable[[Lookup], object]]] = {
        "find a URL": [lambda f, url=url: f.find("url", url) for _, url in names],
        "find a doc_id": [lambda f, doc_id=doc_id: f.find("doc_id", doc_id) for doc_id, _ in names],
        "names of 1 ordinal": [lambda f, o=o: f.names([o]) for o in ordinals],
        "names of 100 ordinals": [lambda f, i=i: f.names(ordinals[i : i + 100]) for i in range(0, 900, 15)],
    }
    counts = {name: len(found.find("domain", name)) for name in (f"site{h}.example" for h in (0, 10, 100, 10_000))}
    for domain, count in counts.items():
        calls[f"find a domain of {count:,} documents"] = [lambda f, d=domain: f.find("domain", d)] * 60
    warm = {name: [cost(partial(call, found)) for call in asked] for name, asked in calls.items()}
    found = None  # unmapped
    for name, asked in calls.items():
        opening, times = cold(tokens, asked[:60])
        rows += [row(f"{name}, cold", times), row(f"{name}, warm", warm[name])]
    rows.append(row("open, cold", opening))
    rows.append(row("open, warm", [cost(lambda: Lookup.open(tokens)) for _ in range(20)]))
    scan = [
        cost(lambda url=url: storage.read_parquet(str(path), ["doc_ordinal"], pc.field("url") == url))
        for _, url in names[:2]
    ]
    rows.append(row("find a URL by a filter over documents.parquet", scan))
    print(table(["look-up", "median, ms", "99 %, ms", "CPU, ms", "pages waited for"], rows))


if __name__ == "__main__":
    main()
