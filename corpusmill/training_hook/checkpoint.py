"""Checkpoints that exist completely or not at all, and load with any number of processes.

    RUN/train/checkpoints/
        step-00000500.tmp/   being written, or left by a save that was interrupted
        step-00000500/       500 steps are done
            *.safetensors    weights and AdamW moments, one file a process, global shapes inside
            COMMIT.json      written last: a folder without a valid one does not exist

torch's distributed checkpoint (DCP) writes and reshards; its safetensors storage is used, so no file is ever unpickled.
Nothing of the data's state is in the tensors: it is the integer `next_step` in COMMIT.json.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter

from corpusmill.core import storage
from corpusmill.core.errors import InfrastructureError
from corpusmill.training_hook.config import ModelConfig
from corpusmill.training_hook.model import Transformer
from corpusmill.training_hook.parallel import World

COMMIT = "COMMIT.json"
_MOMENTS = ("exp_avg", "exp_avg_sq")


class Progress(BaseModel):
    """Where a run stands: everything of a checkpoint that is not a tensor."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    order_root: str
    tokenizer_sha256: str
    sequence_length: int
    batch_size: int
    phase: int
    next_step: int  # the first step that the weights have not seen
    attempt: int  # that saved
    optimizer_steps: int  # updates applied; differs from next_step by the skipped ones
    guard: dict[str, list[float]]
    model: ModelConfig
    world_size: int  # information only: any other loads it


class _Commit(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    progress: Progress
    files: dict[str, int]  # name -> bytes


def folder(run: str) -> Path:
    """Where the checkpoints of `run` are."""
    return storage.local_path(storage.join(run, "train", "checkpoints"))


def save(
    root: Path, model: Transformer, optimizer: torch.optim.AdamW, progress: Progress, keep: int, here: World
) -> Path:
    """Writes a checkpoint, commits it, and deletes all but the newest `keep`. Every process calls it.

    Whatever is interrupted, the newest committed checkpoint stays loadable: the files are written under a `.tmp` name,
    checked, the folder is renamed, COMMIT.json appears by a rename of its own, and only then older ones are deleted.
    """
    final = root / f"step-{progress.next_step:08d}"
    temporary = final.with_suffix(".tmp")
    if here.is_first:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    here.barrier()
    tensors = _tensors(model, optimizer)
    writer = HuggingFaceStorageWriter(str(temporary), save_distributed=True)
    with _naming(temporary, "could not write a checkpoint", "check free space and permissions, then --resume"):
        state_dict_saver.save(tensors, storage_writer=writer)
    here.barrier()
    if here.is_first:
        files = {p.name: p.stat().st_size for p in sorted(temporary.iterdir())}
        expected = sum(t.numel() * t.element_size() for t in tensors.values())
        if sum(files.values()) < expected:
            raise InfrastructureError(
                f"the files of a checkpoint hold fewer than their {expected} bytes",
                where=str(temporary),
                value=sum(files.values()),
                remedy="every process must see the same folder; check free space and quota",
            )
        _delete(final)
        temporary.rename(final)
        commit = _Commit(format=1, progress=progress, files=files)
        storage.write_text(str(final / COMMIT), commit.model_dump_json(indent=1) + "\n")
        _prune(root, keep, progress.next_step)
    here.barrier()
    return final


def newest(root: Path) -> tuple[Path | None, Progress | None, list[str]]:
    """The newest committed checkpoint, what it says, and a line for each newer folder that was passed over."""
    skipped: list[str] = []
    for path in _folders(root):
        progress, reason = _read(path)
        if progress is not None:
            return path, progress, skipped
        skipped.append(f"{path.name}: {reason}")
    return None, None, skipped


def load(path: Path, model: Transformer, optimizer: torch.optim.AdamW, progress: Progress) -> None:
    """Fills weights and optimiser from the committed checkpoint at `path`, whatever number of processes wrote it."""
    for parameter in model.parameters():
        optimizer.state[parameter] = {
            "step": torch.tensor(float(progress.optimizer_steps)),
            **{moment: torch.zeros_like(parameter, requires_grad=False) for moment in _MOMENTS},
        }
    with _naming(path, "could not read a checkpoint", "remove this folder and --resume takes the one before it"):
        state_dict_loader.load(_tensors(model, optimizer), storage_reader=HuggingFaceStorageReader(str(path)))


@contextmanager
def _naming(path: Path, what: str, remedy: str) -> Iterator[None]:
    """Turns DCP's exception, which is no `Exception`, into an InfrastructureError."""
    try:
        yield
    except CheckpointException as error:
        causes = {rank: str(cause) for rank, (cause, _) in error.failures.items()}
        raise InfrastructureError(what, where=str(path), value=causes, remedy=remedy) from error


def _tensors(model: Transformer, optimizer: torch.optim.AdamW) -> dict[str, Tensor]:
    """Name -> tensor that shares its memory; the names are the same in every process."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        tensors[f"model.{name}"] = parameter.detach()
        state: dict[str, Any] = optimizer.state[parameter]
        for moment in _MOMENTS:
            # No update was applied yet (every step so far was a spike): the moments are zero.
            tensors[f"{moment}.{name}"] = state[moment] if state else torch.zeros_like(parameter, requires_grad=False)
    return tensors


def _folders(root: Path) -> list[Path]:
    """Checkpoint folders, committed or not, newest first."""
    if not root.is_dir():
        return []
    found = [p for p in root.iterdir() if p.is_dir() and p.name.removesuffix(".tmp").removeprefix("step-").isdigit()]
    return sorted(found, key=lambda p: p.name, reverse=True)


def _read(path: Path) -> tuple[Progress | None, str]:
    """What the checkpoint at `path` says, or why it does not count."""
    if path.suffix == ".tmp":
        return None, "the save was interrupted while its files were written"
    if not (path / COMMIT).exists():
        return None, f"no {COMMIT}: the save was interrupted before its commit"
    try:
        commit = _Commit.model_validate_json((path / COMMIT).read_bytes())
    except ValidationError as error:
        return None, f"{COMMIT} cannot be read: {error.errors()[0]['msg']}"
    for name, size in commit.files.items():
        file = path / name
        if not file.exists() or file.stat().st_size != size:
            return None, f"{name} does not have the {size} bytes that {COMMIT} says"
    return commit.progress, ""


def _prune(root: Path, keep: int, next_step: int) -> None:
    """Deletes committed checkpoints beyond the newest `keep`, and what interrupted saves left before `next_step`."""
    committed = 0
    for path in _folders(root):
        progress, _ = _read(path)
        if progress is not None:
            committed += 1
            if committed > keep:
                _delete(path)
        elif int(path.name.removesuffix(".tmp").removeprefix("step-")) <= next_step:
            _delete(path)


def _delete(path: Path) -> None:
    """Deletes a checkpoint, its COMMIT.json first: what is left of an interrupted deletion does not count."""
    (path / COMMIT).unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)
