from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpusmill.core.urls import dedup_key, host, normalise, registered_domain, split


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("HTTP://EXAMPLE.com:80/a b/../c?x=ä#f", "http://example.com/c?x=%C3%A4#f"),
        ("http://日本.jp/パス", "http://xn--wgv71a.jp/%E3%83%91%E3%82%B9"),
        ("http://0x7f.1/", "http://127.0.0.1/"),
        ("http://[::1]:8080/x", "http://[::1]:8080/x"),
        ("http://a b/", None),
        ("foo", None),
        ("/relative", None),
        ("http:///", None),
        ("", None),
        ("http://a\ud800/", None),
    ],
)
def test_normalise(url: str, expected: str | None) -> None:
    assert normalise(url) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("www.example.co.uk", "example.co.uk"),
        ("https://a.b.example.com:8443/x", "example.com"),
        ("example.com:8080", "example.com"),
        ("https://user.github.io/", "github.io"),
        ("https://www.日本.jp/", "xn--wgv71a.jp"),
        ("http://192.0.2.7/", ""),
        ("192.0.2.7", ""),
        ("http://[2001:db8::1]/", ""),
        ("localhost", ""),
        ("a.b.kettle.example", "kettle.example"),
        ("wiki.internal", "wiki.internal"),
        ("co.uk", ""),
        ("", ""),
    ],
)
def test_registered_domain(name: str, expected: str) -> None:
    assert registered_domain(name) == expected


def test_host() -> None:
    assert host("https://User:pw@WWW.Example.COM:444/x") == "www.example.com"
    assert host("http://[2001:DB8::1]/") == "[2001:db8::1]"
    assert host("mailto:a@example.com") == ""
    assert host("nothing") == ""


def test_split_knows_addresses_in_every_spelling() -> None:
    for url in ("http://192.0.2.7/", "http://0xC0000207/", "http://[::1]/"):
        parts = split(url)
        assert parts is not None
        assert parts.is_ip
    named = split("http://192.0.2.7.example/")
    assert named is not None
    assert not named.is_ip
    mail = split("mailto:a@example.com")
    assert mail is not None
    assert (mail.host, mail.is_ip) == ("", False)


SAME = [
    "http://example.com/a/b?x=1&y=2",
    "https://example.com/a/b?x=1&y=2",
    "https://EXAMPLE.com:443/a/b/?y=2&x=1#part",
    "http://user@example.com:80/a/./b//?x=1&utm_source=q&y=2&UTM_Medium=z",
    "https://example.com/a/b?fbclid=1&x=1&gclid=2&y=2&",
]


def test_dedup_key_of_one_page_is_one() -> None:
    assert {dedup_key(url) for url in SAME} == {"example.com/a/b?x=1&y=2"}


def test_dedup_key_keeps_what_may_be_another_page() -> None:
    different = [
        *("http://example.com/a", "http://www.example.com/a", "http://example.com:8080/a", "http://example.com/A"),
        *(
            "http://example.com/a?id=1",
            "http://example.com/a?id=2",
            "http://example.com/a?utm=1",
            "http://example.com/",
        ),
    ]
    assert len({dedup_key(url) for url in different}) == len(different)


def test_dedup_key_of_an_unparsable_url_is_itself() -> None:
    assert dedup_key("not a url") == "not a url"


def test_dedup_key_keeps_repeated_parameters() -> None:
    assert dedup_key("http://e.com/?a=2&a=1&a=2") == "e.com?a=1&a=2&a=2"


@given(st.text())
def test_any_text_is_taken(text: str) -> None:
    url = normalise(text)
    assert registered_domain(text) in (host(text).rstrip("."), registered_domain(text))
    dedup_key(text)
    if url is not None:
        assert normalise(url) == url


@given(
    st.sampled_from(["http", "https"]),
    st.sampled_from(["", "www."]),
    st.lists(st.sampled_from(["a", "B", "%20", "é"]), max_size=3),
    st.permutations(["p=1", "q", "r=a%20b", "utm_term=x"]),
    st.sampled_from(["", "#x"]),
)
def test_dedup_key_is_its_own_key(scheme: str, www: str, path: list[str], query: list[str], fragment: str) -> None:
    url = f"{scheme}://{www}example.com/{'/'.join(path)}?{'&'.join(query)}{fragment}"
    key = dedup_key(url)
    assert dedup_key(f"http://{key}") == key
    assert "utm_term" not in key
