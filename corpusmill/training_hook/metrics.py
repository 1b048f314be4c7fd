"""Measurements: a JSON line a step, and a progress line now and then."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import IO, Self

import torch

from corpusmill.core import storage


class Metrics:
    """Writes RUN/train/metrics.jsonl, one object a step, `step` first. Attempts follow one another in the file."""

    def __init__(self, run: str) -> None:
        path = storage.local_path(storage.join(run, "train", "metrics.jsonl"))
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] = open(path, "a", encoding="utf-8")

    def log(self, values: Mapping[str, float | int | str], step: int) -> None:
        """Appends the values of `step` (0-based)."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


class Rate:
    """Tokens per second over the last `window` steps."""

    def __init__(self, window: int = 20) -> None:
        self._marks: deque[tuple[float, int]] = deque([(time.perf_counter(), 0)], maxlen=window + 1)

    def update(self, tokens: int) -> float:
        """Tokens per second after a step of `tokens`."""
        _, before = self._marks[-1]
        self._marks.append((time.perf_counter(), before + tokens))
        (start, first), (end, last) = self._marks[0], self._marks[-1]
        return (last - first) / max(end - start, 1e-9)


def peak_memory_bytes(device: torch.device) -> int:
    """Most memory this process has held: allocated on the GPU, or resident where there is none."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes there, KiB on Linux
