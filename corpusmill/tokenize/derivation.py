"""Rule + documents -> the rows of the table, for any stretch of steps; and back, from a document to its rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from corpusmill.core.errors import VerificationFailed
from corpusmill.core.hashing import Int64Array
from corpusmill.tokenize.blend import Blend
from corpusmill.tokenize.packing import MASKED, Segments
from corpusmill.tokenize.reading import Reading, ReadingRule, Readings
from corpusmill.tokenize.rule import TABLE, Phase, Rule, SourceUse
from corpusmill.tokenize.store import DocumentIndex
from corpusmill.tokenize.takedown import NOTHING, Takedown


class Use(NamedTuple):
    """A segment of a document, and where the order reads it; fields as in TABLE."""

    step: int
    slot: int
    phase: int
    epoch: int
    doc_token_start: int
    num_tokens: int
    flags: int


class PhaseReading(NamedTuple):
    """A phase, ready to be derived. readings, cursors, taken: of its sources, in the rule's order."""

    phase: Phase
    blend: Blend
    readings: list[Reading]
    cursors: list[int]  # where the phase begins in the reading
    taken: list[int]  # sequences of the whole phase


class Derivation:
    """The order of a rule over its documents.

    Raises VerificationFailed when the rule does not fit the documents.
    """

    def __init__(self, rule: Rule, index: DocumentIndex, takedown: Takedown = NOTHING) -> None:
        self.rule = rule
        self._masked = takedown.masked
        self._masked_from = takedown.masked_from
        self._names = rule.source_names
        readings = Readings(ReadingRule(rule.key, rule.packing, rule.permutation), index, takedown.excluded)
        self.phases = [_enter(phase, readings) for phase in rule.phases]

    def rows(self, first_step: int, stop_step: int) -> pa.Table:
        """TABLE rows of steps [first_step, stop_step), which lie in one phase."""
        phase = self.rule.phase_at(first_step)
        assert stop_step <= phase.stop_step, (first_step, stop_step)
        found = self.phases[phase.phase]
        batch = phase.batch_size
        first, stop = ((step - phase.first_step) * batch for step in (first_step, stop_step))
        segments, sources, epochs = self._segments(found, first, stop)
        steps = first_step + segments.row // batch
        rows = len(segments.row)
        columns = [
            np.full(rows, phase.phase, np.int16),
            steps,
            (segments.row % batch).astype(np.int32),
            segments.segment.astype(np.int32),
            pa.DictionaryArray.from_arrays(pa.array(sources[segments.row], pa.int32()), pa.array(self._names)),
            epochs[segments.row].astype(np.int16),
            segments.document,
            segments.doc_token_start,
            segments.num_tokens.astype(np.int32),
            self._flags(segments.flags, segments.document, steps),
        ]
        return pa.table([pa.array(c) for c in columns], schema=TABLE)

    def blocks(self, first_step: int, stop_step: int) -> Int64Array:
        """Packing blocks of all sequences of steps in one phase, by step and slot, int64: numbers below `num_blocks`.

        A block of a source at one sequence length has the same number wherever it is read.
        """
        phase = self.rule.phase_at(first_step)
        assert stop_step <= phase.stop_step, (first_step, stop_step)
        found = self.phases[phase.phase]
        first, stop = ((step - phase.first_step) * phase.batch_size for step in (first_step, stop_step))
        drawn = found.blend.sources(first, stop)
        before = found.blend.taken(first)
        blocks = np.empty(stop - first, np.int64)
        for i, reading in enumerate(found.readings):
            rows = np.flatnonzero(drawn == i)
            cursor = found.cursors[i] + int(before[i])
            for span in reading.spans(cursor, cursor + len(rows)):
                packing = reading.packing(span.epoch)
                sequences = reading.permutation(span.epoch).forward(np.arange(span.first, span.stop))
                part = rows[span.cursor - cursor : span.cursor - cursor + len(sequences)]
                blocks[part] = self._first_block[id(packing)] + packing.blocks_of(sequences)
        return blocks

    @cached_property
    def _first_block(self) -> dict[int, int]:
        """By packing, each counted once: blocks of the packings before it."""
        packings = {id(p): p for part in self.phases for r in part.readings for p in (r.first, r.whole)}
        ends = np.cumsum([0, *(p.num_blocks for p in packings.values())]).tolist()
        return dict(zip([*packings, 0], ends, strict=True))

    @property
    def num_blocks(self) -> int:
        """Packing blocks of all sources and sequence lengths."""
        return self._first_block[0]

    def _segments(self, found: PhaseReading, first: int, stop: int) -> tuple[Segments, Int64Array, Int64Array]:
        """Sequences [first, stop) of a phase: segments with ordinals; source (index into names) and epoch of each."""
        numbers = [self._names.index(use.name) for use in found.phase.sources]
        if len(numbers) == 1:
            segments, epochs = found.readings[0].segments(found.cursors[0] + first, found.cursors[0] + stop)
            return segments, np.full(stop - first, numbers[0]), epochs
        drawn = found.blend.sources(first, stop)
        before = found.blend.taken(first)
        epochs = np.empty(stop - first, np.int64)
        parts = []
        for i in range(len(numbers)):
            rows = np.flatnonzero(drawn == i)
            if len(rows):
                cursor = found.cursors[i] + int(before[i])
                part, epochs[rows] = found.readings[i].segments(cursor, cursor + len(rows))
                parts.append(part._replace(row=rows[part.row]))
        merged = Segments.concatenate(parts)
        by_row = np.argsort(merged.row, kind="stable")  # a row is of one source, and its segments are in order
        return merged.take(by_row), np.array(numbers)[drawn], epochs

    def _flags(self, flags: npt.NDArray[np.uint8], ordinals: Int64Array, steps: Int64Array) -> npt.NDArray[np.uint8]:
        """`flags`, and MASKED in segments of masked documents."""
        if not len(self._masked):
            return flags
        at = np.minimum(np.searchsorted(self._masked, ordinals), len(self._masked) - 1)
        masked = (self._masked[at] == ordinals) & (steps >= self._masked_from[at])
        return np.where(masked, flags | np.uint8(MASKED), flags).astype(np.uint8)

    def unused_sequences(self) -> dict[str, int]:
        """By source: sequences of the last epoch begun that come after the last step."""
        last: dict[str, int] = {}
        for part in self.phases:
            for use, reading, cursor, count in zip(
                part.phase.sources, part.readings, part.cursors, part.taken, strict=True
            ):
                end = cursor + count
                last[use.name] = reading.end_of(reading.epoch_at(end - 1)) - end if end else 0
        return last

    def uses(self, doc_ordinal: int) -> list[Use]:
        """Everywhere in the order that a token of the document is read, by step and slot."""
        found = []
        for part in self.phases:
            for i, reading in enumerate(part.readings):
                if reading.source.first <= doc_ordinal < reading.source.stop:
                    found += self._uses_in(part, i, doc_ordinal)
        return sorted(found)

    def num_sequences(self, doc_ordinal: int) -> int:
        """Sequences of one epoch that hold a token of the document, used or not, over the readings of its source."""
        return sum(
            len(reading.whole.sequences_of(doc_ordinal - reading.source.first))
            for part in self.phases
            for reading in part.readings
            if reading.source.first <= doc_ordinal < reading.source.stop
        )

    def _uses_in(self, part: PhaseReading, source: int, doc_ordinal: int) -> list[Use]:
        reading, start = part.readings[source], part.cursors[source]
        phase = part.phase
        found = []
        for cursor in reading.cursors_of(doc_ordinal, start, start + part.taken[source]).tolist():
            segments, epochs = reading.segments(cursor, cursor + 1)
            position = int(part.blend.positions(source, np.array([cursor - start]))[0])
            step, slot = divmod(position, phase.batch_size)
            step += phase.first_step
            mine = np.flatnonzero(segments.document == doc_ordinal)
            flags = self._flags(segments.flags[mine], segments.document[mine], np.full(len(mine), step))
            found += [
                Use(
                    step,
                    slot,
                    phase.phase,
                    int(epochs[0]),
                    int(segments.doc_token_start[s]),
                    int(segments.num_tokens[s]),
                    int(flag),
                )
                for s, flag in zip(mine.tolist(), flags.tolist(), strict=True)
            ]
        return found


