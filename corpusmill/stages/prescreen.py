"""Before extraction: pages that cannot stay, whatever the extractor finds in them. Edits nothing.

    too_few_words       with every word that the page can give, the text would have fewer than `min_words`
    unwanted_language   the visible text is in none of the wanted languages, as far as the classifier can tell; value is
                        the probability nearest its threshold, 0 where it is below a tenth of that

`too_few_words` loses no document: visible_text.py proves its bound, and a recipe is refused in which `min_words` is
more than the stage `quality` demands of every document. It asks for the whole page, markup and scripts included, as
extractors read more than what is visible (articles in JSON-LD, hidden text); so it finds pages with next to nothing in
them.

`unwanted_language` is off by default, since it may lose a document: one whose menus are in another language than its
article. It asks for a score far below what the language stage will ask of the text. docs/stages.md tells what it lost
and saved on real pages.

Pages are decoded and their text is found in a sandbox of the stage's own. A page that breaks its limits is kept: the
extractor will judge it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import pyarrow as pa
from pydantic import Field

from corpusmill.core import fasttext_model, models
from corpusmill.core.errors import ConfigError
from corpusmill.core.fasttext_model import FastTextModel
from corpusmill.core.languages import normalised
from corpusmill.core.verdicts import StageResult, Verdicts
from corpusmill.stages.base import DocumentStage, StageConfig
from corpusmill.stages.main_text import pack, unpack
from corpusmill.stages.sandbox import Failure, Limits, Sandbox
from corpusmill.stages.visible_text import SMALL_BYTES

_TARGET = "corpusmill.stages.visible_text:screen_page"
_LIMITS: Final = Limits(cpu_seconds=5.0)
_SCORE_DECIMALS: Final = 4
_LEAST_SCORE: Final = 0.4 * 10**-_SCORE_DECIMALS  # what is smaller is rounded to nothing


class PrescreenConfig(StageConfig):
    """What is asked of a page before it is extracted."""

    min_words: Annotated[int, Field(ge=0)] | None = 50
    """Pages that can give fewer words go; null: none does. At most what `quality` demands in every language."""
    languages: Annotated[dict[str, Annotated[float, Field(gt=0, le=1)]], Field(min_length=1)] | None = None
    """Wanted languages (`en`) or labels of the model, each with the probability below which it is ruled out. A page
    goes when all are. Null: languages are not looked at."""
    model: str = "lid.176"
    """A name that `corpusmill models list` shows, or the path of a fastText `.bin` or `.ftz` file."""
    text_characters: int = Field(default=1000, gt=0)
    """Length of the beginning of the visible text that is classified."""


class PrescreenStage(DocumentStage[PrescreenConfig]):
    """RECORD rows in, those that may stay out. Nothing is quarantined."""

    name = "prescreen"
    version = 3
    packages = ("Resiliparse", *fasttext_model.PACKAGES)
    Config = PrescreenConfig

    def __init__(self, config: PrescreenConfig) -> None:
        super().__init__(config)
        self._sandbox = Sandbox(
            _TARGET, _LIMITS, {"text_characters": config.text_characters if config.languages else 0}
        )

    def resource_files(self) -> Sequence[str]:
        """The model's file, where languages are looked at."""
        return (models.find(self.config.model),) if self.config.languages else ()

    def process(self, table: pa.Table) -> StageResult:
        """Judges every page of a RECORD table; see the module for the rules."""
        columns = zip(table["payload"], table["http_charset"], strict=True)
        replies = [self._ask(payload.as_buffer(), label.as_py()) for payload, label in columns]
        unwanted = self._unwanted({row: reply[1] for row, reply in enumerate(replies) if reply is not None})
        verdicts = Verdicts(self.name, table)
        minimum = self.config.min_words
        for row, reply in enumerate(replies):
            most_words = reply[0] if reply else None
            if minimum is not None and most_words is not None and most_words < minimum:
                verdicts.remove(row, "too_few_words", value=most_words, threshold=minimum)
            elif row in unwanted:
                score, least, language = unwanted[row]
                verdicts.remove(row, "unwanted_language", value=score, threshold=least, detail=language)
        return verdicts.result()

    def _unwanted(self, texts: dict[int, str]) -> dict[int, tuple[float, float, str]]:
        """Of `texts` by row, those in no wanted language: the score nearest its threshold, that, the top language."""
        if not self.config.languages or not texts:
            return {}
        model = fasttext_model.load(models.find(self.config.model))
        wanted = [(self._labels(model, key), least) for key, least in self.config.languages.items()]
        found = {}
        # What is far below its threshold need not be known, unless several labels of a language add up.
        alone = all(len(labels) == 1 for labels, _ in wanted)
        least_told = min(least for _, least in wanted) / 10 if alone else _LEAST_SCORE
        predictions = model.predict(list(texts.values()), len(model.labels), _SCORE_DECIMALS, least_told)
        for row, prediction in zip(texts, predictions, strict=True):
            of = dict(zip(prediction.labels, prediction.scores, strict=True))
            scores = [(sum(of.get(label, 0.0) for label in labels), least) for labels, least in wanted]
            if all(score < least for score, least in scores):
                score, least = max(scores, key=lambda pair: pair[0] / pair[1])
                found[row] = score, least, prediction.labels[0] if prediction.labels else ""
        return found

    def _ask(self, payload: pa.Buffer, charset: str | None) -> tuple[int | None, str] | None:
        """The most words and the text of a page; None where nothing can be said of it, or need not be."""
        if not self.config.languages and (self.config.min_words is None or payload.size > SMALL_BYTES):
            return None
        reply = self._sandbox.call(pack({"charset": charset}, memoryview(payload)))
        if isinstance(reply, Failure):
            return None
        header, body = unpack(reply)
        return header["most_words"], body.decode()

    def _labels(self, model: FastTextModel, key: str) -> list[str]:
        """The model's labels for a language."""
        labels = [label for label in model.labels if key in (label, normalised(label))]
        if not labels:
            raise ConfigError(
                "the language model does not know this language",
                where="stages.prescreen.languages",
                value=key,
                remedy=f"use codes such as {', '.join(model.labels[:3])}",
            )
        return labels

    def close(self) -> None:
        """Ends the sandbox."""
        self._sandbox.close()
