import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from corpusmill.core.errors import InfrastructureError
from corpusmill.training_hook import checkpoint
from corpusmill.training_hook.checkpoint import COMMIT, Progress
from corpusmill.training_hook.config import TrainConfig
from corpusmill.training_hook.model import Transformer
from corpusmill.training_hook.optim import build_optimizer
from corpusmill.training_hook.parallel import World, build_model

Parts = tuple[Transformer, torch.optim.AdamW]


@pytest.fixture
def build(alone: World, tiny: TrainConfig) -> Callable[[int], Parts]:
    """A model and its optimiser after a number of updates."""

    def make(updates: int) -> Parts:
        model = build_model(tiny, 300, alone)
        optimizer = build_optimizer(model.named_parameters(), tiny.optimizer)
        tokens = torch.arange(40).view(2, 20)
        for _ in range(updates):
            model(tokens, torch.zeros_like(tokens)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        return model, optimizer

    return make


def progress(next_step: int, config: TrainConfig, updates: int = 2) -> Progress:
    return Progress(
        order_root="ab",
        tokenizer_sha256="cd",
        sequence_length=32,
        batch_size=8,
        phase=0,
        next_step=next_step,
        attempt=1,
        optimizer_steps=updates,
        guard={"losses": [0.1 + 0.2, 1e-300], "norms": []},
        model=config.model,
        world_size=1,
    )


@pytest.mark.parametrize("updates", [0, 2])
def test_weights_and_moments_come_back(
    build: Callable[[int], Parts], alone: World, tiny: TrainConfig, tmp_path: Path, updates: int
) -> None:
    model, optimizer = build(updates)
    saved = checkpoint.save(tmp_path, model, optimizer, progress(7, tiny, updates), 2, alone)
    assert saved == tmp_path / "step-00000007"
    path, found, skipped = checkpoint.newest(tmp_path)
    assert (path, found, skipped) == (saved, progress(7, tiny, updates), [])
    other, its = build(1)
    checkpoint.load(saved, other, its, progress(7, tiny, updates))
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours.full_tensor(), theirs.full_tensor())
        assert float(its.state[theirs]["step"]) == updates
        for moment in ("exp_avg", "exp_avg_sq"):
            expected = optimizer.state[ours][moment].full_tensor() if updates else torch.zeros(ours.shape)
            assert torch.equal(expected, its.state[theirs][moment].full_tensor())


def test_files_are_safetensors_and_nothing_is_pickled(
    build: Callable[[int], Parts], alone: World, tiny: TrainConfig, tmp_path: Path
) -> None:
    model, optimizer = build(1)
    saved = checkpoint.save(tmp_path, model, optimizer, progress(1, tiny), 2, alone)
    names = sorted(p.name for p in saved.iterdir())
    assert names[0] == COMMIT
    assert all(n.endswith(".safetensors") for n in names[1:])
    with safe_open(saved / names[1], "pt") as file:
        assert torch.equal(file.get_tensor("model.norm.weight"), model.norm.weight.full_tensor())


def damaged(folder: Path, how: str) -> None:
    shard = next(folder.glob("*.safetensors"))
    if how == "writing":
        (folder / COMMIT).unlink()
        folder.rename(folder.with_suffix(".tmp"))
    elif how == "renamed":
        (folder / COMMIT).unlink()
    elif how == "commit truncated":
        (folder / COMMIT).write_bytes((folder / COMMIT).read_bytes()[:-40])
    elif how == "commit empty":
        (folder / COMMIT).write_bytes(b"")
    elif how == "file truncated":
        shard.write_bytes(shard.read_bytes()[:-1])
    else:
        shard.unlink()


