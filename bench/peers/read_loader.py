"""The other side of bench/loader.py: how fast other packages give the rows of an order, on one core.

    PYTHON bench/peers/read_loader.py LOADER FOLDER LENGTH BATCH REPEATS

FOLDER: an export for `mds`, `megatron`, `nanoset` and `olmo`; for `litdata` a `nanoset` export, which is first written
in litdata's own format beside it. A turn takes all rows in order and stacks them in batches of BATCH rows of LENGTH + 1
tokens. The first turn is not timed. Prints JSON: package, version, sha256 of the tokens as int32, CPU seconds of
all threads of this process and seconds, turn by turn.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

PACKAGES = {
    "mds": "mosaicml-streaming",
    "litdata": "litdata",
    "megatron": "megatron-core",
    "nanoset": "datatrove",
    "olmo": "ai2-olmo-core",
}
Rows = Callable[[], Iterable[np.ndarray]]


def mds(folder: Path, length: int, batch: int) -> Rows:
    from read_export import stand_in_for_torchvision

    stand_in_for_torchvision()
    from streaming import StreamingDataset
    from streaming.base.util import clean_stale_shared_memory

    clean_stale_shared_memory()
    dataset = StreamingDataset(local=str(folder), shuffle=False, num_canonical_nodes=1, batch_size=batch)
    return lambda: (sample["tokens"] for sample in dataset)


def litdata(folder: Path, length: int, batch: int) -> Rows:
    import litdata as package

    width = length + 1
    out = folder.parent / "litdata"
    if not out.exists():
        path = folder / "00000_rows.ds"
        rows = path.stat().st_size // 2 // width
        block = 1 << 10
        package.optimize(
            fn=Blocks(str(path), width, block),
            inputs=list(range(-(-rows // block))),
            output_dir=str(out),
            chunk_size=width * 4096,
            item_loader=package.TokensLoader(),
            num_workers=1,
            keep_data_ordered=True,
        )
    dataset = package.StreamingDataset(str(out), item_loader=package.TokensLoader(block_size=width), shuffle=False)
    return lambda: (np.asarray(row) for row in dataset)


class Blocks:
    """Rows of a .ds file, as litdata's `optimize` takes them."""

    def __init__(self, path: str, width: int, block: int) -> None:
        self.path, self.width, self.block = path, width, block

    def __call__(self, number: int) -> Iterator[np.ndarray]:
        rows = np.memmap(self.path, np.uint16, "r").reshape(-1, self.width)
        for row in rows[number * self.block : (number + 1) * self.block]:
            yield np.array(row)


def megatron(folder: Path, length: int, batch: int) -> Rows:
    from megatron.core.datasets.indexed_dataset import IndexedDataset

    dataset = IndexedDataset(str(folder / "tokens"))
    return lambda: (dataset[i] for i in range(len(dataset)))


def nanoset(folder: Path, length: int, batch: int) -> Rows:
    from datatrove.utils.dataset import DatatroveFolderDataset

    dataset = DatatroveFolderDataset(str(folder), seq_len=length, filename_pattern="*.ds", token_size=2, shuffle=False)
    return lambda: (dataset[i]["input_ids"].numpy() for i in range(len(dataset)))


def olmo(folder: Path, length: int, batch: int) -> Rows:
    from olmo_core.data import NumpyFSLDatasetConfig, TokenizerConfig

    dataset = NumpyFSLDatasetConfig(
        paths=[str(folder / "tokens.npy")],
        dtype="uint16",
        sequence_length=length + 1,
        tokenizer=TokenizerConfig(65536, eos_token_id=2, pad_token_id=0),
    ).build()
    return lambda: (dataset[i]["input_ids"].numpy() for i in range(len(dataset)))


def batches(rows: Iterable[np.ndarray], batch: int) -> Iterator[np.ndarray]:
    """Stacks of `batch` rows, int32 as the order gives them."""
    held: list[np.ndarray] = []
    for row in rows:
        held.append(row)
        if len(held) == batch:
            yield np.stack(held, dtype=np.int32, casting="unsafe")
            held = []


def main() -> None:
    loader, folder, length, batch, repeats = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:6])
    rows: Rows = globals()[loader](folder, length, batch)
    state, tokens = hashlib.sha256(), 0
    for step in batches(rows(), batch):
        state.update(step)
        tokens += step.size
    turns = []
    for _ in range(repeats):
        cpu, wall = time.process_time(), time.perf_counter()
        for step in batches(rows(), batch):
            assert step.shape == (batch, length + 1)
        turns.append((time.process_time() - cpu, time.perf_counter() - wall))
    package = PACKAGES[loader]
    found = {"package": package, "version": importlib.metadata.version(package), "sha256": state.hexdigest()}
    print(json.dumps({**found, "tokens": tokens, "turns": turns}))


if __name__ == "__main__":
    main()
