"""fastText classifiers (`.bin` and `.ftz` files), behind one thin wrapper."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from corpusmill.core.errors import ConfigError
from corpusmill.core.languages import LABEL_PREFIX

PACKAGES = ("fasttext-community",)

# fastText stops reading a text at this token, which pages about mark-up do hold, and takes tokens with the prefix of
# labels for labels. Blanks are those that fastText separates tokens by.
_BLANK: Final = r" \t\n\v\f\r\0"
_RESERVED = re.compile(rf"(?:(?<=[{_BLANK}])|^)(?:</s>|{LABEL_PREFIX}[^{_BLANK}]*)(?=[{_BLANK}]|$)")


class Prediction(NamedTuple):
    """The likeliest labels of a text without their prefix, best first, and their probabilities, 0..1."""

    labels: Sequence[str]
    scores: Sequence[float]


def one_line(text: str) -> str:
    """`text` as fastText can read it: line breaks are blanks, tokens that mean something to fastText are left out.

    Lone surrogates, which have no UTF-8 form, become question marks.
    """
    line = text.replace("\n", " ").replace("\r", " ")
    if "</s>" in line or LABEL_PREFIX in line:
        line = _RESERVED.sub("", line)
    return line if line.isascii() else line.encode("utf-8", "replace").decode()


class FastTextModel:
    """A supervised fastText model. `path` is that of a local file; ConfigError when it holds no such model."""

    def __init__(self, path: str) -> None:
        import fasttext

        try:
            self._model: Any = fasttext.load_model(path)
        except ValueError as error:
            raise ConfigError("not a fastText model", where=path, value=str(error)) from error
        if not self._model.f.getArgs().model.name == "supervised":
            raise ConfigError("this fastText model holds word vectors, it is no classifier", where=path)
        self.labels = sorted(label.removeprefix(LABEL_PREFIX) for label in self._model.get_labels())

    def predict(self, texts: Sequence[str], k: int, decimals: int, least: float = 0.0) -> list[Prediction]:
        """The k likeliest labels of every text (fewer if the model has fewer).

        Args:
            texts: any texts; `one_line` is applied to them.
            k: at least 1.
            decimals: to which probabilities are rounded; the sums of floats below differ by machine.
            least: labels of a smaller probability are left out; a model of many labels then looks at few of them.
        """
        # The list form: that for one string fails with numpy 2 in other builds of the library.
        labels, scores = self._model.predict([one_line(text) for text in texts], k=k, threshold=least)
        return [
            Prediction(
                [label.removeprefix(LABEL_PREFIX) for label in best],
                [min(1.0, round(float(score), decimals)) for score in probabilities],
            )
            for best, probabilities in zip(labels, scores, strict=True)
        ]


@lru_cache(maxsize=8)
def load(path: str) -> FastTextModel:
    """The model at `path`, read once in a process."""
    return FastTextModel(path)
