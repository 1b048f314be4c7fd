"""What a takedown of some documents costs and changes: both packings, on token folders without texts.

    python bench/takedown.py --documents 100000 --gone 100 --out /tmp/takedown

Prints for each packing: blocks that held one of the documents, sequences and steps that `rederive` changes and whether
all changed sequences lie in those blocks; the roots that `mask` from the middle on changes; seconds of rederive, mask,
redact and of `verify --full` after each.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from corpusmill.core import storage
from corpusmill.tokenize import revisions
from corpusmill.tokenize.columns import write_columns
from corpusmill.tokenize.erase import redact_tokens
from corpusmill.tokenize.order import build_order
from corpusmill.tokenize.order_config import OrderConfig
from corpusmill.tokenize.pieces import Blocks, Packing, Segments
from corpusmill.tokenize.reader import Order
from corpusmill.tokenize.shards import TOKEN_DOCUMENT, TokenShard, TokensManifest
from corpusmill.tokenize.takedown import NOTHING
from corpusmill.tokenize.verify import verify_order

SHARD_DOCUMENTS = 10_000
CHUNK_SEQUENCES = 4096


def write_tokens(run: Path, documents: int, seed: int) -> None:
    """RUN/tokens of documents with log-normal lengths (median 400 tokens) and random tokens."""
    folder = run / "tokens"
    folder.mkdir(parents=True)
    chance = np.random.default_rng(seed)
    lengths = np.clip(chance.lognormal(6.0, 1.0, documents), 1, 50_000).astype(np.int64)
    shards, tables = [], []
    for number, first in enumerate(range(0, documents, SHARD_DOCUMENTS)):
        part = lengths[first : first + SHARD_DOCUMENTS]
        name, count = f"s{number:05d}", len(part)
        data = chance.integers(4, 60_000, int(part.sum())).astype("<u2").tobytes()
        (folder / f"{name}.bin").write_bytes(data)
        shards.append(
            TokenShard(
                name=name,
                sha256=hashlib.sha256(data).hexdigest(),
                bytes=len(data),
                documents=count,
                tokens=int(part.sum()),
            )
        )
        ids = [f"s.warc.gz:{i}" for i in range(first, first + count)]
        hashes = [hashlib.sha256(i.encode()).digest() for i in ids]
        columns: dict[str, Any] = {
            "doc_ordinal": np.arange(first, first + count),
            "doc_id": ids,
            "url": [f"https://s.example/{i}" for i in range(first, first + count)],
            "domain": ["s.example"] * count,
            "content_hash": [h[:16] for h in hashes],
            "language": ["en"] * count,
            "source": ["crawl"] * count,
            "shard": [name] * count,
            "token_offset": np.cumsum(part) - part,
            "num_tokens": part,
            "cluster_id": [None] * count,
            "salt": [h[16:] for h in hashes],
        }
        plain = [f.type.value_type if pa.types.is_dictionary(f.type) else f.type for f in TOKEN_DOCUMENT]
        arrays = [pa.array(columns[f.name], kind) for f, kind in zip(TOKEN_DOCUMENT, plain, strict=True)]
        for at, field in enumerate(TOKEN_DOCUMENT):
            if pa.types.is_dictionary(field.type):
                arrays[at] = arrays[at].dictionary_encode()
        tables.append(pa.table(arrays, schema=TOKEN_DOCUMENT))
    path = str(folder / "documents.parquet")
    storage.write_parquet(path, pa.concat_tables(tables).unify_dictionaries())
    write_columns(str(folder))
    (folder / "tokenizer.model").write_bytes(b"none")
    manifest = TokensManifest(
        dtype="uint16",
        tokenizer_sha256=hashlib.sha256(b"none").hexdigest(),
        vocab_size=60_000,
        eos_id=2,
        pad_id=3,
        documents_sha256=storage.sha256_file(path),
        documents_bytes=storage.size_bytes(path),
        shards=tuple(shards),
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json())


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What the call returns, and how long it took."""
    begin = time.perf_counter()
    result = call()
    return result, time.perf_counter() - begin


def changed_by_block(before: Packing, after: Packing, blocks: Blocks, gone: Any) -> tuple[int, int, int]:
    """(blocks that held a document, changed sequences in them, changed sequences elsewhere)."""
    held = np.unique(np.searchsorted(blocks.piece, gone, side="right") - 1)
    inside = outside = 0
    for first in range(0, before.num_sequences, CHUNK_SEQUENCES):
        stop = min(first + CHUNK_SEQUENCES, before.num_sequences)
        old, new = (packing.segments(np.arange(first, stop)) for packing in (before, after))
        # A sequence is of one block: that of its first document.
        block = np.searchsorted(blocks.piece, old.document[old.segment == 0], side="right") - 1
        changed = np.array([a != b for a, b in zip(_parts(old), _parts(new), strict=True)])
        in_held = np.isin(block, held)
        inside += int((changed & in_held).sum())
        outside += int((changed & ~in_held).sum())
    return len(held), inside, outside


