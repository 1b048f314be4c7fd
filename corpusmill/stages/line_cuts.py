"""Cuts that take whole lines out of a text, for the stages that correct texts line by line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter

import numpy as np

from corpusmill.core import documents
from corpusmill.core.documents import Cut
from corpusmill.core.text import Text
from corpusmill.core.words import CodePoints, Spans


def is_only_lines(text: Text) -> bool:
    """Whether the text is `text.lines` with one line feed between them, and nothing else."""
    return len(text.string) == int(text.lines.lengths.sum()) + len(text.lines) - 1


def all_lines(points: CodePoints) -> Spans:
    """What line feeds separate, blank lines too, without the line feeds: as many as there are line feeds, and one."""
    newlines = np.flatnonzero(points == ord("\n"))
    return Spans(np.concatenate([[0], newlines + 1]), np.concatenate([newlines, [len(points)]]))


def whole_lines(lines: Spans, gone: Mapping[int, str]) -> list[Cut]:
    """Cuts of the lines `gone` (number among `lines`, from `all_lines` -> rule), ascending.

    A line goes with the newline after it, or with the one before it where no line that stays follows.
    """
    last_kept = len(lines) - 1
    while last_kept in gone:
        last_kept -= 1
    cuts = []
    for number in sorted(gone):
        start, end = int(lines.starts[number]), int(lines.ends[number])
        follows = number < last_kept
        cuts.append(Cut(gone[number], start if follows else max(0, start - 1), end + 1 if follows else end))
    return cuts


def in_order(cuts: Sequence[Cut]) -> list[Cut]:
    """`cuts`, ascending, those of nothing left out."""
    return sorted((cut for cut in cuts if cut.start < cut.end), key=attrgetter("start", "end"))


def stripped(text: str, cuts: Sequence[Cut], rule: str) -> list[Cut]:
    """`cuts` (ascending, disjoint) and, under `rule`, cuts of the whitespace that would begin or end the text."""
    kept = documents.without_spans(text, ((cut.start, cut.end) for cut in cuts))
    head = len(kept) - len(kept.lstrip())
    tail = len(kept) - len(kept.rstrip()) if head < len(kept) else 0
    if not head and not tail:
        return list(cuts)
    edges = []
    position = 0  # in what is kept
    start = 0
    for cut_start, cut_end in (*((cut.start, cut.end) for cut in cuts), (len(text), len(text))):
        piece = cut_start - start
        before = min(piece, max(0, head - position))
        after = min(piece, max(0, position + piece - (len(kept) - tail)))
        edges += [Cut(rule, start, start + before), Cut(rule, cut_start - after, cut_start)]
        position += piece
        start = cut_end
    return in_order([*cuts, *edges])
