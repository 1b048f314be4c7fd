"""`status`, `inspect`, `removed`, `explain`, `verify`: look at a run. They read files only, and never start Ray."""

from __future__ import annotations

from typing import Any

import typer

from corpusmill.audit.trace import find_documents
from corpusmill.cli.output import print_fields, print_json, print_table
from corpusmill.core import storage
from corpusmill.core.errors import VerificationFailed
from corpusmill.pipeline import explain as lives
from corpusmill.pipeline import held_out, tables
from corpusmill.pipeline.chain import Chain
from corpusmill.pipeline.copies import Copies
from corpusmill.pipeline.copies import copies as find_copies
from corpusmill.pipeline.products import Products
from corpusmill.pipeline.recipe import Recipe
from corpusmill.pipeline.status import open_run, status
from corpusmill.pipeline.verify import verify_run
from corpusmill.tokenize.verify import Mode

RUN = typer.Argument(..., help="Run folder.")
JSON = typer.Option(False, "--json", help="Print JSON.")


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    app.command("status")(status_command)
    app.command("inspect")(inspect)
    app.command("removed")(removed)
    app.command("explain")(explain)
    app.command("verify")(verify)


def status_command(run: str = RUN, as_json: bool = JSON) -> None:
    """Shows what is done, stale or missing, and the funnel.

    Example: corpusmill status RUN
    """
    if as_json:
        print_json(status(run).to_json())
    else:
        print_status(run)


def print_status(run: str) -> None:
    """The table of `status`."""
    state = status(run)
    print(f"{state.run}  recipe {state.recipe}  {state.state}\n")
    rows: list[list[Any]] = []
    for stage in state.stages:
        counts = stage.counts
        removed = sum(t.documents for t in counts.removed.values())
        rate = stage.to_json()["documents_per_core_second"]
        share = f"{100 * counts.kept.documents / counts.into.documents:.1f}" if counts.into.documents else ""
        rules = ", ".join(f"{k} {t.documents:,}" for k, t in _largest(counts.removed))
        rows.append(
            [
                stage.name,
                stage.state,
                f"{stage.shards_done}/{stage.shards}",
                counts.into.documents,
                counts.kept.documents,
                share,
                removed,
                sum(t.documents for t in counts.quarantined.values()),
                rate,
                rules,
            ]
        )
    numbers = ["in", "kept", "kept %", "removed", "quarantined", "docs/s/core"]
    print_table(
        ["stage", "state", "shards", "in", "kept", "kept %", "removed", "quarantined", "docs/s/core", "largest rules"],
        rows,
        numbers,
    )
    for stage in state.stages:
        for what, numbers_found in stage.reported.items():
            print(f"\n{stage.name}: {what}, pass by pass: {', '.join(f'{n:,}' for n in numbers_found)}")
    if state.held_out is not None:
        print()
        print_table(["split", "documents", "characters"], _split_rows(state.held_out), ["documents", "characters"])
    for alarm in state.warnings:
        print(f"\nwarning: {alarm.message}")


def _split_rows(facts: dict[str, Any]) -> list[list[Any]]:
    """Documents and characters of the parts of the held-out split."""
    parts = {"trained on": facts["training"], "held out": facts["held_out"]}
    parts |= {f"copies of these, by {step}": tally for step, tally in facts["copies"].items()}
    return [[part, tally["documents"], tally["characters"]] for part, tally in parts.items()]


def _largest(tallies: dict[str, Any]) -> list[tuple[str, Any]]:
    return sorted(tallies.items(), key=lambda item: -item[1].documents)[:3]


def inspect(
    run: str = RUN,
    stage: str = typer.Argument(..., help="Stage, e.g. extract."),
    number: int = typer.Option(5, "-n", min=1, help="Rows to show."),
    table: str = typer.Option("out", help="out, removed, quarantine, spans, clusters or scores."),
    where: str = typer.Option("", help="SQL condition on the rows (DuckDB)."),
    as_json: bool = JSON,
) -> None:
    """Shows rows of any stage's output.

    Example: corpusmill inspect RUN language -n 3 --where "language = 'ja'"
    """
    _, chain = open_run(run)
    _show(tables.rows(chain, stage, table, limit=number, where=where), as_json)


