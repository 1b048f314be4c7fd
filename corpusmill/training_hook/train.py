"""The training loop: reads an order, trains on exactly that, says what it did. Read it from top to bottom.

    python -m corpusmill.training_hook.train RUN --config CONFIG [--resume]

is one process of a run; `launch` (or torchrun) starts as many as there are to be.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import torch

from corpusmill.core import storage
from corpusmill.core.errors import CorpusmillError, InputError, UserError, VerificationFailed
from corpusmill.tokenize.reader import Order
from corpusmill.training_hook import checkpoint
from corpusmill.training_hook.checkpoint import Progress
from corpusmill.training_hook.config import TrainConfig
from corpusmill.training_hook.fed import FedLog, Lineage, merge
from corpusmill.training_hook.guard import Guard, stop_if_not_finite
from corpusmill.training_hook.loader import Batch, Loader
from corpusmill.training_hook.metrics import Metrics, Rate, peak_memory_bytes
from corpusmill.training_hook.model import Transformer, count_parameters, flops_per_token, token_loss_sum
from corpusmill.training_hook.optim import build_optimizer, learning_rate, set_learning_rate
from corpusmill.training_hook.parallel import World, build_model, die_with_launcher, gradient_norm, world

STOPPED = 3  # exit code: saved and left before the last step; the same command with --resume goes on


def train(run: str, config: TrainConfig, resume: bool, here: World) -> bool:
    """Trains the order of `run` to `config.steps`, as one of the processes of `here`.

    Returns False when it was asked to stop (SIGTERM, SIGINT) before the last step; the checkpoint is then saved.
    Raises UserError when the order or the checkpoint does not fit, VerificationFailed when the order's files or what
    was fed do not match their hashes, DataError when loss or gradient is not finite.
    """
    order = open_order(run, verify=config.verify_hashes and here.is_first)
    start_path, start = start_of(run, order, config, resume, say=here.is_first)
    steps = config.steps or order.steps
    first_step = start.next_step if start else 0

    model = build_model(config, order.vocab_size, here)
    optimizer = build_optimizer(model.named_parameters(), config.optimizer)
    guard = Guard(config.guard)
    optimizer_steps = 0
    if start_path and start:
        checkpoint.load(start_path, model, optimizer, start)
        guard.restore(start.guard)
        optimizer_steps = start.optimizer_steps

    lineage = Lineage(run)
    attempt = here.from_first(len(lineage))
    if here.is_first:
        lineage.begin(order.root, start, config, here.size)
        for line in _derived(model, order, config, steps, first_step, attempt, here):
            _say(line)

    def save(next_step: int) -> None:
        phase = order.phase(min(next_step, order.steps - 1))
        progress = Progress(
            order_root=order.root,
            tokenizer_sha256=order.tokenizer_sha256,
            sequence_length=phase.sequence_length,
            batch_size=phase.batch_size,
            phase=phase.phase,
            next_step=next_step,
            attempt=attempt,
            optimizer_steps=optimizer_steps,
            guard=guard.state(),
            model=config.model,
            world_size=here.size,
        )
        path = checkpoint.save(checkpoint.folder(run), model, optimizer, progress, config.keep, here)
        if here.is_first:
            lineage.saved(progress)
            merge(run)
            _say(f"saved {path.name}")

    loader = Loader(order, here.rank, here.size)
    rate = Rate()
    saved_step = first_step if start else -1
    with ExitStack() as stack:
        stop = stack.enter_context(_stop_signals())
        if here.is_first:
            stack.callback(merge, run)
            fed_log = stack.enter_context(FedLog(run, attempt))
            metrics = stack.enter_context(Metrics(run))

        for step, rows, waited_seconds in loader.steps(first_step, steps, config.prefetch):
            # 1. Every process learns the number of labels of the whole step, and whether one was asked to stop.
            num_valid, stops = here.sum(rows.num_valid, float(stop.is_set))
            if stops:
                if saved_step != step:
                    save(step)
                if here.is_first:
                    _say(f"stopped before step {step} of {steps}; go on with --resume")
                return False

            # 2. Forward and backward. The loss is divided by the labels of all processes and micro-batches, and
            #    gradients are summed: the same number however the rows are divided.
            batch = rows.to(here.device)
            lr = learning_rate(step, steps, config.optimizer)
            set_learning_rate(optimizer, lr)
            loss_sum = _forward_backward(model, batch, max(num_valid, 1.0), config)
            loss = here.sum(loss_sum)[0] / max(num_valid, 1.0)
            norm = gradient_norm(model)

            # 3. Is the update applied? Every process decides the same, from the same numbers.
            reason = guard.check(loss, float(norm))
            if not reason:
                grads = [p for p in model.parameters() if p.grad is not None]
                torch.nn.utils.clip_grads_with_norm_(grads, config.optimizer.clip_norm, norm)
                optimizer.step()
                optimizer_steps += 1
            optimizer.zero_grad()

            # 4. What was fed, from the tensors that the model was given.
            leaves = here.gather_digests(loader.leaves(batch))
            phase = order.phase(step)
            tokens_per_second = rate.update(phase.batch_size * phase.sequence_length)
            if here.is_first:
                root = loader.root(step, leaves)
                fed_log.append(step, phase.batch_size, root, reason, loss, float(norm))
                if root != order.recorded_root(step):
                    raise VerificationFailed(
                        "what was fed is not what the order says",
                        where=f"step {step}",
                        value=root.hex(),
                        remedy=f"the order says {order.recorded_root(step).hex()}: run `corpusmill verify --full`",
                    )
                metrics.log(
                    {
                        "attempt": attempt,
                        "loss": loss,
                        "grad_norm": float(norm),
                        "lr": lr,
                        "tokens": order.tokens_before(step + 1),
                        "tokens_per_second": round(tokens_per_second, 1),
                        "data_wait_seconds": round(waited_seconds, 6),
                        "peak_memory_bytes": peak_memory_bytes(here.device),
                    },
                    step,
                )
                if (step + 1) % config.log_every == 0 or step + 1 == steps or reason:
                    left = (order.tokens_before(steps) - order.tokens_before(step + 1)) / tokens_per_second
                    _say(_progress_line(step, steps, loss, float(norm), lr, tokens_per_second, left, reason))
            stop_if_not_finite(reason, step)

            # 5. Save.
            if (step + 1) % config.checkpoint_every == 0 or step + 1 == steps:
                save(step + 1)
                saved_step = step + 1
    return True


def open_order(run: str, verify: bool = False) -> Order:
    """The order of a run folder on this machine."""
    if not storage.is_local(run):
        raise InputError(
            "training needs the run on a file system", where=run, remedy="copy tokens/ and order/ of the run"
        )
    order = Order.open(run)
    order.check(digests=verify)
    return order


def start_of(
    run: str, order: Order, config: TrainConfig, resume: bool, say: bool = False
) -> tuple[Path | None, Progress | None]:
    """The checkpoint to start from, (None, None) for the beginning.

    Raises UserError when the checkpoint is of another order, tokenizer, row length, batch or model; when there are
    attempts and `resume` is not set; when the order has fewer steps than asked for.
    """
    if config.steps is not None and config.steps > order.steps:
        raise UserError(
            f"the order has {order.steps} steps",
            where=run,
            value=config.steps,
            remedy=f"steps: {order.steps} or fewer, or an order over more tokens",
        )
    stop_step = config.steps or order.steps
    if not resume:
        order.check_can_be_fed(0, stop_step)
        if len(Lineage(run)):
            raise UserError(
                "this run was trained before",
                where=storage.join(run, "train"),
                remedy="--resume goes on from its newest checkpoint; to begin again, move that folder away",
            )
        return None, None
    path, progress, skipped = checkpoint.newest(checkpoint.folder(run))
    if say:
        for line in skipped:
            _say(f"passed over {line}")
    if path is None or progress is None:
        order.check_can_be_fed(0, stop_step)
        return None, None
    order.check_can_be_fed(progress.next_step, stop_step)
    phase = order.phase(min(progress.next_step, order.steps - 1))
    pairs = {
        "order root": (
            progress.order_root,
            progress.order_root if order.continues(progress.order_root, progress.next_step) else order.root,
        ),
        "tokenizer": (progress.tokenizer_sha256, order.tokenizer_sha256),
        "sequence length": (progress.sequence_length, phase.sequence_length),
        "batch size": (progress.batch_size, phase.batch_size),
        "model": (progress.model.model_dump(), config.model.model_dump()),
    }
    for name, (saved, now) in pairs.items():
        if saved != now:
            raise UserError(
                f"the checkpoint is of another {name}: it has {saved}, this run has {now}",
                where=str(path),
                remedy="restore what the checkpoint was trained with, or train the new one in a run folder of its own",
            )
    return path, progress


def _forward_backward(model: Transformer, batch: Batch, num_valid: float, config: TrainConfig) -> float:
    """Adds the gradient of (sum of token losses / num_valid); returns the sum over this process's rows, in nats."""
    loss_sum = torch.zeros((), dtype=torch.float64)
    for tokens, segments, valid in batch.split(config.micro_batch):
        logits = model(tokens[:, :-1], segments[:, :-1])
        micro_sum = token_loss_sum(logits, tokens[:, 1:], valid)
        (micro_sum / num_valid).backward()  # type: ignore[no-untyped-call]
        loss_sum += micro_sum.detach().double().cpu()
    return float(loss_sum)


