"""The scan over the `url` column against `UrlRules.match`, which it must never contradict."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from corpusmill.core.key_table import KeyTable
from corpusmill.core.urls import normalise
from corpusmill.stages.url_filter import Match, UrlFilterConfig, UrlRules
from corpusmill.stages.url_kernel import automaton, suspects, word_keys

ENTRIES = """bad.example
www.listed.example
port.example:8080
bad
192.0.2.7
[2001:db8::1]
日本語.example
a.example/bad/
https://www.b.example/q?x=1
c.example/
c.example?
d.example/あ
e.example/x'y|z[]
e.example/?p=%41
"""


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> UrlRules:
    path = tmp_path_factory.mktemp("lists") / "list.txt"
    path.write_text(ENTRIES, encoding="utf-8")
    return UrlRules(UrlFilterConfig(blocklists=(str(path),)))


def column(urls: list[str]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(urls, pa.string())])


def by_match(rules: UrlRules, urls: list[str]) -> list[tuple[int, Match]]:
    return [(row, match) for row, url in enumerate(urls) if (match := rules.match(url))]


def suspicious(rules: UrlRules, urls: list[str]) -> list[int]:
    return suspects(column(urls), rules.blocked, rules._curated_keys, rules._word_keys)


HOSTS = st.sampled_from(
    [
        *(
            "bad.example",
            "x.bad.example",
            "notbad.example",
            "bad",
            "www.listed.example",
            "a.listed.example",
            "a.example",
        ),
        *("www.a.example", "WWW.a.Example", "b.example", "www.b.example", "c.example", "d.example", "e.example"),
        *("port.example:8080", "port.example:80", "a.example:443", "192.0.2.7", "0xC0000207", "[2001:db8::1]"),
        *(
            "日本語.example",
            "xn--wgv71a119e.example",
            "github.com",
            "x.github.com",
            "me:pw@bad.example",
            "bad.example.",
        ),
        *("a..bad.example", ".bad.example", "porn.example", "po-rn.example", "porn-hub.example", "xn-x.bad.example"),
        *("www.www.a.example", "www.", "www..", "", "a_b.c-d.example", "ab--cd.example", "sex.adult", "a%2Eexample"),
    ]
)
PIECES = st.sampled_from(
    [
        *(
            "/",
            "/",
            "//",
            "bad",
            "BAD",
            "q",
            "?",
            "x=1",
            "#",
            "é",
            "あ",
            "%E3%81%82",
            "%",
            "%4",
            "%zz",
            "%41",
            "%2e",
            "%2F",
        ),
        *(".", "..", "/../", "/./", "/.", "\\", "|", "'", '"', "`", "{", "}", "^", "<", ">", "[", "]", " ", "\t", "\n"),
        *(
            "porn",
            "PORN",
            "p.o.r.n",
            "hub",
            "sex",
            "adult",
            "webcam",
            "ｐｏｒｎ",
            "x'y|z[]",
            "%70orn",
            "-",
            "_",
            "~",
            "p%",
        ),
        *(
            "エロ",
            "%E3%82%A8%E3%83%AD",
            "group",
            "s e x",
            "?p=A",
            "\x7f",
            "\u0130",
            "ß",
            "xhamster",
            "&",
            "=",
            ";",
            "@",
            ":",
        ),
    ]
)
SCHEMES = st.sampled_from(
    ["http://", "https://", "http://", "https://", "HTTP://", "ftp://", "http:", "http:///", "", " http://", "x://"]
)
ADDRESSES = st.builds(
    lambda scheme, host, pieces: scheme + host + "".join(pieces), SCHEMES, HOSTS, st.lists(PIECES, max_size=8)
)
ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
URLS = ADDRESSES | ADDRESSES.map(lambda url: normalise(url) or url) | ANY | ANY.map("http://a.example/".__add__)


@settings(max_examples=1000)
@given(st.lists(URLS, min_size=1, max_size=8))
@example(["http://a.example/x/../bad", "http://a.example/%2e/bad", "http://a.example/.%2E/bad"])
@example(["http://b.example/q?x=1#y", "http://b.example/q#?x=1", "http://b.example/q?", "http://a.example/bad?#"])
@example(["http://a.example", "http://c.example?", "http://c.example#", "http://", "https://", "http://a"])
def test_the_scan_contradicts_no_judgement(rules: UrlRules, urls: list[str]) -> None:
    assert rules.matches(column(urls)) == by_match(rules, urls)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "https://www.example.org/a/b.html?q=%20x&y=~1#porn",
        "http://example/%zz",
        "http://a_b.c-d.example/x.y/z..w/(1);2,3!$*+|[]",
        "http://example.org/sex",
        "http://0-1.example.org/essex",
        "http://sub.a.example/bad",
        "http://a.example/badly",
        "http://example.org/?'"[:-1],
        "http://listed.example/",
        "https://gitHub.example.org".lower(),
    ],
)
def test_harmless_urls_are_not_looked_at_twice(rules: UrlRules, url: str) -> None:
    assert normalise(url) in (url, url + "/")
    assert suspicious(rules, [url]) == []


def test_rows_are_counted_over_chunks_and_slices(rules: UrlRules) -> None:
    good, bad = "http://good.example/", "http://bad.example/"
    whole = pa.array([bad, good, bad, good, "", bad], pa.string())
    chunked = pa.chunked_array([whole[1:3], whole[:0], whole[3:], pa.array([], pa.string())])
    assert [row for row, _ in rules.matches(chunked)] == [1, 4]
    assert rules.matches(pa.chunked_array([], pa.string())) == []


def test_a_huge_url(rules: UrlRules) -> None:
    long = "http://good.example/" + "a/" * 2_000_000
    assert rules.matches(column([long, long + "porn"])) == [(1, Match("hard_word", "porn"))]


def test_a_host_of_a_million_labels(rules: UrlRules) -> None:
    """Every domain above it would be 10^12 characters."""
    host = "a." * 1_000_000
    urls = [f"http://{host}bad.example/", f"http://{host}good.example/", "http://" + "b" * 1_000_000 + ".bad.example/"]
    assert [(row, match.detail) for row, match in rules.matches(column(urls))] == [
        (0, "bad.example"),
        (2, "bad.example"),
    ]


# Strict words


@given(
    st.lists(st.text("ab1é", max_size=5), max_size=6),
    st.text("ab1", max_size=30),
)
def test_the_automaton_finds_what_a_pattern_finds(words: list[str], text: str) -> None:
    step, accepts = automaton(words)
    ascii_words = [word for word in words if word and word.isascii()]
    expected = [any(text[:end].endswith(word) for word in ascii_words) for end in range(1, len(text) + 1)]
    state, found = 0, []
    for character in text:
        symbol = "abcdefghijklmnopqrstuvwxyz0123456789".index(character)
        state = step[state, symbol]
        found.append(bool(accepts[state]))
    assert found == expected


@given(st.sets(st.text("abc", min_size=1, max_size=4), max_size=5), st.text("abcABC-_/&", max_size=30))
def test_words_of_every_kind(words: set[str], text: str) -> None:
    """One list at a time, against the definition as a regular expression."""
    url = column([f"http://0.0.d/{text}"])
    none = KeyTable([])
    whole = re.findall("[a-z0-9]+", text.lower())
    letters = "".join(whole)
    for keys, expected in (
        (word_keys(words, [], [], 1), any(word in letters for word in words)),
        (word_keys([], words, [], 1), any(word in words for word in whole)),
        (word_keys([], [], words, 2), sum(word in words for word in whole) >= 2),
    ):
        assert suspects(url, none, none, keys) == [0] * expected


# Real URLs


def test_real_urls(shared_crawl: Path) -> None:
    """The scan and the general path agree on every URL there is, with all lists."""
    folder = shared_crawl / "blocklists"
    rules = UrlRules(UrlFilterConfig(blocklists=tuple(sorted(map(str, folder.glob("ut1-*-[du]*s.txt.gz"))))))
    texts = [path.read_text() for path in (shared_crawl / "pages.jsonl", folder / "url_cases.jsonl")]
    given_urls = [json.loads(line)["url"] for text in texts for line in text.splitlines()]
    urls = [normalise(url) or url for url in given_urls]
    expected = by_match(rules, urls)
    assert rules.matches(column(urls)) == expected
    assert rules.matches(column(given_urls)) == by_match(rules, given_urls)
    looked_at = len(suspicious(rules, urls)) - len(expected)
    assert looked_at < 0.05 * len(urls)