def removed(
    run: str = RUN,
    stage: str | None = typer.Option(None, help="Stage; default: all."),
    rule: str = typer.Option("", help="Rule, e.g. stop_words; default: all."),
    near_threshold: bool = typer.Option(False, help="Those nearest to their threshold first."),
    number: int = typer.Option(5, "-n", min=1, help="Documents to show."),
    as_json: bool = JSON,
) -> None:
    """Shows what a rule removed, with value, threshold and text.

    Example: corpusmill removed RUN --stage quality --rule words_min --near-threshold
    """
    _, chain = open_run(run)
    done = [s.name for s in status(run).stages if s.shards_done and s.name in chain.names]
    stages = [stage] if stage else done
    _show(tables.removals(chain, stages, rule=rule, near_threshold=near_threshold, limit=number), as_json)


def _show(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json(rows)
        return
    for row in rows:
        print_fields(row)
    if not rows:
        print("no rows")


def explain(
    run: str = RUN,
    document: str = typer.Argument(..., help="A doc_id or a URL."),
    scores: bool = typer.Option(False, "--scores", help="Also its scores, and how near each was to its threshold."),
    copies: int = typer.Option(
        20, "--copies", min=0, help="List at most so many copies that it stands for; 0: look for none."
    ),
    as_json: bool = JSON,
) -> None:
    """Tells the life of one document: every stage, rule, value and twin; its copies; then the steps that used it.

    Example: corpusmill explain RUN https://kettleandpan.example/bread
    """
    resolved, chain = open_run(run)
    found = [lives.explain(chain, doc_id) for doc_id in lives.find(chain, document)]
    splits = {life.doc_id: _split_fate(resolved, chain, life) for life in found}
    gone = {life.doc_id: find_copies(chain, life.doc_id, copies) if copies else None for life in found}
    steps = {life.doc_id: _steps(run, life) if resolved.order is not None else None for life in found}
    if as_json:
        objects = [
            {
                "doc_id": life.doc_id,
                "url": life.url,
                "stages": [fate.to_json() for fate in life.fates],
                "steps": steps[life.doc_id] or [],
                "scores": life.scores_json(),
                "held_out": None if (split := splits[life.doc_id]) is None else split.to_json(),
                "copies": None if (copied := gone[life.doc_id]) is None else copied.to_json(),
            }
            for life in found
        ]
        print_json(objects[0] if len(objects) == 1 else objects)
        return
    for life in found:
        print(f"{life.doc_id}\n{life.url}\n")
        columns = ["stage", "outcome", "rule", "value", "threshold", "detail"]
        print_table(columns, [[fate.to_json()[c] for c in columns] for fate in life.fates], ["value", "threshold"])
        for fate in life.fates:
            if fate.twin is not None:  # on a line of its own, so that it can be copied
                print(f"\nkept copy: {fate.twin}{_of_history(chain, fate)}")
        _print_copies(gone[life.doc_id])
        if scores:
            _print_scores(life)
        _print_split(splits[life.doc_id])
        print(_steps_sentence(life, steps[life.doc_id]))
        if life.text:
            print("\n  " + life.text[:300].replace("\n", "\n  "))
        print()


def _split_fate(resolved: Recipe, chain: Chain, life: lives.Life) -> held_out.SplitFate | None:
    """None where nothing is held out or the split is not up to date."""
    if resolved.held_out is None or Products(resolved, chain).split_facts() is None:
        return None
    return held_out.fate_of(chain.run, resolved.held_out, life.doc_id, kept=life.survived)


_COPIES_SHOWN = 5


def _print_split(fate: held_out.SplitFate | None) -> None:
    """Whether it is held out, or of which held-out documents it is a copy."""
    if fate is None or fate.part == "training":
        return
    if fate.part is None and fate.chosen:
        print("\nchosen to be held out, but not kept")
    elif fate.part == held_out.NAME:
        print("\nheld out")
    for copy in fate.copies[:_COPIES_SHOWN]:
        similarity = "" if copy["similarity"] is None else f" {copy['similarity']:.2f}"
        via = "" if copy["via"] == copy["copy_of"] else f", by way of {copy['via']}"
        print(f"\nkept out of training: copy of {copy['copy_of']} ({copy['stage']}{similarity}{via})")
    if len(fate.copies) > _COPIES_SHOWN:
        print(f"and of {len(fate.copies) - _COPIES_SHOWN} others that are held out")


def _of_history(chain: Chain, fate: lives.Fate) -> str:
    """Where the twin is, if not in this run."""
    if fate.twin_history is None:
        return ""
    histories = chain.steps[chain.index(fate.stage)].past.histories
    where = next((history.root for history in histories if history.label == fate.twin_history), "gone")
    return f"\nin the history {fate.twin_history} ({where})"


def _print_copies(found: Copies | None) -> None:
    """How many copies it stands for, and a row for each that is listed."""
    if found is None or found.total == 0:
        return
    shown = "" if len(found.listed) == found.total else f", {len(found.listed)} of them listed (--copies N)"
    print(f"\nstands for {found.total} {'copy' if found.total == 1 else 'copies'}{shown}")
    rows = [[copy.doc_id, copy.rule, copy.similarity, copy.url] for copy in found.listed]
    print_table(["copy", "rule", "similarity", "url"], rows, ["similarity"])


def _print_scores(life: lives.Life) -> None:
    """A row a rule: score, threshold, and how far they are apart in percent of the threshold."""
    rows = []
    for rule in life.rules:
        distance = "" if rule.distance is None else f"{100 * rule.distance:+.1f} %" if rule.limit else ""
        outcome = "breaks it" if rule.breaks else "no score" if rule.value is None else "stays"
        rows.append([rule.stage, rule.rule, rule.value, f"{rule.removes} {rule.limit:g}", distance, outcome])
    print()
    print_table(["stage", "rule", "score", "removes", "distance", ""], rows, ["score", "removes", "distance"])


def _steps(run: str, life: lives.Life) -> list[dict[str, Any]] | None:
    """Steps that used the document; None when the order has not been built."""
    if not storage.exists(storage.join(run, "order", "order.json")):
        return None
    documents = find_documents(run, doc_id=life.doc_id)["documents"]
    return [hit for document in documents for hit in document["hits"]]


def _steps_sentence(life: lives.Life, steps: list[dict[str, Any]] | None) -> str:
    if steps is None:
        return "\nno training order has been built yet"
    if not steps:
        return "\nnever in the training order"
    shown = ", ".join(f"step {hit['step']} slot {hit['slot']} ({hit['tokens']} tokens)" for hit in steps[:8])
    return f"\nin the training order: {shown}{' ...' if len(steps) > 8 else ''}"


def verify(
    run: str = RUN,
    quick: bool = typer.Option(
        False, "--quick", help="Sizes and counts; of the order also its hashes, without the token shards."
    ),
    full: bool = typer.Option(False, "--full", help="Every byte (default)."),
    sample: int = typer.Option(
        0, min=0, help="All hashes but those of the token shards, and this many steps of the order."
    ),
    as_json: bool = JSON,
) -> None:
    """Proves a run: hashes, conservation, and rule = table = token bytes. Exit code 1 if anything is wrong.

    Example: corpusmill verify RUN --full
    """
    resolved, chain = open_run(run)
    mode: Mode = "quick" if quick and not full else "sample" if sample and not full else "full"
    checks = verify_run(run, resolved, chain, mode, sample)
    ok = all(check.ok for check in checks)
    if as_json:
        root = _order_root(run)
        print_json(
            {
                "ok": ok,
                "checks": [{"name": c.name, "ok": c.ok, "detail": c.detail} for c in checks],
                "order_root": root,
            }
        )
    else:
        print_table(["check", "", "detail"], [[c.name, "ok" if c.ok else "FAILED", c.detail] for c in checks])
    if not ok:
        failed = [c.name for c in checks if not c.ok]
        raise VerificationFailed(f"{len(failed)} of {len(checks)} checks failed: {', '.join(failed)}", where=run)


def _order_root(run: str) -> str | None:
    import json

    path = storage.join(run, "order", "order.json")
    if not storage.exists(path):
        return None
    try:
        return str(json.loads(storage.read_text(path))["order_root"])
    except (ValueError, KeyError):
        return None
