"""The hand-written articles: Markdown files with a YAML head."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

import yaml

from .chance import rank

ARTICLES_DIR = Path(__file__).resolve().parent.parent / "articles"
TEMPLATES = ("blog", "news", "docs", "recipe", "forum")
UNSPACED_LANGUAGES = ("ja", "zh")


@dataclass(frozen=True)
class Block:
    """A paragraph (one line), a bullet list (an item a line) or a table (a row a line, cells split by `|`)."""

    kind: Literal["paragraph", "bullets", "table"]
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Article:
    """One article; `slug` is unique within its language."""

    language: str
    slug: str
    title: str
    site: str
    template: str
    published: date
    blocks: tuple[Block, ...]

    @property
    def key(self) -> str:
        """`<language>/<slug>`, unique in the sample."""
        return f"{self.language}/{self.slug}"

    @property
    def paragraphs(self) -> tuple[str, ...]:
        """The paragraphs, without lists and tables."""
        return tuple(block.lines[0] for block in self.blocks if block.kind == "paragraph")

    @property
    def text(self) -> str:
        """Body text: paragraphs, bullet items and table rows, one a line."""
        return "\n".join(line for block in self.blocks for line in block.lines)

    @property
    def url(self) -> str:
        """The address it is published under, in the style of its template."""
        number = 10_000 + rank(self.key) % 90_000
        path = {
            "blog": f"{self.published:%Y/%m}/{self.slug}/",
            "news": f"{self.published:%Y-%m-%d}/{self.slug}-{number}.html",
            "docs": f"docs/{self.slug}.html",
            "recipe": f"recipes/{self.slug}",
            "forum": f"t/{self.slug}/{number}",
        }[self.template]
        return f"https://{self.site}/{path}"


def units(text: str, language: str) -> list[str]:
    """What lengths and shingles are counted in: words, or characters where no spaces are written."""
    if language in UNSPACED_LANGUAGES:
        return [character for character in text if not character.isspace()]
    return re.findall(r"[^\W_]+(?:['’][^\W_]+)*", text.lower())


def load_articles(folder: Path = ARTICLES_DIR) -> list[Article]:
    """All articles under `folder`/<language>/<slug>.md, sorted by key.

    Raises ValueError with the file's name where the head is incomplete or names an unknown template.
    """
    articles = [_load(path) for path in folder.glob("*/*.md")]
    return sorted(articles, key=lambda article: article.key)


def _load(path: Path) -> Article:
    try:
        _, head, body = path.read_text(encoding="utf-8").split("---\n", 2)
        fields = yaml.safe_load(head)
        published = date.fromisoformat(str(fields["date"]))
        title, site, template = str(fields["title"]), str(fields["site"]), str(fields["template"])
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path}: not an article with title, site, template and date: {error}") from error
    if template not in TEMPLATES:
        raise ValueError(f"{path}: template {template!r} is not one of {', '.join(TEMPLATES)}")
    language = path.parent.name
    blocks = tuple(_block(part, language) for part in re.split(r"\n\s*\n", body.strip()))
    return Article(language, path.stem, title, site, template, published, blocks)


def _block(source: str, language: str) -> Block:
    lines = [line.strip() for line in source.splitlines()]
    if all(line.startswith("- ") for line in lines):
        return Block("bullets", tuple(line[2:] for line in lines))
    if all(line.startswith("|") for line in lines):
        rows = [line.strip("|") for line in lines if not re.fullmatch(r"[|\s:-]+", line)]
        return Block("table", tuple("|".join(cell.strip() for cell in row.split("|")) for row in rows))
    return Block("paragraph", (("" if language in UNSPACED_LANGUAGES else " ").join(lines),))
