"""Main text by Resiliparse, a fast extractor in native code. Runs in the sandbox; main_text.py says what is around it.

Resiliparse (Bevendorff et al., ECIR 2018) goes through the page once and leaves out what its rules take for menus,
headers, footers and the like. docs/stages.md compares the two back ends on pages with known main text.
"""

from __future__ import annotations

import re
import unicodedata
from functools import partial
from typing import Any

from resiliparse.extract.html2text import extract_plain_text

from corpusmill.stages.main_text import answer

# Those that are white space become blanks, the others are left out, as trafilatura leaves them out.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def extract_page(request: bytes, *, remove_urls: bool, **options: Any) -> bytes:
    """The reply to `request`; `options` are the other keywords of `main_text`."""
    return answer(request, partial(main_text, **options), remove_urls)


def main_text(html: str, *, tables: bool, comments: bool) -> str:
    """What Resiliparse finds in `html`, "" for nothing, in NFC as trafilatura gives it, without control characters.

    List items keep their bullets, which a rule of the stage `quality` counts; texts in place of images are left out.
    """
    text = extract_plain_text(
        html,
        main_content=True,
        comments=comments,
        alt_texts=False,
        skip_elements=() if tables else ("table",),
    )
    return unicodedata.normalize("NFC", _CONTROL.sub(lambda c: " " if c[0].isspace() else "", text))
