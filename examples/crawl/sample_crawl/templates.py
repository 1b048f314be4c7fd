"""HTML of the five page templates, each with the clutter that extraction has to leave behind."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from html import escape

from .articles import Article, Block
from .chance import pick, rank
from .labels import Labels, labels_for, site_name


@dataclass(frozen=True)
class Page:
    """What a template lays out. `body_html` is trusted mark-up, every other string is escaped."""

    language: str
    host: str
    title: str
    body_html: str
    published: date
    updated: date | None
    related: tuple[tuple[str, str], ...]
    key: str

    @property
    def labels(self) -> Labels:
        """The words of the chrome."""
        return labels_for(self.language)

    @property
    def dateline(self) -> str:
        """`Published 3 May 2026`, or the update where there was one."""
        if self.updated:
            return f"{self.labels.updated} {self.labels.day(self.updated)}"
        return f"{self.labels.published} {self.labels.day(self.published)}"

    @property
    def author(self) -> str:
        """A made-up writer, always the same for one page."""
        return pick(self.labels.authors, f"author/{self.key}")

    def count(self, what: str, below: int) -> int:
        """A made-up counter such as likes, in [0, below)."""
        return rank(f"{what}/{self.key}") % below


def body_of(article: Article) -> str:
    """The article's blocks as HTML."""
    return "\n".join(block_html(block) for block in article.blocks)


def block_html(block: Block) -> str:
    """A paragraph, list or table as HTML."""
    if block.kind == "paragraph":
        return f"<p>{escape(block.lines[0])}</p>"
    if block.kind == "bullets":
        return "<ul>\n" + "\n".join(f"<li>{escape(item)}</li>" for item in block.lines) + "\n</ul>"
    head, *rows = [line.split("|") for line in block.lines]
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
    return f"<table>\n<tr>{cells}</tr>\n" + "\n".join(f"<tr>{line}</tr>" for line in lines) + "\n</table>"


def render(template: str, page: Page, meta_charset: str | None) -> str:
    """The whole document. `meta_charset` is what the page says of itself, right or wrong; None says nothing."""
    layout = {"blog": _blog, "news": _news, "docs": _docs, "recipe": _recipe, "forum": _forum}[template]
    charset = f'<meta charset="{meta_charset}">\n' if meta_charset else ""
    return (
        f'<!DOCTYPE html>\n<html lang="{page.language}">\n<head>\n{charset}'
        f"<title>{escape(page.title)} | {escape(site_name(page.host))}</title>\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="stylesheet" href="/assets/{template}.css">\n'
        "<style>.banner{position:fixed;bottom:0}.aside{float:right}</style>\n"
        f'<script>window.site={{"template":"{template}","ab":{page.count("ab", 9)}}};</script>\n'
        f'</head>\n<body class="{template}">\n{layout(page)}\n</body>\n</html>\n'
    )


def _links(names: tuple[str, ...], prefix: str) -> str:
    items = "".join(f'<li><a href="/{prefix}/{index}">{escape(name)}</a></li>' for index, name in enumerate(names))
    return f"<ul>{items}</ul>"


def _cookies(page: Page) -> str:
    words = page.labels
    return (
        f'<div class="cookie-banner banner" role="dialog" id="cookie-consent"><span>{words.cookies}</span> '
        f'<button type="button">{words.accept}</button></div>'
    )


def _share(page: Page) -> str:
    words = page.labels
    return (
        f'<div class="share social-share"><span>{words.share}</span> '
        f"<span>{page.count('likes', 400)} {words.likes}</span> "
        f"<span>{page.count('comments', 60)} {words.comments}</span></div>"
    )


def _teasers(page: Page) -> str:
    items = "".join(
        f'<li><a href="{url}">{escape(title)}</a> <a class="more" href="{url}">{page.labels.read_more}</a></li>'
        for title, url in page.related
    )
    return f"<h3>{page.labels.related}</h3>\n<ul>{items}</ul>"


def _footer(page: Page) -> str:
    return (
        f'<footer class="site-footer"><nav>{_links(page.labels.footer, "info")}</nav>'
        f"<p>&copy; 2026 {escape(site_name(page.host))}. {page.labels.rights}</p></footer>"
    )


