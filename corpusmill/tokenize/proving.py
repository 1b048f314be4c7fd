"""Making proofs (see proofs.py) from the files of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.compute as pc

from corpusmill.core import storage
from corpusmill.core.errors import InputError
from corpusmill.tokenize import hashes
from corpusmill.tokenize.document_tree import DocumentTree
from corpusmill.tokenize.merkle import audit_path_of
from corpusmill.tokenize.proofs import (
    Claim,
    ClaimedDocument,
    Proof,
    ProofLeaf,
    ProofSegment,
    ProofSequence,
    ProofUses,
    check_proof,
    claimed_uses,
)
from corpusmill.tokenize.reader import Order
from corpusmill.tokenize.redaction import RedactedFiles, load_commitments
from corpusmill.tokenize.rows import StepRows, leaves_of, row_commitments


def make_proof(run_folder: str, content_hash: bytes, steps: Sequence[int] = ()) -> Proof:
    """The proof that documents of this content hash (16 bytes) are in the order of the run, or that none is.

    It was checked before it is returned. The first proof of a run sorts its documents (see document_tree.py).

    Args:
        run_folder: with tokens/ and order/.
        content_hash: of the text, BLAKE2b-128.
        steps: whose uses of the documents are shown too; shows their tokens and salts.

    Raises:
        InputError: a step does not read the documents, or they are redacted and a use cannot be shown.
        VerificationFailed: the files of the run do not give the order root.
    """
    order = Order.open(run_folder)
    summary, rule = order.summary, order.rule
    root = bytes.fromhex(summary.documents_root)
    with TemporaryDirectory(prefix="corpusmill-tree-") as scratch:
        tree = DocumentTree.open(storage.join(run_folder, "tokens"), rule.documents.documents, root, scratch)
        places = tree.find(content_hash)
        leaves = []
        for index in range(max(0, places.start - 1), min(len(tree), places.stop + 1)):
            found = tree.leaf(index)
            leaves.append(
                ProofLeaf(
                    index=index,
                    content_hash=found.content_hash.hex(),
                    doc_ordinal=found.doc_ordinal,
                    num_tokens=found.num_tokens,
                    path=tuple(node.hex() for node in tree.path(index)),
                )
            )
        del tree  # its files may be in `scratch`
    mine = [leaf for leaf in leaves if leaf.content_hash == content_hash.hex()]
    uses = _uses(order, [leaf.doc_ordinal for leaf in mine], steps) if steps else None
    proof = Proof(
        order_root=summary.order_root,
        claim=Claim(
            content_hash=content_hash.hex(),
            documents=tuple(ClaimedDocument(doc_ordinal=m.doc_ordinal, num_tokens=m.num_tokens) for m in mine),
            uses=claimed_uses(uses, rule),
        ),
        rule=storage.read_text(storage.join(run_folder, "order", "rule.json")),
        chain_head=summary.chain_head,
        documents_root=summary.documents_root,
        leaves=tuple(leaves),
        uses=uses,
    )
    check_proof(proof)
    return proof


def _uses(order: Order, doc_ordinals: Sequence[int], steps: Sequence[int]) -> ProofUses:
    tokens_folder, order_folder = (storage.join(order.run_folder, name) for name in ("tokens", "order"))
    steps = sorted(set(steps))
    for step in (steps[0], steps[-1]):
        if not 0 <= step < order.steps:
            raise InputError("the order has no such step", value=step, remedy=f"name a step of 0..{order.steps - 1}")
    gone = set(RedactedFiles.load(tokens_folder).documents)
    if gone.intersection(doc_ordinals):
        raise InputError(
            "the document is redacted: its tokens and salt, which would show a use, are gone",
            remedy="leave out --step: that the document is in the order can still be proved",
        )
    redacted = load_commitments(order_folder)
    sequences: list[ProofSequence] = []
    for step in steps:
        sequences += _sequences(order, doc_ordinals, step, redacted.get(step, {}))
    roots = storage.read_parquet(storage.join(order_folder, order.summary.roots.path), ["root"]).column("root")
    before: list[bytes] = roots.slice(0, steps[0]).to_pylist()
    return ProofUses(
        first_step=steps[0],
        head=hashes.chain_head(before).hex(),
        roots=b"".join(roots.slice(steps[0]).to_pylist()).hex(),
        sequences=tuple(sequences),
    )


def _sequences(
    order: Order, doc_ordinals: Sequence[int], step: int, known: Mapping[int, Mapping[int, bytes]]
) -> list[ProofSequence]:
    table = order.table(step)
    slots = np.unique(table.filter(pc.field("doc_ordinal").isin(list(doc_ordinals))).column("slot").to_numpy())
    if not len(slots):
        raise InputError(
            "the step reads no document of this content hash",
            value=f"step {step}",
            remedy="`corpusmill order find` lists the steps that do",
        )
    rows = order.step(step)
    leaves = leaves_of(rows, order.index, order.store.dtype, known)
    found = []
    for slot in slots.tolist():
        commitments = row_commitments(
            rows.tokens[slot],
            rows.segments[slot],
            rows.loss_mask[slot],
            order.index,
            order.store.dtype,
        )
        for number, commitment in known.get(slot, {}).items():  # of redacted documents
            commitments[number] = commitment
        found.append(
            ProofSequence(
                step=step,
                slot=slot,
                segments=_segments(order, rows, slot, set(doc_ordinals), commitments),
                path=tuple(node.hex() for node in audit_path_of(slot, leaves)),
            )
        )
    return found


def _segments(
    order: Order, rows: StepRows, slot: int, opened: set[int], commitments: Sequence[bytes]
) -> tuple[ProofSegment, ...]:
    segments = rows.segments[slot]
    tokens = rows.tokens[slot].astype(order.store.dtype)
    mask = np.concatenate([[False], rows.loss_mask[slot]]).astype(np.uint8)
    ends = np.cumsum(segments.num_tokens).tolist()
    found = []
    for number, ordinal in enumerate(segments.doc_ordinals.tolist()):
        if ordinal not in opened:
            found.append(ProofSegment(commitment=commitments[number].hex()))
            continue
        part = slice(ends[number] - int(segments.num_tokens[number]), ends[number])
        found.append(
            ProofSegment(
                salt=order.index.salt(ordinal).hex(),
                tokens=tokens[part].tobytes().hex(),
                mask=mask[part].tobytes().hex(),
                position=part.start,
            )
        )
    return tuple(found)
