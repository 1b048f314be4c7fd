"""RUN/events.jsonl and RUN/environment.json: when, how long and on what. Never part of what must be reproducible."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections import defaultdict
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from corpusmill.core import storage

_PACKAGES = (
    "corpusmill", "pyarrow", "numpy", "numba", "ray", "trafilatura", "lxml", "warcio", "fasttext-community",
    "sentencepiece", "SudachiPy", "sudachidict-core", "torch",
)  # fmt: skip


class EventLog:
    """Appends one JSON object a line. Local runs append; on object stores the log is written when it is closed."""

    def __init__(self, run: str) -> None:
        self._path = storage.join(run, "events.jsonl")
        self._lines: list[str] = []
        if not storage.is_local(run) and storage.exists(self._path):
            self._lines = storage.read_text(self._path).splitlines()

    def write(self, event: str, **fields: Any) -> None:
        """Writes one event with the time (UTC, ISO 8601)."""
        line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **fields})
        if storage.is_local(self._path):
            with open(storage.local_path(self._path), "a", encoding="utf-8") as file:
                file.write(line + "\n")
        else:
            self._lines.append(line)

    def close(self) -> None:
        """Uploads the log of a run on an object store."""
        if self._lines:
            storage.write_text(self._path, "\n".join(self._lines) + "\n")


def seconds_by_stage(run: str) -> dict[str, float]:
    """Core-seconds that each stage's committed shards took, the newest figure of every shard."""
    path = storage.join(run, "events.jsonl")
    newest: dict[tuple[str, str], float] = {}
    if storage.exists(path):
        for line in storage.read_text(path).splitlines():
            try:
                event = json.loads(line)
            except json.JSONDecodeError:
                continue  # the last line of a killed run
            if event.get("event") == "task":
                newest[event["stage"], event["task"]] = event["seconds"]
    total: dict[str, float] = defaultdict(float)
    for (stage, _), seconds in newest.items():
        total[stage] += seconds
    return dict(total)


def write_environment(run: str) -> None:
    """Writes RUN/environment.json: interpreter, machine and the versions of the packages that decide results."""
    versions: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    body = {
        "python": sys.version,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "packages": versions,
    }
    storage.write_text(storage.join(run, "environment.json"), json.dumps(body, indent=1) + "\n")