def _blog(page: Page) -> str:
    words = page.labels
    return f"""{_cookies(page)}
<header class="site-header"><a href="/">{escape(site_name(page.host))}</a>
<nav class="menu">{_links(words.menu, "p")}</nav></header>
<div class="wrap">
<main>
<article class="post">
<h1 class="entry-title">{escape(page.title)}</h1>
<div class="post-meta"><span class="date">{page.dateline}</span>
<span class="author">{words.by} {escape(page.author)}</span></div>
<div class="entry-content">
{page.body_html}
</div>
</article>
{_share(page)}
</main>
<aside class="sidebar aside">
{_teasers(page)}
<div class="newsletter widget">{words.newsletter}</div>
</aside>
</div>
{_footer(page)}"""


def _news(page: Page) -> str:
    words = page.labels
    return f"""<div id="top" class="topbar"><a href="/login">{words.sign_in}</a></div>
<nav class="main-nav navigation">{_links(words.menu, "section")}</nav>
<div class="breadcrumb"><a href="/">{escape(site_name(page.host))}</a> &gt;
<a href="/section/1">{words.menu[1]}</a></div>
<article>
<header><h1>{escape(page.title)}</h1><p class="byline">{words.by} {escape(page.author)}</p>
<time datetime="{page.published.isoformat()}">{page.dateline}</time></header>
{_share(page)}
<div class="article-body" itemprop="articleBody">
{page.body_html}
</div>
</article>
<section class="related-articles">{_teasers(page)}</section>
<div class="newsletter-signup">{words.newsletter}</div>
{_footer(page)}
{_cookies(page)}
<script>setTimeout(function () {{ document.body.className += " ready"; }}, 0);</script>"""


def _docs(page: Page) -> str:
    contents = tuple(title for title, _ in page.related)
    return f"""<div class="header"><a href="/docs/">{escape(site_name(page.host))}</a>
<form action="/search" role="search"><input name="q"></form></div>
<nav class="toc sidebar" role="navigation">{_links(contents, "docs")}</nav>
<main role="main" class="document">
<h1>{escape(page.title)}</h1>
{page.body_html}
<p class="page-date">{page.dateline}</p>
</main>
<div class="pagination nav"><a href="/docs/previous" rel="prev">&laquo;</a>
<a href="/docs/next" rel="next">&raquo;</a></div>
{_footer(page)}"""


def _recipe(page: Page) -> str:
    words = page.labels
    return f"""<header class="shop-header"><a href="/">{escape(site_name(page.host))}</a>
<div class="cart-widget"><a href="/cart">{words.cart}</a></div><nav>{_links(words.menu, "shop")}</nav></header>
{_cookies(page)}
<main class="product-page">
<h1>{escape(page.title)}</h1>
<div class="meta rating">{page.count("stars", 5) + 1}/5 ({page.count("votes", 300)})</div>
<div class="content">
{page.body_html}
</div>
<div class="meta">{page.dateline}</div>
{_share(page)}
</main>
<aside class="recommendations sidebar">{_teasers(page)}</aside>
{_footer(page)}"""


def _forum(page: Page) -> str:
    words = page.labels
    replies = "\n".join(
        f'<div class="comment reply"><b>user{page.count(text, 9000)}</b> '
        f'<p>{text}</p><a href="#reply">{words.reply}</a></div>'
        for text in words.replies
    )
    return f"""<div class="navbar navigation">{_links(words.menu, "f")}<a href="/login">{words.sign_in}</a></div>
<h1>{escape(page.title)}</h1>
<div class="thread">
<article class="post first-post">
<div class="user-info"><b>{escape(page.author)}</b> <span>#{page.count("posts", 5000)}</span></div>
<div class="post-date">{page.dateline}</div>
<div class="post-body">
{page.body_html}
</div>
</article>
<div class="comments" id="comments">
{replies}
</div>
</div>
<div class="sidebar related">{_teasers(page)}</div>
{_footer(page)}
{_cookies(page)}"""
