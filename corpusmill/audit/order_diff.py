"""What changed between two orders: rule, steps, sequences, packing blocks, documents.

Step roots are compared first, so that steps that are the same cost nothing more; rows of the table are read where
they differ. Memory: the step roots, a row group or two of each table, and 8 bytes a document of each order where their
documents differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from corpusmill.audit.document_diff import content_keys, diff_documents
from corpusmill.audit.order_folder import OrderFolder
from corpusmill.core import storage
from corpusmill.core.hashing import Int64Array, UInt64Array

_COLUMNS = ["step", "slot", "segment", "doc_ordinal", "doc_token_start", "num_tokens", "flags"]
BoolArray = npt.NDArray[np.bool_]


class _Sequences(NamedTuple):
    """Sequences of some steps: where each begins among the rows, how many it has; and the rows."""

    step: Int64Array
    slot: Int64Array
    begin: Int64Array
    rows: Int64Array
    values: Int64Array  # (all rows, 4): document, start, tokens, flags


def diff_orders(path_a: str, path_b: str) -> dict[str, Any]:
    """Compares two orders, of run folders or order folders.

    A sequence differs when its segments do: another document (by content, where the corpora differ), start, number of
    tokens or flag. A step differs when its root does; it may do so with the same segments, by tokens or salts.

    Returns:
        {"a", "b", "equal", "revision", "rule", "steps", "sequences", "blocks", "documents"}.
        a, b: {"path", "order_root", "steps"}. revision: b names a as its parent. rule: [{"key", "a", "b"}].
        steps: {"common", "differ", "first", "share", "same_segments", "only_a", "only_b"}; first: null when none does.
        sequences: {"compared", "differ", "share"}, of the common steps. blocks: the same of packing blocks; null where
        phases, packing, shuffle or key differ, since blocks do not correspond then.
        documents: {"a", "b", "added", "removed", "changed", "excluded", "masked"}; changed: of one doc_id, another
        content or number of tokens; excluded, masked: [by a, by b], taken down. Shares are 0..1.

    Raises:
        InputError: there is no order, or documents.parquet is needed and is not there.
    """
    a, b = OrderFolder(path_a), OrderFolder(path_b)
    sides = {
        name: {"path": path, "order_root": order.summary.order_root, "steps": order.rule.steps}
        for name, path, order in (("a", path_a, a), ("b", path_b, b))
    }
    roots = a.roots(), b.roots()
    common = min(len(r) for r in roots)
    differ = np.any(roots[0][:common] != roots[1][:common], axis=1)
    found = _compare_sequences(a, b, differ)
    steps = {
        "common": common,
        "differ": int(differ.sum()),
        "first": int(np.argmax(differ)) if differ.any() else None,
        "share": _share(int(differ.sum()), common),
        "same_segments": found.steps_of_equal_segments,
        "only_a": len(roots[0]) - common,
        "only_b": len(roots[1]) - common,
    }
    compared = _sequences_before(a, common)
    return {
        **sides,
        "equal": a.summary.order_root == b.summary.order_root,
        "revision": b.rule.parent == a.summary.order_root,
        "rule": _rule_changes(a, b),
        "steps": steps,
        "sequences": {
            "compared": compared,
            "differ": found.sequences,
            "share": _share(found.sequences, compared),
        },
        "blocks": None
        if found.blocks is None
        else {"compared": found.num_blocks, "differ": found.blocks, "share": _share(found.blocks, found.num_blocks)},
        "documents": _document_changes(a, b),
    }


class _Found(NamedTuple):
    sequences: int
    steps_of_equal_segments: int
    blocks: int | None
    num_blocks: int


def _compare_sequences(a: OrderFolder, b: OrderFolder, differ: BoolArray) -> _Found:
    """Counts among the steps that differ."""
    comparable = all(getattr(a.rule, k) == getattr(b.rule, k) for k in ("key", "phases", "packing", "permutation"))
    if not differ.any():
        return _Found(0, 0, 0 if comparable else None, 0)
    keys: tuple[UInt64Array, UInt64Array] | None = None
    if a.summary.documents_root != b.summary.documents_root:
        keys = content_keys(a.documents_path), content_keys(b.documents_path)
    comparable = comparable and all(storage.exists(storage.join(o.tokens, "documents.parquet")) for o in (a, b))
    sequences = equal_steps = 0
    blocks: list[Int64Array] = [np.empty(0, np.int64)]
    for first, stop in _windows(a, differ):
        sides = [_read(order, first, stop, differ, k) for order, k in zip((a, b), keys or (None, None), strict=True)]
        steps, slots = _differing(*sides)
        sequences += len(steps)
        equal_steps += int(differ[first:stop].sum()) - len(np.unique(steps))
        if comparable and len(steps):
            batch = a.rule.phase_at(first).batch_size
            blocks.append(np.unique(a.derivation.blocks(first, stop)[(steps - first) * batch + slots]))
    if not comparable:
        return _Found(sequences, equal_steps, None, 0)
    return _Found(sequences, equal_steps, len(np.unique(np.concatenate(blocks))), a.derivation.num_blocks)


def _windows(order: OrderFolder, differ: BoolArray) -> Iterator[tuple[int, int]]:
    """Steps of row groups that hold a step that differs; each is of one phase."""
    for entry in order.summary.table:
        for first in range(entry.first_step, entry.first_step + entry.steps, entry.group_steps):
            stop = min(first + entry.group_steps, entry.first_step + entry.steps, len(differ))
            if first < stop and differ[first:stop].any():
                yield first, stop


def _read(order: OrderFolder, first: int, stop: int, differ: BoolArray, keys: UInt64Array | None) -> _Sequences:
    parts = [
        [table.column(c).to_numpy().astype(np.int64) for c in _COLUMNS] for table in order.rows(first, stop, _COLUMNS)
    ]
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    wanted = differ[columns[0]]
    step, slot, segment, ordinal, start, tokens, flags = (column[wanted] for column in columns)
    if keys is not None:
        ordinal = np.where(ordinal >= 0, keys[ordinal].view(np.int64), -1)
    begin = np.flatnonzero(segment == 0)
    rows = np.diff(begin, append=len(segment))
    return _Sequences(step[begin], slot[begin], begin, rows, np.stack([ordinal, start, tokens, flags], axis=1))


def _differing(a: _Sequences, b: _Sequences) -> tuple[Int64Array, Int64Array]:
    """Steps and slots of the sequences of `a` that `b` has otherwise, or has not."""
    width = 1 + max(int(s.slot.max(initial=0)) for s in (a, b))
    places = [s.step * width + s.slot for s in (a, b)]  # ascending
    at = np.searchsorted(places[1], places[0])
    there = at < len(places[1])
    there[there] = places[1][at[there]] == places[0][there]
    equal = np.zeros(len(places[0]), np.bool_)
    pairs = np.flatnonzero(there)
    pairs = pairs[a.rows[pairs] == b.rows[at[pairs]]]
    counts = a.rows[pairs]
    within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    own, other = (np.repeat(begin, counts) + within for begin in (a.begin[pairs], b.begin[at[pairs]]))
    wrong = np.any(a.values[own] != b.values[other], axis=1)
    equal[pairs] = np.bincount(np.repeat(np.arange(len(pairs)), counts), wrong, len(pairs)) == 0
    return a.step[~equal], a.slot[~equal]


def _sequences_before(order: OrderFolder, step: int) -> int:
    return sum(max(0, min(step, phase.stop_step) - phase.first_step) * phase.batch_size for phase in order.rule.phases)


def _rule_changes(a: OrderFolder, b: OrderFolder) -> list[dict[str, Any]]:
    """Keys of rule.json that differ. Of the token shards only how many there are, and how many differ."""
    flat = []
    for order in (a, b):
        body = order.rule.model_dump(mode="json")
        body["shards"] = f"{len(order.rule.shards)} shards, {sum(s.tokens for s in order.rule.shards)} tokens"
        flat.append(dict(_flat(body, "")))
    keys = list(dict.fromkeys([*flat[0], *flat[1]]))
    changes = [{"key": k, "a": flat[0].get(k), "b": flat[1].get(k)} for k in keys if flat[0].get(k) != flat[1].get(k)]
    only = [len(set(x.rule.shards) - set(y.rule.shards)) for x, y in ((a, b), (b, a))]
    if any(only):
        changes.append({"key": "shards that the other has not", "a": only[0], "b": only[1]})
    return changes


def _flat(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            name = inner["name"] if isinstance(inner, dict) and "name" in inner else number
            yield from _flat(inner, f"{key}[{name}]")
    else:
        yield key, value


def _document_changes(a: OrderFolder, b: OrderFolder) -> dict[str, Any]:
    added = removed = changed = 0
    if a.summary.documents_root != b.summary.documents_root:
        added, removed, changed = diff_documents(a.documents_path, b.documents_path)
    return {
        "a": a.rule.documents.documents,
        "b": b.rule.documents.documents,
        "added": added,
        "removed": removed,
        "changed": changed,
        "excluded": [len(o.takedown.excluded) for o in (a, b)],
        "masked": [len(o.takedown.masked) for o in (a, b)],
    }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
