"""What the prescreen asks of one page: the most words it can give, and its visible text. Runs in the sandbox.

Request: a JSON line `{"charset": label of the HTTP header or null}`, then the body as it was served.
Reply: a JSON line `{"most_words": n or null}`, then the first characters of the visible text as UTF-8.
"""

from __future__ import annotations

import re
import unicodedata
from html import unescape

from corpusmill.stages.charset import decode
from corpusmill.stages.main_text import pack, unpack

SMALL_BYTES = 4096
"""Larger bodies are not counted: they hold more than a few characters."""
_COPIES = 3
_TAG = re.compile(r"<[a-zA-Z/!?][^>]*>?")
_HIDDEN = re.compile(r"<(?:!--|(script|style|title|template|noscript|svg)\b)", re.IGNORECASE)
_LONGEST_HIDDEN = len("<template ")
_HEAD = re.compile(r"<head\b", re.IGNORECASE)
_HEAD_END = re.compile(r"</head\b|<body\b", re.IGNORECASE)
_PIECE_CHARACTERS = 4096  # of HTML looked at in one go, up to the next tag
_UNBOUNDED = re.compile(r"table|[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", re.IGNORECASE)


def screen_page(request: bytes, *, text_characters: int) -> bytes:
    """The reply to `request`; no text where `text_characters` is 0."""
    header, payload = unpack(request)
    html, _ = decode(payload, header["charset"])
    bound = most_words(html) if len(payload) <= SMALL_BYTES else None
    return pack({"most_words": bound}, beginning(html, text_characters).encode())


def beginning(html: str, characters: int) -> str:
    """The first `characters` of the visible text of a page: all of it, menus and footers included, on one line.

    Found by looking for tags, without a parser, and only as far as it is needed: that is as good to tell languages
    apart, and takes a quarter of the time. Markup ends a word. The head is left out, and so are scripts, styles and the
    like; what is hidden by attributes or style sheets is not told from the rest, and an attribute with a ">" leaves
    what follows it behind.
    """
    words: list[str] = []
    length = -1  # of the words with blanks between them
    at = _after_head(html)
    while length < characters and at < len(html):
        hidden = _HIDDEN.search(html, at, at + _PIECE_CHARACTERS)
        end = hidden.start() if hidden else html.find("<", at + _PIECE_CHARACTERS - _LONGEST_HIDDEN)
        end = end if end >= 0 else len(html)
        piece = html[at:end]
        if not piece.isspace():  # between scripts
            found = unescape(_TAG.sub(" ", piece)).split()
            words += found
            length += sum(map(len, found)) + len(found)
        if hidden is None:
            at = end
        elif hidden[1]:
            at = _end_tag(html, hidden[1].lower(), hidden.end())
        else:
            closed = html.find("-->", hidden.end())
            at = closed + 3 if closed >= 0 else len(html)
    return " ".join(words)[:characters]


def _after_head(html: str) -> int:
    """Where the head ends that opens in the first piece of the page; 0 where there is none, or no end of it."""
    opened = _HEAD.search(html, 0, _PIECE_CHARACTERS)
    if opened is None:
        return 0
    end = html.find("</head>", opened.end())
    if end < 0:
        found = _HEAD_END.search(html, opened.end())
        end = found.start() if found else 0
    return end


def _end_tag(html: str, name: str, at: int) -> int:
    """Where the end tag of element `name` begins, from `at` on; the end of the page if there is none."""
    while (at := html.find("</", at)) >= 0:
        if html[at + 2 : at + 2 + len(name)].lower() == name:
            return at
        at += 2
    return len(html)


def most_words(html: str) -> int | None:
    """A bound on the words of any text that a back end extracts from `html`; None where none is known.

    The bound is three times the number of characters that are not blank, in the page's NFD.

    Proof.

    1. A word, by any tokenizer, holds a character that is not blank, and no character lies in two words. So a text has
       no more words than such characters. No smaller unit of a page will do: a segmenter of Japanese may cut anywhere,
       one of English between symbols.
    2. A text has no more of them than the page, if the extractor uses every part of the page once and adds nothing.
       What stands for a character is longer than it: a character reference has an ampersand and a name or number, an
       escape in JSON a backslash and letters. NFC, which the back ends give, is never longer than NFD.
    3. What the extractors add is at most two words for an element: the bars of a cell, a bullet or number, a fence of
       code, "VIDEO" for an iframe. Each has a tag, which is no text and has at least three characters. Only
       trafilatura's cells that a colspan asks for have none: a page in which "table" occurs has no bound. Neither has
       one with control characters, which parsers take out, perhaps from within a tag's name.
    4. Parts are used more than once. Resiliparse walks through the page once. trafilatura 2.3 gives the result of one
       of its extractors; its own marks what it has used, but its search for more text, where that was short, may find
       again what was moved with its parents; posts of a forum, or readers' comments, may be appended to that. That is
       three times. Its fallbacks (readability, jusText, JSON-LD, articles, paragraphs, the whole body) are used alone.

    tests/stages/test_prescreen.py tries to break the bound with made pages, bench/prescreen.py with real ones.
    """
    if _UNBOUNDED.search(html):
        return None
    return _COPIES * sum(map(len, unicodedata.normalize("NFD", html).split()))
