"""Copies as the web makes them: other words, other addresses, borrowed passages."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from urllib.parse import urlsplit

from .articles import UNSPACED_LANGUAGES, Article, Block, units
from .chance import rank, shuffled

PASSAGE_MIN_WORDS = 70
PASSAGE_MIN_CHARACTERS = 150
MIN_REPLACEMENTS = 2


def reworded(article: Article, rate: float, synonyms: dict[str, str], key: str) -> Article:
    """`article` with about `rate` of its words replaced by a synonym.

    Fewer where too few of its words are in `synonyms`. Which ones, `key` decides.
    """
    edges = ("", "") if article.language in UNSPACED_LANGUAGES else (r"\b", r"\b")
    pattern = re.compile(edges[0] + "(" + "|".join(map(re.escape, sorted(synonyms, key=len)[::-1])) + ")" + edges[1])
    places = [
        (index, match)
        for index, block in enumerate(article.blocks)
        if block.kind == "paragraph"
        for match in pattern.finditer(block.lines[0])
    ]
    wanted = max(MIN_REPLACEMENTS, math.floor(rate * len(units(article.text, article.language))))
    chosen = shuffled(places, key, lambda place: f"{place[0]}:{place[1].start()}")[:wanted]
    blocks = list(article.blocks)
    for index, match in sorted(chosen, key=lambda place: (place[0], -place[1].start())):
        line = blocks[index].lines[0]
        changed = line[: match.start()] + synonyms[match.group()] + line[match.end() :]
        blocks[index] = Block("paragraph", (changed,))
    return replace(article, blocks=tuple(blocks))


def passage_of(article: Article) -> str | None:
    """A paragraph of `article` that is long enough to be found as a copied passage, if it has one."""
    unspaced = article.language in UNSPACED_LANGUAGES
    minimum = PASSAGE_MIN_CHARACTERS if unspaced else PASSAGE_MIN_WORDS
    long_enough = [text for text in article.paragraphs if len(units(text, article.language)) >= minimum]
    return max(long_enough, key=len, default=None)


def with_passage(article: Article, passage: str) -> Article:
    """`article` with `passage` as a paragraph of its own, after the first one."""
    blocks = (article.blocks[0], Block("paragraph", (passage,)), *article.blocks[1:])
    return replace(article, blocks=blocks)


def with_lines(article: Article, lines: list[str]) -> Article:
    """`article` with one of `lines` as a paragraph after each of its blocks, the rest at the end."""
    extra = [Block("paragraph", (line,)) for line in lines]
    blocks: list[Block] = []
    for block in article.blocks:
        blocks.append(block)
        blocks += extra[:1]
        extra = extra[1:]
    return replace(article, blocks=(*blocks, *extra))


def other_urls(url: str) -> dict[str, str]:
    """Other addresses under which the very same bytes are served, by the way they differ."""
    parts = urlsplit(url)
    path = parts.path.removesuffix("/") if parts.path.endswith("/") else parts.path + "/"
    return {
        "mirror_host": f"https://mirror{rank(url) % 9}.example/{parts.netloc}{parts.path}",
        "tracking": f"{url}?utm_source=newsletter&utm_medium=email&utm_campaign=w{rank(url) % 52}",
        "scheme": f"http://{parts.netloc}{parts.path}",
        "trailing_slash": f"https://{parts.netloc}{path}",
        "host_case": f"https://{parts.netloc.upper()}{parts.path}",
        "session": f"{url}?sid={rank(url):016x}",
    }
