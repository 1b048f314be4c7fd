"""What was really fed, attempt by attempt, and which attempts made the weights.

RUN/train/
    fed/attempt-00000.jsonl   one line a step, flushed as it happens: the lines of a killed attempt survive
    fed.parquet               all attempts (FED), merged at every save and at the end
    lineage.json              attempts, where each began, and the ranges of steps that made the newest checkpoint
"""

from __future__ import annotations

import json
import math
from typing import IO, Any, Self

import pyarrow as pa
import torch

from corpusmill.core import storage
from corpusmill.core.documents import table_of
from corpusmill.core.errors import InputError
from corpusmill.core.hashing import canonical_json
from corpusmill.training_hook.checkpoint import Progress
from corpusmill.training_hook.config import TrainConfig

FED = pa.schema(
    [
        pa.field("attempt", pa.int32(), nullable=False),
        pa.field("step", pa.int64(), nullable=False),  # 0-based, the order's
        pa.field("slots", pa.int32(), nullable=False),  # sequences fed, over all processes
        pa.field("hash", pa.binary(32), nullable=False),  # equals the order's step root when fed as planned
        pa.field("applied", pa.bool_(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),  # why not applied, "" if applied
        pa.field("loss", pa.float64(), nullable=True),  # nats a token; null when not finite
        pa.field("grad_norm", pa.float64(), nullable=True),  # before clipping
    ]
)


class FedLog:
    """The lines of one attempt; only the first process has one."""

    def __init__(self, run: str, attempt: int) -> None:
        self._attempt = attempt
        path = storage.local_path(_path(run, attempt))
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] = open(path, "x", encoding="utf-8")

    def append(self, step: int, slots: int, root: bytes, reason: str, loss: float, grad_norm: float) -> None:
        """Records a step; `reason` is "" when the update is applied. A kill after this does not lose the line."""
        line = {
            "attempt": self._attempt,
            "step": step,
            "slots": slots,
            "hash": root.hex(),
            "applied": not reason,
            "reason": reason,
            "loss": loss if math.isfinite(loss) else None,
            "grad_norm": grad_norm if math.isfinite(grad_norm) else None,
        }
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def merge(run: str) -> None:
    """Writes fed.parquet from the lines of all attempts, ordered by attempt and step."""
    rows: list[dict[str, Any]] = []
    for path in storage.list_files(storage.join(run, "train", "fed"), ".jsonl"):
        whole, _, _ = storage.read_text(path).rpartition("\n")  # a power cut may leave half a last line
        rows += [json.loads(line) for line in whole.splitlines()]
    for row in rows:
        row["hash"] = bytes.fromhex(row["hash"])
    storage.write_parquet(storage.join(run, "train", "fed.parquet"), table_of(rows, FED))


class Lineage:
    """lineage.json: the attempts of a run. Only the first process writes it."""

    def __init__(self, run: str) -> None:
        self._path = storage.join(run, "train", "lineage.json")
        self._attempts: list[dict[str, Any]] = []
        if storage.exists(self._path):
            try:
                self._attempts = json.loads(storage.read_text(self._path))["attempts"]
            except (ValueError, KeyError) as error:
                raise InputError("lineage.json cannot be read", where=self._path, remedy="restore it") from error

    def __len__(self) -> int:
        """Attempts so far; the number of the next one."""
        return len(self._attempts)

    def begin(self, order_root: str, start: Progress | None, config: TrainConfig, world_size: int) -> None:
        """Adds an attempt that starts from the checkpoint `start`, or from nothing."""
        self._attempts.append(
            {
                "attempt": len(self._attempts),
                "order_root": order_root,
                "first_step": start.next_step if start else 0,
                "from_attempt": start.attempt if start else None,
                "world_size": world_size,
                "torch": str(torch.__version__),
                "config_sha256": config.digest(),
                "config": config.model_dump(mode="json"),
            }
        )
        self._write(start)

    def saved(self, progress: Progress) -> None:
        """Records the checkpoint that was just committed."""
        self._write(progress)

    def _write(self, newest: Progress | None) -> None:
        body: dict[str, Any] = {"attempts": self._attempts, "checkpoint": None, "weights": []}
        if newest is not None:
            body["checkpoint"] = {"attempt": newest.attempt, "next_step": newest.next_step}
            body["weights"] = self._weights(newest.attempt, newest.next_step)
        storage.write_bytes(self._path, canonical_json(body) + b"\n")

    def _weights(self, attempt: int | None, end_step: int) -> list[dict[str, int]]:
        """Which attempt's steps [first_step, end_step) made the weights, in order of steps."""
        ranges: list[dict[str, int]] = []
        while attempt is not None:
            begun = self._attempts[attempt]
            ranges.append({"attempt": attempt, "first_step": begun["first_step"], "end_step": end_step})
            attempt, end_step = begun["from_attempt"], begun["first_step"]
        return ranges[::-1]


def _path(run: str, attempt: int) -> str:
    return storage.join(run, "train", "fed", f"attempt-{attempt:05d}.jsonl")
