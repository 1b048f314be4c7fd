"""How well a tokenizer fits documents: fertility by language, unused pieces, texts that do not come back.

Words are those of core/words.py: between whitespace where a language writes spaces, morphemes in Japanese.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from corpusmill.core.text import Text
from corpusmill.tokenize.sample import Document
from corpusmill.tokenize.tokenizer import Tokenizer

LISTED_FAILURES = 100  # doc_ids named in a report
LISTED_PIECES = 20  # unused pieces shown


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Fertility(_Frozen):
    """What texts of one language become. Characters are code points; tokens without EOS."""

    documents: int = 0
    characters: int = 0
    utf8_bytes: int = 0
    words: int = 0
    tokens: int = 0
    unknown_tokens: int = 0
    byte_tokens: int = 0  # tokens that stand for one byte of a character
    failures: int = 0  # documents that do not come back from a round trip

    def __add__(self, other: Fertility) -> Fertility:
        return Fertility(**{name: getattr(self, name) + getattr(other, name) for name in Fertility.model_fields})

    def ratios(self) -> dict[str, float | None]:
        """Tokens per word and character, bytes per token, shares of tokens; None where there is nothing."""
        return {
            "tokens_per_word": _ratio(self.tokens, self.words),
            "tokens_per_character": _ratio(self.tokens, self.characters),
            "bytes_per_token": _ratio(self.utf8_bytes, self.tokens),
            "unknown_share": _ratio(self.unknown_tokens, self.tokens),
            "byte_share": _ratio(self.byte_tokens, self.tokens),
        }


class Unused(_Frozen):
    """Pieces that no document needed. Control tokens and the 256 bytes do not count: they are there for rare cases."""

    pieces: int  # that could have been used
    unused: int
    examples: tuple[str, ...]  # with the smallest ids

    @property
    def share(self) -> float:
        """Unused of all."""
        return self.unused / max(1, self.pieces)


class TokenizerReport(_Frozen):
    """All that `report` finds."""

    kind: str
    sha256: str
    vocab_size: int
    eos_id: int
    loss: str | None  # what the tokenizer cannot give back, whatever the documents are
    languages: dict[str, Fertility]  # "" where a document has none; in order of name
    unused: Unused
    failures: tuple[str, ...]  # doc_ids, at most LISTED_FAILURES, in order of the documents
    control_tokens: int  # in the encoded texts: must be 0

    @property
    def total(self) -> Fertility:
        """All languages together."""
        return sum(self.languages.values(), Fertility())

    def to_json(self) -> dict[str, Any]:
        """Counts with their ratios."""
        data = self.model_dump(mode="json")
        data["languages"] = {name: each.model_dump() | each.ratios() for name, each in self.languages.items()}
        data["total"] = self.total.model_dump() | self.total.ratios()
        data["unused"]["share"] = self.unused.share
        return data


def report(
    tokenizer: Tokenizer,
    batches: Iterable[Sequence[Document]],
    *,
    num_threads: int = 1,
    progress: Callable[[Fertility], None] = lambda _: None,
) -> TokenizerReport:
    """Encodes and decodes every document.

    Args:
        tokenizer: of any kind, lossy or not.
        batches: documents, in a fixed order.
        num_threads: never changes the result.
        progress: called with the sum so far after every batch.
    """
    codec = tokenizer.codec
    is_byte = _mask(tokenizer.vocab_size, codec.byte_ids)
    is_control = _mask(tokenizer.vocab_size, codec.control_ids)
    used = np.zeros(tokenizer.vocab_size, dtype=np.bool_)
    languages: dict[str, Fertility] = {}
    failures: list[str] = []
    control_tokens = 0
    total = Fertility()
    for batch in batches:
        encoded = tokenizer.encode_batch([document.text for document in batch], num_threads)
        for document, ids in zip(batch, encoded, strict=True):
            used[ids] = True
            control_tokens += int(is_control[ids].sum())
            failed = tokenizer.decode(ids) != document.text
            if failed and len(failures) < LISTED_FAILURES:
                failures.append(document.doc_id)
            found = Fertility(
                documents=1,
                characters=len(document.text),
                utf8_bytes=len(document.text.encode("utf-8")),
                words=len(Text(document.text, document.language).words),
                tokens=len(ids),
                unknown_tokens=0 if codec.unk_id is None else int((ids == codec.unk_id).sum()),
                byte_tokens=int(is_byte[ids].sum()),
                failures=int(failed),
            )
            languages[document.language] = languages.get(document.language, Fertility()) + found
            total += found
        progress(total)
    ordinary = ~(is_byte | is_control)
    if codec.unk_id is not None:
        ordinary[codec.unk_id] = False
    idle = np.flatnonzero(ordinary & ~used)
    return TokenizerReport(
        kind=codec.kind,
        sha256=tokenizer.sha256,
        vocab_size=tokenizer.vocab_size,
        eos_id=tokenizer.eos_id,
        loss=tokenizer.loss,
        languages=dict(sorted(languages.items())),
        unused=Unused(
            pieces=int(ordinary.sum()),
            unused=len(idle),
            examples=tuple(codec.decode([int(i)]) for i in idle[:LISTED_PIECES]),
        ),
        failures=tuple(failures),
        control_tokens=control_tokens,
    )


def _mask(size: int, ids: Iterable[int]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    mask = np.zeros(size, dtype=np.bool_)
    mask[list(ids)] = True
    return mask


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
