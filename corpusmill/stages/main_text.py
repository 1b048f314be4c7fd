"""What every extraction back end does around its library: the message it answers, charset, RefinedWeb's two rules.

RefinedWeb (arXiv 2306.01116, section 3.1): "text is extracted with trafilatura, ignoring menus, headers and footers";
then "regular expressions limit formatting to two consecutive newlines and remove all URLs". The paper gives neither
trafilatura's options nor the expressions; ours:

- Runs of three or more line feeds become two.
- A URL is a scheme (http, https, ftp) with `//`, or `www.`, and what follows it: the characters of RFC 3986 and letters
  below U+0E00, so that paths in Cyrillic or Greek go and Japanese after a URL stays. Closing punctuation is the
  sentence's, not the URL's. Blanks before it go with it.
  [DEVIATION from DCLM's rewrite, which also takes bare host names by a list of top-level domains: that takes
  `README.md` and `Node.js` too]
- URLs are removed first, as the empty lines they leave are subject to the other rule.
  [DEVIATION from the order in which the paper names the rules]

The back ends are with_trafilatura.py and with_resiliparse.py. They run in the sandbox, and each imports its own library
alone.

Request: a JSON line `{"charset": label of the HTTP header or null}`, then the body as it was served.
Reply: a JSON line `{"charset": what it was decoded as}`, then the text as UTF-8, empty when there is none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from corpusmill.stages.charset import decode

_NEWLINES = re.compile(r"\n{3,}")
# Possessive, so that a page of blanks or of dots costs linear time.
_URL_CHARACTER = r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%\u00c0-\u0dff]"
_URL = re.compile(rf"[ \t]{{0,10}}+(?<![A-Za-z0-9])(?:(?:https?|ftp)://|www\.){_URL_CHARACTER}++", re.IGNORECASE)
_CLOSING = ".,;:!?'"


def pack(header: dict[str, Any], body: bytes | memoryview) -> bytes:
    """A request or a reply."""
    return b"".join((json.dumps(header).encode(), b"\n", body))


def unpack(message: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and body of a request or a reply."""
    header, _, body = message.partition(b"\n")
    return json.loads(header), body


def answer(request: bytes, main_text: Callable[[str], str], remove_urls: bool) -> bytes:
    """The reply to `request`: the page decoded, its main text as `main_text` finds it, tidied."""
    header, payload = unpack(request)
    html, charset = decode(payload, header["charset"])
    return pack({"charset": charset}, tidy(main_text(html), remove_urls).encode())


def tidy(text: str, remove_urls: bool) -> str:
    """RefinedWeb's two rules, then without whitespace at both ends."""
    if remove_urls:
        text = _URL.sub(_leave_closing, text)
    return _NEWLINES.sub("\n\n", text).strip()


def _leave_closing(match: re.Match[str]) -> str:
    """What stays of a URL: the punctuation that closes the sentence or bracket around it."""
    url = match.group()
    end = len(url)
    unopened = {close: url.count(close) - url.count(opening) for opening, close in ("()", "[]")}
    while end and (url[end - 1] in _CLOSING or unopened.get(url[end - 1], 0) > 0):
        end -= 1
        if url[end] in unopened:
            unopened[url[end]] -= 1
    return url[end:]
