"""How commands print: JSON alone on stdout with --json, otherwise tables for people; errors without a traceback."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

EXCERPT_WIDTH = 300


def print_json(value: Any) -> None:
    """`value` as JSON on stdout; bytes as hexadecimal, times in ISO 8601."""
    json.dump(value, sys.stdout, ensure_ascii=False, indent=1, default=_plain)
    sys.stdout.write("\n")


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"not JSON: {type(value).__name__}")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], numbers: Sequence[str] = ()) -> None:
    """A table on stdout; columns named in `numbers` are right-aligned. Never cut when stdout is not a terminal."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*["" if cell is None else _cell(cell) for cell in row])
    console.print(table)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value).replace("[", "\\[")


def print_lines(lines: Iterable[Text]) -> None:
    """Lines on stdout, in colour on a terminal; never wrapped."""
    console = Console(highlight=False)
    for line in lines:
        console.print(line, soft_wrap=True)


def print_fields(row: dict[str, Any]) -> None:
    """One row as `name: value` lines, long texts cut at EXCERPT_WIDTH."""
    for name, value in row.items():
        if value is None:
            continue
        text = value.hex() if isinstance(value, bytes) else str(value)
        shown = text if len(text) <= EXCERPT_WIDTH else f"{text[:EXCERPT_WIDTH]} ... ({len(text):,} characters)"
        indented = shown.replace("\n", "\n    ")
        print(f"  {name}: {indented}")
    print()
