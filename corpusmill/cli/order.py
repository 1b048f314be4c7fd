"""`corpusmill order`: what a step reads, who reads a document, proofs, comparisons, other trainers' formats."""

from __future__ import annotations

from typing import Any

import typer

from corpusmill.audit.mix import By, mix_of
from corpusmill.audit.order_diff import diff_orders
from corpusmill.audit.order_folder import OrderFolder
from corpusmill.audit.run_documents import RunDocuments
from corpusmill.audit.trace import content_hash_bytes, documents_named, find_documents, show_step
from corpusmill.cli.output import print_json, print_table
from corpusmill.core import storage
from corpusmill.core.errors import UserError
from corpusmill.pipeline.progress import Reporter
from corpusmill.tokenize.exports.export import FORMATS, check_target, export_order
from corpusmill.tokenize.proofs import Proof, check_proof, load_proof, not_proved, statements
from corpusmill.tokenize.proving import make_proof
from corpusmill.tokenize.reader import Order

app = typer.Typer(help="The training order: step to documents, document to steps, exports.", no_args_is_help=True)

RUN = typer.Argument(..., help="Run folder.")
JSON = typer.Option(False, "--json", help="Print JSON.")
_EXCERPT = 300


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
    shown = show_step(run, step, slot, None if as_json else _EXCERPT)
    if as_json:
        print_json(shown)
        return
    print(
        f"step {shown['step']} of {shown['steps_total']}  phase {shown['phase']} of {shown['phases_total']}  "
        f"{shown['batch_size']} sequences of {shown['sequence_length']} tokens  padding {shown['pad_share']:.2%}"
    )
    for row in shown["slots"]:
        padding = f", {row['pad_tokens']} tokens of padding" if row["pad_tokens"] else ""
        print(f"\nslot {row['slot']}  ({row['source']}, epoch {row['epoch']}{padding})")
        for segment in row["segments"]:
            print(f"  {segment['doc_id']}  {segment['url']}")
            last = segment["doc_token_start"] + segment["tokens"] - 1
            print(f"  tokens {segment['doc_token_start']}..{last}{_masked(segment)}")
            text = "[redacted]" if segment["redacted"] else segment["text"]
            print("    " + text.replace("\n", "\n    "))


@app.command()
def find(
    run: str = RUN,
    url: str | None = typer.Option(None, help="Documents fetched from this URL."),
    domain: str | None = typer.Option(None, help="Documents of this registered domain."),
    doc: str | None = typer.Option(None, help="The document with this doc_id."),
    content_hash: str | None = typer.Option(None, help="Documents with this hash of their text, 32 hex digits."),
    as_json: bool = JSON,
) -> None:
    """Finds the steps and slots that used a document, or says "never".

    Example: corpusmill order find RUN --url https://kettleandpan.example/bread
    """
    if sum(given is not None for given in (url, domain, doc, content_hash)) != 1:
        remedy = "corpusmill order find RUN --url URL"
        raise UserError("name exactly one of --url, --domain, --doc, --content-hash", remedy=remedy)
    found = find_documents(run, doc_id=doc, url=url, domain=domain, content_hash=content_hash)
    if as_json:
        print_json(found)
        return
    total = found["steps_total"]
    if not found["documents"]:
        print(f"never: no such document in any of the {total} steps (corpusmill explain tells why it was left out)")
        if found.get("redacted_documents") and (url or domain):
            print(
                f"but {found['redacted_documents']:,} documents of this run are redacted and have lost their URLs: "
                "look for them by --doc or --content-hash"
            )
    for document in found["documents"]:
        print(f"{document['doc_id']}  {document['url']}{'  [redacted]' if document['redacted'] else ''}")
        if not document["hits"]:
            print(f"  never in the {total} steps: {document['never']}")
        for hit in document["hits"]:
            print(
                f"  step {hit['step']} / {total}  slot {hit['slot']}  phase {hit['phase']}  epoch {hit['epoch']}  "
                f"{hit['tokens']} tokens{_masked(hit)}"
            )


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
    order = Order.open(run)
    order.check(digests=True)
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


