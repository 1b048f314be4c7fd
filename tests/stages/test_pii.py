from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from stage_tables import check_conservation, documents_of, gold_texts, japanese_news

from corpusmill.core import documents
from corpusmill.core.hashing import content_hash
from corpusmill.core.text import Text
from corpusmill.stages.pii import FICTITIOUS_PHONES, PHONE_MASK, Pii, PiiConfig
from corpusmill.stages.pii_matches import candidates

PROSE = "The council met on Monday evening and talked for three hours about the new bridge. "
DEFAULT = Pii(PiiConfig())
PHONES = Pii(PiiConfig(phone_regions=("US", "JP")))
MASKS = Pii(
    PiiConfig(
        phone_regions=("GB", "FR"),
        email_replacements=("|||EMAIL_ADDRESS|||",),
        ipv4_replacements=("<IP>",),
        ipv6_replacements=("<IP>",),
        phone_replacements=("<PHONE>",),
    )
)


def found(text: str, stage: Pii = DEFAULT) -> list[str]:
    return [text[match.start : match.end] for match in stage.matches(Text(text, "en"))]


def edited(text: str, stage: Pii = DEFAULT) -> str:
    cuts = stage.measure(Text(text, "en")).cuts
    return documents.with_replacements(text, ((cut.start, cut.end, cut.replacement) for cut in cuts))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to john@acme.com.", ["john@acme.com"]),
        ("first.last+tag@mail.acme.co.uk", ["first.last+tag@mail.acme.co.uk"]),
        ("<o'brien_x%1@acme.com>", ["o'brien_x%1@acme.com"]),
        ("mailto:john@acme.com?subject=x", ["john@acme.com"]),
        ("https://acme.com/?e=john@acme.com&x=1", ["john@acme.com"]),
        ("メールはinfo@acme.co.jpまで。", ["info@acme.co.jp"]),
        ("메일은info@acme.co.kr로", ["info@acme.co.kr"]),
        ("ｉｎｆｏ＠ａｃｍｅ．ｃｏ．ｊｐ", ["ｉｎｆｏ＠ａｃｍｅ．ｃｏ．ｊｐ"]),
        ("info＠acme.com", ["info＠acme.com"]),
        ("jörg@bücher.de, info@例え.jp, info@例え.テスト です", ["jörg@bücher.de", "info@例え.jp", "info@例え.テスト"]),
        ("info@xn--r8jz45g.xn--zckzah", ["info@xn--r8jz45g.xn--zckzah"]),
        ("_john@acme.com_ and 'jane@acme.com'", ["_john@acme.com", "jane@acme.com"]),
        ("a..b@acme.com", ["b@acme.com"]),
        ("x@y.com.z@w.com", ["x@y.com", "z@w.com"]),
        ("a@b.com@c.com", ["b.com@c.com"]),
        ("a@b.com.123", ["a@b.com"]),
        ("@user, user@host, a@b, @a.com, a@.com, icon@2x.png, a@b.c", []),
        ("ssh://git@github.com/x and https://u:p@acme.com/", []),
        ("x" * 65 + "@acme.com", []),
        ("x" * 64 + "@acme.com", ["x" * 64 + "@acme.com"]),
    ],
)
def test_email_addresses(text: str, expected: list[str]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ping 8.8.8.8.", ["8.8.8.8"]),
        ("8.8.8.8 is first, (8.8.4.4) second", ["8.8.8.8", "8.8.4.4"]),
        ("8.8.8.8:53, 8.8.8.0/24, 8.8.8.8-8.8.8.20", ["8.8.8.8", "8.8.8.0", "8.8.8.8", "8.8.8.20"]),
        ("IPアドレスは8.8.8.8です。ＩＰ：８．８．８．８", ["8.8.8.8", "８．８．８．８"]),
        ("NameVirtualHost 111.22.33.44", ["111.22.33.44"]),
        ("10.1.2.3 127.0.0.1 192.168.1.1 172.16.0.1 169.254.1.1 0.0.0.0 224.0.0.1 255.255.255.255", []),
        ("256.1.1.1 8.8.8 8.8.8.8.8 08.8.8.8 1.3.6.1.4.1.311", []),
        ("version 1.2.3.4, v1.2.3.4, Ver. 1.2.3.4, Version: 1.2.3.4, バージョン1.2.3.4, Edition: 12.1.0.1", []),
        ("versions 1.2.3.4, 1.2.3.5 and 1.2.3.6 but 5.6.7.8", ["5.6.7.8"]),
        ("Section 3.2.2.2, § 3.2.2.2, 第3.2.2.2節, Revision 1.1.1.1", []),
        ("5.9.1.1. Unlambda\n\n5.9.1.2 保護\n8.8.8.8 is not", ["8.8.8.8"]),
        ("lib-1.2.3.4 lib_1.2.3.4 1.2.3.4-beta 1.2.3.4a Chrome/4.0.2.1 /opt/1.2.3.4/bin", []),
        ("http://8.8.8.8/x https://a.com/?ip=8.8.8.8 www.a.com/8.8.8.8 8.8.8.8/path 8.8.8.8.acme.com", []),
        ("2001:4860:4860::8888 and [2001:4860:4860::8844]:53.", ["2001:4860:4860::8888", "2001:4860:4860::8844"]),
        ("IPv6:2606:4700:4700:0:0:0:0:1111, ::ffff:8.8.8.8", ["2606:4700:4700:0:0:0:0:1111", "::ffff:8.8.8.8"]),
        ("::1 fe80::1 fc00::1 2001:db8::1 ff02::1 dead::beef ::ffff:10.0.0.1 12:30:45 std::cout 00:11:22:33:44:55", []),
        ("http://[2001:4860:4860::8888]/ x2001:4860:4860::8888 2001:db8::8.8.8.8", []),
    ],
)
def test_ip_addresses(text: str, expected: list[str]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Call 415-555-2671 or (415) 555-2672 ext. 33.", ["415-555-2671", "(415) 555-2672 ext. 33"]),
        ("+44 20 7031 3000", ["+44 20 7031 3000"]),
        ("電話03-1234-5678まで、携帯は090-1234-5678", ["03-1234-5678", "090-1234-5678"]),
        ("０３－１２３４－５６７８", ["０３－１２３４－５６７８"]),
        ("Tel: 4155552671", ["4155552671"]),
        ("up to 2147483647 or 4155552671", []),
        ("ISBN 0-521-79128-6, 2012-01-02 11:12:13, 192.168.1.1, 8 3 0 9 2 5 1 4 7 6, $1,234,567,890", []),
        ("415-555-2671\n415-555-2672", ["415-555-2671", "415-555-2672"]),
    ],
)
def test_phone_numbers(text: str, expected: list[str]) -> None:
    assert found(text, PHONES) == expected
    assert not [match for match in DEFAULT.matches(Text(text, "en")) if match.kind == "phone"]


