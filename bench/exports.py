"""Exports of orders, read by the trainers' own packages and compared with the order, token by token.

    bench/peers/setup_readers          # once; prints the two Pythons
    python bench/exports.py [--readers PYTHON] [--mds-readers PYTHON] [--run RUN] [--json result.json]

Orders: a small built one (random token ids, documents packed and shuffled); two drawn ones of three shapes (steps,
rows, length), one of 2-byte and one of 4-byte ids, with padding, documents cut without EOS and up to 300 labels a row;
and RUN, where given. Each is exported to every format in a temporary folder. `bench/peers/read_export.py` reads it in
the reader's environment. Compared are all tokens, in order; the loss mask and the positions in the segment, where the
reader gives them; the rows that several ranks get at each step, where the reader divides them itself; and that the
trainer's own shuffling, where it has one, gives the same rows. The grade is what came of it. Exit code 1 when any of it
is less than the export says.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from token_run import make_run

from corpusmill.tokenize.exports.base import Export, Part
from corpusmill.tokenize.exports.export import FORMATS, export_order
from corpusmill.tokenize.reader import Order

HERE = Path(__file__).resolve().parent
PEERS = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "corpusmill/peers"
SHAPES = [(5, 4, 16), (3, 6, 9), (2, 8, 300)]


def orders(folder: Path, run: str | None) -> Iterator[tuple[str, Order]]:
    """Name and order."""
    sys.path.insert(0, str(HERE.parent / "tests/tokenize/exports"))
    from made_orders import made_order

    make_run(folder, 400_000, median_tokens=150, sequence_length=256, batch_size=8, block_sequences=64)
    yield "built", Order.open(str(folder))
    yield "drawn, 2 bytes", made_order(*SHAPES, vocab_size=60_000)
    yield "drawn, 4 bytes", made_order(*SHAPES, vocab_size=150_000)
    if run is not None:
        yield run, Order.open(run, verify=True)


def expected(order: Order, part: Part) -> dict[str, np.ndarray]:
    """tokens (N, L+1), loss_mask (N, L) and positions (N, L+1) of a part, straight from the order."""
    steps = [order.step(n) for n in range(part.first_step, part.first_step + part.steps)]
    ids = np.concatenate([s.segment_ids for s in steps])
    at = np.arange(ids.shape[1])
    begins = np.ones(ids.shape, bool)
    begins[:, 1:] = ids[:, 1:] != ids[:, :-1]
    return {
        "tokens": np.concatenate([s.tokens for s in steps]),
        "loss_mask": np.concatenate([s.loss_mask for s in steps]),
        "positions": at - np.maximum.accumulate(np.where(begins, at, 0), axis=1),
    }


def sorted_rows(rows: np.ndarray) -> np.ndarray:
    """The rows in order of their tokens."""
    return rows[np.lexsort(rows.T[::-1])]


def judge(export: Export, order: Order, read: Path) -> dict[str, Any]:
    """What the reader got, against the order."""
    seen: dict[str, Any] = {"grade": "exact order", "tokens": 0, "masks": set(), "positions": set(), "ranks": set()}
    worst = {"exact order": 0, "exact rows": 1, "neither": 2}
    for part in export.parts:
        want, got = expected(order, part), np.load(read / f"{part.folder}.npz")
        grade = "neither"
        if got["tokens"].shape == want["tokens"].shape:
            if np.array_equal(got["tokens"], want["tokens"]):
                grade = "exact order"
            elif np.array_equal(sorted_rows(got["tokens"]), sorted_rows(want["tokens"])):
                grade = "exact rows"
        seen["grade"] = max(seen["grade"], grade, key=worst.__getitem__)
        seen["tokens"] += got["tokens"].size
        if "loss_mask" in got:
            seen["masks"].add(np.array_equal(got["loss_mask"], want["loss_mask"]))
        if "positions" in got:
            width = got["positions"].shape[1]
            seen["positions"].add(np.array_equal(got["positions"], want["positions"][:, :width]))
        if "eos_positions" in got:
            same = got["eos_positions"] == want["positions"]
            hidden = export.counts.borders_without_eos
            seen["positions"].add("by EOS" if bool(same.all()) or hidden else False)
        steps = want["tokens"].reshape(part.steps, part.batch_size, -1)
        for name in (n for n in got if n.startswith("ranks_")):
            rows = got[name]
            same_steps = rows.shape == want["tokens"].shape and all(
                np.array_equal(sorted_rows(a), sorted_rows(b))
                for a, b in zip(rows.reshape(steps.shape), steps, strict=True)
            )
            seen["ranks"].add(same_steps)
        for name in ("shuffled", "other_nodes"):
            if name in got:
                rows = got[name]
                moved = not np.array_equal(rows, want["tokens"])
                kept = np.array_equal(sorted_rows(rows), sorted_rows(want["tokens"]))
                seen[name] = ("exact rows" if moved else "exact order") if kept else "neither"
    return seen


def shown(values: set[Any]) -> str:
    """What was seen, in a word."""
    if not values:
        return "-"
    return "differ" if False in values else "by EOS" if "by EOS" in values else "equal"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readers", default=str(PEERS / "readers/bin/python"))
    parser.add_argument("--mds-readers", default=str(PEERS / "readers-mds/bin/python"))
    parser.add_argument("--run")
    parser.add_argument("--json")
    given = parser.parse_args()
    for python in (given.readers, given.mds_readers):
        if not Path(python).exists():
            sys.exit(f"error: no {python}; bench/peers/setup_readers makes it")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    results = []
    failed = False
    heads = (
        "order",
        "format",
        "package",
        "rows",
        "tokens",
        "grade read",
        "loss mask",
        "positions",
        "ranks",
        "own shuffle",
    )
    print(" | ".join(heads), flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        for number, (name, order) in enumerate(orders(Path(scratch) / "run", given.run)):
            for form in FORMATS:
                out, read = Path(scratch) / f"{number}-{form}", Path(scratch) / f"{number}-{form}-read"
                read.mkdir()
                export = export_order(order, form, str(out))
                python = given.mds_readers if form == "mds" else given.readers
                command = [python, str(HERE / "peers/read_export.py"), str(out), str(read)]
                done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
                if done.returncode:
                    sys.exit(done.stderr)
                package = json.loads(done.stdout.splitlines()[-1])
                seen = judge(export, order, read)
                row = {
                    "order": name,
                    "format": form,
                    "package": f"{package['package']} {package['version']}",
                    "rows": export.counts.rows,
                    "tokens": seen["tokens"],
                    "grade read": seen["grade"],
                    "loss mask": shown(seen["masks"]),
                    "positions": shown(seen["positions"]),
                    "ranks": shown(seen["ranks"]),
                    "own shuffle": seen.get("shuffled", seen.get("other_nodes", "-")),
                }
                failed |= row["grade read"] != export.grade or "differ" in row.values() or "neither" in row.values()
                results.append(row)
                print(" | ".join(str(row[h]) for h in heads), flush=True)
    if given.json:
        Path(given.json).write_text(json.dumps(results, indent=1) + "\n")
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
