"""Training of SentencePiece models on a corpus.

Text is taken as it is (identity normalisation, no whitespace removed, nothing put in front), and what the vocabulary
lacks is spelled in bytes, so that decode(encode(text)) == text for any valid text. SentencePiece strips line ends from
the sentences it is trained on, so the line feed is a piece by definition.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Annotated, Any, Literal

import sentencepiece
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, field_validator, model_validator

from corpusmill.core import storage
from corpusmill.core.errors import ConfigError, InputError
from corpusmill.tokenize.codec import SPACE_MARK
from corpusmill.tokenize.sample import ALL, Sample, take

UNK_ID, BOS_ID, EOS_ID, PAD_ID = 0, 1, 2, 3

_MAX_SENTENCE_BYTES = 4192  # SentencePiece leaves out longer lines
_MAX_SYMBOL = 64  # code points
_EXTREMELY_LARGE = 1 << 30  # code points; above, SentencePiece must count in 64 bits
_TOO_LARGE = re.compile(r"Vocabulary size too high.*<= (\d+)")
_TOO_SMALL = re.compile(r"smaller than required_chars\. \d+ vs (\d+)")
_RESERVED = re.compile(r"<unk>|<s>|</s>|<pad>|<0x[0-9A-F]{2}>|\n")


def _as_fraction(value: Any) -> Fraction:
    """A share as users write it: 0.25, "1/4" or 1."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Fraction):
        raise ValueError("a share is a number or a fraction like 1/2")
    try:
        return Fraction(str(value))
    except (ValueError, ZeroDivisionError) as error:
        raise ValueError("a share is a number or a fraction like 1/2") from error


Share = Annotated[Fraction, BeforeValidator(_as_fraction), PlainSerializer(str, return_type=str)]


class TokenizerConfig(BaseModel):
    """How a tokenizer is trained. The same documents and config give the same model, byte for byte."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model_type: Literal["unigram", "bpe"] = "unigram"
    vocab_size: int = Field(default=32_000, ge=264, le=1 << 20, description="256 bytes and 4 control tokens included")
    character_coverage: float = Field(
        default=0.9995, gt=0, le=1, description="share of characters that get their own piece"
    )
    split_digits: bool = True
    user_symbols: tuple[str, ...] = Field(default=(), description="strings that are one token wherever a text has them")
    control_symbols: tuple[str, ...] = Field(
        default=(), description="reserved tokens, which no text is ever encoded as"
    )
    sample_bytes: int = Field(default=256 << 20, ge=1, description="UTF-8 bytes to train on, chosen by hash of doc_id")
    sample_languages: dict[str, Share] | None = Field(
        default=None, description="language to its share of the sample, adding up to 1; others are left out; null: any"
    )
    num_threads: int = Field(default=4, ge=1, le=64, description="part of the result: unigram models depend on it")

    @field_validator("user_symbols", "control_symbols")
    @classmethod
    def _check_symbols(cls, symbols: tuple[str, ...]) -> tuple[str, ...]:
        for symbol in symbols:
            if not symbol or len(symbol) > _MAX_SYMBOL or SPACE_MARK in symbol or "\0" in symbol:
                raise ValueError(f"a symbol has 1 to {_MAX_SYMBOL} characters, none of them U+2581 or NUL: {symbol!r}")
            if _RESERVED.fullmatch(symbol):
                raise ValueError(f"every model has {symbol!r} already")
        return symbols

    @field_validator("sample_languages")
    @classmethod
    def _check_shares(cls, shares: dict[str, Fraction] | None) -> dict[str, Fraction] | None:
        if shares is not None and (sum(shares.values()) != 1 or any(share <= 0 for share in shares.values())):
            raise ValueError("shares are above 0 and add up to 1, e.g. {ja: 1/2, en: 1/2}")
        return shares

    @model_validator(mode="after")
    def _check_both(self) -> TokenizerConfig:
        symbols = [*self.user_symbols, *self.control_symbols]
        if twice := sorted({symbol for symbol in symbols if symbols.count(symbol) > 1}):
            raise ValueError(f"a symbol is named twice: {twice[0]!r}")
        return self


def train_tokenizer(document_files: Sequence[str], config: TokenizerConfig, out_model: str) -> Sample:
    """Trains on the `text` column of the Parquet files (which also have `doc_id`) and writes the model atomically.

    The result does not depend on how the documents are spread over files. Memory: about ten times `sample_bytes`.
    Returns the sample it trained on.
    Raises ConfigError when the vocabulary does not fit the corpus; the remedy names the size that does.
    """
    sample = sample_of(document_files, config)
    storage.write_bytes(out_model, fit([document.text for document in sample.documents], config))
    return sample


def sample_of(document_files: Sequence[str], config: TokenizerConfig) -> Sample:
    """The sample to train on. Raises InputError when there is no text, or none in a language that was asked for."""
    sample = take(document_files, config.sample_bytes, config.sample_languages)
    for language, seen in sample.seen_bytes.items():
        if seen == 0 and language == ALL:
            raise InputError("there is no text to train a tokenizer on", where=", ".join(document_files[:3]))
        if seen == 0:
            raise InputError(
                "there is no text in a language that the tokenizer shall learn",
                where=", ".join(document_files[:3]),
                value=language,
                remedy="take it out of tokenizer.sample_languages (keys are the values of the column `language`)",
            )
    return sample


def fit(texts: Sequence[str], config: TokenizerConfig) -> bytes:
    """A model trained on the texts, in their order. Raises ConfigError when the vocabulary does not fit them."""
    try:
        return _train(texts, config)
    except RuntimeError as error:
        raise _config_error(config, str(error)) from error


def fit_at_most(texts: Sequence[str], config: TokenizerConfig) -> bytes:
    """As `fit`, but with the largest vocabulary that the texts allow where `vocab_size` is larger."""
    try:
        return _train(texts, config)
    except RuntimeError as error:
        found = _TOO_LARGE.search(str(error))
        if found is None:
            raise _config_error(config, str(error)) from error
    return fit(texts, config.model_copy(update={"vocab_size": int(found[1])}))


def _train(texts: Sequence[str], config: TokenizerConfig) -> bytes:
    """SentencePiece's trainer, with the settings of every model here. Its complaints are RuntimeErrors."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=_lines(texts),
        model_writer=model,
        model_type=config.model_type,
        vocab_size=config.vocab_size,
        character_coverage=config.character_coverage,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        split_digits=config.split_digits,
        user_defined_symbols=["\n", *(symbol.replace(" ", SPACE_MARK) for symbol in config.user_symbols)],
        control_symbols=list(config.control_symbols),
        shuffle_input_sentence=False,
        max_sentence_length=_MAX_SENTENCE_BYTES,
        train_extremely_large_corpus=sum(map(len, texts)) > _EXTREMELY_LARGE,
        num_threads=config.num_threads,
        unk_id=UNK_ID,
        bos_id=BOS_ID,
        eos_id=EOS_ID,
        pad_id=PAD_ID,
        minloglevel=2,
    )
    return model.getvalue()


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


def _lines(texts: Iterable[str]) -> Iterator[str]:
    """Lines short enough for SentencePiece. The cut of a longer line falls on a character, anywhere."""
    step = _MAX_SENTENCE_BYTES // 4  # code points; each has at most 4 bytes
    for text in texts:
        for line in text.split("\n"):
            if len(line) <= step:
                if line:
                    yield line
            else:
                yield from (line[at : at + step] for at in range(0, len(line), step))
