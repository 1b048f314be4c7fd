"""Codec of SentencePiece models.

U+2581 is how SentencePiece writes a space; a text's own U+2581 is encoded as its three bytes, and what stands behind it
as the inside of a text: without the space that some models put in front.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import sentencepiece

from corpusmill.core.errors import InputError
from corpusmill.tokenize.codec import BYTE_PIECE, EOS_REMEDY, SPACE_MARK, Ids


def model_proto(model: bytes, where: str) -> Any:
    """The ModelProto of a .model file. Raises InputError when it is none."""
    from sentencepiece import sentencepiece_model_pb2

    proto: Any = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    try:
        proto.ParseFromString(model)
    except Exception as error:  # protobuf's DecodeError has no stable place
        raise _no_model(where, str(error)) from error
    return proto


def with_eos(model: bytes, token: str, where: str) -> bytes:
    """The model with `token` as EOS. Raises InputError when that is no control token of it."""
    proto = model_proto(model, where)
    kinds = {piece.piece: piece.type for piece in proto.pieces}
    if kinds.get(token) != proto.SentencePiece.CONTROL:
        control = [piece.piece for piece in proto.pieces if piece.type == proto.SentencePiece.CONTROL]
        raise InputError(
            "this is no control token of the model" if token in kinds else "the model has no such token",
            where=where,
            value=token,
            remedy=f"--set tokenizer.eos_token= one of: {', '.join(control) or '(there are none)'}",
        )
    proto.trainer_spec.eos_piece = token
    changed: bytes = proto.SerializeToString(deterministic=True)
    return changed


class SentencePieceCodec:
    """A SentencePiece model with EOS and byte pieces."""

    kind = "SentencePiece"
    pad_id: int | None
    unk_id: int | None

    def __init__(self, model: bytes, where: str) -> None:
        self._bytes = model
        self._where = where
        self._model = _processor(model, where)
        self._mark = np.array([self._model.piece_to_id(BYTE_PIECE.format(b)) for b in SPACE_MARK.encode()], np.int32)
        if self._model.unk_id() in self._mark:
            raise InputError(
                "the tokenizer has no byte pieces: characters that it lacks would be lost",
                where=where,
                remedy="use RUN/tokenizer/tokenizer.model of another run, or a model trained with byte_fallback",
            )
        if self._model.eos_id() < 0:
            raise InputError("the tokenizer has no token that ends a document", where=where, remedy=EOS_REMEDY)
        self.vocab_size = int(self._model.get_piece_size())
        self.eos_id = int(self._model.eos_id())
        self.pad_id = int(self._model.pad_id()) if self._model.pad_id() >= 0 else None
        self.unk_id = int(self._model.unk_id())

    @cached_property
    def control_ids(self) -> frozenset[int]:
        """Ids that no text is ever encoded as."""
        return frozenset(i for i in range(self.vocab_size) if self._model.is_control(i))

    @cached_property
    def byte_ids(self) -> frozenset[int]:
        """Ids of single bytes."""
        return frozenset(i for i in range(self.vocab_size) if self._model.is_byte(i))

    @cached_property
    def _inside(self) -> Any:
        """Encodes what does not begin a text: the same model, with nothing put in front."""
        proto = model_proto(self._bytes, self._where)
        if not proto.normalizer_spec.add_dummy_prefix:
            return self._model
        proto.normalizer_spec.add_dummy_prefix = False
        return _processor(proto.SerializeToString(), self._where)

    def encode_batch(self, texts: Sequence[str], num_threads: int) -> list[Ids]:
        """Token ids of every text, without BOS or EOS; the same for any number of threads."""
        texts = list(texts)
        marked = [row for row, text in enumerate(texts) if SPACE_MARK in text]
        first = [text.partition(SPACE_MARK)[0] for text in texts] if marked else texts
        encoded: list[Ids] = self._model.encode(first, out_type="numpy", num_threads=num_threads)
        for row in marked:
            spelled = [encoded[row]]
            for part in texts[row].split(SPACE_MARK)[1:]:
                spelled += [self._mark, self._inside.encode(part, out_type="numpy")]
            encoded[row] = np.concatenate(spelled)
        return encoded

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids; control tokens are nothing, bytes that are no UTF-8 are U+FFFD."""
        text: str = self._model.decode(list(ids))
        return text

    def markup(self) -> Iterator[str]:
        """Control and user-defined pieces."""
        proto = model_proto(self._bytes, self._where)
        kinds = (proto.SentencePiece.CONTROL, proto.SentencePiece.USER_DEFINED)
        for piece in proto.pieces:
            if piece.type in kinds:
                yield piece.piece.replace(SPACE_MARK, " ")


def _processor(model: bytes, where: str) -> Any:
    try:
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    except RuntimeError as error:
        raise _no_model(where, str(error)) from error
    if processor.get_piece_size() == 0:  # an empty file is a valid message
        raise _no_model(where, "no pieces")
    return processor


def _no_model(where: str, seen: str) -> InputError:
    return InputError(
        "not a SentencePiece model",
        where=where,
        value=seen,
        remedy="give a .model file of SentencePiece, e.g. RUN/tokenizer/tokenizer.model of another run, "
        "or a tokenizer.json of Hugging Face tokenizers",
    )
