"""`run` and `stage`: bring a run, or one stage of it, up to date."""

from __future__ import annotations

import os

import typer

from corpusmill.cli.look import print_status
from corpusmill.core.errors import UserError
from corpusmill.pipeline import recipe as recipes
from corpusmill.pipeline.runner import Selection, rerun_stage, run_recipe


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    app.command("run")(run)
    app.command("stage")(stage)


def run(
    recipe: str = typer.Argument(..., help="Recipe file, or the name of a shipped one (quickstart, refinedweb)."),
    out: str = typer.Option(..., "--out", help="Run folder; made if it is not there, resumed if it is."),
    input: list[str] = typer.Option([], "--input", help="WARC files or globs; repeat for more. Default: the recipe's."),
    set_: list[str] = typer.Option([], "--set", metavar="KEY=VALUE", help="Overrides a recipe key; repeat for more."),
    workers: int | None = typer.Option(None, min=1, help="CPUs to use on this machine. Default: all."),
    address: str | None = typer.Option(None, help="Address of a running Ray cluster. Default: this machine."),
    from_: str | None = typer.Option(
        None, "--from", metavar="STAGE", help="First stage to run; those before it must be done."
    ),
    until: str | None = typer.Option(None, metavar="STAGE", help="Last stage to run."),
    only: str | None = typer.Option(None, metavar="STAGE", help="The same as --from STAGE --until STAGE."),
    force: bool = typer.Option(False, help="Run the chosen stages even if they are up to date."),
    quiet: bool = typer.Option(False, help="No progress."),
) -> None:
    """Runs a recipe, or goes on with a run that stopped. What is committed is never done again.

    Example: corpusmill run recipes/refinedweb.yaml --input 'crawl/*.warc.gz' --out RUN --workers 8
    """
    if only and (from_ or until):
        raise UserError("--only cannot be used with --from or --until", remedy="use either of them")
    if workers and address:
        raise UserError("--workers is for this machine, --address for a cluster", remedy="use either of them")
    resolved = recipes.load(recipe_path(recipe), set_)
    selection = Selection(first=only or from_, last=only or until, force=force)
    run_recipe(resolved, out, input, selection, workers=workers, address=address, quiet=quiet)
    print_status(out)


def stage(
    name: str = typer.Argument(..., help="Stage to rerun, e.g. quality."),
    run: str = typer.Argument(..., help="Run folder."),
    set_: list[str] = typer.Option([], "--set", metavar="KEY=VALUE", help="Overrides a recipe key; repeat for more."),
    workers: int | None = typer.Option(None, min=1, help="CPUs to use on this machine. Default: all."),
    address: str | None = typer.Option(None, help="Address of a running Ray cluster. Default: this machine."),
    force: bool = typer.Option(False, help="Run it even if it is up to date."),
    quiet: bool = typer.Option(False, help="No progress."),
) -> None:
    """Reruns one stage on its committed input and says which later stages are now stale.

    Example: corpusmill stage quality RUN --set stages.quality.min_words=40
    """
    stale = rerun_stage(run, name, set_, workers=workers, address=address, force=force, quiet=quiet)
    print_status(run)
    if stale:
        print(
            f"\nstale now: {', '.join(stale)}. To bring them up to date: corpusmill run {run}/resolved.yaml --out {run}"
        )


def recipe_path(name: str) -> str:
    """Path of the recipe that a command was given: a file, or the name of a shipped one."""
    if "/" not in name and not name.endswith((".yaml", ".yml")) and not os.path.exists(name):  # noqa: PTH110
        shipped = recipes.shipped(name)
        if shipped is None:
            raise UserError("no such recipe", value=name, remedy="give the path of a recipe file")
        return shipped
    return name
