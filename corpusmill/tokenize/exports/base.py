"""What the exports have in common: parts of equal shape, files that are hashed while they are written, counts, grades.

OUT/
    part-0000/      the files of the format, for steps of one sequence length and batch size
    export.json     Export, written last: an export without it does not exist
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import IO, ClassVar, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from corpusmill.core import storage
from corpusmill.core.errors import VerificationFailed
from corpusmill.tokenize.reader import Order, StepRows

Grade = Literal["exact order", "exact rows", "same tokens"]
BoolMatrix = npt.NDArray[np.bool_]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Part(_Frozen):
    """Consecutive steps of one shape, exported to one folder. A trainer is set up once for each part."""

    folder: str
    first_step: int
    steps: int
    batch_size: int  # sequences of a step
    sequence_length: int  # L labels of a sequence, which has L+1 tokens

    @property
    def rows(self) -> int:
        """Sequences of the part: steps * batch_size, in order of (step, slot)."""
        return self.steps * self.batch_size

    @property
    def width(self) -> int:
        """Tokens of a row, L+1."""
        return self.sequence_length + 1


class ExportFile(_Frozen):
    """A file of an export; the path is relative to the export's folder."""

    path: str
    bytes: int
    sha256: str


class Counts(_Frozen):
    """What was written. A border lies between two neighbouring tokens of a row that are of different segments."""

    rows: int = 0
    tokens: int = 0  # rows * (L+1)
    labels: int = 0  # rows * L
    counted_labels: int = 0  # those in the order's loss mask
    pad_tokens: int = 0
    borders: int = 0
    borders_without_eos: int = 0  # the token before the border is not EOS: who looks for EOS does not find it

    def __add__(self, other: Counts) -> Counts:
        return Counts(**{name: getattr(self, name) + getattr(other, name) for name in Counts.model_fields})

    @classmethod
    def of(cls, rows: StepRows, eos_id: int) -> Counts:
        """Counts of one step."""
        border = borders_of(rows)
        return cls(
            rows=len(rows.tokens),
            tokens=rows.tokens.size,
            labels=rows.loss_mask.size,
            counted_labels=int(np.count_nonzero(rows.loss_mask)),
            pad_tokens=int(np.count_nonzero(rows.segment_ids < 0)),
            borders=int(np.count_nonzero(border)),
            borders_without_eos=int(np.count_nonzero(border & (rows.tokens[:, :-1] != eos_id))),
        )


class Facts(_Frozen):
    """What every format needs to know of the order."""

    order_root: str
    tokenizer_sha256: str
    vocab_size: int  # token ids are 0..vocab_size-1
    eos_id: int
    pad_id: int
    dtype: Literal["uint16", "uint32"]  # the narrowest that holds every id
    masks: bool  # write loss masks and segments too, where the format can carry them

    @classmethod
    def of(cls, order: Order, *, masks: bool) -> Facts:
        """Facts of an opened order."""
        tokenizer = order.rule.tokenizer
        return cls(
            order_root=order.root,
            tokenizer_sha256=order.tokenizer_sha256,
            vocab_size=order.vocab_size,
            eos_id=tokenizer.eos_id,
            pad_id=tokenizer.pad_id,
            dtype=tokenizer.dtype,
            masks=masks,
        )


class Export(_Frozen):
    """export.json: what was exported from which order, and how the trainer is to be set up for it."""

    spec: Literal["corpusmill export v1"] = "corpusmill export v1"
    format: str
    order: Facts
    grade: Grade
    carried: tuple[str, ...]  # what the trainer gets beside the tokens
    lost: tuple[str, ...]
    setup: tuple[str, ...]
    parts: tuple[Part, ...]
    counts: Counts
    files: tuple[ExportFile, ...]


class HashedFile:
    """A file that is hashed while it is written, and appears when its writer is done."""

    def __init__(self, file: IO[bytes], path: str) -> None:
        self.path = path  # relative to the part
        self.bytes = 0
        self._file = file
        self._state = hashlib.sha256()

    def write(self, data: bytes | npt.NDArray[np.generic]) -> None:
        """Appends bytes, or the bytes of an array in C order."""
        block = data if isinstance(data, bytes) else np.ascontiguousarray(data).data.cast("B")
        self._file.write(block)
        self._state.update(block)
        self.bytes += len(block)

    def entry(self, folder: str) -> ExportFile:
        """The file as export.json lists it."""
        return ExportFile(path=storage.join(folder, self.path), bytes=self.bytes, sha256=self._state.hexdigest())