def source_uses(names: Sequence[str], blend: Blend, entered: Sequence[tuple[Reading, int]]) -> tuple[SourceUse, ...]:
    """What the rule says of the sources of a phase that was entered."""
    return tuple(
        SourceUse(
            name=name,
            weight=f"{amount}/{blend.period}",
            reading=reading.phase,
            first_epoch=reading.first_epoch,
            first_epoch_sequences=reading.first.num_sequences,
            epoch_sequences=reading.whole.num_sequences,
            first_sequence=cursor,
        )
        for name, amount, (reading, cursor) in zip(names, blend.amounts.tolist(), entered, strict=True)
    )


def _enter(phase: Phase, readings: Readings) -> PhaseReading:
    names = [use.name for use in phase.sources]
    entered = [readings.enter(phase.phase, name, phase.sequence_length) for name in names]
    blend = Blend([use.share for use in phase.sources])
    for stated, found in zip(phase.sources, source_uses(names, blend, entered), strict=True):
        if stated != found:
            wrong = [k for k, v in found.model_dump().items() if getattr(stated, k) != v]
            raise VerificationFailed(
                f"phase {phase.phase} of the rule does not fit the documents of source {stated.name!r}: "
                + ", ".join(f"{k} should be {getattr(found, k)}" for k in wrong),
                where="order/rule.json",
                value=", ".join(str(getattr(stated, k)) for k in wrong),
                remedy="restore order/rule.json and tokens/documents.parquet of the same run",
            )
    taken = blend.taken(phase.steps * phase.batch_size).tolist()
    for name, (reading, cursor), count in zip(names, entered, taken, strict=True):
        readings.leave(name, reading, cursor + count)
    return PhaseReading(phase, blend, [r for r, _ in entered], [c for _, c in entered], taken)
