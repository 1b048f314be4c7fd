"""The settings of an order: what the recipe's `order` section says."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _weight(value: str | int | float) -> str | int | float:
    try:
        positive = Fraction(str(value)) > 0
    except (ValueError, ZeroDivisionError):
        positive = False
    if not positive:
        raise ValueError("a weight is a number above 0, or two integers as in 9/10")
    return value


Weight = Annotated[str | int | float, AfterValidator(_weight)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PhaseConfig(_Frozen):
    """A stretch of training with one blend of sources, one sequence length and one batch size."""

    steps: int | None = Field(default=None, ge=1, description="null: as many as `epochs` allow")
    sequence_length: int | None = Field(default=None, ge=1, description="null: that of the order")
    batch_size: int | None = Field(default=None, ge=1, description="null: that of the order")
    sources: dict[str, Weight] | None = Field(
        default=None,
        min_length=1,
        description="source to its weight, by tokens; null: all, in proportion to size",
    )
    epochs: int | None = Field(
        default=None,
        ge=1,
        description="how often a source may have been read when the phase ends, earlier phases counted; null: once"
        " where `steps` is null, else any number of times",
    )


class OrderConfig(_Frozen):
    """Settings of an order. A setting that adds steps never changes the steps before them."""

    key: str = Field(min_length=1, description="run key: another key is another shuffle; published with the order")
    sequence_length: int = Field(default=2048, ge=1, description="labels of a sequence; it reads one token more")
    batch_size: int = Field(ge=1, description="sequences of a step")
    steps: int | None = Field(
        default=None,
        ge=1,
        description="of an order without `phases`; null: as many as one epoch fills; more go on into the next",
    )
    phases: list[PhaseConfig] | None = Field(
        default=None,
        min_length=1,
        description="stretches of training, in a row; null: one phase of all sources",
    )
    packing: Literal["concatenate", "best_fit"] = Field(
        "concatenate", description="best_fit cuts only documents that are longer than a sequence"
    )
    block_sequences: int = Field(default=65_536, ge=1, description="sequences of a packing block")
    shuffle: Literal["global", "window"] = Field(
        "global", description="window: chunks of sequences are shuffled, then the sequences within windows of chunks"
    )
    chunk_sequences: int = Field(default=4096, ge=1, description="of shuffle: window")
    window_chunks: int = Field(default=64, ge=1, description="of shuffle: window")
    file_sequences: int = Field(
        default=1 << 20, ge=1, description="sequences of a table file; files are made in parallel"
    )

    def resolved_phases(self) -> list[PhaseConfig]:
        """The phases, with the order's length and batch where they name none."""
        phases = self.phases or [PhaseConfig(steps=self.steps)]
        return [
            p.model_copy(
                update={
                    "sequence_length": p.sequence_length or self.sequence_length,
                    "batch_size": p.batch_size or self.batch_size,
                }
            )
            for p in phases
        ]
