"""Reading an order: what a trainer is fed at a step, and the hash that proves it. A step costs O(batch)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpusmill.core import storage
from corpusmill.core.errors import InputError, VerificationFailed
from corpusmill.core.hashing import digest
from corpusmill.tokenize import hashes
from corpusmill.tokenize.derivation import Derivation
from corpusmill.tokenize.hashes import step_root
from corpusmill.tokenize.order import OrderSummary
from corpusmill.tokenize.redaction import RedactedFiles
from corpusmill.tokenize.revisions import ancestors, roots_of
from corpusmill.tokenize.rows import BoolArray, RowSegments, StepRows, materialise, row_leaf
from corpusmill.tokenize.rule import Phase, Rule
from corpusmill.tokenize.shards import load_model
from corpusmill.tokenize.store import DocumentIndex, TokenStore, check_size
from corpusmill.tokenize.takedown import load_takedown

__all__ = ["Order", "RowSegments", "StepRows", "step_root"]


class Order:
    """An order opened for reading.

    Feed `step(n, slots)` to a model; gather `leaf(...)` of every slot, computed from what was fed, from the ranks;
    `step_root(leaves in slot order)` then equals `recorded_root(n)`.
    """

    def __init__(self, run_folder: str, summary: OrderSummary, rule: Rule) -> None:
        tokens_folder = storage.join(run_folder, "tokens")
        self.run_folder = run_folder
        self.summary = summary
        self.rule = rule
        self.index = DocumentIndex.load(tokens_folder, rule.shards)
        self.store = TokenStore(tokens_folder, rule.shards, rule.tokenizer.dtype)
        self._folder = storage.join(run_folder, "order")
        self._table = TableReader(self._folder, summary)

    @classmethod
    def open(cls, run_folder: str) -> Order:
        """Opens RUN/order and RUN/tokens; costs the same for any number of steps and documents.

        Checks that rule.json is the rule of order.json; sizes of token shards when they are first read.
        Raises InputError when there is no order, VerificationFailed when a file does not fit.
        """
        return cls(run_folder, *load_order(run_folder))

    def check(self, *, digests: bool = False) -> None:
        """Checks the sizes of all files, and that rule, roots and order root fit together.

        digests: also check the SHA-256 of every token shard, the documents and the table.
        Raises VerificationFailed when a file does not fit.
        """
        summary, rule = self.summary, self.rule
        tokens, folder = storage.join(self.run_folder, "tokens"), self._folder
        stated = [("documents.parquet", rule.documents.sha256, rule.documents.bytes)]
        stated += [(f"{s.name}.bin", s.sha256, s.bytes) for s in rule.shards]
        sizes = []
        for name, sha256, size in stated:
            sha256, size = self.redacted.expected(name, sha256, size)
            sizes.append((storage.join(tokens, name), size, sha256))
        sizes += [(storage.join(folder, f.path), f.bytes, f.sha256) for f in (*summary.table, summary.roots)]
        for path, size, sha256 in sizes:
            check_size(path, size)
            if digests and storage.sha256_file(path) != sha256:
                raise VerificationFailed(
                    "a file does not have the SHA-256 that the order states",
                    where=path,
                    remedy="restore the file; `corpusmill verify --full` says what else differs",
                )
        head = hashes.chain_head(self._roots.to_pylist())
        root = hashes.order_root(rule.to_bytes(), head, bytes.fromhex(summary.documents_root))
        if root.hex() != summary.order_root:
            raise VerificationFailed(
                "rule.json and roots.parquet do not give the order root that order.json states",
                where=folder,
                value=root.hex(),
                remedy="restore the order folder; `corpusmill verify --full` says which part differs",
            )

    @cached_property
    def redacted(self) -> RedactedFiles:
        """Documents whose tokens are gone."""
        return RedactedFiles.load(storage.join(self.run_folder, "tokens"))

    def check_can_be_fed(self, first_step: int, stop_step: int) -> None:
        """Raises InputError when one of the steps [first_step, stop_step) reads a document that was redacted."""
        if not self.redacted.documents:
            return
        derivation = self.derivation()
        for ordinal in self.redacted.documents:
            steps = [use.step for use in derivation.uses(ordinal) if first_step <= use.step < stop_step]
            if steps:
                raise InputError(
                    f"step {steps[0]} reads a document whose tokens were redacted",
                    where=f"document {ordinal}",
                    remedy="only an order without it can be trained on now (corpusmill takedown RUN --mode rederive, in"
                    " a run folder that has no train/); redact when training is done",
                )

    def continues(self, order_root: str, next_step: int) -> bool:
        """Whether what was fed from the order `order_root` before `next_step` is what this order says, too.

        So of this order itself, and of a revision that it replaces whose steps before `next_step` are the same.
        """
        if order_root == self.root:
            return True
        for folder in ancestors(self._folder):
            if load_model(OrderSummary, storage.join(folder, "order.json")).order_root == order_root:
                now: list[bytes] = self._roots.slice(0, next_step).to_pylist()
                return roots_of(folder)[:next_step] == now
        return False

    @cached_property
    def _roots(self) -> pa.ChunkedArray:
        path = storage.join(self._folder, self.summary.roots.path)
        return storage.read_parquet(path, ["root"]).column("root")

    @property
    def root(self) -> str:
        """The order root, 64 hexadecimal digits."""
        return self.summary.order_root

    @property
    def steps(self) -> int:
        """Number of steps."""
        return self.rule.steps

    def phase(self, step: int) -> Phase:
        """The phase of a step: its sequence_length L (a sequence reads L+1 tokens) and batch_size (slots of a step).

        Raises IndexError for a step outside the order.
        """
        return self.rule.phase_at(step)

    @property
    def longest(self) -> int:
        """The largest sequence length of all phases."""
        return max(p.sequence_length for p in self.rule.phases)

    def derivation(self) -> Derivation:
        """The order derived from its rule, without the table. Costs O(documents) where the packing does."""
        return Derivation(self.rule, self.index, load_takedown(self._folder, self.rule))

    def tokens_before(self, step: int) -> int:
        """Labels (L a sequence, padding included) of the steps before `step`."""
        stretches = ((p, min(step, p.stop_step) - p.first_step) for p in self.rule.phases)
        return sum(max(0, steps) * p.batch_size * p.sequence_length for p, steps in stretches)

    @property
    def tokenizer_sha256(self) -> str:
        """SHA-256 of the tokenizer's model file."""
        return self.rule.tokenizer.sha256

    @property
    def vocab_size(self) -> int:
        """Token ids are 0..vocab_size-1."""
        return self.rule.tokenizer.vocab_size

    def step(self, step: int, slots: Sequence[int] | npt.NDArray[np.integer] | None = None) -> StepRows:
        """The sequences of `step`: all slots, or those of `slots` (ascending order whatever order is asked).

        Rank r of W takes range(r, batch_size, W). Raises IndexError for a step or slot outside the order.
        """
        phase = self.phase(step)
        table = self.table(step)
        if slots is not None:
            wanted = pa.array(np.asarray(slots, dtype=np.int32))
            if not len(wanted) or not 0 <= pc.min(wanted).as_py() <= pc.max(wanted).as_py() < phase.batch_size:
                raise IndexError(f"slots must be one or more of [0, {phase.batch_size}), got {list(slots)}")
            table = table.filter(pc.is_in(table.column("slot"), wanted))
        pad_id = self.rule.tokenizer.pad_id
        (rows,) = materialise(table, phase.sequence_length, self.index, self.store, pad_id)
        return rows

    def table(self, step: int) -> pa.Table:
        """The table's rows of one step."""
        self.rule.phase_at(step)
        return self._table.step(step)

    def leaf(
        self,
        slot: int,
        tokens_row: npt.NDArray[np.integer],
        segments: RowSegments,
        loss_mask_row: BoolArray | None = None,
    ) -> bytes:
        """32-byte leaf of one sequence as it was really fed.

        Args:
            slot: its slot.
            tokens_row: (L+1,) any integer dtype.
            segments: StepRows.segments of that slot.
            loss_mask_row: (L,) the mask the loss was computed with; None for the mask that the segments imply.
        """
        mask = segments.loss_mask() if loss_mask_row is None else loss_mask_row
        return row_leaf(slot, tokens_row, segments, mask, self.index, self.store.dtype)

    def recorded_root(self, step: int) -> bytes:
        """The step root that the order states, 32 bytes."""
        root: bytes = self._roots[step].as_py()
        return root


