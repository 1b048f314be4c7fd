"""The entry point `corpusmill`: command groups, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import sys
import traceback

import typer

from corpusmill import __version__
from corpusmill.core.errors import CorpusmillError, InternalError

_STOPPED = 130  # exit code of a program that SIGINT ended

app = typer.Typer(
    name="corpusmill",
    help="Refines Common Crawl WARCs into a corpus, token shards and an exact training order that anyone can audit.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


def _version(value: bool) -> None:
    if value:
        print(f"corpusmill {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Refines Common Crawl WARCs into a corpus, token shards and an exact training order that anyone can audit."""


def _register() -> None:
    from corpusmill.cli import classifier, look, models, order, plan, run, takedown, tokenizer, train, tune

    run.register(app)
    plan.register(app)
    look.register(app)
    tune.register(app)
    train.register(app)
    takedown.register(app)
    app.add_typer(order.app, name="order")
    app.add_typer(models.app, name="models")
    app.add_typer(classifier.app, name="classifier")
    app.add_typer(tokenizer.app, name="tokenizer")


def main() -> None:
    """Runs the command line. Exit codes: 0 done, 1 data, 2 user, 3 infrastructure, 4 a bug, 130 Ctrl-C."""
    _register()
    try:
        app()
    except CorpusmillError as error:
        if isinstance(error, InternalError):
            traceback.print_exc()
        _fail(f"error: {error}", error.exit_code)
    except SystemExit as end:
        if end.code == _STOPPED:  # typer makes this of a KeyboardInterrupt
            _fail("stopped; the same command goes on where this one stopped", _STOPPED)
        raise
    except Exception:
        traceback.print_exc()
        _fail("error: this is a bug in corpusmill; please report it with the lines above", 4)


def _fail(message: str, code: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
