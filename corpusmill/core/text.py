"""A text and everything that rules ask about it: code points, classes, words, lines. Each is found once.

Stages run one after another over the same batch of texts and ask for the same words and lines; `Text.of` remembers the
texts it saw last, so that what one stage found the next one has. A remembered text is the same as a new one: results
never depend on what is remembered.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import cached_property

from corpusmill.core import characters, segments, tokens, word_break, words
from corpusmill.core.characters import Classes
from corpusmill.core.hashing import Int64Array, UInt64Array
from corpusmill.core.segments import Segments
from corpusmill.core.words import CodePoints, Spans


class Text:
    """A text in a language (ISO 639-1 code, "" if unknown). All offsets are code points of `string`."""

    def __init__(self, string: str, language: str) -> None:
        self.string = string
        self.language = language

    @staticmethod
    def of(string: str, language: str) -> Text:
        """The text, remembered from an earlier stage if it is among the last ones of this thread."""
        return _memory.text(string, language)

    @cached_property
    def points(self) -> CodePoints:
        """UTF-32, uint32 (len(string),)."""
        return words.codepoints(self.string)

    @cached_property
    def classes(self) -> Classes:
        """Classes of every code point (core/characters.py), uint8 (len(string),)."""
        return characters.classes(self.points)

    @property
    def words(self) -> Spans:
        """Words by the definition of core/words.py."""
        return self.spaced_words if words.writes_spaces(self.language) else self._words[0]

    @property
    def word_hashes(self) -> UInt64Array:
        """Hash of every word, uint64 (k,)."""
        return self._segments.word_hashes if words.writes_spaces(self.language) else self._words[1]

    @cached_property
    def _words(self) -> tuple[Spans, UInt64Array]:
        found = words.words(self.string, self.language)
        return found, found.hashes(self.points)

    @cached_property
    def _segments(self) -> Segments:
        found: Segments = segments.segments(self.points)
        return found

    @property
    def spaced_words(self) -> Spans:
        """What stands between whitespace, in any language."""
        return Spans(self._segments.word_starts, self._segments.word_ends)

    @cached_property
    def unicode_words(self) -> Spans:
        """Words of UAX #29 that begin with a letter or digit (core/word_break.py), in any language."""
        return Spans(*word_break.words(self.points, characters.table()))

    @property
    def tokens(self) -> Spans:
        """Words with punctuation split off (core/tokens.py); `words` where the language writes no spaces.

        [DEVIATION from datatrove] It has a tokenizer for each language; here English special cases hold in all of them,
        and Japanese has no punctuation among its words.
        """
        return Spans(*self._tokens[:2]) if words.writes_spaces(self.language) else self.words

    @property
    def token_hashes(self) -> UInt64Array:
        """Hash of every token, uint64 (k,)."""
        return self._tokens[2] if words.writes_spaces(self.language) else self.word_hashes

    @cached_property
    def _tokens(self) -> tuple[Int64Array, Int64Array, UInt64Array]:
        return tokens.tokens(self.points, self._segments)

    @cached_property
    def bare_words(self) -> Spans:
        """`words` without punctuation at their ends; some may be empty."""
        return words.without_outer_punctuation(self.words, self.classes)

    @property
    def lines(self) -> Spans:
        """Lines that are not blank, without the whitespace around them."""
        return Spans(self._segments.line_starts, self._segments.line_ends)

    @property
    def line_hashes(self) -> UInt64Array:
        """Hash of every line, uint64 (k,)."""
        return self._segments.line_hashes

    @property
    def paragraphs(self) -> Spans:
        """Runs of text between empty lines, without the whitespace around them."""
        return Spans(self._segments.paragraph_starts, self._segments.paragraph_ends)

    @cached_property
    def sentences(self) -> Spans:
        """Runs up to sentence-final punctuation or a line break."""
        return Spans(*segments.sentences(self.points))


class _Memory(threading.local):
    limit = 4_000_000  # code points; what is found in a text takes some 15 bytes for each
    tail = 64  # code points

    def __init__(self) -> None:
        # By length, end and language: hashing a whole text takes longer than comparing it with the one that is there.
        # Of several texts with the same key the last one stays.
        self._texts: OrderedDict[tuple[int, str, str], Text] = OrderedDict()
        self._size = 0

    def text(self, string: str, language: str) -> Text:
        key = (len(string), string[-self.tail :], language)
        found = self._texts.get(key)
        if found is not None and found.string == string:
            self._texts.move_to_end(key)
            return found
        self._size += len(string) if found is None else 0
        found = self._texts[key] = Text(string, language)
        while self._size > self.limit:
            self._size -= self._texts.popitem(last=False)[0][0]
        return found


_memory = _Memory()
