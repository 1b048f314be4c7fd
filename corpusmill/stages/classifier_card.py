"""The card of a quality classifier: a JSON file beside its model that says how it was made and what it scores.

The card of `quality.bin` is `quality.bin.json`. Its quantiles turn "keep the best 10 %" into a threshold: they are
those of the scores of a sample, so a percentile means nothing without saying of what sample.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from corpusmill.core import storage
from corpusmill.core.errors import ConfigError

STEPS: Final = 1000  # quantiles are stored for every 0.1 %
SCORE_DECIMALS: Final = 6  # below, the sums of floats differ by machine


class Quantiles(BaseModel):
    """Quantiles of the scores of `label` on `documents` texts of `source`: of 0, 0.1, ... 100 % (1,001, ascending)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    source: str
    documents: Annotated[int, Field(gt=0)]
    values: Annotated[list[float], Field(min_length=STEPS + 1, max_length=STEPS + 1)]

    @staticmethod
    def of(scores: Sequence[float], label: str, source: str) -> Quantiles:
        """The quantiles of `scores` (not empty). Each is a score that occurs: the smallest not below its share."""
        values = np.quantile(np.array(scores, dtype=np.float64), np.linspace(0, 1, STEPS + 1), method="higher")
        return Quantiles(label=label, source=source, documents=len(scores), values=values.tolist())

    def threshold(self, percent: float) -> float:
        """The score that the best `percent` (0..100) of the sample reach; between stored quantiles on a line."""
        return float(np.interp(1 - percent / 100, np.linspace(0, 1, STEPS + 1), self.values))


class Card(BaseModel):
    """What a card holds.

    model_sha256: the model that it is about.
    training: settings, inputs and results of `corpusmill classifier train`; null for a model from elsewhere.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    format: Literal[1] = 1
    model_sha256: str
    labels: list[str]
    quantiles: Quantiles | None = None
    training: dict[str, Any] | None = None

    def write(self, model: str) -> str:
        """Writes the card of the model at path `model`; returns its path."""
        path = card_path(model)
        data = json.dumps(self.model_dump(), ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False)
        storage.write_text(path, data + "\n")
        return path


def card_path(model: str) -> str:
    """Path of the card of the model at path `model`."""
    return f"{model}.json"


def read_card(model: str) -> Card | None:
    """The card of the model at path `model`; None where there is none. ConfigError when it is another model's."""
    path = card_path(model)
    if not storage.exists(path):
        return None
    try:
        card = Card.model_validate_json(storage.read_bytes(path))
    except ValidationError as error:
        raise ConfigError("not the card of a classifier", where=path, value=error.errors()[0]["msg"]) from error
    if card.model_sha256 != storage.sha256_file(model):
        raise ConfigError(
            "this card is another model's",
            where=path,
            value=card.model_sha256,
            remedy=f"delete it, then: corpusmill classifier calibrate {model} RUN",
        )
    return card
