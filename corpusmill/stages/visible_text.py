"""What the prescreen asks of one page: the most words it can give, and its visible text. Runs in the sandbox.

Request: a JSON line `{"charset": label of the HTTP header or null}`, then the body as it was served.
Reply: a JSON line `{"most_words": n or null}`, then the first characters of the visible text as UTF-8.
"""

from __future__ import annotations

import re

from resiliparse.extract.html2text import extract_plain_text

from corpusmill.stages.charset import decode
from corpusmill.stages.main_text import pack, unpack

SMALL_BYTES = 4096
"""Larger bodies are not counted: they hold more than a few words, if only in their markup."""
_COPIES = 3
_PIECE = re.compile(r"\w|[^\w\s]+")
_UNBOUNDED = re.compile(r"table|[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", re.IGNORECASE)


def screen_page(request: bytes, *, text_characters: int) -> bytes:
    """The reply to `request`; no text where `text_characters` is 0."""
    header, payload = unpack(request)
    html, _ = decode(payload, header["charset"])
    bound = most_words(html) if len(payload) <= SMALL_BYTES else None
    text = extract_plain_text(html, preserve_formatting=False)[:text_characters] if text_characters else ""
    return pack({"most_words": bound}, text.encode())


def most_words(html: str) -> int | None:
    """A bound on the words of any text that a back end extracts from `html`; None where none is known.

    The bound is 3 * (pieces + number of "<"). A piece is one letter, mark of category N or underscore (what `\\w`
    matches), or a run of other characters that are not blank.

    Proof. Let the text be made of what the page says, each part of it once, and of nothing else.

    1. A word between blanks holds a piece, and no piece lies in two words. A word of a language without spaces
       (core/words.py) holds a letter or digit, which is a piece, wherever the segmenter cuts. So a text has no more
       words than pieces.
    2. The page has as many pieces as the text. What stands for a character is longer than it: a character reference has
       an ampersand and a name or number, an escape in JSON a backslash and letters. Between two texts that a tag
       separates stands the tag's name; where its brackets join runs of punctuation ("!<b>?"), the name makes up for
       the run.
       NFC gives no letter where there was none, and no more letters than there were.
    3. The text has something else: at most two words for an element (bars of a cell, a bullet or number, a fence of
       code, "VIDEO" for an iframe). The tag's name, which is no text, pays for one of them, its "<" for the other.
       Only trafilatura's cells that a colspan asks for cost no tag: a page in which "table" occurs has no bound.
       Neither has one with control characters, which the parsers take out, perhaps from within a tag's name.
    4. Parts are used more than once. Resiliparse walks through the page once. trafilatura 2.3 gives the result of one
       of its extractors; its own marks what it has used, but its search for more text, where that was short, may find
       again what was moved with its parents; posts of a forum, or readers' comments, may be appended to that. That is
       three times. Its fallbacks (readability, jusText, JSON-LD, articles, paragraphs, the whole body) are used alone.

    tests/stages/test_prescreen.py tries to break the bound with made pages, bench/prescreen.py with real ones.
    """
    if _UNBOUNDED.search(html):
        return None
    return _COPIES * (sum(1 for _ in _PIECE.finditer(html)) + html.count("<"))