def test_phone_numbers_get_a_fictitious_one_of_their_own_region() -> None:
    text = "+1 415-555-2671, +81 3-1234-5678, +44 20 7031 3000, +33 1 44 55 66 77"
    cuts = PHONES.measure(Text(text, "en")).cuts
    choices = [FICTITIOUS_PHONES["US"], FICTITIOUS_PHONES["JP"], FICTITIOUS_PHONES["GB"], (PHONE_MASK,)]
    assert all(cut.replacement in of_region for cut, of_region in zip(cuts, choices, strict=True))
    assert found(" and ".join(number for numbers in FICTITIOUS_PHONES.values() for number in numbers), PHONES) == []


def test_the_replacement_is_a_function_of_the_match_alone() -> None:
    """Not of a rotation: shards, order and neighbours do not count, nor how the address is written."""
    addresses = [f"user{i}@acme.com" for i in range(50)] + [f"8.8.4.{i}" for i in range(50)]
    alone = {address: edited(address) for address in addresses}
    assert len(set(alone.values())) == 2 + 6
    for order in (addresses, addresses[::-1], addresses[1::2]):
        assert edited(" | ".join(order)) == " | ".join(alone[address] for address in order)
    assert Pii(PiiConfig()).process(documents_of((addresses[7], "ja"))).kept.column("text").to_pylist() == [
        alone[addresses[7]]
    ]
    assert edited("JOHN@Acme.com") == edited("john@acme.com") == edited("ｊｏｈｎ＠ａｃｍｅ．ｃｏｍ")
    assert edited("2606:4700:4700:0:0:0:0:1111") == edited("2606:4700:4700::1111")