@app.command()
def mix(
    run: str = RUN,
    steps: str | None = typer.Option(None, help="A:B, the steps A to B-1, 0-based; default: all."),
    by: str = typer.Option("source", help="source, domain or language."),
    top: int = typer.Option(20, min=1, help="Rows shown; --json has all."),
    as_json: bool = JSON,
) -> None:
    """Says what a span of training was made of: tokens, labels, sequences, documents.

    Example: corpusmill order mix RUN --steps 0:1000 --by language
    """
    kinds: dict[str, By] = {"source": "source", "domain": "domain", "language": "language"}
    if by not in kinds:
        raise UserError("a span is counted by source, domain or language", value=by, remedy="--by source")
    found = mix_of(run, *_span(run, steps), kinds[by])
    if as_json:
        print_json(found)
        return
    print(
        f"steps {found['steps'][0]}..{found['steps'][1] - 1} of {found['steps_total']}: "
        f"{found['sequences']:,} sequences; {found['documents']:,} documents, {found['tokens']:,} tokens of them, "
        f"{found['labels']:,} labels that count; {found['pad_tokens']:,} tokens of padding\n"
    )
    rows = found["rows"]
    columns = ["tokens", "labels", "sequences", "documents"]
    shown = [[r["name"], *(r[c] for c in columns), f"{r['share']:.2%}"] for r in rows[:top]]
    if len(rows) > top:
        rest = rows[top:]
        # Others share sequences, so that their numbers of sequences do not add up.
        sums = [sum(r[c] for r in rest) if c != "sequences" else None for c in columns]
        shown.append([f"({len(rest):,} others)", *sums, f"{sum(r['share'] for r in rest):.2%}"])
    print_table([by, *columns, "share"], shown, [*columns, "share"])
    for phase in found["phases"]:
        print(f"\nphase {phase['phase']}, steps {phase['steps'][0]}..{phase['steps'][1] - 1}, share of the sequences:")
        table = [[s["name"], s["sequences"], f"{s['share']:.3%}", f"{s['target_share']:.3%}"] for s in phase["sources"]]
        print_table(["source", "sequences", "share", "by the rule"], table, ["sequences", "share", "by the rule"])


@app.command()
def diff(
    a: str = typer.Argument(..., help="Run folder, or its order folder."),
    b: str = typer.Argument(..., help="Another one."),
    as_json: bool = JSON,
) -> None:
    """Says what changed between two orders: rule, first step that differs, sequences, blocks, documents.

    Example: corpusmill order diff RUN_A RUN_B
    """
    found = diff_orders(a, b)
    if as_json:
        print_json(found)
        return
    for name in ("a", "b"):
        print(f"{name}  {found[name]['order_root']}  {found[name]['steps']:,} steps  {found[name]['path']}")
    if found["equal"]:
        print("the orders are the same")
        return
    if found["revision"]:
        print("b is a revision of a")
    for change in found["rule"]:
        print(f"rule: {change['key']}: {change['a']} -> {change['b']}")
    steps = found["steps"]
    first = "none differs" if steps["first"] is None else f"step {steps['first']} is the first that differs"
    print(f"steps: {first}; {steps['differ']:,} of {steps['common']:,} differ ({steps['share']:.4%})")
    if steps["same_segments"]:
        print(f"  {steps['same_segments']:,} of them have the same segments: their tokens or salts differ")
    for name in ("a", "b"):
        if steps[f"only_{name}"]:
            print(f"  {steps[f'only_{name}']:,} more steps in {name}")
    for name in ("sequences", "blocks"):
        counts = found[name]
        if counts is None:
            print(f"{name}: they do not correspond (another key, phases, packing or shuffle)")
        elif counts["compared"] or name == "sequences":
            print(f"{name}: {counts['differ']:,} of {counts['compared']:,} differ ({counts['share']:.4%})")
    documents = found["documents"]
    print(
        f"documents: {documents['a']:,} -> {documents['b']:,}; {documents['added']:,} added, "
        f"{documents['removed']:,} removed, {documents['changed']:,} changed"
    )
    for name in ("excluded", "masked"):
        if any(documents[name]):
            print(f"  taken down, {name}: {documents[name][0]:,} -> {documents[name][1]:,}")


