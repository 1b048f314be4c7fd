"""SentencePiece: training on a corpus, and exact encoding.

Text is taken as it is (identity normalisation, no whitespace removed, nothing put in front), and what the vocabulary
lacks is spelled in bytes, so that decode(encode(text)) == text for any valid text. Two characters need care for that:

- U+2581 is how SentencePiece writes a space; a text's own U+2581 is encoded as its three bytes.
- SentencePiece strips line ends from the sentences it is trained on; the line feed is a piece by definition.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import sentencepiece
from pydantic import BaseModel, ConfigDict, Field

from corpusmill.core import storage
from corpusmill.core.errors import ConfigError, InputError
from corpusmill.core.hashing import digest, hash64

UNK_ID, BOS_ID, EOS_ID, PAD_ID = 0, 1, 2, 3

_SPACE_MARK = "\u2581"
_MAX_SENTENCE_BYTES = 4192  # SentencePiece leaves out longer lines
_TOO_LARGE = re.compile(r"Vocabulary size too high.*<= (\d+)")
_TOO_SMALL = re.compile(r"smaller than required_chars\. \d+ vs (\d+)")


class TokenizerConfig(BaseModel):
    """How a tokenizer is trained. The same documents and config give the same model, byte for byte."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model_type: Literal["unigram", "bpe"] = "unigram"
    vocab_size: int = Field(default=32_000, ge=264, le=1 << 20, description="256 bytes and 4 control tokens included")
    character_coverage: float = Field(
        default=0.9995, gt=0, le=1, description="share of characters that get their own piece"
    )
    split_digits: bool = True
    sample_bytes: int = Field(default=256 << 20, ge=1, description="UTF-8 bytes to train on, chosen by hash of doc_id")
    num_threads: int = Field(default=4, ge=1, le=64, description="part of the result: unigram models depend on it")


class Tokenizer:
    """A SentencePiece model with exact round trips. Cheap to load, and read-only afterwards."""

    def __init__(self, model: bytes, where: str) -> None:
        self.sha256 = digest(model)
        try:
            self._model = sentencepiece.SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise InputError(
                "not a SentencePiece model",
                where=where,
                value=str(error),
                remedy="give a .model file, e.g. RUN/tokenizer/tokenizer.model of another run",
            ) from error
        self._mark = [self._model.piece_to_id(f"<0x{byte:02X}>") for byte in _SPACE_MARK.encode()]
        if self._model.eos_id() < 0 or self._model.unk_id() in self._mark:
            raise InputError(
                "the tokenizer has no end-of-document token or no byte pieces",
                where=where,
                remedy="use RUN/tokenizer/tokenizer.model of another run, or one trained with eos_id and byte_fallback",
            )

    @classmethod
    def load(cls, path: str) -> Tokenizer:
        """The model at `path`. Raises InputError when it is none or lacks EOS or byte pieces."""
        return cls(storage.read_bytes(path), path)

    @property
    def vocab_size(self) -> int:
        """Number of token ids; ids are 0..vocab_size-1."""
        return int(self._model.get_piece_size())

    @property
    def eos_id(self) -> int:
        """The id that ends every document."""
        return int(self._model.eos_id())

    @property
    def pad_id(self) -> int:
        """The id that fills sequences; EOS where the model has no pad token (padding is masked, so any id will do)."""
        pad = int(self._model.pad_id())
        return pad if pad >= 0 else self.eos_id

    def encode_batch(self, texts: Sequence[str]) -> list[npt.NDArray[np.int32]]:
        """Token ids (int32) of every text, without BOS or EOS."""
        return [np.array(self._encode(text), dtype=np.int32) for text in texts]

    def _encode(self, text: str) -> list[int]:
        if _SPACE_MARK not in text:
            ids: list[int] = self._model.encode(text)
            return ids
        spelled: list[int] = []
        for number, part in enumerate(text.split(_SPACE_MARK)):
            spelled += (self._mark if number else []) + self._model.encode(part)
        return spelled

    def decode(self, ids: Sequence[int] | npt.NDArray[np.integer]) -> str:
        """Text of the ids. Control tokens are nothing; bytes that are no UTF-8 (a cut character) become U+FFFD."""
        text: str = self._model.decode([int(i) for i in ids])
        return text