def test_another_key_chooses_otherwise() -> None:
    text = " ".join(f"user{i}@acme.com" for i in range(30))
    keyed = [edited(text, Pii(PiiConfig(key=key))) for key in ("", "one", "two", "x" * 100)]
    assert len(set(keyed)) == 4


def test_default_replacements_are_nobodys() -> None:
    config = PiiConfig()
    given = (*config.email_replacements, *config.ipv4_replacements, *config.ipv6_replacements)
    assert all(part.startswith(("192.0.2.", "198.51.100.", "203.0.113.")) for part in config.ipv4_replacements)
    assert all(part.startswith("2001:db8:") for part in config.ipv6_replacements)
    nobody = Pii(PiiConfig(email_replacements=("x",), ipv4_replacements=("x",), ipv6_replacements=("x",)))
    assert found(" ".join(given), nobody) == list(config.email_replacements)  # example.com and .org: RFC 2606


def test_kinds_can_be_masked_and_switched_off() -> None:
    text = "a@acme.com 8.8.8.8 2606:4700:4700::1111"
    assert edited(text, MASKS) == "|||EMAIL_ADDRESS||| <IP> <IP>"
    assert edited(text, Pii(PiiConfig(email=False, ipv6=False, ipv4_replacements=("#",)))) == (
        "a@acme.com # 2606:4700:4700::1111"
    )


def test_spans_hold_places_replacements_and_a_hash() -> None:
    text = "Mail john@acme.com or JOHN@acme.com from 8.8.8.8."
    for record in ("hash", "text"):
        stage = Pii(PiiConfig(record=record, key="k"))
        result = stage.process(documents_of((text, "en"), (PROSE, "en")))
        spans = result.spans.to_pylist()
        after = documents.with_replacements(text, ((s["start"], s["end"], s["replacement"]) for s in spans))
        assert result.kept.column("text").to_pylist() == [after, PROSE]
        assert result.kept.column("content_hash").to_pylist() == [content_hash(after), content_hash(PROSE)]
        assert [span["rule"] for span in spans] == ["email", "email", "ipv4"]
        if record == "text":
            assert [span["text"] for span in spans] == [text[s["start"] : s["end"]] for s in spans]
        else:
            assert "john" not in str(result.spans.to_pylist())
            assert spans[0]["text"] == spans[1]["text"] == stage.recorded("john@acme.com")
            assert spans[0]["text"] != Pii(PiiConfig()).recorded("john@acme.com")


def test_documents_with_more_matches_than_the_limit_go() -> None:
    texts = [(" ".join(f"u{i}@acme.com" for i in range(n)) + " 8.8.8.8", "en") for n in (4, 5)]
    result = Pii(PiiConfig(max_matches=5)).process(documents_of(*texts))
    assert result.kept.num_rows == 1
    removed = result.removed.to_pylist()[0]
    assert (removed["rule"], removed["value"], removed["threshold"]) == ("pii_matches", 6, 5)
    assert removed["detail"] == "email 5, ipv4 1"
    assert Pii(PiiConfig()).process(documents_of(*texts)).removed.num_rows == 0
    assert result.scores is not None
    assert result.scores.column("emails").to_pylist() == [4, 5]


