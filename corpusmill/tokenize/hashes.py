"""The hashes of an order, as docs/order-format.md specifies them.

H is SHA-256, | joins bytes, integers are little-endian.

commitment = H(salt | token bytes | mask | positions)    one a segment
leaf       = H(0x00 | slot | commitments)                one a sequence
step root  = Merkle tree (RFC 6962) over the leaves in slot order, inner node H(0x01 | left | right)
chain      = H(0x02 | head | step root), first head H("corpusmill chain v1")
order_root = H(0x03 | H(rule.json) | chain head | documents root)
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Protocol

HASH_BYTES = 32
_CHUNK_LEAVES = 1024  # a power of two
CHAIN_START = hashlib.sha256(b"corpusmill chain v1").digest()


class Buffer(Protocol):
    """Anything whose bytes can be joined: bytes, or a memoryview of bytes."""

    def __buffer__(self, flags: int, /) -> memoryview: ...


def segment_commitment(salt: bytes, tokens: Buffer, mask: Buffer, first_position: int, num_tokens: int) -> bytes:
    """32 bytes that bind one segment.

    Args:
        salt: 16 bytes of its document, zeros for padding.
        tokens: its token ids in the width of the token shards, little-endian.
        mask: one byte a token, 1 where the token is a label that counts in the loss.
        first_position: of its first token in the sequence, 0..L.
        num_tokens: in the segment.
    """
    return hashlib.sha256(b"".join((salt, tokens, mask, struct.pack("<II", first_position, num_tokens)))).digest()


def leaf_hash(slot: int, commitments: Sequence[bytes]) -> bytes:
    """32 bytes that bind the sequence at `slot` (uint32) of a step; commitments in segment order."""
    return hashlib.sha256(b"\0" + struct.pack("<I", slot) + b"".join(commitments)).digest()


def step_root(leaves: Sequence[bytes]) -> bytes:
    """Root of a step from the leaves of all its slots, in slot order."""
    return merkle_root(leaves)


def merkle_root(leaves: Iterable[bytes]) -> bytes:
    """RFC 6962 tree over leaf hashes; H("") when there are none. Memory O(log leaves)."""
    stack: list[tuple[int, bytes]] = []  # (height, root) of the perfect trees so far, highest first
    rest = iter(leaves)
    while chunk := list(islice(rest, _CHUNK_LEAVES)):
        height, node = 0, _root_of_level(chunk)
        if len(chunk) < _CHUNK_LEAVES:
            height = -1  # the last: no tree of its height is before it
        while stack and stack[-1][0] == height:
            node = inner_node(stack.pop()[1], node)
            height += 1
        stack.append((height, node))
    if not stack:
        return hashlib.sha256(b"").digest()
    node = stack.pop()[1]
    while stack:
        node = inner_node(stack.pop()[1], node)
    return node


def _root_of_level(level: list[bytes]) -> bytes:
    """The tree over one or more nodes: pairs, level by level; a last one without a pair goes up as it is."""
    sha256 = hashlib.sha256
    while len(level) > 1:
        above = [sha256(b"\1" + left + right).digest() for left, right in zip(level[::2], level[1::2], strict=False)]
        if len(level) % 2:
            above.append(level[-1])
        level = above
    return level[0]


def inner_node(left: bytes, right: bytes) -> bytes:
    """Node above two nodes of a Merkle tree."""
    return hashlib.sha256(b"\1" + left + right).digest()


def chain_next(head: bytes, root: bytes) -> bytes:
    """The chain's head after one more step."""
    return hashlib.sha256(b"\2" + head + root).digest()


def chain_head(roots: Iterable[bytes]) -> bytes:
    """The chain's head after all steps, in step order."""
    head = CHAIN_START
    for root in roots:
        head = chain_next(head, root)
    return head


def order_root(rule: bytes, head: bytes, documents_root: bytes) -> bytes:
    """32 bytes that bind everything: `rule` is the content of rule.json."""
    return hashlib.sha256(b"\3" + hashlib.sha256(rule).digest() + head + documents_root).digest()


def document_leaf(content_hash: bytes, doc_ordinal: int, num_tokens: int) -> bytes:
    """Leaf of the document tree: H(0x00 | content hash (16) | ordinal (uint64) | tokens incl. EOS (uint64))."""
    return hashlib.sha256(b"\0" + content_hash + struct.pack("<QQ", doc_ordinal, num_tokens)).digest()


def salt_of(salt_key: str, doc_id: str) -> bytes:
    """16 bytes: BLAKE2b keyed with BLAKE2b-512 of `salt_key`, over `doc_id`.

    Whoever knows the salt and guesses a text can confirm the guess against its commitments; a secret `salt_key` keeps
    texts that were taken down beyond such guesses. With a public key the salts protect nothing.
    """
    key = hashlib.blake2b(salt_key.encode("utf-8")).digest()
    return hashlib.blake2b(doc_id.encode("utf-8"), key=key, digest_size=16).digest()
