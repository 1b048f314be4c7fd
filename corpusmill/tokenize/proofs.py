"""Proofs about one document that anyone checks with nothing but the order root: it is in the order, or it is not.

This is their format and their check; proving.py makes them. A proof is one JSON file. From the root down:

    order root       H(0x03 | H(rule) | chain head | documents root): the rule's text, both others as they are
    documents root   leaves of the document tree, neighbours, each with its audit path: all of the content hash, and the
                     leaf before and the leaf behind them (none at an end of the tree). The tree is sorted by content
                     hash, so these are all documents of that hash; without one between them there is none
    chain head       of a use: the head before the first step, and the step roots from there on
    step root        of a use: the sequence's slot, its audit path, and the commitments of its segments; those of the
                     document are opened: salt, tokens, mask, position

Sizes: the rule's text; 2 + c leaves of some 100 bytes + 66 bytes for each level of the tree (27 at 10^8 documents), c
equal documents; with uses 64 bytes for every step from the first one used to the order's last (15 MB for all of 238,000
steps: a chain has no shorter proof), and 66 bytes for each level of a step, 4 or 8 bytes for each token shown.
"""

from __future__ import annotations

from typing import Annotated, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from corpusmill.core import storage
from corpusmill.core.errors import InputError, VerificationFailed
from corpusmill.tokenize import hashes
from corpusmill.tokenize.merkle import root_of_path
from corpusmill.tokenize.rule import Rule
from corpusmill.tokenize.shards import DTYPES, load_model

SPEC: Literal["corpusmill proof v1"] = "corpusmill proof v1"

