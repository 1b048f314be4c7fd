"""`corpusmill train`: the bundled trainer on the run's order."""

from __future__ import annotations

import typer

from corpusmill.core.errors import ConfigError
from corpusmill.pipeline.status import open_run
from corpusmill.pipeline.training import train_run
from corpusmill.training_hook.config import TrainConfig


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command("train")(train)


def train(
    run: str = typer.Argument(..., help="Run folder whose order is trained on."),
    config: str | None = typer.Option(None, help="Trainer config (YAML); default: the recipe's `train` section."),
    nproc: int = typer.Option(1, min=1, help="Processes; each is one FSDP rank."),
    resume: bool = typer.Option(False, "--resume", help="Go on from the newest committed checkpoint."),
) -> None:
    """Trains on exactly what the order says, and logs what was really fed.

    Example: corpusmill train RUN --nproc 2 --resume
    """
    resolved, _ = open_run(run)
    if config is not None:
        settings = TrainConfig.load(config)
    elif resolved.train is not None:
        settings = resolved.train
    else:
        raise ConfigError("the recipe has no `train` section", where=run, remedy="--config FILE")
    train_run(run, settings, nproc, resume=resume)