@pytest.mark.parametrize(
    "how", ["writing", "renamed", "commit truncated", "commit empty", "file truncated", "file missing"]
)
def test_what_an_interrupted_save_leaves_is_passed_over(
    build: Callable[[int], Parts], alone: World, tiny: TrainConfig, tmp_path: Path, how: str
) -> None:
    model, optimizer = build(1)
    good = checkpoint.save(tmp_path, model, optimizer, progress(5, tiny), 3, alone)
    damaged(checkpoint.save(tmp_path, model, optimizer, progress(10, tiny), 3, alone), how)
    path, found, skipped = checkpoint.newest(tmp_path)
    assert path == good
    assert found == progress(5, tiny)
    assert len(skipped) == 1
    assert skipped[0].startswith("step-00000010")
    # The next save of the same step works, and cleans up.
    again = checkpoint.save(tmp_path, model, optimizer, progress(10, tiny), 3, alone)
    assert checkpoint.newest(tmp_path) == (again, progress(10, tiny), [])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000005", "step-00000010"]


@pytest.mark.parametrize("crash", ["state_dict_saver.save", "_delete", "Path.rename", "storage.write_text", "_prune"])
def test_a_crash_at_any_point_of_a_save_keeps_a_checkpoint(
    build: Callable[[int], Parts], alone: World, tiny: TrainConfig, tmp_path: Path, crash: str
) -> None:
    model, optimizer = build(1)
    checkpoint.save(tmp_path, model, optimizer, progress(5, tiny), 1, alone)
    with pytest.MonkeyPatch.context() as patch:

        def crashing(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(f"corpusmill.training_hook.checkpoint.{crash}", crashing)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save(tmp_path, model, optimizer, progress(10, tiny), 1, alone)
    path, found, _ = checkpoint.newest(tmp_path)
    assert path is not None
    assert found == progress(10 if crash == "_prune" else 5, tiny)
    checkpoint.load(path, model, optimizer, found)


def test_the_newest_are_kept(build: Callable[[int], Parts], alone: World, tiny: TrainConfig, tmp_path: Path) -> None:
    model, optimizer = build(1)
    (tmp_path / "step-00000001.tmp").mkdir()
    (tmp_path / "notes").mkdir()
    for step in (2, 4, 6):
        checkpoint.save(tmp_path, model, optimizer, progress(step, tiny), 2, alone)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes", "step-00000004", "step-00000006"]


def test_files_that_other_processes_wrote_elsewhere_are_noticed(
    build: Callable[[int], Parts], alone: World, tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, optimizer = build(1)
    monkeypatch.setattr("corpusmill.training_hook.checkpoint.state_dict_saver.save", lambda *_, **__: None)
    with pytest.raises(InfrastructureError, match="every process must see the same folder"):
        checkpoint.save(tmp_path, model, optimizer, progress(5, tiny), 1, alone)
    assert checkpoint.newest(tmp_path)[0] is None


def test_no_folder_is_no_checkpoint(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path / "none") == (None, None, [])


def test_an_unknown_field_does_not_count(
    build: Callable[[int], Parts], alone: World, tiny: TrainConfig, tmp_path: Path
) -> None:
    model, optimizer = build(0)
    saved = checkpoint.save(tmp_path, model, optimizer, progress(5, tiny), 1, alone)
    body = json.loads((saved / COMMIT).read_text())
    (saved / COMMIT).write_text(json.dumps(body | {"later": 1}))
    assert "cannot be read" in checkpoint.newest(tmp_path)[2][0]


def test_a_failed_write_says_what_and_where(
    build: Callable[[int], Parts], alone: World, tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    model, optimizer = build(1)
    monkeypatch.setattr("torch.distributed.checkpoint.filesystem.FileSystemWriter._write_data", full)
    with pytest.raises(InfrastructureError, match=r"step-00000005\.tmp(.|\n)*No space left"):
        checkpoint.save(tmp_path, model, optimizer, progress(5, tiny), 1, alone)


def test_a_broken_file_of_the_right_size_is_named(
    build: Callable[[int], Parts], alone: World, tiny: TrainConfig, tmp_path: Path
) -> None:
    model, optimizer = build(1)
    saved = checkpoint.save(tmp_path, model, optimizer, progress(5, tiny), 1, alone)
    shard = next(saved.glob("*.safetensors"))
    shard.write_bytes(bytes(64) + shard.read_bytes()[64:])
    with pytest.raises(InfrastructureError, match=r"step-00000005(.|\n)*remove this folder"):
        checkpoint.load(saved, model, optimizer, progress(5, tiny))
