"""`corpusmill takedown`: removes documents from a run, and says which steps they touched."""

from __future__ import annotations

import re
from typing import Any, get_args

import typer

from corpusmill.cli.output import print_json, print_table
from corpusmill.core.errors import DataError, UserError
from corpusmill.pipeline.takedown import Outcome, Request, take_down
from corpusmill.pipeline.takedown_records import Mode, TakenDocument
from corpusmill.pipeline.takedown_request import Kind

_REASON = re.compile(r"[a-z][a-z0-9-]{0,31}")
_SHOWN = 20  # documents listed without --json


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command("takedown")(takedown)


def takedown(
    run: str = typer.Argument(..., help="Run folder."),
    mode: str = typer.Option(
        ...,
        help="redact: after training; texts, tokens, salts and URLs are destroyed, order and roots stay. mask: while"
        " training; a new revision of the order, in which the documents are no labels from a step on. rederive: before"
        " training; a new revision of the order without them. Tokens stay in mask and rederive.",
    ),
    urls: str | None = typer.Option(None, "--urls", metavar="FILE", help="URLs, one a line."),
    docs: str | None = typer.Option(None, "--docs", metavar="FILE", help="doc_ids, one a line."),
    content_hashes: str | None = typer.Option(
        None, "--content-hashes", metavar="FILE", help="Content hashes, one a line, or another run's removals.jsonl."
    ),
    redact: bool = typer.Option(False, "--redact", help="With rederive: also destroy what nothing reads any more."),
    with_copies: bool = typer.Option(
        False, "--with-copies", help="Also their near-duplicates: what stands for them, and what went for these."
    ),
    reason: str = typer.Option(
        "request", metavar="CLASS", help="Class of the reason, for removals.jsonl: a short name, not a text."
    ),
    from_step: int | None = typer.Option(
        None, "--from-step", min=0, help="First step of a mask. Default: the first that was not fed."
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="Change nothing: say what would be done."),
    allow_missing: bool = typer.Option(False, "--allow-missing", help="Go on where documents are not in the run."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Takes documents down from a run: redacts, masks, or derives the order again without them.

    Exit code 1 when a document is not in the run (nothing is done then) or a file still quotes one. A takedown that was
    killed goes on when the same command runs again.

    Example: corpusmill takedown RUN --urls urls.txt --mode redact --with-copies --reason personal-data
    """
    given: dict[Kind, str | None] = {"urls": urls, "docs": docs, "content_hashes": content_hashes}
    named: list[tuple[Kind, str]] = [(kind, path) for kind, path in given.items() if path is not None]
    if len(named) != 1:
        raise UserError("name exactly one of --urls, --docs, --content-hashes", value=len(named))
    modes: tuple[Mode, ...] = get_args(Mode)
    chosen = next((m for m in modes if m == mode), None)
    if chosen is None:
        raise UserError("there is no such mode of a takedown", value=mode, remedy=f"one of: {', '.join(modes)}")
    if not _REASON.fullmatch(reason):
        raise UserError(
            "a reason class is a short name, as everyone can read it",
            value=reason,
            remedy="lower-case letters, digits and hyphens, at most 32, e.g. personal-data",
        )
    (kind, path) = named[0]
    request = Request(kind, path, chosen, redact, with_copies, reason, from_step)
    outcome = take_down(run, request, dry_run=dry_run, allow_missing=allow_missing)
    if as_json:
        print_json(_to_json(outcome))
    else:
        _print(outcome)
    if outcome.not_found and not allow_missing:
        raise DataError(
            f"{len(outcome.not_found)} of the documents are not in this run; nothing was taken down",
            where=run,
            value=", ".join(outcome.not_found[:5]),
            remedy="corpusmill explain RUN URL tells what a run knows; --allow-missing takes down those that are found",
        )
    if outcome.left:
        raise DataError(
            "files in the run folder still quote the documents; they are not corpusmill's own",
            where=run,
            value=", ".join(outcome.left),
            remedy="delete them",
        )


def _to_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "state": outcome.state,
        "takedown": outcome.record.model_dump(mode="json"),
        "not_found": outcome.not_found,
        "left": outcome.left,
        "outside": outcome.outside,
        "finished": outcome.finished,
    }


def _print(outcome: Outcome) -> None:
    record = outcome.record
    for number in outcome.finished:
        print(f"takedown {number} had been stopped halfway; it is done now")
    heads = {
        "planned": "nothing was changed; this would be done",
        "done": f"takedown {record.number} is done",
        "nothing": "these documents were taken down before; nothing is left to do",
    }
    copies = sum(document.copy_of is not None for document in record.documents)
    print(f"{heads[outcome.state]}: {record.mode}, {len(record.documents)} documents, {copies} of them copies")
    if record.documents:
        numbers = ["steps", "first", "last", "tokens"]
        rows = [_row(document) for document in record.documents[:_SHOWN]]
        print_table(["document", "copy of", *numbers], rows, numbers)
        if len(record.documents) > _SHOWN:
            print(f"... {len(record.documents) - _SHOWN} more (--json)")
    touched = record.touched
    if touched.steps:
        print(
            f"{touched.steps} of {record.steps_total} steps read them, {record.steps_fed} of these were fed: first"
            f" {touched.first}, last {touched.last}, {touched.tokens:,} tokens"
        )
    never = sum(not document.touched.steps for document in record.documents)
    if never:
        print(f"{never} of the documents are in no step: never trained on")
    if record.first_step is not None:
        print(f"masked from step {record.first_step} on")
    if outcome.state == "done" and record.mode != "redact":
        print(f"new order {record.order_root_after}")
        print(f"  replaces {record.order_root}, which is kept in order/revisions")
        print(f"  {record.steps_changed} steps and {record.sequences_changed} sequences differ")
    if record.mode != "redact" and not record.redact:
        print("their tokens and texts stay in the run: --mode redact, when training is done, destroys them")
    if record.redact:
        print(f"{len(record.files)} tables and the token shards lose them; order root {record.order_root}")
        for name in record.deleted:
            print(f"  deleted, to be made again: {name}")
    for name in outcome.left:
        print(f"still quotes them: {name}")
    for line in outcome.not_found:
        print(f"not in this run: {line}")
    print("not touched, whatever it holds:")
    for line in outcome.outside:
        print(f"  {line}")


def _row(document: TakenDocument) -> list[object]:
    touched = document.touched
    return [document.doc_id, document.copy_of, touched.steps, touched.first, touched.last, touched.tokens]
