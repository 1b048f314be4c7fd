"""Listed words in texts, as C4 looks for them: whole words where a language writes spaces, anywhere elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from corpusmill.core import words as text_words

_WORD = re.compile(r"\w+")


class BadWords:
    r"""Words and phrases of one language, compared in lower case.

    Where the language writes spaces, one is found where no letter, digit or underscore (`\w`) is beside it; in the
    other languages anywhere. [DEVIATION from datatrove] its languages without spaces are Japanese, Thai and Chinese;
    here those of core/words.py.
    """

    def __init__(self, listed: Iterable[str], language: str) -> None:
        lowered = {word.lower() for word in listed}
        self._anywhere = [] if text_words.writes_spaces(language) else sorted(lowered)
        self._plain = {word for word in lowered if _WORD.fullmatch(word)} if not self._anywhere else set()
        self._phrases = {
            phrase: re.compile(rf"(?<!\w){re.escape(phrase)}(?!\w)")
            for phrase in sorted(lowered - self._plain)
            if not self._anywhere
        }

    def found(self, text: str) -> Sequence[str]:
        """The different words of the list that `text` holds, sorted."""
        lowered = text.lower()
        held = {word for word in self._anywhere if word in lowered}
        if self._plain:
            held |= self._plain.intersection(_WORD.findall(lowered))
        held |= {p for p, pattern in self._phrases.items() if p in lowered and pattern.search(lowered)}
        return sorted(held)
