"""Decontamination: what stands in evaluation files is reported, cut out of documents, or removes them.

The evaluation files stay as they are: of a text that is in both, the copy in the corpus goes (Lee et al. 2022, s5).
Evaluation items are the strings in JSONL files; what an n-gram is, in languages with and without spaces, and why hits
are exact, is said in stages/evaluation_index.py.

Source: Brown et al. 2020 (GPT-3), appendix C: 13-grams of lower-cased words without punctuation, 200 characters cut on
either side, pieces under 200 characters discarded, documents in more than 10 pieces removed; items of 8 to 12 words
are matched too.

- [DEVIATION] GPT-3 chose one n from 8 to 13 for each evaluation set by the length of its items; here n is one, and an
  item shorter than n words but not than `min_words` is matched as a whole.
- [DEVIATION] GPT-3 ignored n-grams that more than 10 documents of the corpus held. No document can tell that of itself:
  `max_items` ignores n-grams that many evaluation items hold, which are those of their instructions.
- [DEVIATION] The pieces of a document stay one document, and no piece begins or ends amid a word.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Annotated, Any, Final, Literal, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from corpusmill.core import storage
from corpusmill.core.documents import Cut
from corpusmill.core.errors import ConfigError, InputError
from corpusmill.core.text import Text
from corpusmill.stages.base import StageConfig
from corpusmill.stages.evaluation_index import EvaluationIndex, Hits, Units, units
from corpusmill.stages.scored import Bound, Measured, ScoredStage

_NAMED_ITEMS: Final = 8
_SPACES: Final = " \t\u3000"


class DecontaminateConfig(StageConfig):
    """Evaluation files and what happens to documents that hold parts of them.

    evaluations: JSONL files and globs (plain or .gz).
    fields: top-level keys of a line whose strings are items, at any depth; none: all strings of the line.
    mode: `report`: documents stay, passages are marked in the spans; `drop`: documents with more than `max_share` go;
        `cut`: passages and their margins are cut out.
    ngram: words of an n-gram.
    ngram_characters: letters of an n-gram in scripts that do not separate words.
    min_words: shorter items are not looked for; those from here up to `ngram` words are matched as a whole. In scripts
        without spaces as much of `ngram_characters` as `min_words` is of `ngram`.
    max_items: n-grams that more items hold are ignored; null: none is.
    max_share: `drop` removes documents of whose words a greater share stands in evaluation items.
    margin_characters: `cut` takes so many characters on either side of a passage, to the next end of a word.
    max_pieces: `cut` removes documents that would fall into more pieces.
    min_piece_characters: `cut` takes shorter pieces out too.
    """

    evaluations: Annotated[tuple[str, ...], Field(min_length=1)]
    fields: tuple[str, ...] = ()
    mode: Literal["report", "drop", "cut"] = "drop"
    ngram: Annotated[int, Field(ge=1)] = 13
    ngram_characters: Annotated[int, Field(ge=1)] = 26
    min_words: Annotated[int, Field(ge=1)] = 8
    max_items: Annotated[int, Field(ge=1)] | None = None
    max_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    margin_characters: Annotated[int, Field(ge=0)] = 200
    max_pieces: Annotated[int, Field(ge=1)] = 10
    min_piece_characters: Annotated[int, Field(ge=0)] = 200

    @model_validator(mode="after")
    def _short_items_are_shorter(self) -> DecontaminateConfig:
        if self.min_words > self.ngram:
            raise ValueError(f"min_words ({self.min_words}) must not exceed ngram ({self.ngram})")
        return self


class Item(NamedTuple):
    """One string of an evaluation file. name: `<file>:<line> <field>`, lines from 1."""

    name: str
    text: str


def read_items(paths: Sequence[str], fields: Sequence[str]) -> Iterator[Item]:
    """The items of JSONL files, in their order.

    Files are named by their last part, or in full where two have the same.

    Raises InputError for a line that is not JSON in UTF-8, and when there is no string to look for in a file.
    """
    names = [storage.file_name(path) for path in paths]
    for path, name in zip(paths, names, strict=True):
        shown = path if names.count(name) > 1 else name
        found = False
        for number, line in enumerate(_lines(path), start=1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except ValueError as error:
                raise InputError(
                    "not a line of JSON in UTF-8", where=f"{path}:{number}", remedy="evaluation files are JSONL"
                ) from error
            if fields and isinstance(value, dict):
                value = {key: value[key] for key in fields if key in value}
            for field, text in _strings(value, ""):
                found = True
                yield Item(f"{shown}:{number} {field}".rstrip(), text)
        if not found:
            raise InputError(
                "an evaluation file holds no text",
                where=path,
                value=", ".join(fields) or None,
                remedy="name its keys in stages.decontaminate.fields, or leave the file out",
            )


def _lines(path: str) -> Iterator[bytes]:
    with storage.open_read(path) as file:
        yield from gzip.open(file) if path.endswith(".gz") else file


def _strings(value: Any, field: str) -> Iterator[tuple[str, str]]:
    """All strings in a JSON value, with where they are: `choices[2]`, `answer.text`."""
    if isinstance(value, str):
        yield field, value
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _strings(inner, f"{field}[{i}]")
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _strings(inner, f"{field}.{key}" if field else key)


class Decontaminate(ScoredStage[DecontaminateConfig]):
    """Reports, cuts or removes what evaluation files hold; rules `contaminated`, `short_piece`, `contaminated_pieces`.

    Scores: `contaminated_share` of the words (letters in scripts without spaces), `contaminated_ngrams` (windows found)
    and `pieces` that cutting leaves, short ones included. The detail of a removal and of a span names the items.
    """

    name = "decontaminate"
    version = 1
    Config = DecontaminateConfig
    edits_text = True
    score_names = ("contaminated_share", "contaminated_ngrams", "pieces")
    threshold_keys = frozenset({"max_share", "max_pieces"})

    def __init__(self, config: DecontaminateConfig) -> None:
        super().__init__(config)
        self._paths = [path for pattern in config.evaluations for path in self._expanded(pattern)]

    @staticmethod
    def _expanded(pattern: str) -> list[str]:
        found = storage.glob(pattern)
        if not found:
            raise ConfigError(
                "no evaluation file matches", where="stages.decontaminate.evaluations", value=pattern, remedy="mend it"
            )
        return found

    def resource_files(self) -> Sequence[str]:
        """The evaluation files."""
        return self._paths

    @cached_property
    def index(self) -> EvaluationIndex:
        """The index of the evaluation files, built when the first document comes."""
        return self._built[0]

    @cached_property
    def _built(self) -> tuple[EvaluationIndex, list[str]]:
        """The index and the names of its items."""
        items = list(read_items(self._paths, self.config.fields))
        index = EvaluationIndex(
            (Text(item.text, "") for item in items),
            ngram=self.config.ngram,
            characters=self.config.ngram_characters,
            min_words=self.config.min_words,
            max_items=self.config.max_items,
        )
        return index, [item.name for item in items]

    def bounds(self, language: str) -> Sequence[Bound]:
        """The limit of the mode; `report` has none."""
        if self.config.mode == "drop":
            return [Bound("contaminated", "contaminated_share", ">", self.config.max_share, "max_share")]
        if self.config.mode == "cut":
            return [Bound("contaminated_pieces", "pieces", ">", self.config.max_pieces, "max_pieces")]
        return []

    def measure(self, text: Text) -> Measured:
        """Scores of `text`, and the passages to mark or to cut."""
        of = units(text)
        hits = self.index.hits(of)
        if not len(hits):
            return Measured([0, 0, 1])
        runs = _union(hits)
        share = sum(end - first for first, end in runs) / len(of)
        passages = [(int(of.starts[first]), int(of.ends[end - 1])) for first, end in runs]
        gaps = _with_margins(text.string, of, passages, self.config.margin_characters)
        pieces = _between(text.string, gaps)
        scores = [share, len(hits), len(pieces)]
        named = [self._named(_within(hits, first, end)) for first, end in runs]
        detail = self._named(hits)
        if self.config.mode == "report":
            marks = zip(passages, named, strict=True)
            return Measured(scores, [Cut("contaminated", a, b, text.string[a:b], items) for (a, b), items in marks])
        inside = [[items for (a, b), items in zip(passages, named, strict=True) if lo <= a < hi] for lo, hi in gaps]
        cuts = [Cut("contaminated", lo, hi, "", "; ".join(i)) for (lo, hi), i in zip(gaps, inside, strict=True)]
        least = self.config.min_piece_characters
        cuts += [Cut("short_piece", a, b) for a, b in pieces if len(text.string[a:b].strip()) < least]
        return Measured(scores, sorted(cuts, key=lambda cut: cut.start), detail)

    def _named(self, hits: Hits) -> str:
        """The items that hold the windows `hits`, those with most windows first."""
        index, names = self._built
        counts: Counter[int] = Counter()
        for found, times in Counter(hits.found.tolist()).items():
            for item in index.items(found, _NAMED_ITEMS):
                counts[item] += times
        listed = sorted(counts, key=lambda item: (-counts[item], item))
        more = ", ..." if len(listed) > _NAMED_ITEMS else ""
        return ", ".join(names[item] for item in listed[:_NAMED_ITEMS]) + more


def _union(hits: Hits) -> list[tuple[int, int]]:
    """The runs of units that the windows cover; those that touch are one run."""
    reach = np.maximum.accumulate(hits.ends)
    opens = np.concatenate([[True], hits.starts[1:] > reach[:-1]])
    closes = np.concatenate([opens[1:], [True]])
    return list(zip(hits.starts[opens].tolist(), reach[closes].tolist(), strict=True))


def _within(hits: Hits, first: int, end: int) -> Hits:
    inside = (hits.starts >= first) & (hits.ends <= end)
    return Hits(hits.starts[inside], hits.ends[inside], hits.found[inside])


def _with_margins(string: str, of: Units, passages: Sequence[tuple[int, int]], margin: int) -> list[tuple[int, int]]:
    """The passages with `margin` characters on either side and the rest of the words there; joined where they meet."""
    gaps: list[tuple[int, int]] = []
    for start, end in passages:
        start, end = max(0, start - margin), min(len(string), end + margin)
        first = int(np.searchsorted(of.ends, start, side="right"))  # the unit that ends after `start`
        last = int(np.searchsorted(of.starts, end)) - 1  # the unit that begins before `end`
        start, end = min(start, int(of.starts[first])), max(end, int(of.ends[last]))
        while end < len(string) and string[end] in _SPACES:
            end += 1
        if gaps and start <= gaps[-1][1]:
            start = gaps.pop()[0]
        gaps.append((start, end))
    return gaps


def _between(string: str, gaps: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The pieces that the gaps leave, those of whitespace aside."""
    bounds = [0, *(at for gap in gaps for at in gap), len(string)]
    pieces = zip(bounds[::2], bounds[1::2], strict=True)
    return [(start, end) for start, end in pieces if string[start:end].strip()]
