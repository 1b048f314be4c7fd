"""Tokenizers: exact encoding with a SentencePiece model or a Hugging Face tokenizer.json, whichever a file is.

decode(encode(text)) == text for any valid text; a tokenizer of which that is not true says what it loses (`loss`).
A run keeps its tokenizer as `tokenizer.model` whatever its kind: the content tells it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from corpusmill.core import storage
from corpusmill.core.errors import InputError
from corpusmill.core.hashing import digest
from corpusmill.tokenize import codec, hugging_face_codec, sentencepiece_codec
from corpusmill.tokenize.codec import Codec, Ids
from corpusmill.tokenize.hugging_face_codec import HuggingFaceCodec
from corpusmill.tokenize.sentencepiece_codec import SentencePieceCodec


class LossyTokenizerWarning(UserWarning):
    """The tokenizer does not give every text back."""


class Tokenizer:
    """A tokenizer of any kind. Cheap to load, and read-only afterwards.

    Args:
        model: content of the file.
        where: its path, for errors.

    Raises InputError when it is no tokenizer, or when it is not known which token ends a document.
    """

    def __init__(self, model: bytes, where: str) -> None:
        self.sha256 = digest(model)
        self._where = where
        self.codec: Codec = HuggingFaceCodec(model, where) if is_json(model) else SentencePieceCodec(model, where)

    @classmethod
    def load(cls, path: str) -> Tokenizer:
        """The tokenizer at `path`; warns (LossyTokenizerWarning) where it does not give every text back."""
        tokenizer = cls(storage.read_bytes(path), path)
        if tokenizer.loss is not None:
            warnings.warn(f"{path} does not give every text back: {tokenizer.loss}", LossyTokenizerWarning, 2)
        return tokenizer

    @cached_property
    def loss(self) -> str | None:
        """What it does not give back, with an example of each kind; None where round trips are exact."""
        return codec.loss(self.codec)

    def require_exact(self) -> None:
        """Raises InputError where the tokenizer does not give every text back."""
        if self.loss is not None:
            raise InputError(
                "the tokenizer does not give every text back",
                where=self._where,
                value=self.loss,
                remedy="use one without normalisation; or accept the loss: --set tokenizer.allow_lossy=true "
                f"(corpusmill tokenizer report {self._where} RUN counts it)",
            )

    @property
    def vocab_size(self) -> int:
        """Number of token ids; ids are 0..vocab_size-1."""
        return self.codec.vocab_size

    @property
    def eos_id(self) -> int:
        """The id that ends every document."""
        return self.codec.eos_id

    @property
    def pad_id(self) -> int:
        """The id that fills sequences; EOS where the model has no pad token (padding is masked, so any id will do)."""
        return self.eos_id if self.codec.pad_id is None else self.codec.pad_id

    def encode_batch(self, texts: Sequence[str], num_threads: int = 1) -> list[Ids]:
        """Token ids (int32) of every text, without BOS or EOS; the same for any batch and number of threads.

        A control token's name in a text is text: it is encoded in other pieces.
        """
        return self.codec.encode_batch(texts, num_threads)

    def decode(self, ids: Sequence[int] | npt.NDArray[np.integer]) -> str:
        """Text of the ids. Control tokens are nothing; bytes that are no UTF-8 (a cut character) become U+FFFD."""
        return self.codec.decode(ids.tolist() if isinstance(ids, np.ndarray) else [int(i) for i in ids])


def is_json(model: bytes) -> bool:
    """Whether the content is that of a tokenizer.json; otherwise it can only be a SentencePiece model."""
    return model[:64].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")


def with_eos(model: bytes, token: str, where: str) -> bytes:
    """The tokenizer with `token` as the end of documents. Raises InputError when it has no such control token."""
    changed = hugging_face_codec.with_eos if is_json(model) else sentencepiece_codec.with_eos
    return changed(model, token, where)
