"""Perplexity under an n-gram model: texts that are unlike, or all too like, the texts that the model was made from.

CCNet (Wenzek et al. 2020, arXiv 1911.00359) scores pages with 5-gram models of Wikipedia, one a language, and sorts
them by perplexity. Models are KenLM's, in ARPA or binary form, given by path; the package is the extra `perplexity`.

    perplexity = 10 ^ (-log10 p(tokens </s> | <s>) / (tokens + 1)), rounded to one decimal, as in CCNet

The document is one sequence of tokens: those of a SentencePiece model, or words (core/words.py). With CCNet's own
models, `normalisation: ccnet` gives the text the form that they were made from: lower case, no accents (NFD less
marks), every digit 0, punctuation of other scripts in ASCII, no control characters, of which a line feed is one.

    perplexity_min   below `min_perplexity`: repetition, lists, what is copied from the model's own source
    perplexity_max   above `max_perplexity`: no running text, or another language
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from corpusmill.core import storage
from corpusmill.core import words as text_words
from corpusmill.core.errors import ConfigError, InputError, UserError
from corpusmill.core.text import Text
from corpusmill.stages.base import StageConfig
from corpusmill.stages.scored import Bound, Measured, ScoredStage

_NONE: Final = float("nan")
_BOUNDARIES: Final = frozenset({"<s>", "</s>"})  # a word that is spelled so is no end of a sentence
_UNKNOWN: Final = "<unk>"
_DIGIT = re.compile(r"\d")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# CCNet's table.
_PUNCTUATION = str.maketrans(
    {
        **dict.fromkeys("，、", ","),
        "。": ".",
        **dict.fromkeys("„”“«»」「《》", '"'),
        **dict.fromkeys("´’", "'"),
        **dict.fromkeys("∶：", ":"),
        "？": "?",
        "！": "!",
        "（": "(",
        "）": ")",
        "；": ";",
        **dict.fromkeys("–━►", "-"),
        "—": " - ",
        "．": ". ",
        "～": "~",
        "…": "...",
        "〈": "<",
        "〉": ">",
        "【": "[",
        "】": "]",
        "％": "%",
    }
)

Perplexity = Annotated[float, Field(gt=0)] | None  # None: the rule is off


class LanguageModel(StageConfig):
    """A model and what its tokens are.

    model: path of a KenLM model, ARPA or binary.
    sentencepiece: path of the SentencePiece model that its tokens are pieces of; null: they are words.
    """

    model: str
    sentencepiece: str | None = None
    normalisation: Literal["none", "ccnet"] = "none"


class Bounds(StageConfig):
    """Least and greatest perplexity of documents that stay; null: the rule is off."""

    min_perplexity: Perplexity = None
    max_perplexity: Perplexity = None


class PerplexityConfig(Bounds):
    """Models by language; documents in other languages are not judged.

    languages: bounds that differ in a language; where they are null, the general ones count.
    """

    models: Annotated[dict[str, LanguageModel], Field(min_length=1)]
    languages: dict[str, Bounds] = Field(default={})


def _kenlm() -> Any:
    """The package kenlm. UserError with the extra's name when it is not installed."""
    try:
        import kenlm
    except ImportError as error:
        raise UserError(
            "perplexity needs the package kenlm", value=str(error), remedy="pip install 'corpusmill[perplexity]'"
        ) from error
    return kenlm


def ccnet_normalised(text: str) -> str:
    """`text` in the form that CCNet's models were made from."""
    marks = unicodedata.normalize("NFD", text.strip().lower())
    bare = "".join(c for c in marks if unicodedata.category(c) != "Mn")
    return _CONTROL.sub("", _DIGIT.sub("0", bare).translate(_PUNCTUATION))


class Scorer:
    """A loaded language model. UserError when kenlm is not installed, ConfigError when the file is no model."""

    def __init__(self, model: LanguageModel) -> None:
        kenlm = _kenlm()
        config = kenlm.Config()
        config.show_progress = False
        config.arpa_complain = kenlm.ARPALoadComplain.NONE
        try:
            self._model: Any = kenlm.Model(model.model, config)
        except (OSError, RuntimeError) as error:
            raise ConfigError("not a KenLM model", where=model.model, value=str(error)) from error
        self._pieces: Any = None
        if model.sentencepiece is not None:
            from sentencepiece import SentencePieceProcessor

            try:
                self._pieces = SentencePieceProcessor(model_file=model.sentencepiece)
            except (OSError, RuntimeError) as error:
                raise ConfigError("not a SentencePiece model", where=model.sentencepiece, value=str(error)) from error
        self._normalise = model.normalisation == "ccnet"

    def perplexity(self, text: Text) -> float:
        """Perplexity of a text, NaN when it has no token."""
        if self._normalise:
            text = Text(ccnet_normalised(text.string), text.language)
        tokens = [_UNKNOWN if token in _BOUNDARIES else token for token in self._tokens(text)]
        if not tokens:
            return _NONE
        log10: float = self._model.score(" ".join(tokens), bos=True, eos=True)
        return float(round(10.0 ** (-log10 / (len(tokens) + 1)), 1))

    def _tokens(self, text: Text) -> list[str]:
        if self._pieces is None:
            return text.words.texts(text.string)
        pieces: list[str] = self._pieces.encode(text.string, out_type=str)
        # KenLM separates tokens by blanks; a piece that holds one would be two.
        return [token for piece in pieces for token in piece.split()]


@functools.lru_cache(maxsize=8)
def _load(model: LanguageModel) -> Scorer:
    """A scorer, loaded once in a process."""
    return Scorer(model)


class PerplexityStage(ScoredStage[PerplexityConfig]):
    """Removes documents by their perplexity; see the module."""

    name = "perplexity"
    version = 1
    packages = ("kenlm", "sentencepiece", *text_words.PACKAGES)
    Config = PerplexityConfig
    score_names = ("perplexity",)
    threshold_keys = frozenset({"min_perplexity", "max_perplexity", "languages"})
    expected_share: ClassVar[Mapping[str, float]] = {"perplexity_min": 0.1, "perplexity_max": 0.5}

    def resource_files(self) -> Sequence[str]:
        """The models. InputError for one that is not there, UserError when kenlm is not installed."""
        _kenlm()
        models = self.config.models.values()
        files = [path for model in models for path in (model.model, model.sentencepiece) if path is not None]
        for path in files:
            if not storage.exists(path):
                raise InputError("no such model file", where=path, remedy="check the path")
        return files

    def measure(self, text: Text) -> Measured:
        """The perplexity; NaN in a language without a model, and without tokens."""
        model = self.config.models.get(text.language)
        return Measured([_NONE if model is None else _load(model).perplexity(text)])

    def bounds(self, language: str) -> Sequence[Bound]:
        """The two rules of the module, as far as they are on."""
        if language not in self.config.models:
            return []
        own = self.config.languages.get(language, Bounds())
        least = self.config.min_perplexity if own.min_perplexity is None else own.min_perplexity
        most = self.config.max_perplexity if own.max_perplexity is None else own.max_perplexity
        low = Bound("perplexity_min", "perplexity", "<", least, "min_perplexity") if least is not None else None
        high = Bound("perplexity_max", "perplexity", ">", most, "max_perplexity") if most is not None else None
        return [bound for bound in (low, high) if bound is not None]
