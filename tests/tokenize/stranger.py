"""A stranger's reader of an order and of proofs about it, from docs/order-format.md: stranger.py RUN [PROOF ...]."""

import hashlib
import json
import struct
import sys
from pathlib import Path

import pyarrow.parquet as pq

unhex = bytes.fromhex


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def tree(nodes):
    if len(nodes) < 2:
        return nodes[0] if nodes else sha()
    half = 1 << (len(nodes) - 1).bit_length() - 1
    return sha(b"\1", tree(nodes[:half]), tree(nodes[half:]))


def climb(leaf, index, size, path):  # the root that a leaf and its path, from the leaf up, give
    if size == 1 or not path:
        return leaf if size == 1 and not path else b""
    half, top = 1 << (size - 1).bit_length() - 1, unhex(path[-1])
    if index < half:
        return sha(b"\1", climb(leaf, index, half, path[:-1]), top)
    return sha(b"\1", top, climb(leaf, index - half, size - half, path[:-1]))


def order_root(run):
    order, tokens = Path(run, "order"), Path(run, "tokens")
    rule_bytes = (order / "rule.json").read_bytes()
    rule = json.loads(rule_bytes)
    width = 2 if rule["tokenizer"]["dtype"] == "uint16" else 4
    documents = pq.read_table(tokens / "documents.parquet").to_pylist()
    data = {s["name"]: (tokens / f"{s['name']}.bin").read_bytes() for s in rule["shards"]}
    sequences, at = {}, 0  # (step, slot) -> commitments of its segments
    for row in (r for f in sorted(order.glob("table-*")) for r in pq.read_table(f).to_pylist()):
        here = sequences.setdefault((row["step"], row["slot"]), [])
        at, count = (at if here else 0), row["num_tokens"]
        salt, part = bytes(16), struct.pack("<I", rule["tokenizer"]["pad_id"])[:width] * count
        if row["doc_ordinal"] >= 0:
            document = documents[row["doc_ordinal"]]
            first = (document["token_offset"] + row["doc_token_start"]) * width
            salt, part = document["salt"], data[document["shard"]][first : first + count * width]
        label = not row["flags"] & 3  # neither masked nor padding
        here.append(sha(salt, part, bytes([0, *[label] * (count - 1)]), struct.pack("<II", at, count)))
        at += count
    head = sha(b"corpusmill chain v1")
    for phase in rule["phases"]:
        for step in range(phase["first_step"], phase["first_step"] + phase["steps"]):
            slots = [sha(b"\0", struct.pack("<I", i), *sequences[step, i]) for i in range(phase["batch_size"])]
            head = sha(b"\2", head, tree(slots))
    ranked = sorted((d["content_hash"], d["doc_ordinal"], d["num_tokens"]) for d in documents)
    return sha(b"\3", sha(rule_bytes), head, tree([sha(b"\0", d[0], struct.pack("<QQ", *d[1:])) for d in ranked])).hex()


def check(proof):  # what a proof shows: (documents, uses); AssertionError where it shows nothing
    rule, leaves = json.loads(proof["rule"]), proof["leaves"]
    head, documents_root = (unhex(proof[k]) for k in ("chain_head", "documents_root"))
    assert sha(b"\3", sha(proof["rule"].encode()), head, documents_root).hex() == proof["order_root"]
    total, wanted = rule["documents"]["documents"], proof["claim"]["content_hash"]
    for x in leaves:
        leaf = sha(b"\0", unhex(x["content_hash"]), struct.pack("<QQ", x["doc_ordinal"], x["num_tokens"]))
        assert climb(leaf, x["index"], total, x["path"]) == documents_root
    assert [x["index"] - leaves[0]["index"] for x in leaves] == list(range(len(leaves)))
    assert leaves[0]["content_hash"] < wanted or leaves[0]["index"] == 0
    assert leaves[-1]["content_hash"] > wanted or leaves[-1]["index"] == total - 1
    shown, uses = proof.get("uses"), []
    if shown:
        first, roots = shown["first_step"], unhex(shown["roots"])
        roots, link = [roots[i : i + 32] for i in range(0, len(roots), 32)], unhex(shown["head"])
        for root in roots:
            link = sha(b"\2", link, root)
        assert (link, first + len(roots)) == (head, sum(p["steps"] for p in rule["phases"]))
        for q in shown["sequences"]:
            phase = [p for p in rule["phases"] if p["first_step"] <= q["step"]][-1]
            parts = []
            for s in q["segments"]:
                if "tokens" in s:
                    uses.append((q["step"], q["slot"], s["position"], len(s["mask"]) // 2))
                    part = [*(unhex(s[k]) for k in ("salt", "tokens", "mask")), struct.pack("<II", *uses[-1][2:])]
                parts.append(sha(*part) if "tokens" in s else unhex(s["commitment"]))
            leaf = sha(b"\0", struct.pack("<I", q["slot"]), *parts)
            assert climb(leaf, q["slot"], phase["batch_size"], q["path"]) == roots[q["step"] - first]
    return [x["doc_ordinal"] for x in leaves if x["content_hash"] == wanted], uses


if __name__ == "__main__":
    print(order_root(sys.argv[1]), *(check(json.loads(Path(p).read_bytes())) for p in sys.argv[2:]), sep="\n")
