"""The RULE of an order: everything from which anyone derives its table again, a few kilobytes of JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from corpusmill.core.errors import VerificationFailed
from corpusmill.core.hashing import Int64Array
from corpusmill.tokenize.packing import Packing, make_packing
from corpusmill.tokenize.permutation import ROUNDS, Permutation, permutation_key
from corpusmill.tokenize.shards import TokenShard
from corpusmill.tokenize.store import DocumentIndex

# One row a segment, ordered by (step, slot, segment).
TABLE = pa.schema(
    [
        pa.field("phase", pa.int16(), nullable=False),
        pa.field("step", pa.int64(), nullable=False),
        pa.field("slot", pa.int32(), nullable=False),  # 0..batch_size-1
        pa.field("segment", pa.int32(), nullable=False),  # 0-based within the sequence
        pa.field("source", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("epoch", pa.int16(), nullable=False),  # of the source, 0-based
        pa.field("doc_ordinal", pa.int64(), nullable=False),  # row of tokens/documents.parquet, -1 for padding
        pa.field("doc_token_start", pa.int64(), nullable=False),  # tokens, within the document
        pa.field("num_tokens", pa.int32(), nullable=False),
        pa.field("flags", pa.uint8(), nullable=False),  # packing.MASKED | PAD | TRUNCATED_HEAD | TRUNCATED_TAIL
    ]
)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceUse(_Frozen):
    """What a phase takes from one source."""

    name: str
    weight: str = Field(default="1/1", pattern=r"^\d+/\d+$", description="share of the phase's sequences, a rational")
    documents: int = Field(ge=1)
    tokens: int = Field(ge=1, description="EOS included, of one epoch")
    sequences: int = Field(ge=1, description="of one epoch")
    first_sequence: int = Field(default=0, ge=0, description="the source's cursor when the phase begins")


class Phase(_Frozen):
    """A stretch of steps with one sequence length and batch size. [Mixtures of sources are not implemented]."""

    phase: int = Field(ge=0)
    first_step: int = Field(ge=0)
    steps: int = Field(ge=1)
    sequence_length: int = Field(ge=1, description="labels of a sequence; it reads one token more")
    batch_size: int = Field(ge=1, description="sequences of a step")
    sources: tuple[SourceUse, ...] = Field(min_length=1, max_length=1)


class PackingRule(_Frozen):
    """How documents become sequences; see packing.py."""

    method: Literal["concatenate"] = "concatenate"
    block_sequences: int = Field(default=65_536, ge=1)


class PermutationRule(_Frozen):
    """How sequences are shuffled; see permutation.py. scope: over which sequences of an epoch."""

    method: Literal["feistel-siphash24-v1"] = "feistel-siphash24-v1"
    rounds: int = Field(default=ROUNDS, ge=6, le=255)
    scope: Literal["global"] = "global"


class DocumentsFile(_Frozen):
    """tokens/documents.parquet."""

    sha256: str
    bytes: int
    documents: int
    tokens: int


class TokenizerRule(_Frozen):
    """What the token ids mean and how wide they are stored."""

    sha256: str
    vocab_size: int
    eos_id: int
    pad_id: int
    dtype: Literal["uint16", "uint32"]


class Rule(_Frozen):
    """order/rule.json. Its bytes are hashed into the order root."""

    spec: Literal["corpusmill order v1"] = "corpusmill order v1"
    key: str
    phases: tuple[Phase, ...] = Field(min_length=1)
    packing: PackingRule
    permutation: PermutationRule
    label_at_document_start: Literal["masked"] = "masked"
    tokenizer: TokenizerRule
    documents: DocumentsFile
    shards: tuple[TokenShard, ...]

    def to_bytes(self) -> bytes:
        """The content of rule.json."""
        return (self.model_dump_json(indent=1) + "\n").encode("utf-8")

    @property
    def steps(self) -> int:
        """Steps of all phases."""
        return self.phases[-1].first_step + self.phases[-1].steps

    def phase_at(self, step: int) -> Phase:
        """The phase that holds `step`. Raises IndexError when none does."""
        for phase in self.phases:
            if phase.first_step <= step < phase.first_step + phase.steps:
                return phase
        raise IndexError(f"step {step} is not in [0, {self.steps})")

    def permutation_of(self, phase: Phase, source: SourceUse, epoch: int) -> Permutation:
        """How the sequences of one epoch of a source are shuffled."""
        key = permutation_key(self.key, phase.phase, source.name, epoch)
        return Permutation(source.sequences, key, self.permutation.rounds)


class EpochSpan(NamedTuple):
    """A run of a source's cursor inside one epoch: [first, stop), sequences since the epoch's start."""

    epoch: int
    first: int
    stop: int


class Use(NamedTuple):
    """A segment of a document, and where the order reads it; fields as in TABLE."""

    step: int
    slot: int
    phase: int
    epoch: int
    doc_token_start: int
    num_tokens: int
    flags: int


class Derivation:
    """Rule + documents -> rows of the table. Raises VerificationFailed when the rule does not fit the documents."""

    def __init__(self, rule: Rule, index: DocumentIndex) -> None:
        self.rule = rule
        self._packings: list[Packing] = []
        self._ordinals: list[Int64Array] = []  # of the source's documents, ascending
        for phase in rule.phases:
            source = phase.sources[0]
            ordinals = source_ordinals(index, source.name)
            lengths = index.num_tokens[ordinals]
            packing = make_packing(rule.packing.method, lengths, phase.sequence_length, rule.packing.block_sequences)
            if packing.num_sequences != source.sequences:
                raise VerificationFailed(
                    f"the rule gives source {source.name!r} {source.sequences} sequences, its documents make"
                    f" {packing.num_sequences}",
                    where="order/rule.json",
                    remedy="restore order/rule.json and tokens/documents.parquet of the same run",
                )
            self._packings.append(packing)
            self._ordinals.append(ordinals)

    def rows(self, first_step: int, stop_step: int) -> pa.Table:
        """TABLE rows of steps [first_step, stop_step), which lie in one phase."""
        phase = self.rule.phase_at(first_step)
        number = phase.phase
        assert stop_step <= phase.first_step + phase.steps, (first_step, stop_step)
        source = phase.sources[0]
        batch = phase.batch_size
        first = (first_step - phase.first_step) * batch + source.first_sequence
        stop = (stop_step - phase.first_step) * batch + source.first_sequence
        sequences = []
        epochs = []
        for span in epoch_spans(first, stop, source.sequences):
            permutation = self.rule.permutation_of(phase, source, span.epoch)
            sequences.append(permutation.forward(np.arange(span.first, span.stop)))
            epochs.append(np.full(span.stop - span.first, span.epoch, np.int16))
        segments = self._packings[number].segments(np.concatenate(sequences))
        real = segments.document >= 0
        ordinal = np.where(real, self._ordinals[number][segments.document], -1)
        rows = len(segments.row)
        columns = [
            np.full(rows, phase.phase, np.int16),
            first_step + segments.row // batch,
            (segments.row % batch).astype(np.int32),
            segments.segment.astype(np.int32),
            pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([source.name])),
            np.concatenate(epochs)[segments.row],
            ordinal,
            segments.doc_token_start,
            segments.num_tokens.astype(np.int32),
            segments.flags,
        ]
        return pa.table([pa.array(c) for c in columns], schema=TABLE)

    def uses(self, doc_ordinal: int) -> list[Use]:
        """Everywhere in the order that a token of the document is read, by step and slot."""
        found = []
        for number, phase in enumerate(self.rule.phases):
            place = self._place(number, doc_ordinal)
            if place is not None:
                found += self._uses_in(number, phase, place)
        return sorted(found)

    def num_sequences(self, doc_ordinal: int) -> int:
        """Sequences of all phases, one epoch of each, that hold a token of the document, used or not."""
        places = ((p, self._place(number, doc_ordinal)) for number, p in enumerate(self._packings))
        return sum(len(packing.sequences_of(place)) for packing, place in places if place is not None)

    def _place(self, phase: int, doc_ordinal: int) -> int | None:
        """Where the document stands among those of the phase's source; None when it is of another source."""
        place = int(np.searchsorted(self._ordinals[phase], doc_ordinal))
        inside = place < len(self._ordinals[phase]) and self._ordinals[phase][place] == doc_ordinal
        return place if inside else None

    def _uses_in(self, number: int, phase: Phase, place: int) -> list[Use]:
        source = phase.sources[0]
        sequences = np.array(self._packings[number].sequences_of(place), dtype=np.int64)
        segments = self._packings[number].segments(sequences)
        mine = np.flatnonzero(segments.document == place)  # one a sequence
        first = source.first_sequence
        found = []
        for span in epoch_spans(first, first + phase.steps * phase.batch_size, source.sequences):
            images = self.rule.permutation_of(phase, source, span.epoch).inverse(sequences)
            for i in np.flatnonzero((images >= span.first) & (images < span.stop)).tolist():
                step, slot = divmod(int(images[i]) + span.epoch * source.sequences - first, phase.batch_size)
                start, count, flags = (int(a[mine[i]]) for a in segments[3:])
                found.append(Use(phase.first_step + step, slot, phase.phase, span.epoch, start, count, flags))
        return found


def source_ordinals(index: DocumentIndex, source: str) -> Int64Array:
    """Ordinals of the documents of a source, ascending, int64."""
    if source not in index.sources:
        return np.empty(0, np.int64)
    return np.flatnonzero(index.source == index.sources.index(source))


def epoch_spans(first: int, stop: int, sequences: int) -> Iterator[EpochSpan]:
    """The source's cursor range [first, stop) cut at the ends of epochs of `sequences` each."""
    for epoch in range(first // sequences, -(-stop // sequences)):
        start = epoch * sequences
        yield EpochSpan(epoch, max(first, start) - start, min(stop, start + sequences) - start)
