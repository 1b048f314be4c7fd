"""The RULE of an order: everything from which anyone derives its table again, a few kilobytes of JSON."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from corpusmill.tokenize.permutation import ROUNDS
from corpusmill.tokenize.shards import TokenShard

SPEC: Literal["corpusmill order v2"] = "corpusmill order v2"

# One row a segment, ordered by (step, slot, segment).
TABLE = pa.schema(
    [
        pa.field("phase", pa.int16(), nullable=False),
        pa.field("step", pa.int64(), nullable=False),
        pa.field("slot", pa.int32(), nullable=False),  # 0..batch_size-1 of the phase
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
    """What a phase takes from one source, and where it goes on reading it."""

    name: str
    weight: str = Field(pattern=r"^\d+/\d+$", description="share of the phase's sequences; they add up to 1")
    reading: int = Field(ge=0, description="phase in which reading the source at this sequence length began")
    first_epoch: int = Field(ge=0, description="of that reading; epochs of a source are counted through all readings")
    first_epoch_sequences: int = Field(
        ge=0, description="sequences of that epoch: of what an earlier reading left of it"
    )
    epoch_sequences: int = Field(ge=0, description="sequences of every later epoch: of the whole source")
    first_sequence: int = Field(ge=0, description="sequences of the reading that come before the phase")

    @property
    def share(self) -> Fraction:
        """`weight` as a number."""
        return Fraction(self.weight)


class Phase(_Frozen):
    """A stretch of steps with one sequence length, one batch size and one blend of sources."""

    phase: int = Field(ge=0)
    first_step: int = Field(ge=0)
    steps: int = Field(ge=1)
    sequence_length: int = Field(ge=1, description="labels of a sequence; it reads one token more")
    batch_size: int = Field(ge=1, description="sequences of a step")
    sources: tuple[SourceUse, ...] = Field(min_length=1)

    @property
    def stop_step(self) -> int:
        """First step after the phase."""
        return self.first_step + self.steps


class PackingRule(_Frozen):
    """How documents become sequences; see packing.py and best_fit.py."""

    method: Literal["concatenate", "best_fit"] = "concatenate"
    block_sequences: int = Field(default=65_536, ge=1)


class PermutationRule(_Frozen):
    """How sequences are shuffled; see permutation.py. scope: over which sequences of an epoch."""

    method: Literal["feistel-siphash24-v1"] = "feistel-siphash24-v1"
    rounds: int = Field(default=ROUNDS, ge=6, le=255)
    scope: Literal["global", "window"] = "global"
    chunk_sequences: int = Field(default=4096, ge=1, description="scope window: sequences that stay together")
    window_chunks: int = Field(default=64, ge=1, description="scope window: chunks whose sequences are shuffled")


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


class TakedownFile(_Frozen):
    """order/takedown.parquet: documents that this revision leaves out or masks; see takedown.py."""

    sha256: str
    bytes: int
    documents: int


class Rule(_Frozen):
    """order/rule.json. Its bytes are hashed into the order root."""

    spec: Literal["corpusmill order v2"] = SPEC
    key: str
    parent: str | None = Field(default=None, description="order root of the revision that this one replaces")
    takedown: TakedownFile | None = None
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
        return self.phases[-1].stop_step

    @property
    def sequences(self) -> int:
        """Sequences of all phases."""
        return sum(p.steps * p.batch_size for p in self.phases)

    @property
    def source_names(self) -> list[str]:
        """Sources of the documents, in their order."""
        return list(dict.fromkeys(s.source for s in self.shards))

    def phase_at(self, step: int) -> Phase:
        """The phase that holds `step`. Raises IndexError when none does."""
        for phase in self.phases:
            if phase.first_step <= step < phase.stop_step:
                return phase
        raise IndexError(f"step {step} is not in [0, {self.steps})")

    def steps_by_phase(self, first_step: int, stop_step: int) -> Mapping[int, range]:
        """The steps [first_step, stop_step) by number of their phase."""
        ranges = {p.phase: range(max(first_step, p.first_step), min(stop_step, p.stop_step)) for p in self.phases}
        return {phase: steps for phase, steps in ranges.items() if steps}
