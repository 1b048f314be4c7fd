"""The training run on the order of a run: the bundled trainer's processes, and what their exit codes mean."""

from __future__ import annotations

from corpusmill.core.errors import CorpusmillError, DataError, InfrastructureError, InternalError, UserError
from corpusmill.training_hook.config import TrainConfig

# What the trainer's exit codes mean to those who called it.
_TRAINER_ERRORS: dict[int, tuple[type[CorpusmillError], str]] = {
    1: (DataError, "the data do not match their hashes, or the loss is not finite"),
    2: (UserError, "the training configuration or checkpoint does not fit this order"),
    3: (InfrastructureError, "training was stopped before its last step"),
}


def train_run(run: str, config: TrainConfig, nproc: int, *, resume: bool) -> None:
    """Trains on the order of `run` in `nproc` processes; returns when the last step is done.

    Imports torch only now: everything else runs without it.
    Raises DataError, UserError, InfrastructureError or InternalError by the trainer's exit code.
    """
    try:
        from corpusmill.training_hook.launch import launch
    except ModuleNotFoundError as error:
        raise UserError(
            "training needs a package that is not installed", value=error.name, remedy="pip install 'corpusmill[train]'"
        ) from error
    code = launch(run, config, nproc, resume)
    if code != 0:
        kind, what = _TRAINER_ERRORS.get(code, (InternalError, f"the trainer left with code {code}"))
        raise kind(
            what, where=run, remedy=f"see the lines above; corpusmill train {run} --nproc {nproc} --resume goes on"
        )
