"""Token shards to a training order: rule, table, roots.

RUN/order/
    rule.json              Rule
    takedown.parquet       documents that this revision leaves out or masks, where there are any
    table-00000.parquet    TABLE rows; row groups of `group_steps` whole steps
    roots.parquet          step, root
    order.json             OrderSummary, written last: an order without it does not exist

`begin_order` writes the rule, `write_part` one table file, in any order and anywhere, `finish_order` the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from corpusmill.core import storage
from corpusmill.core.hashing import digest
from corpusmill.tokenize import hashes
from corpusmill.tokenize.columns import document_records
from corpusmill.tokenize.derivation import Derivation
from corpusmill.tokenize.order_config import OrderConfig
from corpusmill.tokenize.packing import PAD
from corpusmill.tokenize.planning import make_rule
from corpusmill.tokenize.redaction import load_commitments
from corpusmill.tokenize.rows import leaves_of, materialise
from corpusmill.tokenize.rule import SPEC, TABLE, Rule
from corpusmill.tokenize.shards import TokensManifest, load_model
from corpusmill.tokenize.store import DocumentIndex, TokenStore
from corpusmill.tokenize.takedown import NOTHING, Takedown, load_takedown, write_takedown

_GROUP_SEQUENCES = 4096  # of a row group at most, where a step is not larger
_GROUP_TOKENS = 1 << 23  # likewise; they are in memory at once

ROOTS = pa.schema([pa.field("step", pa.int64(), nullable=False), pa.field("root", pa.binary(32), nullable=False)])


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OrderFile(_Frozen):
    """One file of the order folder, which holds the steps [first_step, first_step + steps)."""

    path: str
    bytes: int
    sha256: str
    rows: int
    first_step: int
    steps: int


class TableFile(OrderFile):
    """A table file: all its steps are of one phase."""

    phase: int
    group_steps: int  # steps of a row group; the last one may hold fewer


class OrderSummary(_Frozen):
    """order/order.json: what the order is, in one hash, and the files that hold it."""

    spec: Literal["corpusmill order v2"] = SPEC
    order_root: str
    rule_sha256: str
    chain_head: str
    documents_root: str
    steps: int
    sequences: int
    rows: int
    document_tokens: int  # tokens of documents in all sequences; neighbours share one, epochs repeat
    pad_tokens: int
    unused_sequences: dict[str, int]  # by source: of the last epoch begun, those after the last step
    table: tuple[TableFile, ...]
    roots: OrderFile


class Part(_Frozen):
    """A table file that `write_part` is to write."""

    number: int
    phase: int
    first_step: int
    steps: int
    group_steps: int

    @property
    def path(self) -> str:
        """File name in the order folder."""
        return f"table-{self.number:05d}.parquet"


class PartResult(_Frozen):
    """What `write_part` wrote. roots: of its steps, in hexadecimal digits."""

    file: TableFile
    roots: tuple[str, ...]
    pad_tokens: int


def build_order(tokens_folder: str, order_folder: str, config: OrderConfig) -> OrderSummary:
    """Writes the order of the token shards in this process. The same shards and config give the same bytes.

    Raises ConfigError when the settings do not fit the documents, e.g. when the corpus is smaller than one batch.
    """
    rule = begin_order(tokens_folder, order_folder, config)
    return write_order(tokens_folder, order_folder, rule, NOTHING, config.file_sequences)


def write_order(
    tokens_folder: str, order_folder: str, rule: Rule, takedown: Takedown, file_sequences: int
) -> OrderSummary:
    """Writes the order of a rule in this process; `rule.takedown` is set from `takedown`."""
    rule = begin_rule(order_folder, rule, takedown)
    results = [write_part(tokens_folder, order_folder, part) for part in parts_of(rule, file_sequences)]
    return finish_order(tokens_folder, order_folder, results)


def begin_order(tokens_folder: str, order_folder: str, config: OrderConfig) -> Rule:
    """Clears the folder and writes rule.json."""
    manifest = TokensManifest.load(tokens_folder)
    rule = make_rule(manifest, DocumentIndex.load(tokens_folder, manifest.shards), config)
    return begin_rule(order_folder, rule, NOTHING)


def begin_rule(order_folder: str, rule: Rule, takedown: Takedown) -> Rule:
    """Clears the folder and writes rule.json and takedown.parquet."""
    storage.remove(storage.join(order_folder, "order.json"))
    for old in storage.list_files(order_folder, ".parquet"):
        storage.remove(old)
    rule = rule.model_copy(update={"takedown": write_takedown(order_folder, takedown)})
    storage.write_bytes(storage.join(order_folder, "rule.json"), rule.to_bytes())
    return rule


def parts_of(rule: Rule, file_sequences: int) -> list[Part]:
    """The table files of an order, of about `file_sequences` sequences. Which steps share a file is in no root."""
    parts: list[Part] = []
    for phase in rule.phases:
        sequences = min(_GROUP_SEQUENCES, _GROUP_TOKENS // phase.sequence_length)
        group = max(1, sequences // phase.batch_size)
        span = group * max(1, file_sequences // (group * phase.batch_size))
        for first in range(phase.first_step, phase.stop_step, span):
            steps = min(span, phase.stop_step - first)
            parts.append(Part(number=len(parts), phase=phase.phase, first_step=first, steps=steps, group_steps=group))
    return parts


def write_part(tokens_folder: str, order_folder: str, part: Part) -> PartResult:
    """Derives the steps of one table file, writes it, and computes their roots. Memory: one row group and the index.

    Pure and atomic: the same rule gives the same bytes, whoever writes which part when.
    """
    rule_bytes = storage.read_bytes(storage.join(order_folder, "rule.json"))
    derivation, index, store = _opened(tokens_folder, order_folder, digest(rule_bytes))
    redacted = load_commitments(order_folder)
    phase = derivation.rule.phases[part.phase]
    roots: list[str] = []
    rows = pad_tokens = 0
    full = storage.join(order_folder, part.path)
    with storage.open_write(full) as file, table_writer(file) as writer:
        for first in range(part.first_step, part.first_step + part.steps, part.group_steps):
            chunk = derivation.rows(first, min(first + part.group_steps, part.first_step + part.steps))
            pad = (chunk.column("flags").to_numpy() & PAD) != 0
            pad_tokens += int(chunk.column("num_tokens").to_numpy()[pad].sum(dtype=np.int64))
            for step in materialise(chunk, phase.sequence_length, index, store, derivation.rule.tokenizer.pad_id):
                leaves = leaves_of(step, index, store.dtype, redacted.get(step.step, {}))
                roots.append(hashes.step_root(leaves).hex())
            writer.write_table(chunk, row_group_size=chunk.num_rows)
            rows += chunk.num_rows
    entry = _entry(order_folder, part.path, rows, part.first_step, part.steps)
    file_entry = TableFile(**entry.model_dump(), phase=part.phase, group_steps=part.group_steps)
    return PartResult(file=file_entry, roots=tuple(roots), pad_tokens=pad_tokens)


@lru_cache(maxsize=1)
def _opened(tokens_folder: str, order_folder: str, rule_sha256: str) -> tuple[Derivation, DocumentIndex, TokenStore]:
    """What the parts of one order share in a process; `rule_sha256` tells orders in the same folder apart."""
    rule = load_model(Rule, storage.join(order_folder, "rule.json"))
    index = DocumentIndex.load(tokens_folder, rule.shards)
    store = TokenStore(tokens_folder, rule.shards, rule.tokenizer.dtype)
    return Derivation(rule, index, load_takedown(order_folder, rule)), index, store


def finish_order(tokens_folder: str, order_folder: str, results: Sequence[PartResult]) -> OrderSummary:
    """Writes roots.parquet and order.json from what `write_part` returned, in any order."""
    results = sorted(results, key=lambda r: r.file.first_step)
    rule_path = storage.join(order_folder, "rule.json")
    rule = load_model(Rule, rule_path)
    roots = [bytes.fromhex(root) for result in results for root in result.roots]
    assert len(roots) == rule.steps, (len(roots), rule.steps)
    table = pa.table([pa.array(range(len(roots)), pa.int64()), pa.array(roots, pa.binary(32))], ROOTS)
    storage.write_parquet(storage.join(order_folder, "roots.parquet"), table)
    head = hashes.chain_head(roots)
    documents = storage.read_parquet(
        storage.join(tokens_folder, "documents.parquet"), ["content_hash", "doc_ordinal", "num_tokens"]
    )
    documents_root = documents_root_of(documents)
    pad_tokens = sum(r.pad_tokens for r in results)
    derivation, _, _ = _opened(tokens_folder, order_folder, digest(rule.to_bytes()))
    summary = OrderSummary(
        order_root=hashes.order_root(rule.to_bytes(), head, documents_root).hex(),
        rule_sha256=digest(rule.to_bytes()),
        chain_head=head.hex(),
        documents_root=documents_root.hex(),
        steps=rule.steps,
        sequences=rule.sequences,
        rows=sum(r.file.rows for r in results),
        document_tokens=tokens_read(rule) - pad_tokens,
        pad_tokens=pad_tokens,
        unused_sequences=derivation.unused_sequences(),
        table=tuple(r.file for r in results),
        roots=_entry(order_folder, "roots.parquet", len(roots), 0, rule.steps),
    )
    storage.write_text(storage.join(order_folder, "order.json"), summary.model_dump_json(indent=1) + "\n")
    return summary


def tokens_read(rule: Rule) -> int:
    """Tokens of all sequences, L+1 each, padding included."""
    return sum(p.steps * p.batch_size * (p.sequence_length + 1) for p in rule.phases)


def documents_root_of(documents: pa.Table) -> bytes:
    """Merkle root over the rows of documents.parquet, sorted by content hash, then ordinal."""
    return hashes.merkle_root(document_leaves(documents))


def document_leaves(documents: pa.Table) -> Iterator[bytes]:
    """The leaves of the document tree, in its order; holds 40 bytes a document."""
    columns = ["content_hash", "doc_ordinal", "num_tokens"]
    keys = [("content_hash", "ascending"), ("doc_ordinal", "ascending")]
    places = pc.sort_indices(documents.select(columns[:2]), sort_keys=keys)
    for first in range(0, len(places), 1 << 16):
        rows = documents.select(columns).take(places.slice(first, 1 << 16)).combine_chunks().to_batches()[0]
        messages = np.zeros((rows.num_rows, 33), np.uint8)
        messages[:, 1:] = document_records(rows)
        data = memoryview(messages.tobytes())
        for at in range(0, len(data), 33):
            yield sha256(data[at : at + 33]).digest()


def table_writer(file: object) -> pq.ParquetWriter:
    """A writer of TABLE files."""
    return pq.ParquetWriter(
        file,
        TABLE,
        compression="zstd",
        compression_level=3,
        version="2.6",
        use_dictionary=["source"],
        # A third smaller than dictionaries; every reader knows it. Starts within documents are mostly 0: PLAIN wins.
        column_encoding=dict.fromkeys(("step", "slot", "doc_ordinal", "num_tokens"), "DELTA_BINARY_PACKED"),
    )


def _entry(folder: str, path: str, rows: int, first_step: int, steps: int) -> OrderFile:
    full = storage.join(folder, path)
    return OrderFile(
        path=path,
        bytes=storage.size_bytes(full),
        sha256=storage.sha256_file(full),
        rows=rows,
        first_step=first_step,
        steps=steps,
    )
