"""Revisions of an order: a new one with its parent's root, never an edited one.

RUN/order/                          the newest revision
RUN/order/revisions/<root>/         earlier ones, by the first 16 digits of their order roots: what was fed before a
                                    revision is verified against the order that it was fed from
RUN/order/next/                     a revision that is being made

A revision is built whole in `next`, then the present order is copied to `revisions`, then `next` takes its place.
Killed anywhere, `finish_revision` (which `revise` calls first) goes on.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from corpusmill.core import storage
from corpusmill.core.errors import ConfigError, InputError
from corpusmill.core.hashing import Int64Array, UInt64Array
from corpusmill.tokenize.blend import Blend
from corpusmill.tokenize.derivation import source_uses
from corpusmill.tokenize.order import OrderSummary, begin_rule, finish_order, parts_of, write_part
from corpusmill.tokenize.reading import ReadingRule, Readings
from corpusmill.tokenize.redaction import COMMITMENTS
from corpusmill.tokenize.rule import Phase, Rule
from corpusmill.tokenize.shards import load_model
from corpusmill.tokenize.store import DocumentIndex
from corpusmill.tokenize.takedown import Takedown

REVISIONS, NEXT = "revisions", "next"
_ROOT_DIGITS = 16


def revision_folder(order_folder: str, order_root: str) -> str:
    """Where the earlier revision with this order root is kept."""
    return storage.join(order_folder, REVISIONS, order_root[:_ROOT_DIGITS])


def ancestors(order_folder: str) -> list[str]:
    """Folders of the earlier revisions that are kept, the newest first: parent, its parent and so on."""
    found: list[str] = []
    parent = _rule(order_folder).parent if storage.exists(storage.join(order_folder, "rule.json")) else None
    while parent is not None:
        folder = revision_folder(order_folder, parent)
        if not storage.exists(storage.join(folder, "order.json")):
            break
        found.append(folder)
        parent = _rule(folder).parent
    return found


def roots_of(order_folder: str) -> list[bytes]:
    """The step roots of an order folder, 32 bytes each."""
    summary = _summary(order_folder)
    table = storage.read_parquet(storage.join(order_folder, summary.roots.path), ["root"])
    roots: list[bytes] = table.column("root").to_pylist()
    return roots


def with_masked(takedown: Takedown, doc_ordinals: Int64Array, first_step: int) -> Takedown:
    """`takedown`, and these documents masked from `first_step` on, or from where they were masked already."""
    rows = pa.table([pa.array(doc_ordinals), ["mask"] * len(doc_ordinals), [first_step] * len(doc_ordinals)], _NAMES)
    return Takedown.of(pa.concat_tables([takedown.to_table(), rows.cast(takedown.to_table().schema)]))


def with_excluded(takedown: Takedown, doc_ordinals: Int64Array) -> Takedown:
    """`takedown`, and these documents excluded; what is excluded need not be masked."""
    excluded = np.union1d(takedown.excluded, doc_ordinals)
    left = ~np.isin(takedown.masked, excluded)
    return Takedown(excluded, takedown.masked[left], takedown.masked_from[left])


_NAMES = ["doc_ordinal", "mode", "first_step"]


def replan(rule: Rule, index: DocumentIndex, excluded: Int64Array) -> Rule:
    """The rule with the same phases, steps and weights over the documents without those excluded.

    Only the counts of a source's sequences can change, and only behind a change of its sequence length in mid-epoch,
    where what is left of the epoch is packed anew.

    Raises ConfigError when nothing of a source is left.
    """
    readings = Readings(ReadingRule(rule.key, rule.packing, rule.permutation), index, excluded)
    phases: list[Phase] = []
    for phase in rule.phases:
        names = [use.name for use in phase.sources]
        entered = [readings.enter(phase.phase, name, phase.sequence_length) for name in names]
        blend = Blend([use.share for use in phase.sources])
        _check_left(names, index, excluded)
        phases.append(phase.model_copy(update={"sources": source_uses(names, blend, entered)}))
        taken = blend.taken(phase.steps * phase.batch_size).tolist()
        for name, (reading, cursor), count in zip(names, entered, taken, strict=True):
            readings.leave(name, reading, cursor + count)
    return rule.model_copy(update={"phases": tuple(phases)})


def _check_left(names: Sequence[str], index: DocumentIndex, excluded: Int64Array) -> None:
    for source in map(index.source, names):
        low, high = np.searchsorted(excluded, [source.first, source.stop])
        if int(high - low) == source.stop - source.first:
            raise ConfigError(
                f"no document of source {source.name!r} would be left",
                value=int(high - low),
                remedy="make an order without the source: take it out of the recipe's `order` section and run again",
            )


def revise(tokens_folder: str, order_folder: str, takedown: Takedown, file_sequences: int = 1 << 20) -> OrderSummary:
    """Replaces the order by its next revision, which takes `takedown` (all of it, not only what is new) down.

    Where the order has that takedown already, nothing changes. Raises InputError when there is no order.
    """
    finish_revision(order_folder)
    if not storage.exists(storage.join(order_folder, "order.json")):
        raise InputError("there is no order", where=order_folder, remedy="run the order step first")
    summary, rule = _summary(order_folder), _rule(order_folder)
    folder = storage.join(order_folder, NEXT)
    storage.remove_folder(folder)
    index = DocumentIndex.load(tokens_folder, rule.shards)
    planned = replan(rule, index, takedown.excluded).model_copy(update={"parent": summary.order_root})
    planned = begin_rule(folder, planned, takedown)
    if planned.takedown == rule.takedown:
        storage.remove_folder(folder)
        return summary
    # Segments whose tokens are gone keep their commitments: a mask moves nothing.
    commitments = storage.join(order_folder, COMMITMENTS)
    if storage.exists(commitments):
        _copy(commitments, storage.join(folder, COMMITMENTS))
    results = [write_part(tokens_folder, folder, part) for part in parts_of(planned, file_sequences)]
    made = finish_order(tokens_folder, folder, results)
    finish_revision(order_folder)
    return made


def finish_revision(order_folder: str) -> None:
    """Puts a revision that is whole in `next` in its place; removes one that is not whole."""
    folder = storage.join(order_folder, NEXT)
    if not storage.exists(storage.join(folder, "order.json")):
        storage.remove_folder(folder)
        return
    parent, made = _rule(folder).parent, _summary(folder)
    assert parent is not None
    committed = storage.join(order_folder, "order.json")
    if not storage.exists(committed) or _summary(order_folder).order_root != made.order_root:
        kept = revision_folder(order_folder, parent)
        if storage.exists(committed) and not storage.exists(storage.join(kept, "order.json")):
            _copy_order(order_folder, kept)
        storage.remove(committed)
        for old in storage.list_files(order_folder, ".parquet"):
            storage.remove(old)
        _copy_order(folder, order_folder)
    storage.remove(storage.join(folder, "order.json"))
    storage.remove_folder(folder)


def _copy_order(source: str, target: str) -> None:
    """Copies the files of an order, order.json last."""
    names = ["rule.json", *(storage.file_name(p) for p in storage.list_files(source, ".parquet")), "order.json"]
    for name in names:
        _copy(storage.join(source, name), storage.join(target, name))


def _copy(source: str, target: str) -> None:
    with storage.open_read(source) as reader, storage.open_write(target) as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)


def _rule(folder: str) -> Rule:
    return load_model(Rule, storage.join(folder, "rule.json"))


def _summary(folder: str) -> OrderSummary:
    return load_model(OrderSummary, storage.join(folder, "order.json"))


class Changes(NamedTuple):
    """What differs between two revisions of the same steps."""

    steps: int  # whose roots differ
    sequences: int  # that read other tokens or count other labels


def changes(old_folder: str, new_folder: str) -> Changes:
    """Compares two order folders of the same phases, steps and batches. Memory: a row group of each, and the roots."""
    steps = sum(a != b for a, b in zip(roots_of(old_folder), roots_of(new_folder), strict=True))
    old, new = (_Signatures(folder) for folder in (old_folder, new_folder))
    sequences = 0
    while count := min(old.ready(), new.ready()):
        sequences += int(np.count_nonzero(old.take(count) != new.take(count)))
    return Changes(steps, sequences)


class _Signatures:
    """64 bits of every sequence of a table, in order, a row group at a time."""

    def __init__(self, folder: str) -> None:
        self._groups = self._read([storage.join(folder, f.path) for f in _summary(folder).table])
        self._left = np.empty(0, np.uint64)

    def ready(self) -> int:
        """How many can be taken now; 0 at the end."""
        if not len(self._left):
            self._left = next(self._groups, self._left)
        return len(self._left)

    def take(self, count: int) -> UInt64Array:
        """The next `count`, which are ready."""
        taken, self._left = self._left[:count], self._left[count:]
        return taken

    @staticmethod
    def _read(paths: Sequence[str]) -> Iterator[UInt64Array]:
        for path in paths:
            with storage.open_read(path) as handle:
                file = pq.ParquetFile(handle)
                for group in range(file.num_row_groups):
                    yield _signatures(file.read_row_group(group, columns=[*_OF_SIGNATURE, "segment"]))


_OF_SIGNATURE = ["doc_ordinal", "doc_token_start", "num_tokens", "flags"]


def _signatures(rows: pa.Table) -> UInt64Array:
    """A hash of the rows of each sequence, uint64: rows are mixed with their place, then added."""
    segment = rows.column("segment").to_numpy().astype(np.uint64)
    mixed = segment
    for name in _OF_SIGNATURE:
        mixed = (mixed ^ rows.column(name).to_numpy().astype(np.int64).view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    begins = np.flatnonzero(segment == 0)
    return np.add.reduceat(mixed, begins) if len(begins) else np.empty(0, np.uint64)
