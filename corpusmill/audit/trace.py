"""From a training step to the documents it used, and from a document to the steps that used it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from corpusmill.core import storage, urls
from corpusmill.core.errors import InputError, VerificationFailed
from corpusmill.tokenize.derivation import Derivation, Use
from corpusmill.tokenize.packing import MASKED
from corpusmill.tokenize.reader import Order
from corpusmill.tokenize.tokenizer import Tokenizer


def show_step(run: str, step: int, slot: int | None = None) -> dict[str, Any]:
    """What the model reads at `step` (0-based), or at one slot of it: documents, offsets, text.

    Text is that of the segment's tokens; a character cut by its border is U+FFFD. Padding is left out.

    Returns:
        {"step", "steps_total", "slots": [{"slot", "source", "segments": [{"doc_id", "url", "doc_token_start", "tokens",
        "text"}]}]}
    """
    order = Order.open(run)
    if not 0 <= step < order.steps:
        raise InputError("the order has no such step", value=step, remedy=f"name a step of 0..{order.steps - 1}")
    batch = order.rule.phase_at(step).batch_size
    if slot is not None and not 0 <= slot < batch:
        raise InputError("the step has no such slot", value=slot, remedy=f"name a slot of 0..{batch - 1}")
    tokenizer = _tokenizer(run, order)
    rows = order.step(step, None if slot is None else [slot])
    table = order.table(step)
    sources = dict(zip(table.column("slot").to_pylist(), table.column("source").to_pylist(), strict=True))
    ordinals = {int(o) for s in rows.segments for o in s.doc_ordinals if o >= 0}
    names = {d["doc_ordinal"]: d for d in _documents(run, pc.field("doc_ordinal").isin(sorted(ordinals)))}
    slots = []
    for number, tokens, segments in zip(rows.slots.tolist(), rows.tokens, rows.segments, strict=True):
        shown = []
        at = 0
        for ordinal, start, count in zip(*(a.tolist() for a in segments[:3]), strict=True):
            if ordinal >= 0:
                shown.append(
                    {
                        "doc_id": names[ordinal]["doc_id"],
                        "url": names[ordinal]["url"],
                        "doc_token_start": start,
                        "tokens": count,
                        "text": tokenizer.decode(tokens[at : at + count]),
                    }
                )
            at += count
        slots.append({"slot": number, "source": sources[number], "segments": shown})
    return {"step": step, "steps_total": order.steps, "slots": slots}


def find_documents(
    run: str, *, doc_id: str | None = None, url: str | None = None, domain: str | None = None
) -> dict[str, Any]:
    """The steps and slots that read a document: by its doc_id, its URL (any spelling) or its registered domain.

    Exactly one of the three is given. No documents: none of that name was tokenised, so none was trained on. A document
    without hits was tokenised and never read; `never` then says why. `masked`: no token of the hit is a label, so the
    model was not trained to predict any of it there (a single token at the border of a sequence is such a hit).

    Returns:
        {"documents": [{"doc_id", "url", "hits": [{"phase", "step", "slot", "tokens", "masked"}], "never"}],
        "steps_total"}; documents in the corpus's order, hits by step and slot; never: null where there are hits.
    """
    if doc_id is not None:
        chosen = pc.field("doc_id") == doc_id
    elif url is not None:
        chosen = pc.field("url") == (urls.normalise(url) or url)
    elif domain is not None:
        chosen = pc.field("domain") == domain.lower()
    else:
        raise InputError("nothing to look for", remedy="name a doc_id, a URL or a domain")
    order = Order.open(run)
    derivation = order.derivation()
    found = []
    for document in _documents(run, chosen):
        uses = derivation.uses(document["doc_ordinal"])
        found.append(
            {
                "doc_id": document["doc_id"],
                "url": document["url"],
                "hits": [_hit(use) for use in uses],
                "never": None if uses else _why_never(derivation, document["doc_ordinal"]),
            }
        )
    return {"documents": found, "steps_total": order.steps}


def _hit(use: Use) -> dict[str, Any]:
    return {
        "phase": use.phase,
        "step": use.step,
        "slot": use.slot,
        "tokens": use.num_tokens,
        "masked": bool(use.flags & MASKED) or use.num_tokens == 1,
    }


def _why_never(derivation: Derivation, doc_ordinal: int) -> str:
    if not derivation.num_sequences(doc_ordinal):
        return "it is a single token, alone in its packing block, which makes no sequence"
    return f"its sequences come after the order's last step, {derivation.rule.steps - 1}"


def _documents(run: str, chosen: pc.Expression) -> list[dict[str, Any]]:
    path = storage.join(run, "tokens", "documents.parquet")
    table: pa.Table = storage.read_parquet(path, ["doc_ordinal", "doc_id", "url"], chosen)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


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