def _derived(
    model: Transformer, order: Order, config: TrainConfig, steps: int, first_step: int, attempt: int, here: World
) -> Iterator[str]:
    """Every number that follows from order and configuration, for the log."""
    everything, inner = count_parameters(model)
    tokens = order.tokens_before(steps)
    yield f"order {order.root}"
    yield f"  {order.steps:,} steps, vocabulary {order.vocab_size:,}"
    flops_in_all = 0.0
    for phase in order.rule.phases:
        rows = -(-phase.batch_size // here.size)
        micro = min(config.micro_batch or rows, rows)
        flops = flops_per_token(model, phase.sequence_length)
        trained = order.tokens_before(min(steps, phase.stop_step)) - order.tokens_before(min(steps, phase.first_step))
        flops_in_all += flops * trained
        blend = ", ".join(f"{use.name} {float(use.share):.1%}" for use in phase.sources)
        yield (
            f"  phase {phase.phase}: from step {phase.first_step:,}, {phase.steps:,} of {phase.batch_size:,} x"
            f" {phase.sequence_length:,} tokens; {blend}; {rows} rows a process,"
            f" {-(-rows // micro)} micro-batch(es) of {micro}; {flops:.4g} FLOPs a token"
        )
    yield f"attempt {attempt}: steps {first_step:,} to {steps:,} ({tokens - order.tokens_before(first_step):,} tokens)"
    yield (
        f"model: {everything:,} parameters, {inner:,} without embeddings;"
        f" {tokens:,} tokens = {tokens / everything:.2f} a parameter"
    )
    yield f"  {flops_in_all:.4g} FLOPs in all steps (6ND would be {6 * everything * tokens:.4g})"
    yield (
        f"{here.size} process(es) on {here.device.type}, torch {torch.__version__}, {config.dtype}:"
        f" {'ZeRO-3' if config.reshard_after_forward else 'ZeRO-2'},"
        f" {16 * everything / here.size / 2**20:.1f} MiB of weights, gradients and moments each"
    )
    if not config.deterministic:
        yield "deterministic: false -- a repeated or resumed run may differ in low bits"


def _progress_line(
    step: int, steps: int, loss: float, norm: float, lr: float, per_second: float, seconds_left: float, reason: str
) -> str:
    seconds = round(seconds_left)
    eta = f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    line = f"step {step + 1:,}/{steps:,}  loss {loss:.4f}  norm {norm:.3f}  lr {lr:.3g}"
    line += f"  {per_second:,.0f} tokens/s  ETA {eta}"
    return f"{line}  NOT APPLIED: {reason}" if reason else line


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class _Flag:
    is_set = False


@contextmanager
def _stop_signals() -> Iterator[_Flag]:
    """A flag that SIGTERM and SIGINT set instead of ending the process."""
    flag = _Flag()

    def set_flag(_number: int, _frame: FrameType | None) -> None:
        flag.is_set = True

    old = {number: signal.signal(number, set_flag) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield flag
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def main() -> NoReturn:
    """One process of a run."""
    parser = argparse.ArgumentParser(prog="python -m corpusmill.training_hook.train", description=main.__doc__)
    parser.add_argument("run")
    parser.add_argument("--config", required=True)
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    try:
        die_with_launcher()
        config = TrainConfig.load(arguments.config)
        with world(config) as here:
            code = 0 if train(arguments.run, config, arguments.resume, here) else STOPPED
            here.barrier()
            # All is saved. gloo's threads abort the process now and then when they are torn down: they are left alone.
            _leave(code)
    except CorpusmillError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        code = error.exit_code
    except Exception:
        traceback.print_exc()
        code = 4
    # The peers sit in a collective that will never complete: leave at once instead of waiting for them at exit.
    _leave(code)


def _leave(code: int) -> NoReturn:
    """Ends the process without tearing anything down."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