@app.command()
def prove(
    run: str = RUN,
    doc: str | None = typer.Option(None, help="The document with this doc_id."),
    url: str | None = typer.Option(None, help="The document fetched from this URL."),
    content_hash: str | None = typer.Option(None, help="Hash of a text, 32 hex digits; it need not be in the order."),
    step: list[int] | None = typer.Option(None, help="Also prove the uses at this step, with tokens; repeatable."),
    out: str = typer.Option(..., help="File that is written."),
    as_json: bool = JSON,
) -> None:
    """Writes a proof that a document is in the order, or that no document with a content hash is.

    Example: corpusmill order prove RUN --url https://kettleandpan.example/bread --out proof.json
    """
    if sum(given is not None for given in (url, doc, content_hash)) != 1:
        remedy = "corpusmill order prove RUN --doc DOC_ID --out proof.json"
        raise UserError("name exactly one of --doc, --url, --content-hash", remedy=remedy)
    wanted = content_hash_bytes(content_hash) if content_hash is not None else _content_hash_of(run, doc, url)
    proof = make_proof(run, wanted, step or ())
    proof.save(out)
    _print_proof(proof, out, as_json, trusted=False)


@app.command()
def check(
    file: str = typer.Argument(..., help="Proof that `order prove` wrote."),
    order_root: str | None = typer.Option(None, help="Order root that was published, 64 hex digits."),
    as_json: bool = JSON,
) -> None:
    """Checks a proof; it needs nothing else. Exit code 1 when it does not hold.

    Example: corpusmill order check proof.json --order-root 27d47a60...
    """
    proof = load_proof(file)
    check_proof(proof, order_root)
    _print_proof(proof, file, as_json, trusted=order_root is not None)


def _print_proof(proof: Proof, path: str, as_json: bool, *, trusted: bool) -> None:
    open_points = not_proved(proof, trusted=trusted)
    if as_json:
        print_json(
            {
                "file": path,
                "bytes": storage.size_bytes(path),
                "order_root": proof.order_root,
                "claim": proof.claim.model_dump(mode="json"),
                "proved": statements(proof),
                "not_proved": open_points,
            }
        )
        return
    print(f"{path}: {storage.size_bytes(path):,} bytes, holds for the order root {proof.order_root}")
    for line in statements(proof):
        print(f"  {line}")
    print("It does not prove")
    for line in open_points:
        print(f"  - {line}")


def _content_hash_of(run: str, doc_id: str | None, url: str | None) -> bytes:
    matches = documents_named(run, doc_id=doc_id, url=url)
    name = doc_id if doc_id is not None else url
    if not matches:
        raise UserError(
            "no document of this name is in the order, and a name alone proves nothing",
            value=name,
            remedy="name the hash of its text: --content-hash; `corpusmill inspect RUN STAGE` shows it",
        )
    hashes = RunDocuments(storage.join(run, "tokens")).content_hashes([ordinal for ordinal, _ in matches])
    if len(set(hashes)) > 1:
        raise UserError(
            f"{len(matches)} documents with different texts have this URL",
            value=name,
            remedy="name one of them: --doc " + ", --doc ".join(doc for _, (doc, _) in matches[:5]),
        )
    return hashes[0]


def _span(run: str, steps: str | None) -> tuple[int, int]:
    if steps is None:
        return 0, OrderFolder(run).rule.steps
    first, colon, stop = steps.partition(":")
    if not colon or not (first + stop).isdecimal() or not first or not stop:
        raise UserError("a span of steps is A:B", value=steps, remedy="--steps 0:1000, for steps 0 to 999")
    return int(first), int(stop)


def _masked(item: dict[str, Any]) -> str:
    return ", masked" if item["masked"] else ""
