"""What becomes of each article: published as it is, copied, quoted, wrongly encoded, damaged."""

from __future__ import annotations

import gzip
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from .articles import TEMPLATES, Article
from .chance import pick, rank, shuffled
from .junk import deep_capture, junk_captures, load_fragments
from .records import Capture
from .templates import Page, body_of, render
from .variants import other_urls, passage_of, reworded, with_lines, with_passage

CRAWL_LANGUAGES = ("en", "ja")
REWORDING_RATES = (0.01, 0.015, 0.02, 0.025)
NUM_REWORDED = {"en": 16, "ja": 6}
NUM_SYNDICATED = {"en": 8, "ja": 3}
NUM_REDATED = {"en": 5, "ja": 2}
NUM_SERVED_TWICE = {"en": 18, "ja": 6}
NUM_SAME_URL = {"en": 3, "ja": 1}
NUM_QUOTED = {"en": 6, "ja": 2}
NUM_HEAVY_LINES = 4

# (bytes written in, Content-Type charset, <meta charset>, byte order mark)
JAPANESE_CHARSETS = (
    ("shift_jis", None, "Shift_JIS", False),
    ("euc_jp", None, "EUC-JP", False),
    ("iso2022_jp", None, "ISO-2022-JP", False),
    ("utf-8", None, None, False),
)
ENGLISH_CHARSETS = (
    ("windows-1252", "utf-8", "utf-8", False),
    ("windows-1252", "windows-1252", None, False),
    ("utf-8", None, "utf-8", True),
    ("utf-8", "utf-8", "iso-8859-1", False),
    ("utf-8", "windows-1252", None, True),
)
WINDOWS_1252_ONLY = "‘’“”–—£€é"


def plan_captures(articles: list[Article]) -> list[Capture]:
    """Every capture of the crawl, in no particular order.

    An article has one role of its own (plain, charset, quoting another, ...), so that no text is in the crawl
    only as a copy; the copies are made from plain articles.
    """
    fragments = load_fragments()
    plan = _Plan(articles, fragments)
    return [*plan.captures, *junk_captures(fragments)]