@pytest.mark.parametrize(
    "config",
    [
        {"phone_regions": ["XX"]},
        {"email_replacements": []},
        {"ipv4_replacements": [" "]},
        {"record": "both"},
        {"max_matches": -1},
        {"emails": True},
    ],
)
def test_wrong_configs_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PiiConfig.model_validate(config)


PIECES = st.sampled_from(
    [
        *(
            "a",
            "foo",
            "john",
            "é",
            "か",
            "한",
            "8",
            "8.8.8.8",
            "1.2.3.4",
            "2606:4700::1",
            "::ffff:8.8.8.8",
            "www.x.com",
        ),
        *(
            "@",
            "＠",
            "@acme.com",
            "john@acme.com",
            "info@例え.みんな",
            ".",
            "．",
            "..",
            ",",
            " ",
            "\n",
            "-",
            "_",
            "'",
            "/",
        ),
        *(":", "://", "http://", "(", ")", "version ", "Section ", "and", "+", "555-", "415-555-2671", "03-1234-5678"),
        *("01 44 55 66 77", "email@example.com", "firstname.lastname@example.org", "192.0.2.18", "2001:db8::1b:52"),
        *("202-555-0123", "<IP>", "tel ", "０", "\ud800", "\u200b"),
    ]
)
TEXTS = st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=60)


@settings(max_examples=400, deadline=None)
@given(TEXTS, st.sampled_from([DEFAULT, PHONES, MASKS]))
@example("foo@john@acme.com", DEFAULT)
@example("x@y.com.z@w.com", DEFAULT)
@example("info@例え.みんなfoo", DEFAULT)
@example("john@acme.com_jane@acme.com", DEFAULT)
@example("2606:4700::1john@acme.com", DEFAULT)
@example("info@例え.みんなinfo@acme.com", DEFAULT)
def test_the_stage_changes_nothing_in_its_own_output(text: str, stage: Pii) -> None:
    matches = stage.matches(Text(text, "en"))
    assert all(0 <= m.start < m.end <= len(text) for m in matches)
    assert all(a.end <= b.start for a, b in pairwise(matches))
    once = edited(text, stage)
    assert edited(once, stage) == once


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_the_quick_look_misses_nothing(text: str) -> None:
    seen = Text(text, "en")
    may_hold = candidates(seen.points, seen.classes)
    for kind, find in PHONES._finders:
        assert getattr(may_hold, kind) or not list(find(text))


@pytest.mark.parametrize(
    "piece", ["a", "1", ".", "@", "a@", "1.", "a.", ":", "1:", " ", "1 ", "8.8.8.8 ", "a@b.com@", "x-"]
)
def test_long_texts_take_linear_time(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    started = time.process_time()
    edited(text, DEFAULT)
    assert time.process_time() - started < 5


def test_the_stage_is_pure_and_loses_nothing() -> None:
    texts = [("a@acme.com", "en"), ("", "ja"), (PROSE, "en"), ("電話03-1234-5678まで", "ja"), ("\n", "en")]
    table = documents_of(*texts)
    assert not PHONES.only_filters
    first = PHONES.process(table)
    check_conservation(table, first)
    assert first.kept.column("extra").to_pylist() == [0, 1, 2, 3, 4]
    assert PHONES.process(table) == first
    check_conservation(table.slice(0, 0), PHONES.process(table.slice(0, 0)))
    shuffled = PHONES.process(table.take([3, 0, 4, 2, 1])).kept.sort_by("doc_id")
    assert shuffled.column("text") == first.kept.sort_by("doc_id").column("text")


def test_matches_in_real_texts(shared_crawl: Path) -> None:
    pages = gold_texts(shared_crawl, every=4) + [(text, "ja") for text in japanese_news(shared_crawl, 100)]
    everything: list[str] = []
    for text, _ in pages:
        everything += (found_here := found(text))
        for match in found_here:
            assert "@" in match or "＠" in match or match.count(".") == 3 or match.count(":") > 1
        assert found(edited(text)) == []
    assert sum("@" in match for match in everything) > 10
