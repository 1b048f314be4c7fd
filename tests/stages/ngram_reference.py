"""Repeated n-grams by the definition: strings, lists and sets."""

from __future__ import annotations

from collections import defaultdict


def characters_in(tokens: list[str], n: int, starts: list[int]) -> int:
    return sum(len(tokens[i]) for i in {i for start in starts for i in range(start, start + n)})


def reference(tokens: list[str], n: int) -> int:
    """Characters of `tokens` that repeated n-grams cover; see stages/ngrams.py."""
    where: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i in range(len(tokens) - n + 1):
        where[tuple(tokens[i : i + n])].append(i)
    if n < 5:
        most = max(map(len, where.values()), default=0)
        tops = [characters_in(tokens, n, starts) for starts in where.values() if len(starts) == most]
        return max(tops) if most > 1 else 0
    return characters_in(tokens, n, [start for starts in where.values() for start in starts[1:]])
