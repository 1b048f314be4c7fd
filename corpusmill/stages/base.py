"""What a document stage is: a frozen config and one pure function over tables.

A stage is deterministic: same table, config, version and model files give the same bytes on any machine, in any order,
whatever ran before in the process. It never loses a document: every row comes out kept, removed or quarantined.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Generic, TypeVar

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from corpusmill.core.verdicts import StageResult


class StageConfig(BaseModel):
    """Base of every stage's config: frozen, unknown keys refused. Values come from the recipe's `stages.<name>`."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


ConfigT = TypeVar("ConfigT", bound=StageConfig)


class DocumentStage(ABC, Generic[ConfigT]):
    """A document stage. Subclasses set the class variables and write `process`.

    name: the key in a recipe and the folder in a run.
    version: raised whenever the same input and config would give another result; part of the fingerprint.
    packages: distributions whose version decides results; it is part of the fingerprint too.
    output_schema: schema of kept rows, or None when it is that of the input.
    edits_text: whether kept rows may differ from the input rows; a stage that neither edits text nor changes the schema
        only filters, and its output need not be stored (it is its input without the removals).
    expected_share: for a rule, the largest share (0..1) of the stage's input that it removes from a normal crawl; more
        is worth a warning (pipeline/alarms.py). Rules that are not named have no band.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    Config: ClassVar[type[StageConfig]]
    packages: ClassVar[tuple[str, ...]] = ()
    output_schema: ClassVar[pa.Schema | None] = None
    edits_text: ClassVar[bool] = False
    expected_share: ClassVar[Mapping[str, float]] = {}

    def __init__(self, config: ConfigT) -> None:
        self.config = config

    @property
    def only_filters(self) -> bool:
        """Whether the kept rows are a subset of the input rows, unchanged."""
        return self.output_schema is None and not self.edits_text

    def resource_files(self) -> Sequence[str]:
        """Paths of models and lists whose content decides results; their hashes enter the fingerprint."""
        return ()

    @abstractmethod
    def process(self, table: pa.Table) -> StageResult:
        """Judges every row of `table`. Kept rows stay in input order."""

    def close(self) -> None:
        """Frees what the stage holds outside the process (a sandbox, say). Called once by the engine."""
