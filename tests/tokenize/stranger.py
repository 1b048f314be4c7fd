"""A reader of orders written from docs/order-format.md alone, in plain Python: the oracle of these tests.

It imports nothing of corpusmill, is slow, and holds everything in memory.
"""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

MASK64 = (1 << 64) - 1


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def rotate(x: int, bits: int) -> int:
    return ((x << bits) | (x >> (64 - bits))) & MASK64


def siphash24(key: bytes, message: bytes) -> int:
    k0, k1 = struct.unpack("<QQ", key)
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def sip_round() -> None:
        v[0] = (v[0] + v[1]) & MASK64
        v[1] = rotate(v[1], 13) ^ v[0]
        v[0] = rotate(v[0], 32)
        v[2] = (v[2] + v[3]) & MASK64
        v[3] = rotate(v[3], 16) ^ v[2]
        v[0] = (v[0] + v[3]) & MASK64
        v[3] = rotate(v[3], 21) ^ v[0]
        v[2] = (v[2] + v[1]) & MASK64
        v[1] = rotate(v[1], 17) ^ v[2]
        v[2] = rotate(v[2], 32)

    whole = len(message) // 8 * 8
    blocks = [int.from_bytes(message[i : i + 8], "little") for i in range(0, whole, 8)]
    blocks.append(int.from_bytes(message[whole:], "little") | (len(message) % 256) << 56)
    for block in blocks:
        v[3] ^= block
        sip_round()
        sip_round()
        v[0] ^= block
    v[2] ^= 0xFF
    for _ in range(4):
        sip_round()
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def permute(index: int, n: int, key: bytes, rounds: int) -> int:
    bits = max(2, (n - 1).bit_length())
    left_bits, right_bits = bits // 2, bits - bits // 2
    x = index
    while True:
        left, right = x >> right_bits, x & ((1 << right_bits) - 1)
        for number in range(rounds):
            if number % 2 == 0:
                word = (number << 56) | right
                left ^= siphash24(key, struct.pack("<Q", word)) & ((1 << left_bits) - 1)
            else:
                word = (number << 56) | left
                right ^= siphash24(key, struct.pack("<Q", word)) & ((1 << right_bits) - 1)
        x = (left << right_bits) | right
        if x < n:
            return x


def permutation_key(run_key: str, phase: int, source: str, epoch: int) -> bytes:
    message = b""
    for part in ("corpusmill permutation v1", run_key, str(phase), source, str(epoch)):
        data = part.encode()
        message += struct.pack("<I", len(data)) + data
    return hashlib.blake2b(message, digest_size=16).digest()


def pack(lengths: list[int], length: int, block_sequences: int) -> list[list[tuple[int, int]]]:
    """Sequences as lists of (document, token of it), one entry a token."""
    blocks: list[list[int]] = []
    size = 0
    for document, tokens in enumerate(lengths):
        if not blocks or -(-(size + tokens - 1) // length) > block_sequences:
            blocks.append([])
            size = 0
        blocks[-1].append(document)
        size += tokens
    sequences = []
    for block in blocks:
        stream = [(document, token) for document in block for token in range(lengths[document])]
        for i in range(-(-(len(stream) - 1) // length)):
            sequences.append(stream[i * length : i * length + length + 1])
    return sequences


def tree(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, over leaf hashes."""
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return sha256(b"\1" + tree(leaves[:k]) + tree(leaves[k:]))


class StrangersOrder:
    """The order of a run folder, derived from rule.json, documents.parquet and the token files."""

    def __init__(self, run: Path) -> None:
        self.rule: dict[str, Any] = json.loads((run / "order/rule.json").read_bytes())
        self.rule_bytes = (run / "order/rule.json").read_bytes()
        self.documents = pq.read_table(run / "tokens/documents.parquet").to_pylist()
        (self.phase,) = self.rule["phases"]
        (self.source,) = self.phase["sources"]
        self.width = {"uint16": 2, "uint32": 4}[self.rule["tokenizer"]["dtype"]]
        files = {s["name"]: (run / "tokens" / f"{s['name']}.bin").read_bytes() for s in self.rule["shards"]}
        self.tokens = []
        for document in self.documents:
            begin = document["token_offset"] * self.width
            data = files[document["shard"]][begin : begin + document["num_tokens"] * self.width]
            self.tokens.append(
                [int.from_bytes(data[i : i + self.width], "little") for i in range(0, len(data), self.width)]
            )
        self.mine = [d["doc_ordinal"] for d in self.documents if d["source"] == self.source["name"]]
        self.sequences = pack(
            [self.documents[o]["num_tokens"] for o in self.mine],
            self.phase["sequence_length"],
            self.rule["packing"]["block_sequences"],
        )

    def segments(self, step: int, slot: int) -> list[tuple[int, int, int]]:
        """(doc_ordinal, doc_token_start, num_tokens); -1, 0 for padding."""
        n = self.source["sequences"]
        epoch, index = divmod(self.source["first_sequence"] + step * self.phase["batch_size"] + slot, n)
        key = permutation_key(self.rule["key"], self.phase["phase"], self.source["name"], epoch)
        sequence = self.sequences[permute(index, n, key, self.rule["permutation"]["rounds"])]
        found: list[list[int]] = []
        for document, token in sequence:
            if found and found[-1][0] == self.mine[document]:
                found[-1][2] += 1
            else:
                found.append([self.mine[document], token, 1])
        missing = self.phase["sequence_length"] + 1 - len(sequence)
        return [(d, t, k) for d, t, k in found] + ([(-1, 0, missing)] if missing else [])

    def row(self, step: int, slot: int) -> tuple[list[int], list[int], list[bool]]:
        """Token ids (L+1), segment numbers (L+1), which of the L labels count."""
        tokens: list[int] = []
        numbers: list[int] = []
        for number, (ordinal, start, count) in enumerate(self.segments(step, slot)):
            if ordinal < 0:
                tokens += [self.rule["tokenizer"]["pad_id"]] * count
                numbers += [-1] * count
            else:
                tokens += self.tokens[ordinal][start : start + count]
                numbers += [number] * count
        mask = [numbers[i] == numbers[i - 1] != -1 for i in range(1, len(numbers))]
        return tokens, numbers, mask

    def leaf(self, step: int, slot: int) -> bytes:
        tokens, _, mask = self.row(step, slot)
        counted = [False, *mask]
        message = b"\0" + struct.pack("<I", slot)
        at = 0
        for ordinal, _, count in self.segments(step, slot):
            part = self.documents[ordinal]["salt"] if ordinal >= 0 else bytes(16)
            part += b"".join(t.to_bytes(self.width, "little") for t in tokens[at : at + count])
            part += bytes(counted[at : at + count])
            part += struct.pack("<II", at, count)
            message += sha256(part)
            at += count
        return sha256(message)

    def step_root(self, step: int) -> bytes:
        return tree([self.leaf(step, slot) for slot in range(self.phase["batch_size"])])

    def root(self) -> str:
        head = sha256(b"corpusmill chain v1")
        for step in range(self.phase["steps"]):
            head = sha256(b"\2" + head + self.step_root(step))
        ranked = sorted(self.documents, key=lambda d: (d["content_hash"], d["doc_ordinal"]))
        leaves = [
            sha256(b"\0" + d["content_hash"] + struct.pack("<QQ", d["doc_ordinal"], d["num_tokens"])) for d in ranked
        ]
        return sha256(b"\3" + sha256(self.rule_bytes) + head + tree(leaves)).hex()
