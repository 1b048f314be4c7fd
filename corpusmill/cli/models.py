"""`corpusmill models`: the models that stages need, with hashes and licences."""

from __future__ import annotations

import typer

from corpusmill.cli.output import print_json, print_table
from corpusmill.core import models

app = typer.Typer(help="Models that stages need: list and fetch them.", no_args_is_help=True)


@app.command("list")
def list_models(as_json: bool = typer.Option(False, "--json", help="Print JSON.")) -> None:
    """Lists the known models, their licences and whether they are here.

    Example: corpusmill models list
    """
    rows = models.listing()
    if as_json:
        print_json(rows)
        return
    columns = ["name", "bytes", "licence", "path", "description"]
    print_table(columns, [[row[c] for c in columns] for row in rows], numbers=["bytes"])


@app.command()
def fetch(
    name: str = typer.Argument(..., help="A name from `corpusmill models list`."),
    folder: str | None = typer.Option(None, help="Where to put it; default $CORPUSMILL_MODELS or the user's cache."),
    source: str | None = typer.Option(None, help="A local file or URL to take it from, instead of the known sources."),
) -> None:
    """Fetches a model and checks its size and SHA-256.

    Example: corpusmill models fetch lid.176
    """
    print(models.fetch(name, folder=folder, source=source))