def train_tokenizer(document_files: Sequence[str], config: TokenizerConfig, out_model: str) -> None:
    """Trains on the `text` column of the Parquet files (which also have `doc_id`) and writes the model atomically.

    The result does not depend on how the documents are spread over files. Memory: about ten times `sample_bytes`.
    Raises ConfigError when the vocabulary does not fit the corpus; the remedy names the size that does.
    """
    sample = _sample(document_files, config.sample_bytes)
    if not sample:
        raise InputError("there is no text to train a tokenizer on", where=", ".join(document_files[:3]))
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_lines(sample),
            model_writer=model,
            model_type=config.model_type,
            vocab_size=config.vocab_size,
            character_coverage=config.character_coverage,
            byte_fallback=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            split_digits=config.split_digits,
            user_defined_symbols=["\n"],
            shuffle_input_sentence=False,
            max_sentence_length=_MAX_SENTENCE_BYTES,
            num_threads=config.num_threads,
            unk_id=UNK_ID,
            bos_id=BOS_ID,
            eos_id=EOS_ID,
            pad_id=PAD_ID,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise _config_error(config, str(error)) from error
    storage.write_bytes(out_model, model.getvalue())


def _config_error(config: TokenizerConfig, message: str) -> ConfigError:
    if found := _TOO_LARGE.search(message):
        return ConfigError(
            "the corpus is too small for this vocabulary",
            value=config.vocab_size,
            remedy=f"set vocab_size to at most {found[1]}, or train on more text",
        )
    if found := _TOO_SMALL.search(message):
        return ConfigError(
            "the vocabulary has no room for the corpus's characters",
            value=config.vocab_size,
            remedy=f"set vocab_size to at least {found[1]}, or lower character_coverage",
        )
    return ConfigError("SentencePiece could not train", value=message, remedy="check the tokenizer settings")


def _sample(document_files: Sequence[str], sample_bytes: int) -> list[str]:
    """Texts of the documents with the smallest hashes of doc_id, in that order, until `sample_bytes` are reached."""
    ranks: list[tuple[int, str, int]] = []  # hash, doc_id, UTF-8 bytes
    for path in document_files:
        table = storage.read_parquet(path, ["doc_id", "text"])
        sizes = pc.binary_length(table.column("text")).to_pylist()
        ids = table.column("doc_id").to_pylist()
        ranks += [(_rank(doc_id), doc_id, size) for doc_id, size in zip(ids, sizes, strict=True) if size]
    chosen: dict[str, int] = {}
    total = 0
    for place, (_, doc_id, size) in enumerate(sorted(ranks)):
        if total >= sample_bytes:
            break
        chosen[doc_id] = place
        total += size
    texts = [""] * len(chosen)
    for path in document_files:
        table = storage.read_parquet(path, ["doc_id", "text"])
        for row, doc_id in enumerate(table.column("doc_id").to_pylist()):
            if doc_id in chosen:
                texts[chosen[doc_id]] = table.column("text")[row].as_py()
    return texts


def _rank(doc_id: str) -> int:
    return hash64(b"corpusmill tokenizer sample\0" + doc_id.encode("utf-8"))


def _lines(texts: Sequence[str]) -> Iterator[str]:
    """Lines short enough for SentencePiece. The cut of a longer line falls on a character, anywhere."""
    step = _MAX_SENTENCE_BYTES // 4  # code points; each has at most 4 bytes
    for text in texts:
        for line in text.split("\n"):
            if len(line) <= step:
                if line:
                    yield line
            else:
                yield from (line[at : at + step] for at in range(0, len(line), step))
