"""From a training step to the documents it used, and from a document to the steps that used it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from corpusmill.audit.run_documents import Names, Note, RunDocuments, scan_documents, to_stderr
from corpusmill.core import storage, urls
from corpusmill.core.errors import InputError, VerificationFailed
from corpusmill.tokenize.derivation import Derivation, Use
from corpusmill.tokenize.lookup import Kind
from corpusmill.tokenize.packing import MASKED, PAD
from corpusmill.tokenize.reader import Order
from corpusmill.tokenize.redaction import RedactedFiles
from corpusmill.tokenize.rows import RowSegments
from corpusmill.tokenize.takedown import Takedown, load_takedown
from corpusmill.tokenize.tokenizer import Tokenizer

REDACTED_TEXT = "redacted"


def show_step(run: str, step: int, slot: int | None = None, excerpt: int | None = None) -> dict[str, Any]:
    """What the model reads at `step` (0-based), or at one slot of it: documents, offsets, text.

    Text is that of the segment's tokens; a character cut by its border is U+FFFD; of a redacted document it is
    "redacted". Padding is left out of the segments. pad_share: of the tokens shown, 0..1. masked: none of its tokens
    is a label.

    Args:
        run: run folder.
        step: 0-based.
        slot: one sequence; None: all.
        excerpt: characters of text a segment at most, " ..." behind them where there are more; None: all of it.

    Returns:
        {"step", "steps_total", "phase", "phases_total", "sequence_length", "batch_size", "pad_share", "slots":
        [{"slot", "source", "epoch", "pad_tokens", "segments": [{"doc_id", "url", "doc_token_start", "tokens", "masked",
        "redacted", "text"}]}]}
    """
    order = Order.open(run)
    if not 0 <= step < order.steps:
        raise InputError("the order has no such step", value=step, remedy=f"name a step of 0..{order.steps - 1}")
    phase = order.phase(step)
    if slot is not None and not 0 <= slot < phase.batch_size:
        raise InputError("the step has no such slot", value=slot, remedy=f"name a slot of 0..{phase.batch_size - 1}")
    tokens_folder = storage.join(run, "tokens")
    tokenizer = _tokenizer(run, order)
    rows = order.step(step, None if slot is None else [slot])
    table = order.table(step)
    numbers = table.column("slot").to_pylist()
    sources = dict(zip(numbers, table.column("source").to_pylist(), strict=True))
    epochs = dict(zip(numbers, table.column("epoch").to_pylist(), strict=True))
    ordinals = np.concatenate([s.doc_ordinals for s in rows.segments])
    names = RunDocuments(tokens_folder).names(ordinals[ordinals >= 0].tolist())
    redacted = frozenset(RedactedFiles.load(tokens_folder).documents)
    slots = []
    for number, tokens, segments in zip(rows.slots.tolist(), rows.tokens, rows.segments, strict=True):
        shown = []
        at = 0
        for ordinal, start, count, flags in zip(*(a.tolist() for a in segments), strict=True):
            if ordinal >= 0:
                doc_id, url = names[ordinal]
                gone = ordinal in redacted
                shown.append(
                    {
                        "doc_id": doc_id,
                        "url": url,
                        "doc_token_start": start,
                        "tokens": count,
                        "masked": bool(flags & MASKED) or count == 1,
                        "redacted": gone,
                        "text": REDACTED_TEXT if gone else _text(tokenizer, tokens[at : at + count], excerpt),
                    }
                )
            at += count
        slots.append(
            {
                "slot": number,
                "source": sources[number],
                "epoch": epochs[number],
                "pad_tokens": _pad_tokens(segments),
                "segments": shown,
            }
        )
    return {
        "step": step,
        "steps_total": order.steps,
        "phase": phase.phase,
        "phases_total": len(order.rule.phases),
        "sequence_length": phase.sequence_length,
        "batch_size": phase.batch_size,
        "pad_share": sum(s["pad_tokens"] for s in slots) / rows.tokens.size,
        "slots": slots,
    }


def _text(tokenizer: Tokenizer, tokens: npt.NDArray[np.integer], excerpt: int | None) -> str:
    """The text of the tokens; to decode the beginning is enough for an excerpt."""
    taken = (
        len(tokens) if excerpt is None else min(max(excerpt // 2, 1), len(tokens))
    )  # two characters a token, to begin with
    while True:
        text = tokenizer.decode(tokens[:taken])
        if excerpt is None or (taken == len(tokens) and len(text) <= excerpt):
            return text
        if taken == len(tokens) or len(text) > excerpt + 4:  # a character that the last token cuts is not shown
            return text[:excerpt] + " ..."
        taken = min(4 * taken, len(tokens))


def find_documents(
    run: str,
    *,
    doc_id: str | None = None,
    url: str | None = None,
    domain: str | None = None,
    content_hash: str | None = None,
    note: Note = to_stderr,
) -> dict[str, Any]:
    """The steps and slots that read a document: by doc_id, URL (any spelling), registered domain or content hash.

    Exactly one of the four is given. No documents: none of that name was tokenised, so none was trained on. A document
    without hits was never read; `never` then says why. `masked`: no token of the hit is a label, so the model was not
    trained to predict any of it there (a single token at the border of a sequence is such a hit).

    Args:
        run: run folder.
        doc_id: of one document.
        url: that documents were fetched from.
        domain: registered domain.
        content_hash: of the text, 32 hexadecimal digits.
        note: takes a line when the search is slow because no index can be kept.

    Returns:
        {"documents": [{"doc_id", "url", "hits": [{"phase", "epoch", "step", "slot", "tokens", "masked"}], "never",
        "redacted"}], "steps_total"}; documents in the corpus's order, held-out ones last, hits by step and slot;
        never: null where there are hits. Where documents of the run are redacted, also "redacted_documents", how many:
        they have no URL and no domain any more, and are found by doc_id and content hash only.
    """
    kind, value = _wanted(doc_id, url, domain, content_hash)
    order = Order.open(run)
    tokens_folder = storage.join(run, "tokens")
    matches = RunDocuments(tokens_folder, note).find(kind, value)
    found = []
    redacted = frozenset(RedactedFiles.load(tokens_folder).documents)
    if matches:
        derivation = order.derivation()
        takedown = load_takedown(storage.join(run, "order"), order.rule)
        for ordinal, (name, address) in matches:
            uses = derivation.uses(ordinal)
            never = None if uses else _why_never(order, derivation, takedown, ordinal)
            found.append(_found(name, address, [_hit(use) for use in uses], never, ordinal in redacted))
    for folder, why in _HELD_OUT.items():
        path = storage.join(run, *folder.split("/"), "documents.parquet")
        if storage.exists(path):
            found += [_found(name, address, [], why, False) for _, (name, address) in scan_documents(path, kind, value)]
    answer = {"documents": found, "steps_total": order.steps}
    return answer | {"redacted_documents": len(redacted)} if redacted else answer


def documents_named(run: str, *, doc_id: str | None = None, url: str | None = None) -> list[tuple[int, Names]]:
    """(ordinal, (doc_id, url)) of the tokenised documents with this doc_id, or fetched from this URL."""
    return RunDocuments(storage.join(run, "tokens")).find(*_wanted(doc_id, url, None, None))


# Folders of a run with documents that were set apart before the order was made.
_HELD_OUT = {
    "held_out": "it is held out for evaluation",
    "held_out/copies": "it is a copy of a document that is held out for evaluation",
}


def _wanted(
    doc_id: str | None, url: str | None, domain: str | None, content_hash: str | None
) -> tuple[Kind, str | bytes]:
    if doc_id is not None:
        return "doc_id", doc_id
    if url is not None:
        return "url", urls.normalise(url) or url
    if domain is not None:
        return "domain", domain.lower()
    if content_hash is not None:
        return "content_hash", content_hash_bytes(content_hash)
    raise InputError("nothing to look for", remedy="name a doc_id, a URL, a domain or a content hash")


def content_hash_bytes(digits: str) -> bytes:
    """The 16 bytes of 32 hexadecimal digits. Raises InputError."""
    try:
        data = bytes.fromhex(digits)
    except ValueError:
        data = b""
    if len(data) != 16:
        raise InputError(
            "a content hash has 32 hexadecimal digits",
            value=digits,
            remedy="name BLAKE2b-128 of the document's text in UTF-8; `corpusmill inspect` shows it",
        )
    return data


def _found(doc_id: str, url: str, hits: list[dict[str, Any]], never: str | None, redacted: bool) -> dict[str, Any]:
    return {"doc_id": doc_id, "url": url, "hits": hits, "never": never, "redacted": redacted}


def _hit(use: Use) -> dict[str, Any]:
    return {
        "phase": use.phase,
        "epoch": use.epoch,
        "step": use.step,
        "slot": use.slot,
        "tokens": use.num_tokens,
        "masked": bool(use.flags & MASKED) or use.num_tokens == 1,
    }


def _why_never(order: Order, derivation: Derivation, takedown: Takedown, doc_ordinal: int) -> str:
    at = int(np.searchsorted(takedown.excluded, doc_ordinal))
    if at < len(takedown.excluded) and takedown.excluded[at] == doc_ordinal:
        return "it was taken down: this revision of the order leaves it out"
    source = next(s.name for s in order.index.sources if s.first <= doc_ordinal < s.stop)
    if all(use.name != source for phase in order.rule.phases for use in phase.sources):
        return f"no phase reads its source, {source}"
    if not derivation.num_sequences(doc_ordinal):
        return "it is a single token, alone in its packing block, which makes no sequence"
    return f"the order's {order.steps} steps do not reach its sequences"


def _pad_tokens(segments: RowSegments) -> int:
    return int(segments.num_tokens[(segments.flags & PAD) != 0].sum())


def _tokenizer(run: str, order: Order) -> Tokenizer:
    path = storage.join(run, "tokens", "tokenizer.model")
    tokenizer = Tokenizer.load(path)
    if tokenizer.sha256 != order.tokenizer_sha256:
        raise VerificationFailed(
            "this is not the tokenizer that the order's tokens were made with",
            where=path,
            value=tokenizer.sha256,
            remedy="restore tokens/tokenizer.model",
        )
    return tokenizer
