"""Documents whose tokens and salts are gone although the order read them: what is left to verify with.

A leaf of the order is a hash of its segments' commitments, and a commitment hides what it binds once salt and tokens
are gone. So when a document is redacted its commitments are kept, and step roots, chain and order root still verify;
what is lost is only the proof that its own bytes were these.

RUN/order/redacted.parquet   REDACTED rows, by step, slot, segment
RUN/tokens/redacted.json     RedactedFiles: files that are no longer as rule and manifest state them
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from corpusmill.core import storage
from corpusmill.tokenize.derivation import Derivation
from corpusmill.tokenize.hashes import segment_commitment
from corpusmill.tokenize.rows import counted_labels, materialise
from corpusmill.tokenize.shards import load_model
from corpusmill.tokenize.store import DocumentIndex, TokenStore

COMMITMENTS, FILES = "redacted.parquet", "redacted.json"

REDACTED = pa.schema(
    [
        pa.field("step", pa.int64(), nullable=False),
        pa.field("slot", pa.int32(), nullable=False),
        pa.field("segment", pa.int32(), nullable=False),
        pa.field("doc_ordinal", pa.int64(), nullable=False),
        pa.field("commitment", pa.binary(32), nullable=False),
    ]
)

Commitments = Mapping[int, Mapping[int, Mapping[int, bytes]]]  # step -> slot -> segment -> 32 bytes


class RedactedFile(BaseModel):
    """A file as the redaction left it, and the SHA-256 that rule or manifest state of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    bytes: int
    original_sha256: str


class RedactedFiles(BaseModel):
    """tokens/redacted.json. documents: ordinals, ascending; files: by path in the tokens folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    documents: tuple[int, ...] = ()
    files: dict[str, RedactedFile] = {}

    @classmethod
    def load(cls, tokens_folder: str) -> RedactedFiles:
        """What is redacted in the folder; nothing where there is no such file."""
        path = storage.join(tokens_folder, FILES)
        return load_model(cls, path) if storage.exists(path) else cls()

    def save(self, tokens_folder: str) -> None:
        """Writes redacted.json."""
        storage.write_text(storage.join(tokens_folder, FILES), self.model_dump_json(indent=1) + "\n")

    def expected(self, path: str, sha256: str, size: int) -> tuple[str, int]:
        """(SHA-256, bytes) that a file of the tokens folder should have now, from those that rule or manifest state."""
        entry = self.files.get(path)
        return (sha256, size) if entry is None else (entry.sha256, entry.bytes)


def load_commitments(order_folder: str) -> Commitments:
    """The commitments of redacted segments; empty where nothing is redacted."""
    path = storage.join(order_folder, COMMITMENTS)
    found: dict[int, dict[int, dict[int, bytes]]] = {}
    if storage.exists(path):
        rows = storage.read_parquet(path, ["step", "slot", "segment", "commitment"])
        for step, slot, segment, commitment in zip(*(column.to_pylist() for column in rows.columns), strict=True):
            found.setdefault(step, {}).setdefault(slot, {})[segment] = commitment
    return found


def save_commitments(order_folder: str, rows: pa.Table) -> None:
    """Adds REDACTED rows to redacted.parquet."""
    path = storage.join(order_folder, COMMITMENTS)
    if storage.exists(path):
        rows = pa.concat_tables([storage.read_parquet(path).cast(REDACTED), rows])
    keys = ["step", "slot", "segment"]
    storage.write_parquet(path, rows.sort_by([(key, "ascending") for key in keys]))


def commitments_of(
    derivation: Derivation, index: DocumentIndex, store: TokenStore, doc_ordinals: Collection[int]
) -> pa.Table:
    """REDACTED rows of every segment of these documents in the order, from their tokens and salts."""
    places = sorted({(use.step, use.slot) for ordinal in doc_ordinals for use in derivation.uses(ordinal)})
    wanted = frozenset(doc_ordinals)
    parts = [REDACTED.empty_table()]
    for step in sorted({step for step, _ in places}):
        slots = pa.array([slot for s, slot in places if s == step], pa.int32())
        parts.append(_commitments_at(derivation, index, store, step, slots, wanted))
    return pa.concat_tables(parts)


def _commitments_at(
    derivation: Derivation, index: DocumentIndex, store: TokenStore, step: int, slots: pa.Array, wanted: frozenset[int]
) -> pa.Table:
    rule = derivation.rule
    table = derivation.rows(step, step + 1)
    table = table.filter(pc.is_in(table.column("slot"), slots))
    (rows,) = materialise(table, rule.phase_at(step).sequence_length, index, store, rule.tokenizer.pad_id)
    found = []
    for slot, tokens, segments in zip(rows.slots.tolist(), rows.tokens, rows.segments, strict=True):
        data = tokens.astype(store.dtype)
        mask = counted_labels(segments.num_tokens, segments.flags).astype(np.uint8)
        ends = np.cumsum(segments.num_tokens).tolist()
        for number, ordinal in enumerate(segments.doc_ordinals.tolist()):
            if ordinal in wanted:
                count = int(segments.num_tokens[number])
                at = ends[number] - count
                part = slice(at, at + count)
                commitment = segment_commitment(
                    index.salt(ordinal), data[part].tobytes(), mask[part].tobytes(), at, count
                )
                found.append((step, slot, number, ordinal, commitment))
    columns = [list(column) for column in zip(*found, strict=True)]
    return pa.table(columns, schema=REDACTED) if found else REDACTED.empty_table()