Hex = Annotated[str, Field(pattern=r"^([0-9a-f]{2})*$")]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ContentHash = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Count = Annotated[int, Field(ge=0, lt=1 << 63)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ClaimedDocument(_Frozen):
    """A document of the order. num_tokens: EOS included."""

    doc_ordinal: Count
    num_tokens: Count


class ClaimedUse(_Frozen):
    """A run of tokens that the model reads: tokens [position, position + num_tokens) of the sequence (L+1 tokens)."""

    step: Count
    slot: Count
    position: Count
    num_tokens: Count


class Claim(_Frozen):
    """What a proof is about. No documents: none of this content hash is in the order."""

    content_hash: ContentHash
    documents: tuple[ClaimedDocument, ...]
    uses: tuple[ClaimedUse, ...]


class ProofLeaf(_Frozen):
    """A leaf of the document tree, its place and its audit path."""

    index: Count
    content_hash: ContentHash
    doc_ordinal: Count
    num_tokens: Count
    path: tuple[Hash, ...]


class ProofSegment(_Frozen):
    """A segment of a sequence: its commitment, or what it is the hash of.

    tokens: ids in the width of the token shards, little-endian; mask: a byte a token, 1 where it is a counted label.
    """

    commitment: Hash | None = None
    salt: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None
    tokens: Hex | None = None
    mask: Hex | None = None
    position: Count | None = None


class ProofSequence(_Frozen):
    """A sequence that reads the document: all of its segments, and the audit path of its leaf in the step's tree."""

    step: Count
    slot: Count
    segments: tuple[ProofSegment, ...]
    path: tuple[Hash, ...]


class ProofUses(_Frozen):
    """Sequences that read the document, and their steps' place in the chain.

    head: of the chain before first_step. roots: of the steps from first_step to the last, 64 digits each.
    """

    first_step: Count
    head: Hash
    roots: Hex
    sequences: tuple[ProofSequence, ...]


class Proof(_Frozen):
    """See the module. rule: the content of rule.json."""

    spec: Literal["corpusmill proof v1"] = SPEC
    order_root: Hash
    claim: Claim
    rule: str
    chain_head: Hash
    documents_root: Hash
    leaves: tuple[ProofLeaf, ...]
    uses: ProofUses | None = None

    def save(self, path: str) -> None:
        """Writes the proof as JSON."""
        storage.write_text(path, self.model_dump_json(indent=1, exclude_none=True) + "\n")


def load_proof(path: str) -> Proof:
    """A proof from a file. Raises InputError when there is none, VerificationFailed when it does not fit its format."""
    if not storage.exists(path):
        raise InputError("there is no such file", where=path, remedy="make it: corpusmill order prove RUN --out FILE")
    return load_model(Proof, path)


def claimed_uses(uses: ProofUses | None, rule: Rule) -> tuple[ClaimedUse, ...]:
    """The claim that goes with the uses that are shown."""
    digits = 2 * DTYPES[rule.tokenizer.dtype].itemsize
    return tuple(
        ClaimedUse(step=sequence.step, slot=sequence.slot, position=s.position, num_tokens=len(s.tokens) // digits)
        for sequence in (uses.sequences if uses is not None else ())
        for s in sequence.segments
        if s.position is not None and s.tokens is not None
    )


def check_proof(proof: Proof, order_root: str | None = None) -> None:
    """Recomputes everything that a proof claims, from the proof alone.

    order_root: the root that it should be about, 64 hexadecimal digits, from a place that is trusted; None: the one
    that the proof names, about which it then says nothing.

    Raises VerificationFailed that says what does not hold.
    """
    if order_root is not None and proof.order_root != order_root.lower():
        _refuse("the proof is about another order", proof.order_root)
    try:
        rule = Rule.model_validate_json(proof.rule)
    except ValidationError as error:
        raise VerificationFailed("the rule in the proof is not one", value=str(error)[:200]) from error
    head, documents_root = bytes.fromhex(proof.chain_head), bytes.fromhex(proof.documents_root)
    root = hashes.order_root(proof.rule.encode("utf-8"), head, documents_root).hex()
    if root != proof.order_root:
        _refuse("rule, chain head and documents root do not give the order root", root)
    _check_documents(proof, rule.documents.documents, documents_root)
    if proof.uses is not None:
        if not proof.claim.documents or not proof.uses.sequences:
            _refuse("uses of a document are claimed, and none is shown", len(proof.uses.sequences))
        _check_uses(proof.uses, rule, head)
    if proof.claim.uses != claimed_uses(proof.uses, rule):
        _refuse("the uses that are shown are not those that are claimed", len(proof.claim.uses))


def _refuse(what: str, value: object) -> NoReturn:
    raise VerificationFailed(what, value=value, remedy="do not trust this proof; ask for one of the published order")


def _check_documents(proof: Proof, documents: int, documents_root: bytes) -> None:
    wanted, leaves = proof.claim.content_hash, proof.leaves
    if not leaves:
        _refuse("the proof shows no leaf of the document tree", documents)
    for leaf in leaves:
        hashed = hashes.document_leaf(bytes.fromhex(leaf.content_hash), leaf.doc_ordinal, leaf.num_tokens)
        path = [bytes.fromhex(node) for node in leaf.path]
        if root_of_path(hashed, leaf.index, documents, path) != documents_root:
            _refuse(f"leaf {leaf.index} and its path do not give the documents root", leaf.content_hash)
    if [leaf.index for leaf in leaves] != list(range(leaves[0].index, leaves[0].index + len(leaves))):
        _refuse("the leaves are no neighbours", [leaf.index for leaf in leaves])
    keys = [(leaf.content_hash, leaf.doc_ordinal) for leaf in leaves]
    if keys != sorted(set(keys)):
        _refuse("the leaves are not sorted by content hash and ordinal", [leaf.index for leaf in leaves])
    if leaves[0].content_hash >= wanted and leaves[0].index != 0:
        _refuse("a document before the leaves that are shown may be the one in question", leaves[0].index)
    if leaves[-1].content_hash <= wanted and leaves[-1].index != documents - 1:
        _refuse("a document behind the leaves that are shown may be the one in question", leaves[-1].index)
    outside = [leaf for leaf in leaves[1:-1] if leaf.content_hash != wanted]
    if outside:
        _refuse("there are leaves that say nothing about the content hash", outside[0].index)
    mine = [(leaf.doc_ordinal, leaf.num_tokens) for leaf in leaves if leaf.content_hash == wanted]
    if mine != [(d.doc_ordinal, d.num_tokens) for d in proof.claim.documents]:
        _refuse("the documents that are shown are not those that are claimed", mine)


def _check_uses(uses: ProofUses, rule: Rule, chain_head: bytes) -> None:
    roots = bytes.fromhex(uses.roots)
    steps = [roots[a : a + hashes.HASH_BYTES] for a in range(0, len(roots), hashes.HASH_BYTES)]
    if len(roots) != (rule.steps - uses.first_step) * hashes.HASH_BYTES:
        _refuse(f"step roots from step {uses.first_step} to {rule.steps - 1} are expected", len(steps))
    head = bytes.fromhex(uses.head)
    for root in steps:
        head = hashes.chain_next(head, root)
    if head != chain_head:
        _refuse("the step roots do not give the chain head", head.hex())
    places = [(s.step, s.slot) for s in uses.sequences]
    if places != sorted(set(places)) or places[0][0] != uses.first_step:
        _refuse("the sequences are not in order of step and slot, from the first step on", places[0])
    for sequence in uses.sequences:
        _check_sequence(sequence, rule, steps[sequence.step - uses.first_step] if sequence.step < rule.steps else b"")


def _check_sequence(sequence: ProofSequence, rule: Rule, step_root: bytes) -> None:
    where = f"step {sequence.step}, slot {sequence.slot}"
    if sequence.step >= rule.steps:
        _refuse("the order has no such step", where)
    phase = rule.phase_at(sequence.step)
    width = DTYPES[rule.tokenizer.dtype].itemsize
    opened = [segment for segment in sequence.segments if segment.commitment is None]
    if not opened:
        _refuse("no segment of a sequence is shown", where)
    commitments = [_commitment(segment, width, phase.sequence_length, where) for segment in sequence.segments]
    leaf = hashes.leaf_hash(sequence.slot & 0xFFFFFFFF, commitments)
    path = [bytes.fromhex(node) for node in sequence.path]
    if root_of_path(leaf, sequence.slot, phase.batch_size, path) != step_root:
        _refuse("a sequence and its path do not give the root of its step", where)


def _commitment(segment: ProofSegment, width: int, sequence_length: int, where: str) -> bytes:
    parts = (segment.salt, segment.tokens, segment.mask, segment.position)
    if segment.commitment is not None:
        if any(part is not None for part in parts):
            _refuse("a segment has a commitment and what it would be the hash of", where)
        return bytes.fromhex(segment.commitment)
    if segment.salt is None or segment.tokens is None or segment.mask is None or segment.position is None:
        _refuse("a segment has neither a commitment nor all that it is the hash of", where)
    salt, tokens, mask = (bytes.fromhex(part) for part in (segment.salt, segment.tokens, segment.mask))
    count = len(mask)
    if not count or len(tokens) != count * width or segment.position + count > sequence_length + 1:
        _refuse("a segment does not fit into its sequence", where)
    return hashes.segment_commitment(salt, tokens, mask, segment.position, count)


def statements(proof: Proof) -> list[str]:
    """What a proof that was checked proves, in sentences."""
    claim = proof.claim
    total = Rule.model_validate_json(proof.rule).documents.documents
    if not claim.documents:
        return [f"No document with the content hash {claim.content_hash} is among the {total} documents of the order."]
    found = ", ".join(f"ordinal {d.doc_ordinal} ({d.num_tokens} tokens)" for d in claim.documents)
    said = [
        f"The content hash {claim.content_hash} is that of exactly {len(claim.documents)} of the {total} documents of "
        f"the order: {found}."
    ]
    said += [
        f"Step {use.step}, slot {use.slot} reads the {use.num_tokens} tokens shown, from position {use.position} on."
        for use in claim.uses
    ]
    return said


def not_proved(proof: Proof, *, trusted: bool = False) -> list[str]:
    """What a proof leaves open, in sentences. trusted: its order root was compared with a published one."""
    said = ["that a model was trained on this order: train/fed.parquet says what was fed; no hash can tell the weights"]
    if not trusted:
        said.append("that the order root is the published one: `order check --order-root` compares them")
    said += [
        "that the tree is sorted, and each content hash that of its document: `corpusmill verify` and the texts tell",
        "anything about another version of the text: one other byte makes another content hash",
    ]
    if proof.claim.uses:
        said += [
            "that the tokens shown are those of this text: encode it with the order's tokenizer and compare",
            "that these are all uses: the rule decides that; `order find` lists them",
        ]
    elif proof.claim.documents:
        said.append("that a step reads the document: --step N shows that")
    else:
        said.append("that no document holds the text as a part of it")
    return said
