"""Processes, devices and sharding: the only module that knows how many of them there are."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from corpusmill.core.errors import ConfigError, InfrastructureError
from corpusmill.training_hook.config import TrainConfig
from corpusmill.training_hook.model import Transformer, initialize

LAUNCHER_PID = "CORPUSMILL_LAUNCHER_PID"  # environment variable that `launch` sets
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
# Of a collective. Long, because the first process may be hashing terabytes of tokens while the others wait for it; a
# peer that is gone is noticed at once by its closed connection.
_TIMEOUT = timedelta(hours=3)


@dataclass(frozen=True)
class World:
    """The processes of a run, seen from one of them. Collectives here run on CPU tensors, over gloo."""

    rank: int
    size: int
    device: torch.device
    mesh: DeviceMesh

    @property
    def is_first(self) -> bool:
        """Whether this process writes the logs."""
        return self.rank == 0

    def sum(self, *values: float) -> list[float]:
        """Each value summed over the processes, in float64 (exact for integers below 2^53)."""
        both = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(both)
        summed: list[float] = both.tolist()
        return summed

    def from_first(self, value: int) -> int:
        """Rank 0's `value`."""
        one = torch.tensor(value, dtype=torch.int64)
        dist.broadcast(one, src=0)
        return int(one)

    def gather_digests(self, digests: Sequence[bytes]) -> list[list[bytes]]:
        """The 32-byte digests of every process, rank by rank. All processes give the same number."""
        mine = torch.frombuffer(bytearray(b"".join(digests)), dtype=torch.uint8)
        theirs = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(theirs, mine)
        rows = [bytes(t.numpy()) for t in theirs]
        return [[row[i : i + 32] for i in range(0, len(row), 32)] for row in rows]

    def barrier(self) -> None:
        """Waits until every process is here."""
        dist.barrier()


def die_with_launcher() -> None:
    """Called by a child first: from here on it is killed when its launcher dies, however that happens."""
    parent = os.environ.get(LAUNCHER_PID)
    if parent is None or sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        raise InfrastructureError("the launcher is gone", value=parent)


@contextmanager
def world(config: TrainConfig) -> Iterator[World]:
    """Joins the processes that torchrun or `launch` started (environment: RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT).

    Without that environment it is a world of one. `threads` and `deterministic` are set for the whole process.
    """
    cuda = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
    if cuda and not torch.cuda.is_available():
        raise ConfigError("torch sees no CUDA device", where="device", remedy="device: cpu, or a CUDA build of torch")
    torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(config.deterministic)
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        # cuBLAS reads it at its first call: a fixed workspace is what makes its products repeat.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    if "RANK" in os.environ:
        dist.init_process_group(backend, timeout=_TIMEOUT, device_id=device if cuda else None)
    else:
        store = dist.HashStore()  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=store, rank=0, world_size=1)
    try:
        size = dist.get_world_size()
        here = World(dist.get_rank(), size, device, init_device_mesh(device.type, (size,)))
        yield here
        # gloo may abort when a peer leaves while another is still inside a collective.
        here.barrier()
    finally:
        dist.destroy_process_group()


def build_model(config: TrainConfig, vocab_size: int, here: World) -> Transformer:
    """The initialised model, sharded block by block with FSDP2.

    Weights, gradients and optimiser are float32 shards; forward and backward run in `config.dtype`; gradients are
    *summed* over the processes in float32, because the loss is already divided by the number of tokens of all of them.
    """
    with torch.device("meta"):
        model = Transformer(config.model, vocab_size)
    policy = MixedPrecisionPolicy(
        param_dtype=None if config.dtype == "float32" else torch.bfloat16,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,  # the rotation angles stay float32
    )
    for layer in model.layers:
        fully_shard(layer, mesh=here.mesh, reshard_after_forward=config.reshard_after_forward, mp_policy=policy)
    fully_shard(model, mesh=here.mesh, mp_policy=policy)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    model.to_empty(device=here.device)
    initialize(model, config.seed)
    return model


def gradient_norm(model: Transformer) -> Tensor:
    """2-norm of the whole gradient over all shards, a scalar."""
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    return norm.full_tensor() if isinstance(norm, DTensor) else norm
