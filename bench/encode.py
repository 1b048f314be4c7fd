"""Speed of encoding beside the bare libraries, on the same texts, cores and models, in turn, in one run.

    python bench/encode.py --documents 'RUN/documents/*.parquet' --work DIR [--threads 1 2] [--rounds 5] [--copies 1]
        [--model M.model] [--json tokenizer.json]

Timed are:

- ours: `encode_shard`, from the text column in Parquet to the token file, its hash and the table of documents;
- bare: the library's fastest call on texts that are already in memory: SentencePiece `encode(texts, num_threads=N)` to
  numpy arrays (and to lists, `bare lists`), tokenizers `encode_batch_fast` in N threads of its own, to lists of ids.

Without --model and --json, a BPE and a unigram SentencePiece model and a byte-level BPE tokenizer.json of 16,000 tokens
are trained on the texts. The texts are repeated --copies times, in one shard. Printed are the medians of the rounds:
tokens per second of wall time and core; the ratios ours / bare, of wall time and of CPU time of all threads (which
other work on the machine disturbs less); and whether the ids are the same.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from side_by_side import table

from corpusmill.core import storage
from corpusmill.tokenize.shards import DTYPES, SHARD_DOCUMENT, encode_shard, shard_path, token_dtype
from corpusmill.tokenize.tokenizer import Tokenizer
from corpusmill.tokenize.training import TokenizerConfig, fit

VOCABULARY = 16_000
COLUMNS = [
    "model",
    "threads",
    "tokens",
    "ours",
    "bare",
    "bare lists",
    "wall",
    "wall, lists",
    "CPU",
    "CPU, lists",
    "same ids",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", required=True, help="Parquet files, a glob")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--threads", type=int, nargs="*", default=[1, os.cpu_count() or 1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--copies", type=int, default=1, help="how often the texts are repeated")
    parser.add_argument("--model", help="SentencePiece model; default: two trained on the texts")
    parser.add_argument("--json", help="tokenizer.json; default: one trained on the texts")
    parser.add_argument("--one", nargs=2, metavar=("MODEL", "THREADS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    shard = arguments.work / "texts.parquet"
    if arguments.one:
        for row in measured(shard, arguments.one[0], int(arguments.one[1]), arguments.rounds, arguments.work):
            print("\t".join(row))
        return
    made = {"num_tokens", "cluster_id"}  # by encoding
    columns = [*(name for name in SHARD_DOCUMENT.names if name not in made), "text"]
    texts = pa.concat_tables([pq.read_table(path, columns=columns) for path in storage.glob(arguments.documents)])
    pq.write_table(pa.concat_tables([texts] * arguments.copies), shard, compression="zstd", row_group_size=4096)
    size = sum(len(text.encode()) for text in texts.column("text").to_pylist()) * arguments.copies
    print(f"{texts.num_rows * arguments.copies:,} documents, {size:,} bytes of text, {os.cpu_count()} cores\n")
    first = True
    for model in models(arguments, texts.column("text").to_pylist()):
        for threads in dict.fromkeys(arguments.threads):
            # A process of its own: the pool of threads of tokenizers is made once, with the size it then finds.
            command = [sys.executable, __file__, *sys.argv[1:], "--one", model, str(threads)]
            environment = os.environ | {"RAYON_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "true"}
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            lines = table(COLUMNS, [line.split("\t") for line in done.stdout.splitlines()], text_columns=1).splitlines()
            print("\n".join(lines if first else lines[2:]), flush=True)
            first = False


def models(arguments: argparse.Namespace, texts: list[str]) -> list[str]:
    """Paths of the models to measure."""
    if arguments.model or arguments.json:
        return [path for path in (arguments.model, arguments.json) if path]
    paths = []
    for kind in ("bpe", "unigram"):
        paths.append(arguments.work / f"{kind}.model")
        if not paths[-1].exists():
            config = {"model_type": kind, "vocab_size": VOCABULARY}
            paths[-1].write_bytes(fit(texts, TokenizerConfig.model_validate(config)))
    paths.append(arguments.work / "byte-level.json")
    if not paths[-1].exists():
        train_byte_level(texts, str(paths[-1]))
    return [str(path) for path in paths]


def train_byte_level(texts: list[str], path: str) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(path)


def measured(shard: Path, model: str, threads: int, rounds: int, work: Path) -> list[list[str]]:
    """One row of the table."""
    texts = pq.read_table(shard, columns=["text"]).column("text").to_pylist()
    out = str(work / "tokens")
    calls: dict[str, Callable[[], object]] = {
        "ours": lambda: encode_shard(str(shard), "x", model, out, num_threads=threads),
        **bare_calls(model, threads, texts),
    }
    results = {name: call() for name, call in calls.items()}  # warm
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    cpu_seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            # the library's own threads are for its own call; the codec brings threads of its own
            os.environ["TOKENIZERS_PARALLELISM"] = "false" if name == "ours" else "true"
            start, cpu_start = time.perf_counter(), time.process_time()
            call()
            seconds[name].append(time.perf_counter() - start)
            cpu_seconds[name].append(time.process_time() - cpu_start)
    theirs = [np.asarray(ids if isinstance(ids, np.ndarray | list) else ids.ids) for ids in results["bare"]]  # type: ignore[attr-defined]
    tokens = sum(map(len, theirs))
    tokenizer = Tokenizer.load(model)
    dtype = DTYPES[token_dtype(tokenizer.vocab_size)]
    expected = b"".join(ids.astype(dtype).tobytes() + dtype.type(tokenizer.eos_id).tobytes() for ids in theirs)
    same = Path(shard_path(out, "x")).read_bytes() == expected

    def rate(name: str) -> str:
        return f"{tokens / statistics.median(seconds[name]) / threads:,.0f}" if name in seconds else "-"

    def ratio(spent: dict[str, list[float]], name: str) -> str:
        if name not in spent:
            return "-"
        return f"{statistics.median(b / a for a, b in zip(spent['ours'], spent[name], strict=True)):.2f}"

    ratios = [ratio(spent, name) for spent in (seconds, cpu_seconds) for name in ("bare", "lists")]
    shown = [rate("ours"), rate("bare"), rate("lists"), *ratios, "yes" if same else "no"]
    return [[Path(model).name, str(threads), f"{tokens:,}", *shown]]


def bare_calls(model: str, threads: int, texts: list[str]) -> dict[str, Callable[[], object]]:
    if model.endswith(".json"):
        from tokenizers import Tokenizer as Library

        library = Library.from_file(model)
        return {"bare": lambda: library.encode_batch_fast(texts, add_special_tokens=False)}
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor(model_file=model)
    return {
        "bare": lambda: processor.encode(texts, out_type="numpy", num_threads=threads),
        "lists": lambda: processor.encode(texts, num_threads=threads),
    }


if __name__ == "__main__":
    main()
