"""Packing written from its rules in plain Python, one tuple a token: the oracle of the tests of packing."""

from __future__ import annotations

Token = tuple[int, int]  # document, token of it
Run = tuple[int, int, int]  # document, first token, tokens


def blocks_of(runs: list[Run], length: int, block_sequences: int) -> list[list[Run]]:
    blocks: list[list[Run]] = []
    size = 0
    for run in runs:
        if not blocks or -(-(size + run[2] - 1) // length) > block_sequences:
            blocks.append([])
            size = 0
        blocks[-1].append(run)
        size += run[2]
    return blocks


def concatenate(runs: list[Run], length: int, block_sequences: int, excluded: set[int]) -> list[list[Token]]:
    sequences: list[list[Token]] = []
    for block in blocks_of(runs, length, block_sequences):
        stream = [(d, start + i) for d, start, count in block if d not in excluded for i in range(count)]
        for i in range(-(-(sum(run[2] for run in block) - 1) // length)):
            tokens = stream[i * length : i * length + length + 1]
            sequences.append(tokens if len(stream) - i * length > 1 else [])
    return sequences


def best_fit(runs: list[Run], length: int, block_sequences: int, excluded: set[int]) -> list[list[Token]]:
    sequences: list[list[Token]] = []
    for block in blocks_of(runs, length, block_sequences):
        parts: list[list[Token]] = []
        for document, start, count in block:
            tokens = [(document, start + i) for i in range(count)]
            while len(tokens) > length + 1:
                parts.append(tokens[: length + 1])
                tokens = tokens[length:]
            parts.append(tokens)
        parts.sort(key=lambda part: -len(part))  # stable: ties stay in order
        opened: list[list[Token]] = []
        last_change: list[int] = []
        for number, part in enumerate(parts):
            fitting = [i for i, s in enumerate(opened) if len(s) + len(part) <= length + 1]
            if fitting:
                at = max(fitting, key=lambda i: (len(opened[i]), last_change[i]))
                opened[at] += part
                last_change[at] = number
            else:
                opened.append(list(part))
                last_change.append(number)
        sequences += [[token for token in s if token[0] not in excluded] for s in opened]
    return sequences


ORACLES = {"concatenate": concatenate, "best_fit": best_fit}
