"""`corpusmill order`: what a step reads, which steps read a document, and the order in other trainers' formats."""

from __future__ import annotations

import typer

from corpusmill.audit.trace import find_documents, show_step
from corpusmill.cli.output import print_json
from corpusmill.core.errors import UserError
from corpusmill.pipeline.progress import Reporter
from corpusmill.tokenize.exports.export import FORMATS, check_target, export_order
from corpusmill.tokenize.reader import Order

app = typer.Typer(help="The training order: step to documents, document to steps, exports.", no_args_is_help=True)

RUN = typer.Argument(..., help="Run folder.")
JSON = typer.Option(False, "--json", help="Print JSON.")


@app.command()
def show(
    run: str = RUN,
    step: int = typer.Option(..., min=0, help="Training step, 0-based."),
    slot: int | None = typer.Option(None, min=0, help="One sequence of the step; default: all."),
    as_json: bool = JSON,
) -> None:
    """Shows the sequences of a step: documents, offsets, text.

    Example: corpusmill order show RUN --step 3 --slot 0
    """
    shown = show_step(run, step, slot)
    if as_json:
        print_json(shown)
        return
    print(f"step {shown['step']} of {shown['steps_total']}")
    for row in shown["slots"]:
        print(f"\nslot {row['slot']}  ({row['source']})")
        for segment in row["segments"]:
            print(f"  {segment['doc_id']}  {segment['url']}")
            print(f"  tokens {segment['doc_token_start']}..{segment['doc_token_start'] + segment['tokens'] - 1}")
            text = segment["text"]
            print("    " + (text if len(text) <= 300 else text[:300] + " ...").replace("\n", "\n    "))


@app.command()
def find(
    run: str = RUN,
    url: str | None = typer.Option(None, help="Documents fetched from this URL."),
    domain: str | None = typer.Option(None, help="Documents of this registered domain."),
    doc: str | None = typer.Option(None, help="The document with this doc_id."),
    as_json: bool = JSON,
) -> None:
    """Finds the steps and slots that used a document, or says "never".

    Example: corpusmill order find RUN --url https://kettleandpan.example/bread
    """
    if sum(given is not None for given in (url, domain, doc)) != 1:
        raise UserError("name exactly one of --url, --domain, --doc", remedy="corpusmill order find RUN --url URL")
    found = find_documents(run, doc_id=doc, url=url, domain=domain)
    if as_json:
        print_json(found)
        return
    total = found["steps_total"]
    if not found["documents"]:
        print(f"never: no such document in any of the {total} steps (corpusmill explain tells why it was left out)")
    for document in found["documents"]:
        print(f"{document['doc_id']}  {document['url']}")
        if not document["hits"]:
            print(f"  never in the {total} steps: {document['never']}")
        for hit in document["hits"]:
            masked = ", masked" if hit["masked"] else ""
            print(f"  step {hit['step']} / {total}  slot {hit['slot']}  {hit['tokens']} tokens{masked}")


@app.command()
def export(
    run: str = RUN,
    to: str = typer.Option(..., metavar="FORMAT", help=f"One of {', '.join(FORMATS)}."),
    out: str = typer.Option(..., metavar="FOLDER", help="Local folder to write; empty or new."),
    no_masks: bool = typer.Option(False, "--no-masks", help="Tokens alone, without loss masks and segments."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace an earlier export in the folder."),
    quiet: bool = typer.Option(False, "--quiet", help="No progress."),
    as_json: bool = JSON,
) -> None:
    """Writes the order for another trainer, and says how that reads it and what it does not learn.

    Example: corpusmill order export RUN --to megatron --out exported
    """
    check_target(to, out, overwrite=overwrite)
    order = Order.open(run, verify=True)
    with Reporter(quiet=quiet).track(f"export to {to}, steps", order.steps) as track:
        done = export_order(order, to, out, masks=not no_masks, overwrite=overwrite, advance=track.advance)
    if as_json:
        print_json(done.model_dump())
        return
    print(f"grade: {done.grade}")
    print(f"order root: {done.order.order_root}")
    parts = "1 part" if len(done.parts) == 1 else f"{len(done.parts)} parts"
    print(f"{done.counts.rows:,} rows of {done.counts.tokens:,} tokens, {len(done.files)} files, {parts}")
    for title, lines in (("carried", done.carried), ("lost", done.lost), ("setup", done.setup)):
        for line in lines or ("nothing",):
            print(f"{title}: {line}")