class TableReader:
    """Rows of one step at a time; keeps the row group it read last, so that steps in sequence decode it once."""

    def __init__(self, order_folder: str, summary: OrderSummary) -> None:
        self._paths = [storage.join(order_folder, f.path) for f in summary.table]
        self._table = summary.table
        self._first_steps = [f.first_step for f in summary.table]
        self._files: dict[int, pq.ParquetFile] = {}
        self._last: tuple[int, int, pa.Table] | None = None  # replaced as a whole: threads may read at once

    def step(self, step: int) -> pa.Table:
        """TABLE rows of one step."""
        number = self._file_of(step)
        group = (step - self._first_steps[number]) // self._table[number].group_steps
        table = self._read(number, group)
        steps = table.column("step").to_numpy()
        first, stop = np.searchsorted(steps, [step, step + 1])
        return table.slice(int(first), int(stop - first))

    def path(self, step: int) -> str:
        """The file that holds `step`."""
        return self._paths[self._file_of(step)]

    def _file_of(self, step: int) -> int:
        return bisect_right(self._first_steps, step) - 1

    def _read(self, number: int, group: int) -> pa.Table:
        last = self._last
        if last is None or last[:2] != (number, group):
            if number not in self._files:
                self._files[number] = pq.ParquetFile(self._paths[number], memory_map=True)
            last = (number, group, self._files[number].read_row_group(group))
            self._last = last
        return last[2]


def load_order(run_folder: str) -> tuple[OrderSummary, Rule]:
    """order.json and rule.json. Raises InputError when there is no order, VerificationFailed when they do not fit."""
    folder = storage.join(run_folder, "order")
    path = storage.join(folder, "order.json")
    if not storage.exists(path):
        raise InputError("this run has no training order", where=run_folder, remedy="run the order step first")
    summary = load_model(OrderSummary, path)
    rule_path = storage.join(folder, "rule.json")
    seen = digest(storage.read_bytes(rule_path))
    if seen != summary.rule_sha256:
        raise VerificationFailed(
            "rule.json is not the rule that order.json was built from",
            where=rule_path,
            value=seen,
            remedy="restore rule.json; a changed setting needs a new order (run the order step), never an edited rule",
        )
    return summary, load_model(Rule, rule_path)