def _parts(segments: Segments) -> list[bytes]:
    """The segments of every sequence, as bytes."""
    columns = np.stack([segments.document, segments.doc_token_start, segments.num_tokens], axis=1)
    return [part.tobytes() for part in np.split(columns, np.flatnonzero(segments.segment == 0)[1:])]


def measure(run: Path, packing: str, args: argparse.Namespace) -> None:
    """One packing, on a fresh copy of the tokens."""
    tokens, order = str(run / "tokens"), str(run / "order")
    config = OrderConfig.model_validate(
        {
            "key": "k",
            "batch_size": args.batch,
            "sequence_length": args.length,
            "block_sequences": args.block,
            "packing": packing,
        }
    )
    summary, seconds = timed(lambda: build_order(tokens, order, config))
    print(f"\n{packing}: {summary.sequences:,} sequences, {summary.steps:,} steps, built in {seconds:.1f} s")
    gone = np.sort(np.random.default_rng(7).choice(args.documents, args.gone, replace=False)).astype(np.int64)
    opened = Order.open(str(run))
    lengths = opened.index.lengths(opened.index.sources[0])
    blocks = Blocks.of(lengths, args.length, args.block)
    before = opened.derivation().phases[0].readings[0].whole
    copies = {mode: run.with_name(f"{run.name}-{mode}") for mode in ("mask", "redact")}
    for copy in copies.values():
        shutil.copytree(run, copy)

    _, seconds = timed(lambda: revisions.revise(tokens, order, revisions.with_excluded(NOTHING, gone)))
    after = Order.open(str(run)).derivation().phases[0].readings[0].whole
    held, inside, outside = changed_by_block(before, after, blocks, gone)
    total = before.num_sequences
    changes = revisions.changes(revisions.revision_folder(order, summary.order_root), order)
    print(
        f"rederive without {args.gone} of {args.documents:,} documents: {seconds:.1f} s; {held} of"
        f" {len(blocks.sequence) - 1} blocks held them ({held / (len(blocks.sequence) - 1):.2%})"
    )
    print(
        f"  sequences changed: {inside:,} of {total:,} ({inside / total:.2%}) in those blocks, {outside} in others;"
        f" {changes.steps:,} of {summary.steps:,} steps ({changes.steps / summary.steps:.2%})"
    )
    report_verified(run)

    middle = summary.steps // 2
    folder = copies["mask"]
    masked = revisions.with_masked(NOTHING, gone, middle)
    _, seconds = timed(lambda: revisions.revise(str(folder / "tokens"), str(folder / "order"), masked))
    parent = revisions.revision_folder(str(folder / "order"), summary.order_root)
    old, new = revisions.roots_of(parent), revisions.roots_of(str(folder / "order"))
    early = sum(a != b for a, b in zip(old[:middle], new[:middle], strict=True))
    late = sum(a != b for a, b in zip(old[middle:], new[middle:], strict=True))
    print(f"mask from step {middle} on: {seconds:.1f} s; roots changed: {early} before it, {late} from it on")
    report_verified(folder)

    folder = copies["redact"]
    _, seconds = timed(lambda: redact_tokens(str(folder / "tokens"), str(folder / "order"), gone.tolist()))
    stays = Order.open(str(folder)).root == summary.order_root
    print(f"redact: {seconds:.1f} s; order root {'stays' if stays else 'CHANGED'}")
    report_verified(folder)


def report_verified(run: Path) -> None:
    """Prints the result of `verify --full`."""
    checks, seconds = timed(lambda: verify_order(str(run), "full"))
    failed = [check.name for check in checks if not check.ok]
    print(f"  verify --full: {'ok' if not failed else 'FAILED ' + ', '.join(failed)}, {seconds:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--gone", type=int, default=100, help="documents taken down, drawn at random")
    parser.add_argument("--length", type=int, default=2048, help="labels of a sequence")
    parser.add_argument("--batch", type=int, default=32, help="sequences of a step")
    parser.add_argument("--block", type=int, default=64, help="sequences of a packing block")
    parser.add_argument("--out", type=Path, required=True, help="new folder for the runs; deleted at the end")
    args = parser.parse_args()
    args.out.mkdir(parents=True)
    try:
        made = args.out / "made"
        write_tokens(made, args.documents, seed=1)
        for packing in ("concatenate", "best_fit"):
            run = args.out / packing
            shutil.copytree(made, run)
            measure(run, packing, args)
            for path in args.out.glob(f"{packing}*"):
                shutil.rmtree(path)
    finally:
        shutil.rmtree(args.out)


if __name__ == "__main__":
    main()
