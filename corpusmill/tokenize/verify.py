"""Proof that an order is what it says: rule = table = token bytes = what was fed.

    quick    sizes; SHA-256 of all but the token shards; counts, offsets and sums; bijection; chain and roots
    sample   and N steps: the table derived from the rule again, step roots computed from the token bytes again
    full     and all steps, and the SHA-256 of the token shards

Every check runs, whatever fails before it, so that the answer names all that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpusmill.core import storage
from corpusmill.core.errors import CorpusmillError, VerificationFailed
from corpusmill.core.hashing import digest
from corpusmill.tokenize import hashes
from corpusmill.tokenize.columns import OFFSETS, SALTS, read_columns
from corpusmill.tokenize.derivation import Derivation
from corpusmill.tokenize.order import OrderSummary, documents_root_of, tokens_read
from corpusmill.tokenize.packing import PAD
from corpusmill.tokenize.permutation import Permutation, WindowPermutation
from corpusmill.tokenize.redaction import RedactedFiles, load_commitments
from corpusmill.tokenize.replay import Replay, replay
from corpusmill.tokenize.revisions import ancestors, roots_of
from corpusmill.tokenize.rule import Rule
from corpusmill.tokenize.shards import DTYPES, TokensManifest, load_model, shard_path
from corpusmill.tokenize.store import DocumentIndex, TokenStore, check_size
from corpusmill.tokenize.takedown import FILE as TAKEDOWN_FILE
from corpusmill.tokenize.takedown import load_takedown

Mode = Literal["quick", "sample", "full"]

_BIJECTION_CHUNK = 1 << 20  # indices tried at once; quick and sample try one chunk of an epoch, full all
_RESTORE_ORDER = "restore order/ from a copy, or build it again (its root then shows whether it is the same)"
_RESTORE_TOKENS = "restore tokens/ from a copy, or run the tokens and order steps again"


class Check(NamedTuple):
    """One check. detail: what was found; on failure the file, the value seen and the remedy."""

    name: str
    ok: bool
    detail: str


def verify_order(run_folder: str, mode: Mode = "quick", sample: int = 16) -> list[Check]:
    """Checks RUN/order against RUN/tokens and, where it exists, RUN/train/fed.parquet.

    sample: steps that the mode `sample` looks at; the order root chooses them, the first and the last are among them.
    """
    return [_check(name, check) for name, check in _Verifier(run_folder, mode, sample).checks()]


def _check(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, True, check())
    except CorpusmillError as error:
        return Check(name, False, str(error))


def _fail(what: str, where: str, value: object, remedy: str) -> VerificationFailed:
    return VerificationFailed(what, where=where, value=value, remedy=remedy)


def _read(path: str, remedy: str, columns: list[str] | None = None) -> pa.Table:
    """A Parquet file; VerificationFailed where it is none, is damaged or lacks a column."""
    try:
        return storage.read_parquet(path, columns)
    except (pa.ArrowException, OSError) as error:
        raise _fail("not a readable Parquet file", path, str(error)[:200], remedy) from error


class _Verifier:
    """The checks of one order. Files are read when the first check asks for them."""

    def __init__(self, run_folder: str, mode: Mode, sample: int) -> None:
        self._tokens = storage.join(run_folder, "tokens")
        self._order = storage.join(run_folder, "order")
        self._rule_path = storage.join(self._order, "rule.json")
        self._documents_path = storage.join(self._tokens, "documents.parquet")
        self._fed_path = storage.join(run_folder, "train", "fed.parquet")
        self._mode = mode
        self._sample = sample

    def checks(self) -> Iterator[tuple[str, Callable[[], str]]]:
        yield "order: rule", self._check_rule
        yield "order: sizes", self._check_sizes
        yield "order: sha256", self._check_sha256
        yield "order: shard list", self._check_shards
        yield "order: documents", self._check_documents
        yield "order: permutation", self._check_permutation
        yield "order: table", self._check_table
        yield "order: chain", self._check_chain
        yield "order: documents root", self._check_documents_root
        yield "order: order root", self._check_order_root
        if self._mode != "quick":
            yield "order: rule = table", self._check_derivation
            yield "order: rule = token bytes", self._check_roots
        if storage.exists(self._fed_path):
            yield "order: fed", self._check_fed

    @cached_property
    def _summary(self) -> OrderSummary:
        return load_model(OrderSummary, storage.join(self._order, "order.json"))

    @cached_property
    def _rule(self) -> Rule:
        return load_model(Rule, self._rule_path)

    @cached_property
    def _documents(self) -> pa.Table:
        columns = ["doc_ordinal", "content_hash", "source", "shard", "token_offset", "num_tokens", "salt"]
        return _read(self._documents_path, _RESTORE_TOKENS, columns)

    @cached_property
    def _index(self) -> DocumentIndex:
        return DocumentIndex.load(self._tokens, self._rule.shards)

    @cached_property
    def _derivation(self) -> Derivation:
        return Derivation(self._rule, self._index, load_takedown(self._order, self._rule))

    @cached_property
    def _redacted(self) -> RedactedFiles:
        return RedactedFiles.load(self._tokens)

    @cached_property
    def _roots(self) -> list[bytes]:
        path = storage.join(self._order, self._summary.roots.path)
        table = _read(path, _RESTORE_ORDER)
        if table.column("step").to_pylist() != list(range(self._rule.steps)):
            what = f"these are not the roots of steps 0..{self._rule.steps - 1}"
            raise _fail(what, path, f"{table.num_rows} rows", _RESTORE_ORDER)
        roots: list[bytes] = table.column("root").to_pylist()
        return roots

    @cached_property
    def _replay(self) -> Replay:
        store = TokenStore(self._tokens, self._rule.shards, self._rule.tokenizer.dtype)
        steps = self._sample if self._mode == "sample" else None
        redacted = load_commitments(self._order)
        return replay(self._order, self._summary, self._derivation, self._index, store, self._roots, redacted, steps)

    def _files(self, *, shards: bool) -> Iterator[tuple[str, int, str, str]]:
        """(path, bytes, sha256, remedy) of the files that rule and summary name."""
        documents = self._rule.documents
        sha256, size = self._redacted.expected("documents.parquet", documents.sha256, documents.bytes)
        yield self._documents_path, size, sha256, _RESTORE_TOKENS
        for entry in (*self._summary.table, self._summary.roots):
            yield storage.join(self._order, entry.path), entry.bytes, entry.sha256, _RESTORE_ORDER
        if self._rule.takedown is not None:
            taken = self._rule.takedown
            yield storage.join(self._order, TAKEDOWN_FILE), taken.bytes, taken.sha256, _RESTORE_ORDER
        for shard in self._rule.shards if shards else ():
            sha256, size = self._redacted.expected(f"{shard.name}.bin", shard.sha256, shard.bytes)
            yield shard_path(self._tokens, shard.name), size, sha256, _RESTORE_TOKENS

    def _check_rule(self) -> str:
        seen = digest(storage.read_bytes(self._rule_path))
        if seen != self._summary.rule_sha256:
            remedy = "restore rule.json; a changed setting needs a new order, never an edited rule"
            raise _fail("this is not the rule that order.json was built from", self._rule_path, seen, remedy)
        sequences = self._rule.sequences
        if (self._rule.steps, sequences) != (self._summary.steps, self._summary.sequences):
            what = f"the rule has {self._rule.steps} steps of {sequences} sequences in all"
            seen_counts = (self._summary.steps, self._summary.sequences)
            raise _fail(what, storage.join(self._order, "order.json"), seen_counts, _RESTORE_ORDER)
        return f"{len(self._rule.phases)} phases, {self._rule.steps} steps, {sequences} sequences"

    def _check_sizes(self) -> str:
        files = list(self._files(shards=True))
        for path, size, _, _ in files:
            check_size(path, size)
        return f"{len(files)} files, {sum(size for _, size, _, _ in files)} bytes"

    def _check_sha256(self) -> str:
        files = list(self._files(shards=self._mode == "full"))
        for path, _, expected, remedy in files:
            seen = storage.sha256_file(path)
            if seen != expected:
                raise _fail("the file does not have the SHA-256 that the order states", path, seen, remedy)
        return f"{len(files)} files" + ("" if self._mode == "full" else " (token shards: --full)")

    def _check_shards(self) -> str:
        manifest = TokensManifest.load(self._tokens)
        listed, stated = {s.name: s for s in manifest.shards}, {s.name: s for s in self._rule.shards}
        if manifest.shards != self._rule.shards:
            wrong = sorted(n for n in listed.keys() | stated.keys() if listed.get(n) != stated.get(n))
            raise _fail(
                "the shards of rule.json and of the tokens' manifest are not the same",
                storage.join(self._tokens, "manifest.json"),
                ", ".join(wrong[:5]) or "the same shards in another sequence",
                "give the order the tokens it was built from, or build a new order for these tokens",
            )
        tokenizer = storage.join(self._tokens, "tokenizer.model")
        seen = storage.sha256_file(tokenizer)
        if seen != self._rule.tokenizer.sha256:
            raise _fail("this is not the tokenizer of the order", tokenizer, seen, _RESTORE_TOKENS)
        return f"{len(stated)} shards, {self._rule.documents.tokens} tokens"

    def _check_documents(self) -> str:
        """Ordinals are row numbers, documents fill their shards without gaps, sums agree."""
        problem = self._documents_problem()
        if problem:
            seen = f"{len(self._index)} documents, {int(self._index.offsets[-1])} tokens"
            raise _fail(problem, self._documents_path, seen, _RESTORE_TOKENS)
        redacted = f", {len(self._redacted.documents)} of them redacted" if self._redacted.documents else ""
        return f"{len(self._index)} documents{redacted}, {self._rule.documents.tokens} tokens"

    def _documents_problem(self) -> str:
        table, rule = self._documents, self._rule
        ordinals = table.column("doc_ordinal").to_numpy()
        if len(ordinals) != rule.documents.documents or not np.array_equal(ordinals, np.arange(len(ordinals))):
            return f"{rule.documents.documents} documents with their row number as ordinal are expected"
        offsets, salts = read_columns(self._documents_path)
        lengths = np.diff(offsets)
        if np.any(lengths < 1):
            return "a document has no token"
        if int(offsets[-1]) != rule.documents.tokens:
            return f"the rule states {rule.documents.tokens} tokens"
        starts = table.column("token_offset").to_numpy()
        names, sources = (pc.cast(table.column(c), pa.string()) for c in ("shard", "source"))
        a = 0
        for shard in rule.shards:
            b = a + shard.documents
            if b > len(lengths) or int(offsets[b] - offsets[a]) != shard.tokens:
                return f"shard {shard.name} should have {shard.documents} documents of {shard.tokens} tokens in all"
            for column, value in ((names, shard.name), (sources, shard.source)):
                if pc.unique(column.slice(a, b - a)).to_pylist() not in ([], [value]):
                    return f"documents {a}..{b - 1} should be of shard {shard.name}, source {shard.source}"
            moved = np.flatnonzero(starts[a:b] != offsets[a:b] - offsets[a])
            if len(moved):
                return f"document {a + moved[0]} does not begin where the one before it in shard {shard.name} ends"
            if shard.bytes != shard.tokens * DTYPES[rule.tokenizer.dtype].itemsize:
                return f"shard {shard.name} has {shard.bytes} bytes, which are not {shard.tokens} tokens"
            a = b
        for name, column in ((OFFSETS, offsets.astype("<i8")), (SALTS, salts)):
            path = storage.join(self._tokens, name)
            if storage.exists(path) and storage.read_bytes(path) != column.tobytes():
                return f"{name} is not the column of documents.parquet"
        left = [ordinal for ordinal in self._redacted.documents if np.any(salts.reshape(-1, 16)[ordinal])]
        return f"document {left[0]} is redacted and still has its salt" if left else ""

    def _check_permutation(self) -> str:
        tried = 0
        for part in self._derivation.phases:
            for reading, cursor, count in zip(part.readings, part.cursors, part.taken, strict=True):
                for span in reading.spans(cursor, cursor + count):
                    permutation = reading.permutation(span.epoch)
                    stop = permutation.n if self._mode == "full" else min(permutation.n, _BIJECTION_CHUNK)
                    for start in range(0, stop, _BIJECTION_CHUNK):
                        self._try_permutation(permutation, start, min(start + _BIJECTION_CHUNK, stop))
                    tried += stop
        return f"{tried} indices come back from their images"

    def _try_permutation(self, permutation: Permutation | WindowPermutation, start: int, stop: int) -> None:
        indices = np.arange(start, stop)
        images = permutation.forward(indices)
        inside = bool(np.all((images >= 0) & (images < permutation.n)))
        if not inside or not np.array_equal(permutation.inverse(images), indices):
            raise _fail(
                f"the permutation of {permutation.n} sequences is no bijection on [{start}, {stop})",
                self._rule_path,
                None,
                "this is a bug of corpusmill or a broken installation: please report it",
            )

    def _check_table(self) -> str:
        """Counts and sums of the whole table, without deriving it."""
        summary = self._summary
        seen = np.zeros(4, np.int64)
        for entry in summary.table:
            seen += self._table_counts(storage.join(self._order, entry.path))
        stated = [summary.rows, summary.sequences, summary.document_tokens, summary.pad_tokens]
        read = tokens_read(self._rule)
        if seen.tolist() != stated or stated[2] + stated[3] != read:
            what = f"{stated} rows, sequences, tokens of documents and of padding are expected, {read} tokens in all"
            raise _fail(what, storage.join(self._order, "table-*.parquet"), seen.tolist(), _RESTORE_ORDER)
        return f"{stated[0]} rows, {stated[2]} tokens of documents, {stated[3]} of padding"

    def _table_counts(self, path: str) -> list[int]:
        table = _read(path, _RESTORE_ORDER, ["segment", "doc_ordinal", "num_tokens", "flags"])
        lengths = table.column("num_tokens").to_numpy()
        pad = (table.column("flags").to_numpy() & PAD) != 0
        ordinals = table.column("doc_ordinal").to_numpy()
        highest = int(ordinals.max(initial=-1))
        if highest >= self._rule.documents.documents or not np.array_equal(ordinals < 0, pad):
            what = f"ordinals must be below {self._rule.documents.documents}, and negative in padding only"
            raise _fail(what, path, highest, _RESTORE_ORDER)
        sequences = int(pc.sum(pc.equal(table.column("segment"), 0)).as_py() or 0)
        return [
            table.num_rows,
            sequences,
            int(lengths[~pad].sum(dtype=np.int64)),
            int(lengths[pad].sum(dtype=np.int64)),
        ]

    def _check_chain(self) -> str:
        head = hashes.chain_head(self._roots).hex()
        if head != self._summary.chain_head:
            path = storage.join(self._order, self._summary.roots.path)
            raise _fail("the step roots do not give the chain head of order.json", path, head, _RESTORE_ORDER)
        return f"{len(self._roots)} step roots, head {head}"

    def _check_documents_root(self) -> str:
        root = documents_root_of(self._documents).hex()
        if root != self._summary.documents_root:
            what = "the documents do not give the documents root of order.json"
            raise _fail(what, self._documents_path, root, _RESTORE_TOKENS)
        return root

    def _check_order_root(self) -> str:
        head, documents_root = bytes.fromhex(self._summary.chain_head), bytes.fromhex(self._summary.documents_root)
        root = hashes.order_root(storage.read_bytes(self._rule_path), head, documents_root).hex()
        if root != self._summary.order_root:
            what = "rule.json, chain head and documents root do not give the order root"
            raise _fail(what, storage.join(self._order, "order.json"), root, _RESTORE_ORDER)
        return root

    def _check_derivation(self) -> str:
        found = self._replay.table_difference
        if found is not None:
            what = f"the table does not say what the rule gives; the first difference is at step {found.step}"
            raise _fail(what, found.path, found.seen, _RESTORE_ORDER)
        return f"{self._replay.steps} of {self._rule.steps} steps derived again"

    def _check_roots(self) -> str:
        found = self._replay.root_difference
        if found is not None:
            what = f"the token bytes that the rule names do not give the root of step {found.step}"
            remedy = "if `corpusmill verify RUN --full` names a token shard, restore that; if not, " + _RESTORE_ORDER
            raise _fail(what, found.path, found.seen, remedy)
        return f"{self._replay.steps} of {self._rule.steps} steps hashed again"

    def _check_fed(self) -> str:
        remedy = "the weights were not made from this order: keep fed.parquet with the order it belongs to, or retrain"
        table = _read(self._fed_path, "restore train/ from a copy", ["attempt", "step", "hash"])
        earlier = [roots_of(folder) for folder in ancestors(self._order)]
        replaced = 0
        for row in table.to_pylist():
            where = f"{self._fed_path}, attempt {row['attempt']}"
            if not 0 <= row["step"] < self._rule.steps:
                raise _fail(f"step {row['step']} is not in the order", where, None, remedy)
            if row["hash"] != self._roots[row["step"]]:
                if not any(row["hash"] == roots[row["step"]] for roots in earlier if row["step"] < len(roots)):
                    raise _fail(f"step {row['step']} was fed another batch", where, row["hash"].hex(), remedy)
                replaced += 1
        by_earlier = f", {replaced} of them by a revision that this order replaces" if replaced else ""
        return f"{table.num_rows} steps were fed as planned{by_earlier}"
