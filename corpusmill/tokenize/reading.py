"""How a source is read: epoch after epoch, each epoch's sequences in an order of their own.

A *reading* is one source at one sequence length. Its sequences are numbered through its epochs: the cursor. A phase
that reads the source at the same length goes on at the cursor of the phase before it. At another length it begins a
new reading, whose first epoch is what the old one has left of the epoch in progress: the segments of the sequences
that were not read yet, joined where one goes on from the other, and packed anew. So within an epoch every token is read
once, whatever the phases.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from corpusmill.core.hashing import Int64Array
from corpusmill.tokenize.packing import Packing, Pieces, Segments, make_packing
from corpusmill.tokenize.permutation import Permutation, WindowPermutation, permutation_key
from corpusmill.tokenize.rule import PackingRule, PermutationRule
from corpusmill.tokenize.store import DocumentIndex, SourceRange


class EpochSpan(NamedTuple):
    """Cursors [cursor, cursor + stop - first) of a reading, which are the places [first, stop) of one epoch."""

    epoch: int
    cursor: int
    first: int
    stop: int


@dataclass(frozen=True)
class ReadingRule:
    """What all readings of an order have in common."""

    key: str
    packing: PackingRule
    permutation: PermutationRule


@dataclass(frozen=True)
class Reading:
    """One source at one sequence length, from `first_epoch` on.

    phase: the phase in which it began; part of the permutations' keys.
    first, whole: what the first epoch and every later epoch is packed from.
    """

    rule: ReadingRule
    source: SourceRange
    phase: int
    first_epoch: int
    first: Packing
    whole: Packing

    @property
    def sequence_length(self) -> int:
        """L, labels of a sequence."""
        return self.whole.sequence_length

    def packing(self, epoch: int) -> Packing:
        """How the documents of the epoch are cut into sequences."""
        return self.first if epoch == self.first_epoch else self.whole

    def permutation(self, epoch: int) -> Permutation | WindowPermutation:
        """Place in the epoch -> sequence of its packing."""
        rule = self.rule.permutation
        key = permutation_key(self.rule.key, self.phase, self.source.name, epoch)
        n = self.packing(epoch).num_sequences
        if rule.scope == "window":
            return WindowPermutation(n, key, rule.chunk_sequences, rule.window_chunks, rule.rounds)
        return Permutation(n, key, rule.rounds)

    def end_of(self, epoch: int) -> int:
        """The cursor behind the last sequence of an epoch, `first_epoch` or later."""
        return self.first.num_sequences + (epoch - self.first_epoch) * self.whole.num_sequences

    def epoch_at(self, cursor: int) -> int:
        """The epoch that the sequence at `cursor` belongs to."""
        beyond = cursor - self.first.num_sequences
        return self.first_epoch if beyond < 0 else self.first_epoch + 1 + beyond // self.whole.num_sequences

    def spans(self, first: int, stop: int) -> Iterator[EpochSpan]:
        """The cursors [first, stop), epoch by epoch."""
        while first < stop:
            epoch = self.epoch_at(first)
            end = min(self.end_of(epoch), stop)
            begin = self.end_of(epoch - 1) if epoch > self.first_epoch else 0
            yield EpochSpan(epoch, first, first - begin, end - begin)
            first = end

    def segments(self, first: int, stop: int) -> tuple[Segments, Int64Array]:
        """What the sequences at the cursors [first, stop) are made of, and their epochs, int64 (stop - first,).

        Segments.row counts from `first`; Segments.document holds ordinals, -1 for padding.
        """
        parts: list[Segments] = []
        epochs = np.empty(stop - first, np.int64)
        for span in self.spans(first, stop):
            places = np.arange(span.first, span.stop)
            part = self.packing(span.epoch).segments(self.permutation(span.epoch).forward(places))
            row = part.row + (span.cursor - first)
            document = np.where(part.document >= 0, part.document + self.source.first, -1)
            parts.append(part._replace(row=row, document=document))
            epochs[span.cursor - first : span.cursor - first + len(places)] = span.epoch
        return Segments.concatenate(parts), epochs

    def cursors_of(self, doc_ordinal: int, first: int, stop: int) -> Int64Array:
        """The cursors in [first, stop) whose sequences hold a token of the document, int64, ascending."""
        document = doc_ordinal - self.source.first
        found = [np.empty(0, np.int64)]
        for span in self.spans(first, stop):
            sequences = self.packing(span.epoch).sequences_of(document)
            places = np.sort(self.permutation(span.epoch).inverse(np.asarray(sequences, np.int64)))
            places = places[(places >= span.first) & (places < span.stop)]
            found.append(places + (span.cursor - span.first))
        return np.concatenate(found)

    def unread(self, cursor: int, document_lengths: Int64Array) -> Pieces:
        """The token runs of the epoch in progress at `cursor` that no sequence before it has read.

        In order of document and start; runs that go on from one another are joined. A run of one token is left out: it
        has no label.

        document_lengths: of all documents of the source, int64.
        """
        (span,) = self.spans(cursor, cursor + 1)
        packing = self.packing(span.epoch)
        places = np.arange(span.first, packing.num_sequences)
        sequences = np.sort(self.permutation(span.epoch).forward(places))
        segments = packing.segments(sequences)
        real = np.flatnonzero((segments.document >= 0) & (segments.num_tokens > 1))
        order = real[np.lexsort((segments.doc_token_start[real], segments.document[real]))]
        document, start, count = (c[order] for c in (segments.document, segments.doc_token_start, segments.num_tokens))
        # Neighbours share a token: the last label of one is the first input of the next.
        begins = np.ones(len(order), np.bool_)
        begins[1:] = (document[1:] != document[:-1]) | (start[1:] != start[:-1] + count[:-1] - 1)
        heads = np.flatnonzero(begins)
        last = np.append(heads[1:], len(order)) - 1
        runs = document[heads], start[heads], start[last] + count[last] - start[heads]
        return Pieces.of_runs(*runs, document_lengths)


class Readings:
    """The readings of an order, phase after phase: `enter` every source of a phase, then `leave` it.

    excluded: ordinals that are left out, int64, ascending.
    """

    def __init__(self, rule: ReadingRule, index: DocumentIndex, excluded: Int64Array) -> None:
        self._rule = rule
        self._index = index
        self._excluded = excluded
        self._whole: dict[tuple[str, int], Packing] = {}
        self._current: dict[str, tuple[Reading, int]] = {}

    def enter(self, phase: int, name: str, sequence_length: int) -> tuple[Reading, int]:
        """How the phase reads the source `name`, and from which cursor on."""
        if name in self._current:
            reading, cursor = self._current[name]
            if reading.sequence_length == sequence_length:
                return reading, cursor
            epoch = reading.epoch_at(cursor)
            begun = cursor > (reading.end_of(epoch - 1) if epoch > reading.first_epoch else 0)
            if begun:
                unread = reading.unread(cursor, self._index.lengths(reading.source))
                remainder = self._pack(reading.source, unread, sequence_length)
                whole = self._whole_of(reading.source, sequence_length)
                return Reading(self._rule, reading.source, phase, epoch, remainder, whole), 0
        else:
            epoch = 0
        source = self._index.source(name)
        whole = self._whole_of(source, sequence_length)
        return Reading(self._rule, source, phase, epoch, whole, whole), 0

    def leave(self, name: str, reading: Reading, cursor: int) -> None:
        """The phase has read the source up to `cursor`."""
        self._current[name] = (reading, cursor)

    def _whole_of(self, source: SourceRange, sequence_length: int) -> Packing:
        key = (source.name, sequence_length)
        if key not in self._whole:
            pieces = Pieces.of_offsets(self._index.offsets[source.first : source.stop + 1])
            self._whole[key] = self._pack(source, pieces, sequence_length)
        return self._whole[key]

    def _pack(self, source: SourceRange, pieces: Pieces, sequence_length: int) -> Packing:
        low, high = np.searchsorted(self._excluded, [source.first, source.stop])
        excluded = self._excluded[low:high] - source.first
        rule = self._rule.packing
        return make_packing(rule.method, pieces, sequence_length, rule.block_sequences, excluded)
