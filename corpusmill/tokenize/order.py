"""Token shards to a training order: rule, table, roots.

RUN/order/
    rule.json              Rule
    table-00000.parquet    TABLE rows; row groups of `group_steps` whole steps
    roots.parquet          step, root
    order.json             OrderSummary, written last: an order without it does not exist
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from corpusmill.core import storage
from corpusmill.core.errors import ConfigError
from corpusmill.core.hashing import digest
from corpusmill.tokenize import hashes
from corpusmill.tokenize.packing import PAD, make_packing
from corpusmill.tokenize.rows import leaves_of, materialise
from corpusmill.tokenize.rule import (
    TABLE,
    Derivation,
    DocumentsFile,
    PackingRule,
    PermutationRule,
    Phase,
    Rule,
    SourceUse,
    TokenizerRule,
    source_ordinals,
)
from corpusmill.tokenize.shards import TokensManifest
from corpusmill.tokenize.store import DocumentIndex, TokenStore

_GROUP_SEQUENCES = 4096  # of a row group at most, where a step is not larger
_GROUP_TOKENS = 1 << 23  # likewise; they are in memory at once
_FILE_GROUPS = 1024

ROOTS = pa.schema([pa.field("step", pa.int64(), nullable=False), pa.field("root", pa.binary(32), nullable=False)])


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OrderConfig(_Frozen):
    """Settings of an order."""

    sequence_length: int = Field(default=2048, ge=1, description="labels of a sequence; it reads one token more")
    batch_size: int = Field(ge=1, description="sequences of a step")
    steps: int | None = Field(
        None, ge=1, description="null: as many as one epoch fills; more go on into the next epoch"
    )
    key: str = Field(min_length=1, description="run key: another key is another shuffle; published with the order")
    block_sequences: int = Field(default=65_536, ge=1, description="sequences of a packing block")
    source: str = "crawl"


class OrderFile(_Frozen):
    """One file of the order folder."""

    path: str
    bytes: int
    sha256: str
    rows: int
    first_step: int


class OrderSummary(_Frozen):
    """order/order.json: what the order is, in one hash, and the files that hold it."""

    spec: Literal["corpusmill order v1"] = "corpusmill order v1"
    order_root: str
    rule_sha256: str
    chain_head: str
    documents_root: str
    steps: int
    sequences: int
    rows: int
    document_tokens: int  # tokens of documents in all sequences; neighbours share one, epochs repeat
    pad_tokens: int
    unused_sequences: int  # of the last epoch begun: they come after the last step
    group_steps: int  # steps of a row group
    table: tuple[OrderFile, ...]
    roots: OrderFile


def build_order(tokens_folder: str, order_folder: str, config: OrderConfig) -> OrderSummary:
    """Writes the order of the token shards. The same shards and config give the same bytes.

    Streams: memory is the document index and the sequences of one row group.
    Raises ConfigError when the corpus is smaller than one batch and `steps` is null.
    """
    manifest = TokensManifest.load(tokens_folder)
    documents_path = storage.join(tokens_folder, "documents.parquet")
    documents = storage.read_parquet(documents_path, [*DocumentIndex.columns, "doc_ordinal", "content_hash"])
    index = DocumentIndex(documents, [s.name for s in manifest.shards], documents_path)
    store = TokenStore(tokens_folder, manifest.shards, manifest.dtype)
    rule = make_rule(manifest, index, config)
    storage.remove(storage.join(order_folder, "order.json"))
    for old in storage.list_files(order_folder, ".parquet"):
        storage.remove(old)
    storage.write_bytes(storage.join(order_folder, "rule.json"), rule.to_bytes())

    writer = _Writer(order_folder, rule, Derivation(rule, index), index, store)
    table = writer.write_table()
    roots = writer.write_roots()
    head = hashes.chain_head(writer.roots)
    documents_root = documents_root_of(documents)
    source = rule.phases[0].sources[0]
    used = rule.steps * config.batch_size
    summary = OrderSummary(
        order_root=hashes.order_root(rule.to_bytes(), head, documents_root).hex(),
        rule_sha256=digest(rule.to_bytes()),
        chain_head=head.hex(),
        documents_root=documents_root.hex(),
        steps=rule.steps,
        sequences=used,
        rows=sum(f.rows for f in table),
        document_tokens=used * (config.sequence_length + 1) - writer.pad_tokens,
        pad_tokens=writer.pad_tokens,
        unused_sequences=-used % source.sequences,
        group_steps=writer.group_steps,
        table=tuple(table),
        roots=roots,
    )
    storage.write_text(storage.join(order_folder, "order.json"), summary.model_dump_json(indent=1) + "\n")
    return summary


def make_rule(manifest: TokensManifest, index: DocumentIndex, config: OrderConfig) -> Rule:
    """The rule of one phase over one source."""
    if config.source not in index.sources:
        raise ConfigError(
            f"no document is of the order's source, {config.source!r}",
            value=index.sources,
            remedy="set `source` of the order to one of the sources of the documents, or tokenise some documents first",
        )
    lengths = index.num_tokens[source_ordinals(index, config.source)]
    sequences = make_packing("concatenate", lengths, config.sequence_length, config.block_sequences).num_sequences
    steps = config.steps if config.steps is not None else sequences // config.batch_size
    if sequences == 0 or steps == 0:
        raise ConfigError(
            f"source {config.source!r} has {len(lengths)} documents of {int(lengths.sum())} tokens:"
            f" {sequences} sequences of {config.sequence_length}, less than one batch",
            value=config.batch_size,
            remedy="lower batch_size or sequence_length, or set steps to go through the corpus more than once",
        )
    source = SourceUse(
        name=config.source, documents=len(lengths), tokens=int(lengths.sum()), sequences=sequences, first_sequence=0
    )
    return Rule(
        key=config.key,
        phases=(
            Phase(
                phase=0,
                first_step=0,
                steps=steps,
                sequence_length=config.sequence_length,
                batch_size=config.batch_size,
                sources=(source,),
            ),
        ),
        packing=PackingRule(block_sequences=config.block_sequences),
        permutation=PermutationRule(),
        tokenizer=TokenizerRule(
            sha256=manifest.tokenizer_sha256,
            vocab_size=manifest.vocab_size,
            eos_id=manifest.eos_id,
            pad_id=manifest.pad_id,
            dtype=manifest.dtype,
        ),
        documents=DocumentsFile(
            sha256=manifest.documents_sha256,
            bytes=manifest.documents_bytes,
            documents=manifest.documents,
            tokens=manifest.tokens,
        ),
        shards=manifest.shards,
    )


def documents_root_of(documents: pa.Table) -> bytes:
    """Merkle root over the rows of documents.parquet, sorted by content hash, then ordinal."""
    table = documents.select(["content_hash", "doc_ordinal", "num_tokens"])
    table = table.sort_by([("content_hash", "ascending"), ("doc_ordinal", "ascending")])
    columns = (table.column(name).to_pylist() for name in table.column_names)
    return hashes.merkle_root(hashes.document_leaf(*row) for row in zip(*columns, strict=True))


class _Writer:
    """Derives the table chunk by chunk (one row group), writes it, and collects the step roots."""

    def __init__(
        self, folder: str, rule: Rule, derivation: Derivation, index: DocumentIndex, store: TokenStore
    ) -> None:
        self._folder = folder
        self._rule = rule
        self._derivation = derivation
        self._index = index
        self._store = store
        phase = rule.phases[0]
        sequences = min(_GROUP_SEQUENCES, _GROUP_TOKENS // phase.sequence_length)
        self.group_steps = max(1, sequences // phase.batch_size)
        self.roots: list[bytes] = []
        self.pad_tokens = 0

    def write_table(self) -> list[OrderFile]:
        span = self.group_steps * _FILE_GROUPS
        return [
            self._write_file(number, first, min(first + span, self._rule.steps))
            for number, first in enumerate(range(0, self._rule.steps, span))
        ]

    def _write_file(self, number: int, first_step: int, stop_step: int) -> OrderFile:
        path = f"table-{number:05d}.parquet"
        full = storage.join(self._folder, path)
        rows = 0
        with storage.open_write(full) as file, table_writer(file) as writer:
            for chunk in self._chunks(first_step, stop_step):
                writer.write_table(chunk, row_group_size=chunk.num_rows)
                rows += chunk.num_rows
        return _entry(self._folder, path, rows, first_step)

    def _chunks(self, first_step: int, stop_step: int) -> Iterator[pa.Table]:
        phase = self._rule.phases[0]
        for first in range(first_step, stop_step, self.group_steps):
            chunk = self._derivation.rows(first, min(first + self.group_steps, stop_step))
            pad = (chunk.column("flags").to_numpy() & PAD) != 0
            self.pad_tokens += int(chunk.column("num_tokens").to_numpy()[pad].sum(dtype=np.int64))
            for step in materialise(
                chunk, phase.sequence_length, self._index, self._store, self._rule.tokenizer.pad_id
            ):
                self.roots.append(hashes.step_root(leaves_of(step, self._index, self._store.dtype)))
            yield chunk

    def write_roots(self) -> OrderFile:
        table = pa.table([pa.array(range(len(self.roots)), pa.int64()), pa.array(self.roots, pa.binary(32))], ROOTS)
        storage.write_parquet(storage.join(self._folder, "roots.parquet"), table)
        return _entry(self._folder, "roots.parquet", len(self.roots), 0)


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


def _entry(folder: str, path: str, rows: int, first_step: int) -> OrderFile:
    full = storage.join(folder, path)
    return OrderFile(
        path=path,
        bytes=storage.size_bytes(full),
        sha256=storage.sha256_file(full),
        rows=rows,
        first_step=first_step,
    )
