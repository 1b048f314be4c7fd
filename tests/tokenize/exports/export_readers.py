"""Small readers of the exported formats, written from their descriptions and not from the writers."""

from __future__ import annotations

import csv
import gzip
import json
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

TYPES = {1: "u1", 4: "<i4", 8: "<u2"}


def indexed_dataset(prefix: Path) -> list[np.ndarray]:
    """Megatron: the sequences of PREFIX.bin, by PREFIX.idx. Checks that every document is one sequence."""
    data = prefix.with_name(prefix.name + ".idx").read_bytes()
    assert data[:9] == b"MMIDIDX\0\0"
    version, code = struct.unpack_from("<QB", data, 9)
    assert version == 1
    sequences, documents = struct.unpack_from("<QQ", data, 18)
    lengths = struct.unpack_from(f"<{sequences}i", data, 34)
    pointers = struct.unpack_from(f"<{sequences}q", data, 34 + 4 * sequences)
    ends = struct.unpack_from(f"<{documents}q", data, 34 + 12 * sequences)
    assert len(data) == 34 + 12 * sequences + 8 * documents
    assert ends == tuple(range(sequences + 1))
    raw = prefix.with_name(prefix.name + ".bin").read_bytes()
    kind = np.dtype(TYPES[code])
    rows = [np.frombuffer(raw, kind, n, p) for n, p in zip(lengths, pointers, strict=True)]
    assert sum(len(r) for r in rows) * kind.itemsize == len(raw)
    return rows


def mds(folder: Path) -> list[dict[str, Any]]:
    """The samples of all shards that index.json lists."""
    samples = []
    index = json.loads((folder / "index.json").read_bytes())
    assert index["version"] == 2
    for shard in index["shards"]:
        data = (folder / shard["raw_data"]["basename"]).read_bytes()
        assert len(data) == shard["raw_data"]["bytes"]
        assert (shard["format"], shard["version"], shard["compression"], shard["zip_data"]) == ("mds", 2, None, None)
        assert shard["column_names"] == sorted(shard["column_names"])
        (count,) = struct.unpack_from("<I", data)
        assert count == shard["samples"]
        offsets = struct.unpack_from(f"<{count + 1}I", data, 4)
        settings = json.loads(data[8 + 4 * count : offsets[0]])
        assert settings == {k: v for k, v in shard.items() if k not in ("raw_data", "samples", "zip_data")}
        assert offsets[-1] == len(data)
        for a, b in pairwise(offsets):
            samples.append(_mds_sample(data[a:b], shard))
    return samples


def _mds_sample(data: bytes, shard: dict[str, Any]) -> dict[str, Any]:
    sizes = list(shard["column_sizes"])
    at = 0
    for number, size in enumerate(sizes):
        if size is None:
            (sizes[number],) = struct.unpack_from("<I", data, at)
            at += 4
    sample: dict[str, Any] = {}
    for name, kind, size in zip(shard["column_names"], shard["column_encodings"], sizes, strict=True):
        value = data[at : at + size]
        at += size
        if kind == "int":
            (sample[name],) = struct.unpack("<q", value)
            continue
        _, dtype, *shape = kind.split(":")
        if not shape:  # one dimension, whose length stands before the values
            dimensions, code = divmod(value[0], 4)
            assert dimensions == 1
            length = int.from_bytes(value[1 : 1 + (1 << code)], "little")
            value = value[1 + (1 << code) :]
            shape = [str(length)]
        sample[name] = np.frombuffer(value, dtype)
        assert len(sample[name]) == int(shape[0])
    assert at == len(data)
    return sample


def csv_gz(path: Path) -> list[tuple[int, int, str, str, int]]:
    """OLMo: start, end, id, source, line."""
    with gzip.open(path, "rt", newline="") as file:
        return [(int(a), int(b), name, source, int(line)) for a, b, name, source, line in csv.reader(file)]
