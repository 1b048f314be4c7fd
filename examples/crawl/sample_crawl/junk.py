"""Every record of a crawl that is no article: spam, lists, errors, files that are not pages."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

import yaml

from .articles import Article, Block
from .chance import pick, rank
from .records import Capture
from .templates import block_html, body_of

FRAGMENTS_FILE = Path(__file__).resolve().parent.parent / "fragments.yaml"
NUM_NESTED_DIVS = 5_000
HUGE_LINE_CHARACTERS = 200_000
SPAM_REPEATS = 40
NUM_LINKS = 60
PDF = b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\ntrailer\n<< /Root 1 0 R >>\n%%EOF\n"
JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffdb0043") + bytes(range(64)) + bytes.fromhex("ffd9")


def load_fragments() -> dict[str, Any]:
    """fragments.yaml: the words that the pages of this module are made of."""
    fragments: dict[str, Any] = yaml.safe_load(FRAGMENTS_FILE.read_text(encoding="utf-8"))
    return fragments


def junk_captures(fragments: dict[str, Any]) -> list[Capture]:
    """All captures that need no article."""
    return [
        *_short(fragments["short"]),
        *_lists(fragments),
        *_tables(fragments["tables"]),
        *_spam(fragments),
        *_adult(fragments["adult"]),
        *_links(fragments["links"]),
        *_errors(fragments["errors"]),
        *_redirects(),
        *_files(),
        *_empty(),
        _lorem(fragments["lorem"], "https://demo.themeshed.example/sample-page/"),
        _lorem(fragments["lorem"], "https://newshop.themeshed.test/about-us"),
        _huge_line(),
    ]


def deep_capture(article: Article) -> Capture:
    """`article` at the bottom of thousands of nested elements."""
    nested = "<div>" * NUM_NESTED_DIVS + body_of(article) + "</div>" * NUM_NESTED_DIVS
    return Capture(
        url="https://nested.pagebuilder.example/deep.html",
        kind="deep",
        body=_page(article.title, nested),
        language=article.language,
        source=article.slug,
        original_url=article.url,
    )


def _page(title: str, body_html: str) -> bytes:
    head = f'<head><meta charset="utf-8"><title>{escape(title)}</title></head>'
    return f'<!DOCTYPE html>\n<html lang="en">{head}\n<body>\n{body_html}\n</body></html>\n'.encode()


def _paragraphs(lines: list[str]) -> str:
    return "\n".join(f"<p>{escape(line)}</p>" for line in lines)


def _title(slug: str) -> str:
    return slug.replace("-", " ").capitalize()


def _short(notes: list[tuple[str, str]]) -> list[Capture]:
    return [
        Capture(
            url=f"https://www.townnotes.example/{slug}",
            kind="short",
            body=_page(_title(slug), f"<h1>{_title(slug)}</h1>\n<p>{escape(text)}</p>"),
            language="en",
            expected={"kept": False, "stage": "quality", "rule": "words_min"},
        )
        for slug, text in notes
    ]


def _lists(fragments: dict[str, Any]) -> list[Capture]:
    captures = []
    for slug, items in fragments["bullets"].items():
        body = f"<article><h1>{_title(slug)}</h1>\n{_paragraphs(['• ' + item for item in items])}</article>"
        captures.append(
            Capture(
                url=f"https://lists.pocketnotes.example/{slug}.html",
                kind="bullets",
                body=_page(_title(slug), body),
                language="en",
                expected={"kept": False, "stage": "quality", "rule": "bullet_lines"},
            )
        )
    for slug, lines in fragments["ellipsis"].items():
        captures.append(
            Capture(
                url=f"https://teasers.eveningpost.example/{slug}.html",
                kind="ellipsis",
                body=_page(_title(slug), f"<article><h1>{_title(slug)}</h1>\n{_paragraphs(lines)}</article>"),
                language="en",
                expected={"kept": False, "stage": "quality", "rule": "ellipsis_lines"},
            )
        )
    return captures


def _tables(tables: dict[str, Any]) -> list[Capture]:
    captures = []
    for slug, table in tables.items():
        lines = ["|".join(table["head"])]
        for index in range(table["rows"]):
            key = f"{slug}/{index}"
            cells = [pick(words, f"{key}/{column}") for column, words in enumerate(table["words"])]
            numbers = [str(rank(f"{key}/{column}") % 90) for column in range(3)]
            lines.append("|".join([*cells, *numbers]))
        body = f"<h1>{_title(slug)}</h1>\n<p>{table['note']}</p>\n{block_html(Block('table', tuple(lines)))}"
        captures.append(
            Capture(
                url=f"https://data.timesheet.example/{slug}.html",
                kind="table",
                body=_page(_title(slug), body),
                language="en",
            )
        )
    return captures


def _spam(fragments: dict[str, Any]) -> list[Capture]:
    captures = []
    for index, phrase in enumerate(fragments["spam"]):
        other = pick(fragments["spam"], f"spam/{index}")
        lines = [f"{phrase} and {phrase}. {other} with the best of {phrase}."] * (SPAM_REPEATS // 8)
        body = f"<h1>{phrase.title()}</h1>\n{_paragraphs(lines * 4)}\n<p>{phrase} {phrase} to the top</p>"
        captures.append(
            Capture(
                url=f"http://{phrase.split()[0]}-deals{index}.test/{phrase.replace(' ', '-')}.php?id={index}",
                kind="spam",
                body=_page(phrase.title(), body),
                language="en",
                expected={"kept": False, "stage": "repetition"},
            )
        )
    return captures


def _adult(paths: list[list[str]]) -> list[Capture]:
    text = "This is a placeholder. There is nothing to see on this page, and the address of it is all that is meant."
    return [
        Capture(
            url=f"https://site{index}.nightowl.example/{'/'.join(path)}/",
            kind="adult_url",
            body=_page("Placeholder", _paragraphs([f"{text} It is number {index} of a set."] * 4)),
            language="en",
            expected={"kept": False, "stage": "url_filter"},
        )
        for index, path in enumerate(paths)
    ]


def _links(subjects: list[str]) -> list[Capture]:
    captures = []
    for subject in subjects:
        slug = subject.lower().replace(" ", "-")
        names = [f"{subject.split()[0]} {rank(f'{slug}/{index}') % 1000}" for index in range(NUM_LINKS)]
        items = "".join(f'<li><a href="https://l{index}.example/">{name}</a></li>' for index, name in enumerate(names))
        captures.append(
            Capture(
                url=f"https://directory.linkshelf.example/{slug}/",
                kind="link_list",
                body=_page(subject, f"<h1>{subject}</h1>\n<ul>{items}</ul>"),
                language="en",
                expected={"kept": False},
            )
        )
    return captures


def _errors(errors: list[tuple[int, str, str]]) -> list[Capture]:
    return [
        Capture(
            url=f"https://www.oldserver.example/{path}",
            kind="http_error",
            body=_page(f"Error {status}", f"<h1>Error {status}</h1>\n<p>{escape(text)}</p>"),
            status=status,
            expected={"kept": False, "stage": "warc", "rule": "http_status"},
        )
        for status, path, text in errors
    ]


def _redirects() -> list[Capture]:
    moves = {
        "http://oldserver.example/": (301, "https://www.oldserver.example/"),
        "https://www.oldserver.example/news": (301, "https://www.oldserver.example/news/"),
        "https://go.linkshelf.example/r/8841": (302, "https://directory.linkshelf.example/"),
        "https://www.townnotes.example/about": (308, "https://www.townnotes.example/about-us"),
    }
    return [
        Capture(
            url=url,
            kind="redirect",
            body=_page("Moved", f'<p>Moved to <a href="{target}">{target}</a>.</p>'),
            status=status,
            extra_headers=(("Location", target),),
            expected={"kept": False, "stage": "warc", "rule": "http_status"},
        )
        for url, (status, target) in moves.items()
    ]


def _files() -> list[Capture]:
    station = {"station": "harbour", "readings": [{"hour": hour, "celsius": hour % 9 + 4} for hour in range(24)]}
    data = json.dumps(station).encode()
    files = [
        ("https://www.oldserver.example/files/report-2025.pdf", "pdf", PDF, "application/pdf"),
        ("https://files.townnotes.example/minutes.pdf", "pdf", PDF + b"%%EOF\n", "application/pdf"),
        ("https://img.townnotes.example/harbour.jpg", "image", JPEG, "image/jpeg"),
        ("https://img.townnotes.example/bridge.jpg", "image", JPEG[:-2] + b"\0\xff\xd9", "text/html"),
        ("https://api.timesheet.example/v1/stations/harbour", "json", data, "application/json"),
        ("https://api.timesheet.example/v1/ping", "json", b'{"status": "ok"}', "application/json; charset=utf-8"),
    ]
    return [
        Capture(url, kind, body, content_type=content_type, expected={"kept": False})
        for url, kind, body, content_type in files
    ]


def _empty() -> list[Capture]:
    pages = {"blank": b"", "white.html": b"<!DOCTYPE html><html><head><title></title></head><body></body></html>"}
    return [
        Capture(f"https://www.townnotes.example/{path}", "empty", body, expected={"kept": False})
        for path, body in pages.items()
    ]


def _lorem(text: str, url: str) -> Capture:
    body = _page("Sample page", _paragraphs([text, text[28:], text[57:]]))
    return Capture(url, "lorem", body, language="la", expected={"kept": False, "stage": "language"})


def _huge_line() -> Capture:
    parts: list[str] = []
    length = 0
    while length < HUGE_LINE_CHARACTERS:
        number = rank(f"crate/{len(parts)}")
        parts.append(
            f"crate {number % 99991} with {number % 97} hinges of {pick(('brass', 'zinc', 'steel'), str(number))}"
        )
        length += len(parts[-1]) + 2
    body = _page("Inventory", f"<p>{'; '.join(parts)}</p>")
    expected: dict[str, object] = {"kept": False, "stage": "repetition"}
    return Capture("https://data.timesheet.example/inventory.html", "huge_line", body, language="en", expected=expected)
