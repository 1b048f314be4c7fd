"""`plan`: what a recipe would do."""

from __future__ import annotations

import json

import typer

from corpusmill.cli.output import print_json, print_table
from corpusmill.cli.run import recipe_path
from corpusmill.core import storage
from corpusmill.core.errors import UserError
from corpusmill.dedup.s_curve import SCurve
from corpusmill.pipeline import recipe as recipes
from corpusmill.pipeline.plan import figure
from corpusmill.pipeline.plan import plan as plan_of

_LONGEST = 60  # characters of a value in the table


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command("plan")(plan)


def plan(
    recipe: str = typer.Argument(..., help="Recipe file, or the name of a shipped one (quickstart, refinedweb)."),
    set_: list[str] = typer.Option([], "--set", metavar="KEY=VALUE", help="Overrides a recipe key; repeat for more."),
    plot: str | None = typer.Option(None, metavar="FILE", help="Also draw the S-curve of minhash as SVG."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON: every setting."),
) -> None:
    """Shows what a recipe would do, and runs nothing: stages, settings, and which pairs minhash would find.

    Example: corpusmill plan recipes/fineweb.yaml --set stages.minhash.bands=20
    """
    found = plan_of(recipes.load(recipe_path(recipe), set_))
    if plot is not None:
        if found.curve is None:
            raise UserError("--plot draws the S-curve of `minhash`", remedy="add `minhash:` under `stages:`")
        storage.write_text(plot, figure(found.curve))
    if as_json:
        print_json(found.to_json())
        return
    print(f"{found.recipe.name}: input {', '.join(found.recipe.input) or 'from the command line'}\n")
    rows = [[s.name, s.kind, ", ".join(_setting(*item) for item in s.changed.items())] for s in found.stages]
    print_table(["stage", "kind", "settings that are not the defaults (--json: all)"], rows)
    if found.curve is not None:
        _print_curve(found.curve)
    if plot is not None:
        print(f"\ndrawn: {plot}")


def _setting(key: str, value: object) -> str:
    written = json.dumps(value, ensure_ascii=False)
    return f"{key}={written if len(written) <= _LONGEST else '...'}"


def _print_curve(curve: SCurve) -> None:
    print(f"\nminhash: {curve.bands} bands of {curve.rows} rows, {curve.bands * curve.rows} permutations\n")
    rows = [[f"{similarity:.2f}", f"{100 * probability:.2f} %"] for similarity, probability in curve.points]
    print_table(["similarity", "found"], rows, ["similarity", "found"])
    print(
        f"\nhalf of the pairs are found at a similarity of {curve.half:.3f}; threshold {curve.threshold:.3f}\n"
        f"below it found (false positives, area): {curve.false_positives:.4f}\n"
        f"above it missed (false negatives, area): {curve.false_negatives:.4f}"
    )
