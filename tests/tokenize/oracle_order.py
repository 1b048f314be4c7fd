"""The order of a rule, derived from docs/order-format.md alone, in plain Python: the oracle of these tests.

It imports nothing of corpusmill, is slow, and holds everything in memory.
"""

from __future__ import annotations

import hashlib
import json
import struct
from fractions import Fraction
from math import lcm
from pathlib import Path
from typing import Any, NamedTuple

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


def window_permute(index: int, n: int, key: bytes, chunk: int, window_chunks: int, rounds: int = 8) -> int:
    """WindowPermutation as its module describes it."""
    window = chunk * window_chunks
    j = index // window
    words = [siphash24(key, (255 << 56 | 2 * j + i).to_bytes(8, "little")) for i in (0, 1)]
    own = b"".join(word.to_bytes(8, "little") for word in words)
    q = j * window + permute(index - j * window, min(window, n - j * window), own, rounds)
    chunks = n // chunk
    return permute(q // chunk, chunks, key, rounds) * chunk + q % chunk if q // chunk < chunks else q


def permutation_key(run_key: str, phase: int, source: str, epoch: int) -> bytes:
    message = b""
    for part in ("corpusmill permutation v1", run_key, str(phase), source, str(epoch)):
        data = part.encode()
        message += struct.pack("<I", len(data)) + data
    return hashlib.blake2b(message, digest_size=16).digest()


class Run(NamedTuple):
    """Tokens [start, start + count) of a document: a piece before packing, a segment after it. Ordinal -1: padding."""

    ordinal: int
    start: int
    count: int


def blocks_of(pieces: list[Run], length: int, block_sequences: int) -> list[list[Run]]:
    blocks: list[list[Run]] = []
    size = 0
    for piece in pieces:
        if not blocks or -(-(size + piece.count - 1) // length) > block_sequences:
            blocks.append([])
            size = 0
        blocks[-1].append(piece)
        size += piece.count
    return blocks


def padded(runs: list[Run], length: int) -> list[Run]:
    missing = length + 1 - sum(r.count for r in runs)
    return runs + ([Run(-1, 0, missing)] if missing else [])


def concatenate(block: list[Run], length: int, excluded: set[int]) -> list[list[Run]]:
    number = -(-(sum(p.count for p in block) - 1) // length)
    stream = [
        (i, t) for i, p in enumerate(block) if p.ordinal not in excluded for t in range(p.start, p.start + p.count)
    ]
    sequences = []
    for i in range(number):
        part = stream[i * length : i * length + length + 1]
        if i * length >= len(stream) - 1:  # a single token was the last label before
            part = []
        runs: list[list[int]] = []
        for piece, token in part:
            if runs and runs[-1][0] == piece:
                runs[-1][2] += 1
            else:
                runs.append([piece, token, 1])
        sequences.append(padded([Run(block[p].ordinal, t, n) for p, t, n in runs], length))
    return sequences


def pack(lengths: list[int], length: int, block_sequences: int) -> list[list[tuple[int, int]]]:
    """Sequences of whole documents by concatenate, as lists of (document, token of it), one entry a token."""
    pieces = [Run(document, 0, tokens) for document, tokens in enumerate(lengths)]
    sequences = [s for block in blocks_of(pieces, length, block_sequences) for s in concatenate(block, length, set())]
    return [[(r.ordinal, t) for r in s if r.ordinal >= 0 for t in range(r.start, r.start + r.count)] for s in sequences]


def best_fit(block: list[Run], length: int, excluded: set[int]) -> list[list[Run]]:
    parts: list[Run] = []
    for piece in block:
        at, left = piece.start, piece.count
        while left > length + 1:
            parts.append(Run(piece.ordinal, at, length + 1))
            at, left = at + length, left - length
        parts.append(Run(piece.ordinal, at, left))
    parts.sort(key=lambda r: -r.count)  # stable: ties stay in order of document and start
    sequences: list[list[Run]] = []
    free: dict[int, list[int]] = {}  # space -> sequences, the one that came to it last at the end
    for part in parts:
        spaces = sorted(s for s, having in free.items() if having and s >= part.count)
        if spaces:
            chosen = free[spaces[0]].pop()
            space = spaces[0]
        else:
            chosen, space = len(sequences), length + 1
            sequences.append([])
        sequences[chosen].append(part)
        free.setdefault(space - part.count, []).append(chosen)
    return [padded([r for r in runs if r.ordinal not in excluded], length) for runs in sequences]


def blend(weights: list[Fraction], count: int) -> list[int]:
    """Source number of sequences 0..count-1."""
    denominator = lcm(*(w.denominator for w in weights))
    amounts = [int(w * denominator) for w in weights]
    total = sum(amounts)
    taken = [0] * len(amounts)
    chosen = []
    for t in range(count):
        due = [(-(-(taken[i] + 1) * total // a), i) for i, a in enumerate(amounts) if taken[i] * total < a * (t + 1)]
        chosen.append(min(due)[1])
        taken[chosen[-1]] += 1
    return chosen


class Reading(NamedTuple):
    """One source at one length: the sequences of its first epoch and of every later one."""

    phase: int
    length: int
    first_epoch: int
    first: list[list[Run]]
    whole: list[list[Run]]

    def place(self, cursor: int) -> tuple[int, int, list[list[Run]]]:
        """(epoch, place in it, its sequences)."""
        if cursor < len(self.first):
            return self.first_epoch, cursor, self.first
        epochs, place = divmod(cursor - len(self.first), len(self.whole))
        return self.first_epoch + 1 + epochs, place, self.whole


def tree(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, over leaf hashes."""
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return sha256(b"\1" + tree(leaves[:k]) + tree(leaves[k:]))


class OracleOrder:
    """The order of a run folder, derived from rule.json, documents.parquet and the token files."""

    def __init__(self, run: Path) -> None:
        self.rule_bytes = (run / "order/rule.json").read_bytes()
        self.rule: dict[str, Any] = json.loads(self.rule_bytes)
        self.documents = pq.read_table(run / "tokens/documents.parquet").to_pylist()
        self.width = {"uint16": 2, "uint32": 4}[self.rule["tokenizer"]["dtype"]]
        files = {s["name"]: (run / "tokens" / f"{s['name']}.bin").read_bytes() for s in self.rule["shards"]}
        self.tokens = []
        for document in self.documents:
            begin = document["token_offset"] * self.width
            data = files[document["shard"]][begin : begin + document["num_tokens"] * self.width]
            self.tokens.append(
                [int.from_bytes(data[i : i + self.width], "little") for i in range(0, len(data), self.width)]
            )
        takedown = pq.read_table(run / "order/takedown.parquet").to_pylist() if self.rule["takedown"] else []
        self.excluded = {r["doc_ordinal"] for r in takedown if r["mode"] == "exclude"}
        self.masked: dict[int, int] = {}
        for row in takedown:
            if row["mode"] == "mask":
                first = self.masked.get(row["doc_ordinal"], row["first_step"])
                self.masked[row["doc_ordinal"]] = min(first, row["first_step"])
        self.steps: list[list[tuple[str, int, list[Run]]]] = []  # step -> slot -> (source, epoch, segments)
        current: dict[str, tuple[Reading, int]] = {}
        for phase in self.rule["phases"]:
            self._read(phase, current)

    def _pack(self, pieces: list[Run], length: int) -> list[list[Run]]:
        packing = self.rule["packing"]
        method = {"concatenate": concatenate, "best_fit": best_fit}[packing["method"]]
        blocks = blocks_of(pieces, length, packing["block_sequences"])
        return [sequence for block in blocks for sequence in method(block, length, self.excluded)]

    def _whole(self, source: str, length: int) -> list[list[Run]]:
        documents = [d for d in self.documents if d["source"] == source]
        return self._pack([Run(d["doc_ordinal"], 0, d["num_tokens"]) for d in documents], length)

    def _enter(
        self, phase: int, source: str, length: int, current: dict[str, tuple[Reading, int]]
    ) -> tuple[Reading, int]:
        whole = self._whole(source, length)
        if source not in current:
            return Reading(phase, length, 0, whole, whole), 0
        reading, cursor = current[source]
        if reading.length == length:
            return reading, cursor
        epoch, place, sequences = reading.place(cursor)
        if place == 0:
            return Reading(phase, length, epoch, whole, whole), 0
        unread = [self._shuffled(reading, source, c)[1] for c in range(cursor, cursor - place + len(sequences))]
        runs = sorted(r for s in unread for r in s if r.ordinal >= 0 and r.count > 1)
        joined: list[Run] = []
        for run in runs:
            last = joined[-1] if joined else None
            if last and last.ordinal == run.ordinal and last.start + last.count - 1 == run.start:
                joined[-1] = Run(run.ordinal, last.start, last.count + run.count - 1)
            else:
                joined.append(run)
        return Reading(phase, length, epoch, self._pack(joined, length), whole), 0

    def _shuffled(self, reading: Reading, source: str, cursor: int) -> tuple[int, list[Run]]:
        """(epoch, segments) of the sequence at the cursor."""
        rule = self.rule["permutation"]
        epoch, place, sequences = reading.place(cursor)
        key = permutation_key(self.rule["key"], reading.phase, source, epoch)
        if rule["scope"] == "window":
            chunk, window = rule["chunk_sequences"], rule["window_chunks"]
            return epoch, sequences[window_permute(place, len(sequences), key, chunk, window, rule["rounds"])]
        return epoch, sequences[permute(place, len(sequences), key, rule["rounds"])]

    def _read(self, phase: dict[str, Any], current: dict[str, tuple[Reading, int]]) -> None:
        names = [s["name"] for s in phase["sources"]]
        entered = [self._enter(phase["phase"], n, phase["sequence_length"], current) for n in names]
        cursors = [cursor for _, cursor in entered]
        count = phase["steps"] * phase["batch_size"]
        slots = []
        for chosen in blend([Fraction(s["weight"]) for s in phase["sources"]], count):
            reading = entered[chosen][0]
            slots.append((names[chosen], *self._shuffled(reading, names[chosen], cursors[chosen])))
            cursors[chosen] += 1
        for name, (reading, _), cursor in zip(names, entered, cursors, strict=True):
            current[name] = (reading, cursor)
        batch = phase["batch_size"]
        self.steps += [slots[i : i + batch] for i in range(0, count, batch)]

    def rows(self) -> list[tuple[int, ...]]:
        """(step, slot, segment, doc_ordinal, doc_token_start, num_tokens) of the whole table."""
        return [
            (step, slot, number, *run)
            for step, slots in enumerate(self.steps)
            for slot, (_, _, runs) in enumerate(slots)
            for number, run in enumerate(runs)
        ]

    def row(self, step: int, slot: int) -> tuple[list[int], list[int], list[bool]]:
        """Token ids (L+1), segment numbers (L+1), which of the L labels count."""
        tokens: list[int] = []
        numbers: list[int] = []
        counted: list[bool] = []
        for number, (ordinal, start, count) in enumerate(self.steps[step][slot][2]):
            masked = ordinal < 0 or self.masked.get(ordinal, step + 1) <= step
            counted += [False, *[not masked] * (count - 1)]
            if ordinal < 0:
                tokens += [self.rule["tokenizer"]["pad_id"]] * count
                numbers += [-1] * count
            else:
                tokens += self.tokens[ordinal][start : start + count]
                numbers += [number] * count
        return tokens, numbers, counted[1:]

    def leaf(self, step: int, slot: int) -> bytes:
        tokens, _, mask = self.row(step, slot)
        counted = [False, *mask]
        message = b"\0" + struct.pack("<I", slot)
        at = 0
        for ordinal, _, count in self.steps[step][slot][2]:
            part = self.documents[ordinal]["salt"] if ordinal >= 0 else bytes(16)
            part += b"".join(t.to_bytes(self.width, "little") for t in tokens[at : at + count])
            part += bytes(counted[at : at + count])
            part += struct.pack("<II", at, count)
            message += sha256(part)
            at += count
        return sha256(message)

    def step_root(self, step: int) -> bytes:
        return tree([self.leaf(step, slot) for slot in range(len(self.steps[step]))])

    def root(self) -> str:
        head = sha256(b"corpusmill chain v1")
        for step in range(len(self.steps)):
            head = sha256(b"\2" + head + self.step_root(step))
        ranked = sorted(self.documents, key=lambda d: (d["content_hash"], d["doc_ordinal"]))
        leaves = [
            sha256(b"\0" + d["content_hash"] + struct.pack("<QQ", d["doc_ordinal"], d["num_tokens"])) for d in ranked
        ]
        return sha256(b"\3" + sha256(self.rule_bytes) + head + tree(leaves)).hex()
