"""How fast an order gives the rows of its steps, on one core, beside the loaders of other packages.

    bench/peers/setup_readers          # once; prints the two Pythons
    python bench/loader.py [--megatokens 100] [--length 2048] [--batch 64] [--repeats 3] [--run RUN]
        [--readers PYTHON] [--mds-readers PYTHON] [--no-peers] [--profile] [--json result.json]

Makes a run of random token ids (documents of 600 tokens at the median, packed and shuffled), exports it, and reads all
rows of it in order, again and again: `Order.step` straight from the shards, the others from the exports, tokens alone
(litdata from a copy in its own format). The files are in the page cache. What `Order.step` gives beside the tokens
(segments, loss mask) comes with it; the others stack rows to batches of int32. All give the same tokens: their SHA-256
is compared. Figures are tokens (L of a row of L+1) for a CPU second of all threads, the median of `--repeats` turns
after one that is not timed. Ours is taken before and after each of the others, and the ratio is to these two, as the
machine may have other work. RUN: a run of one phase instead. `--profile`: where our time goes, by cProfile.
"""

from __future__ import annotations

import argparse
import cProfile
import hashlib
import json
import os
import pstats
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from token_run import make_run

from corpusmill.tokenize.exports.export import export_order
from corpusmill.tokenize.reader import Order

HERE = Path(__file__).resolve().parent
PEERS = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "corpusmill/peers"
EXPORTS = {"mds": "mds", "litdata": "nanoset", "megatron": "megatron", "nanoset": "nanoset", "olmo": "olmo"}


def ours(run: str, repeats: int, slots: slice | None = None) -> dict[str, Any]:
    """Turns over all steps of an order, or over some slots of each."""
    order = Order.open(run)
    phase = order.rule.phase_at(0)
    chosen = None if slots is None else np.arange(phase.batch_size)[slots]
    state, tokens = hashlib.sha256(), 0
    for step in range(order.steps):
        rows = order.step(step, chosen)
        state.update(np.ascontiguousarray(rows.tokens))
        tokens += rows.tokens.size
    turns = []
    for _ in range(repeats):
        cpu, wall = time.process_time(), time.perf_counter()
        for step in range(order.steps):
            order.step(step, chosen)
        turns.append((time.process_time() - cpu, time.perf_counter() - wall))
    return {"package": "corpusmill", "version": "", "sha256": state.hexdigest(), "tokens": tokens, "turns": turns}


def theirs(python: str, loader: str, folder: Path, length: int, batch: int, repeats: int) -> dict[str, Any]:
    """The same by another package, in its own environment."""
    command = [python, str(HERE / "peers/read_loader.py"), loader, str(folder), *map(str, (length, batch, repeats))]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def profile(run: str) -> None:
    """The functions that take the most time of one turn."""
    order = Order.open(run)
    order.step(0)
    profiler = cProfile.Profile()
    profiler.enable()
    for step in range(order.steps):
        order.step(step)
    profiler.disable()
    pstats.Stats(profiler, stream=sys.stdout).sort_stats("tottime").print_stats(15)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megatokens", type=float, default=100)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--run")
    parser.add_argument("--readers", default=str(PEERS / "readers/bin/python"))
    parser.add_argument("--mds-readers", default=str(PEERS / "readers-mds/bin/python"))
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--json")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        run = given.run
        if run is None:
            run = str(Path(scratch) / "run")
            started = time.perf_counter()
            make_run(Path(run), int(given.megatokens * 1e6), sequence_length=given.length, batch_size=given.batch)
            print(f"made a run in {time.perf_counter() - started:.0f} s", file=sys.stderr)
        order = Order.open(run)
        phase = order.rule.phase_at(0)
        length, batch = phase.sequence_length, phase.batch_size
        print(f"{order.steps} steps of {batch} rows of {length}", file=sys.stderr)
        if given.profile:
            profile(run)
        around = [ours(run, given.repeats)]  # ours before and after each of the others
        results: list[tuple[str, dict[str, Any]]] = []
        for loader, form in {} if given.no_peers else EXPORTS.items():
            out = Path(scratch) / form
            if not out.exists():
                export_order(order, form, str(out), masks=False)
            python = given.mds_readers if loader == "mds" else given.readers
            results.append((loader, theirs(python, loader, out / "part-0000", length, batch, given.repeats)))
            around.append(ours(run, given.repeats))
        results.append(("Order.step, every 4th slot", ours(run, given.repeats, slice(None, None, 4))))
        around.append(ours(run, given.repeats))

    def rate(turns: list[tuple[float, float]], tokens: int) -> float:
        return tokens * length / (length + 1) / median(cpu for cpu, _ in turns)

    tokens, sha256 = around[0]["tokens"], around[0]["sha256"]
    print("loader | package | million tokens/s a core | Order.step is so many times as fast")
    all_ours = rate([t for r in around for t in r["turns"]], tokens)
    print(f"Order.step | corpusmill | {all_ours / 1e6:.1f} | 1")
    rates = {"Order.step": all_ours}
    for (name, result), before, after in zip(results, around, around[1:], strict=False):
        assert result["sha256"] == sha256 or "slot" in name, f"{name} gives other tokens"
        rates[name] = rate(result["turns"], result["tokens"])
        ratio = rate([*before["turns"], *after["turns"]], tokens) / rates[name]
        package = f"{result['package']} {result['version']}".strip()
        print(f"{name} | {package} | {rates[name] / 1e6:.1f} | {ratio:.2f}")
    if given.json:
        Path(given.json).write_text(json.dumps({"rates": rates, "results": results, "ours": around}, indent=1) + "\n")


if __name__ == "__main__":
    main()
