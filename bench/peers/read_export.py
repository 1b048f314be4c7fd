"""The other side of bench/exports.py: reads an export with the trainer's own package, in that package's environment.

    PYTHON bench/peers/read_export.py EXPORT OUT

Writes OUT/<part>.npz for every part and prints JSON: package, version, what was read. Arrays of a part of N rows:

    tokens       (N, L+1) in the order in which one process reads them
    loss_mask    (N, L) of the labels, where the reader gives one
    positions    (N, k) position of every token in its segment, k = L or L+1, where the reader gives them
    ranks_<how>  (N, L+1) rows of all ranks, those of a step together, as read by several processes
    eos_positions (N, L+1) positions in what the reader takes for documents by EOS
    shuffled     (N, L+1) what Megatron's GPTDataset gives, or OLMo-core's loader without the indices of the export
    other_nodes  (N, L+1) MDS only: read with two canonical nodes
"""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import importlib.util
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]


def read_megatron(folder: Path, part: dict[str, Any], export: dict[str, Any]) -> Arrays:
    """IndexedDataset behind the example dataset of this repository, and GPTDataset."""
    import torch
    from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
    from megatron.core.datasets.indexed_dataset import IndexedDataset
    from megatron.core.datasets.utils import Split

    path = Path(__file__).resolve().parents[2] / "examples/trainers/megatron_order.py"
    spec = importlib.util.spec_from_file_location("megatron_order", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    dataset = module.OrderRows(str(folder))
    items = [dataset[i] for i in range(len(dataset))]
    rows = [torch.cat([i["tokens"], i["labels"][-1:]]) for i in items]
    assert all(torch.equal(i["tokens"][1:], i["labels"][:-1]) for i in items)

    indexed = IndexedDataset(str(folder / "tokens"))
    length = part["sequence_length"]
    order = export["order"]
    tokenizer = types.SimpleNamespace(
        vocab_size=order["vocab_size"], eod=order["eos_id"], pad=-1, unique_identifiers={}, special_tokens_dict={}
    )
    config = GPTDatasetConfig(
        random_seed=1,
        sequence_length=length + 1,
        split="1,0,0",
        blend=([str(folder / "tokens")], None),
        path_to_cache=str(folder / "cache"),
        tokenizer=tokenizer,
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        create_attention_mask=False,
        add_extra_token_to_sequence=False,
    )
    ids = np.arange(len(indexed), dtype=np.int32)
    shuffled = GPTDataset(indexed, str(folder / "tokens"), ids, len(indexed), Split.train, config)
    return {
        "tokens": torch.stack(rows).numpy(),
        "loss_mask": torch.stack([i["loss_mask"] for i in items]).numpy() == 1,
        "positions": torch.stack([i["position_ids"] for i in items]).numpy(),
        "shuffled": np.stack([shuffled[i]["tokens"].numpy() for i in range(len(indexed))]),
    }


def read_olmo(folder: Path, part: dict[str, Any], export: dict[str, Any]) -> Arrays:
    """NumpyFSLDatasetConfig and NumpyDataLoaderConfig as set up; then the same loader as 2 and as B ranks."""
    import torch
    from olmo_core.data import (
        DataCollator,
        NumpyDataLoaderBase,
        NumpyDataLoaderConfig,
        NumpyFSLDatasetConfig,
        TokenizerConfig,
    )
    from olmo_core.data.utils import get_labels

    order = export["order"]
    width, batch = part["sequence_length"] + 1, part["batch_size"]
    dataset = NumpyFSLDatasetConfig(
        paths=[str(folder / "tokens.npy")],
        label_mask_paths=[str(folder / "label_mask.npy")],
        dtype=order["dtype"],
        generate_doc_lengths=True,
        sequence_length=width,
        tokenizer=TokenizerConfig(order["vocab_size"], eos_token_id=order["eos_id"], pad_token_id=order["pad_id"]),
    ).build()

    def batches(loader: Any) -> list[dict[str, Any]]:
        loader.reshuffle(epoch=1)
        return list(loader)

    config = NumpyDataLoaderConfig(global_batch_size=batch * width, seed=0, work_dir=str(folder / "work"))
    read = batches(config.build(dataset))
    labels = torch.cat([get_labels(b) for b in read])
    tokens = torch.cat([b["input_ids"] for b in read])
    counted = labels[:, :-1] != -100
    assert bool((labels[:, -1] == -100).all())
    assert torch.equal(labels[:, :-1][counted], tokens[:, 1:][counted])
    result = {"tokens": tokens.numpy(), "loss_mask": counted.numpy()}
    positions = [torch.cat([torch.arange(n) for n in lengths]) for b in read for lengths in b["doc_lens"].tolist()]
    result["eos_positions"] = torch.stack(positions).numpy()
    for world in {w for w in (2, batch) if batch % w == 0}:
        ranks = [
            batches(
                NumpyDataLoaderBase.wrap_numpy_dataset(
                    dataset,
                    global_batch_size=batch * width,
                    collator=DataCollator(pad_token_id=order["pad_id"]),
                    work_dir=str(folder / "work"),
                    dp_world_size=world,
                    dp_rank=rank,
                    fs_local_rank=0,
                )
            )
            for rank in range(world)
        ]
        rows = [torch.stack([b["input_ids"] for b in step], 1).flatten(0, 1) for step in zip(*ranks, strict=True)]
        result[f"ranks_{world}"] = torch.cat(rows).numpy()
    elsewhere = NumpyDataLoaderConfig(global_batch_size=batch * width, seed=0, work_dir=str(folder / "elsewhere"))
    result["shuffled"] = torch.cat([b["input_ids"] for b in batches(elsewhere.build(dataset))]).numpy()
    return result


def read_mds(folder: Path, part: dict[str, Any], export: dict[str, Any]) -> Arrays:
    """StreamingDataset behind a DataLoader of one process, and its partition over nodes, ranks and workers."""
    stand_in_for_torchvision()
    from streaming import StreamingDataLoader, StreamingDataset
    from streaming.base.partition import get_partitions
    from streaming.base.util import clean_stale_shared_memory

    clean_stale_shared_memory()
    batch = part["batch_size"]
    dataset = StreamingDataset(
        local=str(folder), shuffle=False, num_canonical_nodes=1, batch_size=batch, validate_hash="sha256"
    )
    samples = list(dataset)
    tokens = np.stack([s["tokens"] for s in samples]).astype(np.int64)
    steps, slots = np.divmod(np.arange(len(samples)), batch)
    assert [(s["step"], s["slot"]) for s in samples] == list(zip(steps + part["first_step"], slots, strict=True))
    lengths = [np.abs(s["segment_lengths"]) for s in samples]
    loader = StreamingDataLoader(dataset, batch_size=batch, collate_fn=lambda b: np.stack([s["tokens"] for s in b]))
    result = {
        "tokens": tokens,
        "loss_mask": np.stack([s["loss_mask"] for s in samples]) == 1,
        "positions": np.stack([np.concatenate([np.arange(n) for n in row]) for row in lengths]),
        "ranks_loader": np.concatenate(list(loader)).astype(np.int64),
    }
    for nodes in (1, 2):
        for ranks in (1, 2, 4):
            for workers in (1, 3):
                if batch % (nodes * ranks):
                    continue
                each = batch // (nodes * ranks)
                ids = get_partitions(
                    dataset.partition_algo, len(samples), 1, nodes, ranks, workers, each, 0, nodes
                )  # (nodes, ranks, workers, batches a worker, rows a batch)
                by_step = ids.transpose(3, 2, 0, 1, 4).reshape(-1)  # a DataLoader asks its workers in turn
                result[f"ranks_{nodes}x{ranks}x{workers}"] = tokens[by_step[by_step >= 0]]
    other = get_partitions(dataset.partition_algo, len(samples), 2, 1, 1, 1, batch, 0, 1).reshape(-1)
    return result | {"other_nodes": tokens[other[other >= 0]]}


def stand_in_for_torchvision() -> None:
    """streaming imports torchvision for its image datasets; one built for another torch than ours does not import."""
    try:
        import torchvision  # noqa: F401
    except Exception:
        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        for name in ("", ".datasets", ".transforms", ".transforms.functional"):
            module = types.ModuleType(f"torchvision{name}")
            module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, None)
            sys.modules[module.__name__] = module
        sys.modules["torchvision.datasets"].VisionDataset = object
        sys.modules["torchvision.transforms.functional"].to_tensor = None


