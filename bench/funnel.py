"""The funnel of a run beside RefinedWeb's published removal rates, as a Markdown table.

    python bench/funnel.py RUN [--figure funnel.svg]

Rates of the paper: Penedo et al. 2023 (arXiv 2306.01116), section 3 and tables 2 and 5.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from corpusmill.pipeline.status import RunStatus, StageStatus, status


@dataclass(frozen=True)
class Group:
    """Stages that the paper reports as one, and what it says of them."""

    name: str
    stages: tuple[str, ...]
    paper: str


GROUPS = (
    Group("URL filter", ("url_filter",), "0.73 % of pages match the lists (G.1)"),
    Group("extraction and language", ("extract", "language"), "RW-Raw keeps 48 % of the documents"),
    Group(
        "repetition, quality, lines",
        ("repetition", "quality", "lines"),
        "RW-Filtered keeps 23 % of the documents, 49.2 % of RW-Raw (table 5)",
    ),
    Group(
        "deduplication",
        ("url_dedup", "exact_dedup", "minhash", "substring"),
        "RefinedWeb keeps 50.0 % of RW-Filtered, 11.8 % of the documents (table 5)",
    ),
)


def percent(part: int, whole: int) -> str:
    """`part` of `whole` as a percentage with one decimal."""
    return f"{100 * part / whole:.1f} %" if whole else "-"


def stage_rows(run: RunStatus) -> list[str]:
    """One Markdown row a stage: in, kept, removed by rule, quarantined by reason."""
    rows = []
    for stage in run.stages:
        if stage.name in ("tokenizer", "tokens", "order"):
            continue
        counts = stage.counts
        rules = ", ".join(
            f"{name} {tally.documents:,}"
            for name, tally in sorted(counts.removed.items(), key=lambda item: -item[1].documents)
        )
        bad = ", ".join(f"{name} {tally.documents:,}" for name, tally in counts.quarantined.items())
        share = percent(counts.kept.documents, counts.into.documents)
        rows.append(
            f"| {stage.name} | {counts.into.documents:,} | {counts.kept.documents:,} | {share} | "
            f"{rules or '-'} | {bad or '-'} |"
        )
    return rows


def group_rows(stages: dict[str, StageStatus]) -> list[str]:
    """One Markdown row a group of the paper: kept of its input and of all pages, in documents and characters."""
    pages = stages["warc"].counts.kept.documents
    rows = []
    for group in GROUPS:
        present = [stages[name] for name in group.stages if name in stages]
        if not present:
            continue
        first, last = present[0].counts, present[-1].counts
        of_input = percent(last.kept.documents, first.into.documents)
        characters = percent(last.kept.characters, first.into.characters) if first.into.characters else "-"
        of_all = percent(last.kept.documents, pages)
        rows.append(f"| {group.name} | {of_input} | {characters} | {of_all} | {group.paper} |")
    return rows


ROW, LABEL, WIDTH = 26, 110, 560  # pixels: height of a bar's row, room for the stage's name, length of 100 %


def figure(run: RunStatus) -> str:
    """An SVG: one bar a stage, its length the documents that went in, its dark part those that were kept."""
    stages = [s for s in run.stages if s.name not in ("warc", "tokenizer", "tokens", "order")]
    pages = stages[0].counts.into.documents
    parts = []
    for i, stage in enumerate(stages):
        y = 34 + i * ROW
        into, kept = stage.counts.into.documents, stage.counts.kept.documents
        scale = WIDTH / pages
        parts.append(
            f'<text x="{LABEL - 8}" y="{y + 13}" text-anchor="end">{stage.name}</text>'
            f'<rect x="{LABEL}" y="{y}" width="{into * scale:.1f}" height="18" fill="#cfd8dc"/>'
            f'<rect x="{LABEL}" y="{y}" width="{kept * scale:.1f}" height="18" fill="#37618e"/>'
            f'<text x="{LABEL + into * scale + 6:.1f}" y="{y + 13}">{kept:,} of {into:,}</text>'
        )
    height = 44 + len(stages) * ROW
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LABEL + WIDTH + 130}" height="{height}" '
        'font-family="sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="white"/><text x="{LABEL}" y="20" font-weight="bold">'
        f"Documents kept (dark) and removed (light) by stage: {run.recipe}</text>{''.join(parts)}</svg>\n"
    )


def main() -> None:
    """Prints the two tables of the run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--figure", type=Path, help="also draw the funnel as an SVG file")
    arguments = parser.parse_args()
    run = status(str(arguments.run))
    if any(stage.state != "done" for stage in run.stages):
        parser.error(f"{arguments.run} is not up to date: run its recipe to the end first")
    if arguments.figure is not None:
        arguments.figure.write_text(figure(run), encoding="utf-8")
    stages = {stage.name: stage for stage in run.stages}
    print("| stage | in | kept | kept % | removed by rule | quarantined |\n|---|---:|---:|---:|---|---|")
    print("\n".join(stage_rows(run)))
    print(
        "\n| step | kept of its input | of its characters | kept of all pages | RefinedWeb |\n|---|---:|---:|---:|---|"
    )
    print("\n".join(group_rows(stages)))


if __name__ == "__main__":
    main()