class PartWriter(ABC):
    """Writes one part in one format. A context manager: files appear when the block ends without an error.

    Args:
        out: folder of the export.
        part: what will be written.
        facts: of the order.
    """

    name: ClassVar[str]  # as --to takes it
    grade: ClassVar[Grade]

    def __init__(self, out: str, part: Part, facts: Facts) -> None:
        self.part = part
        self.facts = facts
        self._folder = storage.join(out, part.folder)
        self._stack = ExitStack()
        self._files: list[HashedFile] = []

    def __enter__(self) -> Self:
        self._stack.__enter__()
        self.begin()
        return self

    def __exit__(self, *error: object) -> None:
        try:
            if error[0] is None:
                self.finish()
        except BaseException as failure:
            self._stack.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self._stack.__exit__(*error)  # type: ignore[arg-type]

    def open(self, path: str) -> HashedFile:
        """A new file of the part, written until the block ends."""
        file = HashedFile(self._stack.enter_context(storage.open_write(storage.join(self._folder, path))), path)
        self._files.append(file)
        return file

    def write_file(self, path: str, *blocks: bytes | npt.NDArray[np.generic]) -> HashedFile:
        """A whole file of the part, written at once."""
        with storage.open_write(storage.join(self._folder, path)) as target:
            file = HashedFile(target, path)
            for block in blocks:
                file.write(block)
        self._files.append(file)
        return file

    def entries(self) -> list[ExportFile]:
        """The files written so far."""
        return [file.entry(self.part.folder) for file in self._files]

    @abstractmethod
    def begin(self) -> None:
        """Opens the files."""

    @abstractmethod
    def write(self, rows: StepRows) -> None:
        """Appends the rows of the next step."""

    @abstractmethod
    def finish(self) -> None:
        """Writes what can only be written when all rows are known."""

    @classmethod
    @abstractmethod
    def refuse(cls, parts: Sequence[Part], facts: Facts) -> None:
        """Raises ConfigError when the format cannot hold the order."""

    @classmethod
    @abstractmethod
    def carried(cls, facts: Facts) -> list[str]:
        """What a trainer gets beside the tokens."""

    @classmethod
    @abstractmethod
    def lost(cls, counts: Counts, facts: Facts) -> list[str]:
        """What the order says and the trainer does not learn."""

    @classmethod
    @abstractmethod
    def setup(cls, parts: Sequence[Part], facts: Facts) -> list[str]:
        """How the trainer is set up, line by line."""


def parts_of(order: Order) -> list[Part]:
    """The parts of an order: a new one begins where sequence length or batch size change."""
    parts: list[Part] = []
    for step in range(order.steps):
        phase = order.rule.phase_at(step)
        shape = (phase.batch_size, phase.sequence_length)
        if parts and (parts[-1].batch_size, parts[-1].sequence_length) == shape:
            parts[-1] = parts[-1].model_copy(update={"steps": parts[-1].steps + 1})
            continue
        parts.append(
            Part(
                folder=f"part-{len(parts):04d}", first_step=step, steps=1, batch_size=shape[0], sequence_length=shape[1]
            )
        )
    return parts


def steps_of(order: Order, part: Part, facts: Facts) -> Iterator[StepRows]:
    """The steps of a part, checked: all slots, of the right width, every id in the vocabulary.

    Raises VerificationFailed when the order's files give something else.
    """
    for step in range(part.first_step, part.first_step + part.steps):
        rows = order.step(step)
        low, high = int(rows.tokens.min()), int(rows.tokens.max())
        if rows.tokens.shape != (part.batch_size, part.width) or low < 0 or high >= facts.vocab_size:
            raise VerificationFailed(
                f"step {step} should be {part.batch_size} rows of {part.width} token ids below {facts.vocab_size}",
                where=order.run_folder,
                value=f"shape {rows.tokens.shape}, ids {low}..{high}",
                remedy="`corpusmill verify RUN --full` says which file is damaged",
            )
        yield rows


def borders_of(rows: StepRows) -> BoolMatrix:
    """bool (R, L): whether token t+1 of a row is of another segment than token t."""
    border: BoolMatrix = rows.segment_ids[:, 1:] != rows.segment_ids[:, :-1]
    return border


class Segments(NamedTuple):
    """The segments of all rows of a step, one after another."""

    lengths: npt.NDArray[np.int32]  # (k,) tokens; negative where the segment is padding
    of_row: npt.NDArray[np.int32]  # (R,) how many a row has; the absolute lengths of a row add up to L+1

    @classmethod
    def of(cls, rows: StepRows) -> Segments:
        """Segments of one step, by its segment ids."""
        begins = np.ones(rows.segment_ids.shape, np.bool_)
        begins[:, 1:] = borders_of(rows)
        starts = np.flatnonzero(begins)
        lengths = np.diff(np.append(starts, begins.size)).astype(np.int32)
        padding = rows.segment_ids.ravel()[starts] < 0
        return cls(np.where(padding, -lengths, lengths), np.count_nonzero(begins, axis=1).astype(np.int32))

    def by_row(self) -> list[npt.NDArray[np.int32]]:
        """R arrays: the lengths of each row."""
        return np.split(self.lengths, np.cumsum(self.of_row)[:-1])


def lost_masks(counts: Counts) -> str:
    """The sentence about labels, for formats that carry no loss mask."""
    left_out = counts.labels - counts.counted_labels
    return (
        f"loss mask: the order leaves {left_out:,} of {counts.labels:,} labels out of the loss (first tokens of"
        f" documents, {counts.pad_tokens:,} tokens of padding, masked documents); without a mask they count"
    )


def lost_borders(counts: Counts) -> str:
    """The sentence about document boundaries, for formats where they are found by EOS only."""
    found = counts.borders - counts.borders_without_eos
    return (
        f"segment borders: {found:,} of {counts.borders:,} follow an EOS token and are found by it,"
        f" {counts.borders_without_eos:,} are not"
    )