class _Plan:
    """Deals the articles out to roles, language by language."""

    def __init__(self, articles: list[Article], fragments: dict[str, Any]) -> None:
        self.captures: list[Capture] = []
        self.fragments = fragments
        self.by_language: dict[str, list[Article]] = {}
        for article in articles:
            self.by_language.setdefault(article.language, []).append(article)
        for language, group in self.by_language.items():
            free = shuffled(group, "role", lambda article: article.key)
            if language in CRAWL_LANGUAGES:
                self._deal(language, free)
            else:
                for article in free:
                    self._publish(article, "other_language", expected={"kept": False, "stage": "language"})

    def _deal(self, language: str, free: list[Article]) -> None:
        self._charsets(language, free)
        quoted = self._quotations(language, free)
        if language == "en":
            self._special(free)
        for article in free:
            self._publish(article, "article", expected={"kept": True})
        self._copies(language, [article for article in free if article not in quoted])

    # -- roles that an article has for itself

    def _charsets(self, language: str, free: list[Article]) -> None:
        table = JAPANESE_CHARSETS if language == "ja" else ENGLISH_CHARSETS
        for codec, http, meta, with_mark in table:
            marked = codec == "windows-1252"
            fitting = [
                article
                for article in free
                if _encodable(article, codec) and (not marked or any(c in WINDOWS_1252_ONLY for c in article.text))
            ]
            article = fitting[0]
            free.remove(article)
            html = render(article.template, self._page(article), meta)
            body = (b"\xef\xbb\xbf" if with_mark else b"") + html.encode(codec, errors="xmlcharrefreplace")
            self._publish(
                article,
                "charset",
                body=body,
                content_type="text/html" + (f"; charset={http}" if http else ""),
                variant=f"bytes={codec} http={http} meta={meta} bom={with_mark}".lower(),
                expected={"kept": True},
            )

    def _quotations(self, language: str, free: list[Article]) -> list[Article]:
        """Give some articles a paragraph of another; both pages carry it, and both lose it in substring dedup."""
        sources = [article for article in free if passage_of(article)][: NUM_QUOTED[language]]
        for index, source in enumerate(sources):
            passage = passage_of(source)
            assert passage is not None
            for _ in range(2 if index == 0 else 1):
                host = next(article for article in free if article not in sources)
                free.remove(host)
                self._publish(
                    host,
                    "copied_passage",
                    article_as_shown=with_passage(host, passage),
                    original_url=source.url,
                    passage=passage,
                    expected={"kept": True, "stage": "substring"},
                )
        return sources

    def _special(self, free: list[Article]) -> None:
        for _ in range(2):
            self._publish(free.pop(), "bad_digest", expected={"kept": True, "digest_ok": False}, harm="digest")
        for _ in range(2):
            article = free.pop()
            body = gzip.compress(render(article.template, self._page(article), "utf-8").encode(), mtime=0)
            encoding = (("Content-Encoding", "gzip"),)
            self._publish(article, "gzip_body", body=body, extra_headers=encoding, expected={"kept": True})
        for _ in range(3):
            article = free.pop()
            shown = with_lines(article, self.fragments["counter_lines"]["light"])
            expected: dict[str, object] = {"kept": True, "stage": "lines"}
            self._publish(article, "lines", article_as_shown=shown, variant="light", expected=expected)

    # -- copies of plain articles

    def _copies(self, language: str, plain: list[Article]) -> None:
        synonyms = self.fragments["synonyms"][language]
        for index, article in enumerate(shuffled(plain, "reword", lambda a: a.key)[: NUM_REWORDED[language]]):
            rate = REWORDING_RATES[index % len(REWORDING_RATES)]
            other = reworded(article, rate, synonyms, f"reword/{article.key}")
            host = f"{pick(('copy', 'read', 'best'), article.key)}{index}.pagecopy.test"
            self._near(article, f"https://{host}/{article.slug}.html", f"words:{rate}", other, host=host)
        for index, article in enumerate(shuffled(plain, "syndicate", lambda a: a.key)[: NUM_SYNDICATED[language]]):
            template = pick([name for name in TEMPLATES if name != article.template], f"template/{article.key}")
            host = f"wire{index}.syndicate.example"
            url = f"https://{host}/story/{article.slug}"
            self._near(article, url, f"template:{template}", replace(article, template=template), host=host)
        for article in shuffled(plain, "redate", lambda a: a.key)[: NUM_REDATED[language]]:
            self._near(article, f"{article.url}?print=1", "date", article, updated=_later(article))

        served_twice = shuffled(plain, "exact", lambda a: a.key)[: NUM_SERVED_TWICE[language]]
        for index, article in enumerate(served_twice):
            urls = other_urls(article.url)
            variant = sorted(urls)[index % len(urls)]
            self._copy(article, "exact_duplicate", urls[variant], variant=variant, expected={"stage": "exact"})
        for article in shuffled(plain, "again", lambda a: a.key)[: NUM_SAME_URL[language]]:
            self._copy(article, "same_url", article.url, expected={"stage": "url"})

        if language == "en":
            first, second, third, *rest = shuffled(plain, "harm", lambda a: a.key)
            quarantined: dict[str, object] = {"kept": False, "quarantined": True}
            cut, damaged = other_urls(first.url)["mirror_host"], other_urls(second.url)["mirror_host"]
            self._copy(first, "truncated", cut, harm="cut", expected=quarantined)
            self._copy(second, "damaged", damaged, harm="flip", expected=quarantined)
            self.captures.append(deep_capture(third))
            for index, article in enumerate(rest[:NUM_HEAVY_LINES]):
                shown = with_lines(article, self.fragments["counter_lines"]["heavy"])
                self._copy(
                    article,
                    "lines",
                    f"https://m{index}.quickreads.test/{article.slug}",
                    article_as_shown=shown,
                    variant="heavy",
                    expected={"stage": "lines", "kept": False},
                )

    def _near(self, article: Article, url: str, variant: str, shown: Article, **page: Any) -> None:
        html = render(shown.template, self._page(shown, **page), "utf-8")
        self._copy(article, "near_duplicate", url, body=html.encode(), variant=variant, expected={"stage": "minhash"})

    def _copy(self, article: Article, kind: str, url: str, **more: Any) -> None:
        self._publish(article, kind, url=url, original_url=article.url, **more)

    def _publish(
        self,
        article: Article,
        kind: str,
        *,
        url: str | None = None,
        article_as_shown: Article | None = None,
        body: bytes | None = None,
        **more: Any,
    ) -> None:
        if body is None:
            shown = article_as_shown or article
            body = render(shown.template, self._page(shown), "utf-8").encode()
        self.captures.append(
            Capture(url or article.url, kind, body, language=article.language, source=article.slug, **more)
        )

    def _page(self, article: Article, host: str | None = None, updated: date | None = None) -> Page:
        others = [other for other in self.by_language[article.language] if other.slug != article.slug]
        related = shuffled(others, f"related/{article.key}", lambda other: other.key)[:4]
        return Page(
            language=article.language,
            host=host or article.site,
            title=article.title,
            body_html=body_of(article),
            published=article.published,
            updated=updated,
            related=tuple((other.title, other.url) for other in related),
            key=article.key,
        )


def _later(article: Article) -> date:
    return article.published + timedelta(days=3 + rank(article.key) % 40)


def _encodable(article: Article, codec: str) -> bool:
    try:
        (article.title + article.text).encode(codec)
    except UnicodeEncodeError:
        return False
    return True
