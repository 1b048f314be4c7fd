"""Starts the processes of a run on this machine and ends them with it.

On several machines torchrun does this instead, with every process running `python -m corpusmill.training_hook.train`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from corpusmill.core import storage
from corpusmill.core.errors import InfrastructureError, InternalError
from corpusmill.training_hook.config import TrainConfig
from corpusmill.training_hook.parallel import LAUNCHER_PID
from corpusmill.training_hook.train import open_order, start_of

_GRACE_SECONDS = 20.0  # between SIGTERM and SIGKILL once one process has failed


def launch(run: str, config: TrainConfig, nproc: int, resume: bool) -> int:
    """Trains the order of `run` with `nproc` processes on this machine; blocks until they end.

    Rank 0's progress goes to this process's stderr, the other ranks' to RUN/train/logs/. SIGTERM and SIGINT are passed
    on: the trainer saves and leaves. If this process dies, so do the others.

    Returns:
        Exit code: 0 all steps are done; 1 the guard stopped the run; 3 stopped after saving, or a process was lost: run
        again with `resume`; 2 and 4 as everywhere.

    Raises:
        UserError: the run cannot be trained as asked, e.g. resumed on another order. Nothing was started.
    """
    order = open_order(run)
    _, start = start_of(run, order, config, resume)  # refuses before anything is started
    steps = config.steps or order.steps
    if start is not None and start.next_step >= steps:
        print(f"all {steps} steps are done", file=sys.stderr)
        return 0
    path = storage.join(run, "train", "config.json")
    storage.write_text(path, config.model_dump_json(indent=1) + "\n")
    # The launcher keeps the rendezvous store and the children only join it: no port is free now and taken later.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(minutes=5))
    arguments = ["-m", "corpusmill.training_hook.train", run, "--config", path, *(["--resume"] if resume else [])]
    logs = storage.local_path(storage.join(run, "train", "logs"))
    logs.mkdir(parents=True, exist_ok=True)
    children: list[subprocess.Popen[bytes]] = []
    with _passing_signals_to(children):
        for rank in range(nproc):
            environment = os.environ | {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(nproc),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(store.port),
                "TORCHELASTIC_USE_AGENT_STORE": "True",  # torch: join the store, do not host it
                "OMP_NUM_THREADS": str(config.threads),
                LAUNCHER_PID: str(os.getpid()),
            }
            if sys.platform == "linux":
                environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
            stderr = open(_log(logs, rank), "wb") if rank else None
            children.append(
                subprocess.Popen(
                    [sys.executable, *arguments],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=stderr or 2,  # never stdout, which belongs to the command line
                    stderr=stderr,
                    start_new_session=True,  # Ctrl-C reaches the launcher only, which passes it on once
                )
            )
            if stderr:
                stderr.close()
        return _wait(children, logs)


@contextmanager
def _passing_signals_to(children: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    def pass_on(_number: int, _frame: FrameType | None) -> None:
        for child in children:
            child.terminate()

    old = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for child in children:
            child.kill()
            child.wait()
        for number, handler in old.items():
            signal.signal(number, handler)


def _wait(children: list[subprocess.Popen[bytes]], logs: Path) -> int:
    """Waits for all; the others of one that failed have `_GRACE_SECONDS` to leave. The exit code of the cause."""
    ended: dict[int, int] = {}
    deadline = float("inf")
    while len(ended) < len(children) and time.monotonic() < deadline:
        time.sleep(0.05)
        for rank, child in enumerate(children):
            code = child.poll()
            if code is not None and rank not in ended:
                ended[rank] = code
                if code:
                    deadline = min(deadline, time.monotonic() + _GRACE_SECONDS)
    failed = [(rank, code) for rank, code in ended.items() if code]
    if not failed:
        return 0
    # A process that lost a peer ends with 4: the cause is one that was killed, or else one that gave a reason.
    rank, code = min(failed, key=lambda item: (item[1] > 0, item[1] == InternalError.exit_code))
    if rank:
        print(f"process {rank} ended with {code}; the end of its log:", file=sys.stderr)
        print("\n".join(_log(logs, rank).read_text(errors="replace").splitlines()[-20:]), file=sys.stderr)
    if code < 0:
        print(f"process {rank} was killed by {signal.Signals(-code).name}; go on with --resume", file=sys.stderr)
        return InfrastructureError.exit_code
    return code


def _log(logs: Path, rank: int) -> Path:
    return logs / f"rank-{rank}.log"
