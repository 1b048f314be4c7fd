"""New pieces for a SentencePiece model, learnt from a corpus; ids of old pieces stay as they are.

A model of the same type is trained on the corpus; its pieces that the base lacks are candidates. Those come first that
save most tokens: how often the trained model uses the piece, times the tokens that the base needs for it, less one.

- unigram: a new piece has its log probability in the corpus as its score.
- BPE: SentencePiece merges the pair with the highest score first. New pieces have scores below all old ones, in
  the order in which they were learnt: a text is first cut as the base cuts it, then what is left is merged further. A
  merge that later merges build on is used less than it is made; it is as good as the best of those learnt after it.

A candidate that the extended model would not use even for its own text (merges of the base may cut across it) is left
out, and the next one takes its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import sentencepiece

from corpusmill.core.errors import ConfigError, InputError
from corpusmill.tokenize.codec import SPACE_MARK
from corpusmill.tokenize.sentencepiece_codec import model_proto
from corpusmill.tokenize.tokenizer import Tokenizer, is_json
from corpusmill.tokenize.training import TokenizerConfig, fit_at_most

_BATCH = 1024  # texts encoded at a time


@dataclass(frozen=True)
class Extended:
    """An extended model and its new pieces, in order of id."""

    model: bytes
    pieces: tuple[str, ...]


@dataclass(frozen=True)
class _Candidate:
    piece: str
    score: float  # in the trained model


def extend(base: bytes, where: str, texts: Sequence[str], pieces: int, config: TokenizerConfig) -> Extended:
    """The base with `pieces` new pieces, learnt from the texts.

    Args:
        base: content of a .model file, unigram or BPE.
        where: its path, for errors.
        texts: what to learn from, in a fixed order.
        pieces: number of new ids, which come behind the old ones.
        config: how they are learnt; type and digits are as in the base, and `vocab_size` is not used.

    Raises InputError when the base is of another kind, ConfigError when the texts have too few new pieces.
    """
    proto = _checked(base, where)
    settings = {
        "model_type": _type_of(proto),
        "vocab_size": len(proto.pieces) + pieces + 256,
        "split_digits": bool(proto.trainer_spec.split_digits),
    }
    learnt = fit_at_most(texts, config.model_copy(update=settings))
    candidates = _candidates(proto, learnt, texts, config.num_threads)
    left_out: set[str] = set()
    while True:
        chosen = [candidate for candidate in candidates if candidate.piece not in left_out][:pieces]
        if len(chosen) < pieces:
            raise ConfigError(
                "the corpus has fewer new pieces than are asked for",
                value=pieces,
                remedy=f"--pieces {max(1, len(chosen))} or fewer, or learn from more text",
            )
        extended = _with_pieces(proto, chosen)
        unused = _unused(extended, len(proto.pieces))
        if not unused:
            new = [piece.piece for piece in extended.pieces[len(proto.pieces) :]]
            return Extended(extended.SerializeToString(deterministic=True), tuple(new))
        left_out |= unused


def _checked(base: bytes, where: str) -> Any:
    if is_json(base):
        raise InputError(
            "only SentencePiece models can be extended", where=where, value="tokenizer.json", remedy="--base M.model"
        )
    Tokenizer(base, where)  # refuses what no run could use
    proto = model_proto(base, where)
    if _type_of(proto) is None:
        raise InputError("only unigram and BPE models can be extended", where=where, remedy="--base M.model")
    return proto


def _type_of(proto: Any) -> str | None:
    spec = proto.trainer_spec
    return {spec.UNIGRAM: "unigram", spec.BPE: "bpe"}.get(spec.model_type)


def _candidates(proto: Any, learnt: bytes, texts: Sequence[str], num_threads: int) -> list[_Candidate]:
    """What the base lacks, the most useful first."""
    known = {piece.piece for piece in proto.pieces}
    pieces = model_proto(learnt, "the model of the new pieces").pieces
    gains = _uses(learnt, texts, num_threads)
    rows = [row for row, piece in enumerate(pieces) if piece.type == piece.NORMAL]
    if _type_of(proto) == "bpe":
        merges = [row for row in rows if len(pieces[row].piece) > 1]  # in the order in which they were learnt
        gains[merges] = np.maximum.accumulate(gains[merges][::-1])[::-1]
    new = [row for row in rows if pieces[row].piece not in known]
    encode = _inside(proto).encode
    for row in new:
        needed = len(encode(pieces[row].piece.replace(SPACE_MARK, " ")))
        merged = _type_of(proto) == "bpe" and len(pieces[row].piece) > 1
        gains[row] *= 1 if merged else needed - 1  # a merge saves one token
    new.sort(key=lambda row: (-int(gains[row]), row))
    return [_Candidate(pieces[row].piece, pieces[row].score) for row in new]


def _uses(model: bytes, texts: Sequence[str], num_threads: int) -> npt.NDArray[np.int64]:
    """How often every id occurs in the texts."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    uses = np.zeros(processor.get_piece_size(), dtype=np.int64)
    for at in range(0, len(texts), _BATCH):
        encoded = processor.encode(list(texts[at : at + _BATCH]), out_type="numpy", num_threads=num_threads)
        uses += np.bincount(np.concatenate(encoded), minlength=len(uses))
    return uses


def _with_pieces(proto: Any, chosen: Sequence[_Candidate]) -> Any:
    extended = type(proto)()
    extended.CopyFrom(proto)
    add = extended.pieces.add
    if _type_of(proto) == "bpe":
        lowest = min((p.score for p in proto.pieces if p.type == p.NORMAL), default=0.0)
        for rank, candidate in enumerate(sorted(chosen, key=lambda candidate: -candidate.score)):
            add(piece=candidate.piece, score=lowest - 1 - rank)
    else:
        for candidate in chosen:
            add(piece=candidate.piece, score=candidate.score)
    extended.trainer_spec.vocab_size = len(extended.pieces)
    return extended


def _unused(extended: Any, first: int) -> set[str]:
    """New pieces, from id `first` on, that their own text is not encoded as."""
    names = [piece.piece for piece in extended.pieces[first:]]
    encoded = _inside(extended).encode([name.replace(SPACE_MARK, " ") for name in names], num_threads=1)
    return {name for number, (name, ids) in enumerate(zip(names, encoded, strict=True), first) if ids != [number]}


def _inside(proto: Any) -> Any:
    """Encodes pieces as they are inside of a text: nothing is put in front, no space is taken off."""
    copy = type(proto)()
    copy.CopyFrom(proto)
    copy.normalizer_spec.add_dummy_prefix = False
    copy.normalizer_spec.remove_extra_whitespaces = False
    return sentencepiece.SentencePieceProcessor(model_proto=copy.SerializeToString())
