"""Main text by trafilatura, the extractor of RefinedWeb. Runs in the sandbox; main_text.py says what is around it."""

from __future__ import annotations

import re
from functools import partial
from importlib import import_module
from typing import Any, cast

import trafilatura
import trafilatura.utils
import trafilatura.xpaths
from lxml import etree
from lxml.html import HtmlComment, HtmlElement, HtmlEntity, HTMLParser, HtmlProcessingInstruction, document_fromstring

from corpusmill.stages.attribute_tests import finder
from corpusmill.stages.main_text import answer

# lxml.html asks a function in Python for the class of every element that it hands out, to tell forms and inputs apart.
# trafilatura treats all alike, so they are given one class, without asking: a tenth of the time of a page.
_ONE_CLASS = etree.ElementDefaultClassLookup(
    element=HtmlElement, comment=HtmlComment, pi=HtmlProcessingInstruction, entity=HtmlEntity
)
trafilatura.utils.HTML_PARSER.set_element_class_lookup(_ONE_CLASS)

# Half of the rest goes into XPath expressions, which attribute_tests.py evaluates faster. trafilatura keeps them in
# lists that its modules share, and calls them like functions.
for _expressions in (
    trafilatura.xpaths.BODY_XPATH,
    trafilatura.xpaths.COMMENTS_XPATH,
    trafilatura.xpaths.COMMENTS_DISCARD_XPATH,
    trafilatura.xpaths.DISCARD_IMAGE_ELEMENTS,
    trafilatura.xpaths.OVERALL_DISCARD_XPATH,
    trafilatura.xpaths.PRECISION_DISCARD_XPATH,
    trafilatura.xpaths.RAW_TREE_PRUNE_XPATH,
    trafilatura.xpaths.REMOVE_COMMENTS_AND_LISTS_XPATH,
    trafilatura.xpaths.REMOVE_COMMENTS_XPATH,
    trafilatura.xpaths.TEASER_DISCARD_XPATH,
):
    _expressions[:] = map(finder, _expressions)
_baseline = import_module("trafilatura.baseline")  # `trafilatura.baseline` is the function of that name
_baseline.BASIC_CLEAN_XPATH = finder(_baseline.BASIC_CLEAN_XPATH)  # type: ignore[attr-defined]

# The stop words of all languages, which jusText turns into a set that it remembers by them: a tuple of so many is
# hashed anew for every page, a set once.
_external: Any = import_module("trafilatura.external")
_read_stop_words = _external.jt_stoplist_init


def _stop_words() -> frozenset[str]:
    _external.JT_STOPLIST = frozenset(_read_stop_words())
    return cast(frozenset[str], _external.JT_STOPLIST)


_external.jt_stoplist_init = _stop_words


class _Unlikely:
    """A set of characters that hardly any page holds: each is looked for by itself, which costs less than the set."""

    def __init__(self, pattern: re.Pattern[str], characters: str) -> None:
        self._pattern = pattern
        self._characters = characters

    def sub(self, replacement: str, text: str) -> str:
        for character in self._characters:
            if character in text:
                return self._pattern.sub(replacement, text)
        return text


_utils: Any = import_module("trafilatura.utils")
_utils.INVALID_XML_CHARS = _Unlikely(
    _utils.INVALID_XML_CHARS, "".join(map(chr, (*range(9), 0x0B, 0x0C, *range(0x0E, 0x20), 0xFFFE, 0xFFFF)))
)

_PARSER: dict[str, Any] = {"encoding": "utf-8", "remove_comments": True, "remove_pis": True}


def extract_page(request: bytes, *, remove_urls: bool, **options: Any) -> bytes:
    """The reply to `request`; `options` are the other keywords of `main_text`."""
    return answer(request, partial(main_text, **options), remove_urls)


def main_text(html: str, *, focus: str, tables: bool, comments: bool, fast: bool, formatting: bool) -> str:
    """What trafilatura finds in `html`, "" for nothing. Depends on nothing that was extracted before.

    `deduplicate` stays off: it would drop segments that other pages of the same process have shown.

    libxml2 leaves out what is nested deeper than 256 elements. Where trafilatura found nothing and that was the cause,
    it is asked again with the page parsed up to 2,048 deep.
    """
    if not html.strip():
        return ""

    def found_in(page: str | HtmlElement) -> str:
        return (
            trafilatura.extract(
                page,
                favor_precision=focus == "precision",
                favor_recall=focus == "recall",
                include_tables=tables,
                include_comments=comments,
                include_formatting=formatting,
                fast=fast,
                deduplicate=False,
            )
            or ""
        )

    text = found_in(html)
    if not text and (tree := _deeper(html)) is not None:
        text = found_in(tree)
    return text


def _deeper(html: str) -> HtmlElement | None:
    """The tree of a page that is nested too deeply for libxml2's usual limit, None for any other page."""
    usual = HTMLParser(**_PARSER)
    page = html.encode()
    try:
        document_fromstring(page, parser=usual)
        if any(entry.type == etree.ErrorTypes.ERR_RESOURCE_LIMIT for entry in usual.error_log):
            return document_fromstring(page, parser=HTMLParser(huge_tree=True, **_PARSER))
    except etree.ParserError:  # nothing in it
        pass
    return None