def read_nanoset(folder: Path, part: dict[str, Any], export: dict[str, Any]) -> Arrays:
    """DatatroveFolderDataset with positions."""
    from datatrove.utils.dataset import DatatroveFolderDataset

    dataset = DatatroveFolderDataset(
        str(folder),
        seq_len=part["sequence_length"],
        filename_pattern="*.ds",
        token_size=2 if export["order"]["dtype"] == "uint16" else 4,
        shuffle=False,
        return_positions=True,
    )
    items = [dataset[i] for i in range(len(dataset))]
    return {
        "tokens": np.stack([i["input_ids"].numpy() for i in items]),
        "positions": np.stack([i["positions"].numpy() for i in items]),
    }


READERS: dict[str, tuple[str, Callable[[Path, dict[str, Any], dict[str, Any]], Arrays]]] = {
    "megatron": ("megatron-core", read_megatron),
    "olmo": ("ai2-olmo-core", read_olmo),
    "mds": ("mosaicml-streaming", read_mds),
    "nanoset": ("datatrove", read_nanoset),
}


def main() -> None:
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    export = json.loads((folder / "export.json").read_bytes())
    package, read = READERS[export["format"]]
    for part in export["parts"]:
        np.savez(out / f"{part['folder']}.npz", **read(folder / part["folder"], part, export))
    print(json.dumps({"package": package, "version": importlib.metadata.version(package)}))


if __name__ == "__main__":
    main()
