from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpusmill.core import documents
from corpusmill.core.errors import ConfigError
from corpusmill.core.urls import normalise
from corpusmill.stages.url_filter import Match, UrlFilterConfig, UrlFilterStage, UrlRules, _pattern
from corpusmill.stages.url_lists import lines


def rules(tmp_path: Path, entries: str = "", **config: Any) -> UrlRules:
    path = tmp_path / "list.txt"
    path.write_text(entries, encoding="utf-8")
    return UrlRules(UrlFilterConfig(blocklists=(str(path),), **config))


def rule_of(found: UrlRules, url: str) -> str | None:
    match = found.match(url)
    return match.rule if match else None


def table_of(addresses: list[str]) -> pa.Table:
    origin = {"domain": "", "warc_file": "x", "warc_length": 1, "crawl": "", "media_type": "", "payload": b""}
    rows = [{**origin, "doc_id": f"x:{i}", "url": u, "warc_offset": i} for i, u in enumerate(addresses)]
    return documents.table_of(rows, documents.RECORD)


# Block lists


@pytest.mark.parametrize(
    ("url", "blocked"),
    [
        ("http://bad.example/", "bad.example"),
        ("https://bad.example:8443/x?y", "bad.example"),  # hosts with a port
        ("http://deep.sub.bad.example/x", "bad.example"),  # sub-domains
        ("http://www.bad.example/", "bad.example"),
        ("http://BAD.example./", "bad.example"),
        ("http://notbad.example/", None),
        ("http://bad.example.org/", None),
        ("http://example/", "example"),
        ("http://other.example/", None),  # a last label alone is no domain
        ("http://192.0.2.7/x", "192.0.2.7"),
        ("http://0xC0000207:81/", "192.0.2.7"),
        ("http://7.192.0.2.7.example/", None),
        ("http://[2001:db8::1]/", "[2001:db8::1]"),
        ("http://port.example:8080/", "port.example:8080"),
        ("http://port.example/", None),
        ("http://日本語.example/", "xn--wgv71a119e.example"),
        ("http://upper.example/", "upper.example"),
        ("http://sub.www.listed.example/", "www.listed.example"),
        ("http://listed.example/", None),
    ],
)
def test_domains(tmp_path: Path, url: str, blocked: str | None) -> None:
    entries = "# a comment\nbad.example\n\n192.0.2.7\n[2001:db8::1]\nport.example:8080\n日本語.example\nUPPER.Example\n"
    match = rules(tmp_path, entries + "www.listed.example\nnot a host\nexample\n").match(url)
    if blocked is None:
        assert match is None
    else:
        assert match is not None
        assert (match.rule, match.detail) == ("blocked_domain", blocked)


@pytest.mark.parametrize(
    ("url", "is_blocked"),
    [
        ("http://a.example/bad", True),
        ("https://www.a.example/bad/#top", True),
        ("http://a.example/bad/more", False),
        ("http://a.example/badly", False),
        ("http://a.example/", False),
        ("http://a.example/BAD", False),  # paths have case
        ("http://other.a.example/bad", False),
        ("http://a.example/bad?x=1", False),
        ("http://b.example/q?x=1", True),
        ("http://b.example/q", False),
        ("http://192.0.2.9/~me/", True),
        ("http://c.example/", True),
        ("http://c.example/x", False),
        ("http://d.example/%E3%81%82", True),
    ],
)
def test_urls(tmp_path: Path, url: str, is_blocked: bool) -> None:
    entries = "a.example/bad/\nhttps://www.b.example/q?x=1\n192.0.2.9/~me\nc.example/\nd.example/あ\n"
    assert (rule_of(rules(tmp_path, entries), url) == "blocked_url") is is_blocked


def test_ut1_folders_plain_and_gzip(tmp_path: Path) -> None:
    for name, domains in (("one", b"one.example\n"), ("two", b"two.example\r\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "urls.gz").write_bytes(gzip.compress(b"three.example/x\n"))
        (tmp_path / name / ("domains" if name == "one" else "domains.gz")).write_bytes(
            domains if name == "one" else gzip.compress(domains)
        )
    config = UrlFilterConfig(blocklists=(str(tmp_path / "one"), str(tmp_path / "two")))
    found = UrlRules(config)
    for url in ("http://one.example/", "http://two.example/", "http://three.example/x"):
        assert found.match(url), url
    names = [str(Path(p).relative_to(tmp_path)) for p in UrlFilterStage(config).resource_files()[:4]]
    assert names == ["one/domains", "one/urls.gz", "two/domains.gz", "two/urls.gz"]


def test_a_list_that_is_absent_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(ConfigError, match="no block list is here"):
            UrlFilterStage(UrlFilterConfig(blocklists=(str(path),)))


# Words


@pytest.fixture(scope="module")
def own() -> UrlRules:
    return UrlRules(UrlFilterConfig())


@pytest.mark.parametrize(
    ("url", "rule", "detail"),
    [
        ("http://foobann.edgaypo-r.nbar.com/", "strict_word", "gayporn"),  # across separators
        ("http://example.com/a_b/p.o.r.n.h.u.b", "strict_word", "pornhub"),
        ("http://example.com/?q=FREE%20Porn", "strict_word", "freeporn"),
        ("http://example.com/%E3%82%A8%E3%83%AD%E5%8B%95%E7%94%BB", "strict_word", "エロ動画"),
        ("http://エロ漫画-x.example/", "strict_word", "エロ漫画"),  # an international host
        ("http://example.com/%EF%BD%98videos", "hard_word", "xvideos"),  # full-width letters
        ("http://example.com/PORN/x", "hard_word", "porn"),  # case, which others forget
        ("http://xxx.example.com/", "hard_word", "xxx"),
        ("http://example.com/tag/hot_hentai.html", "hard_word", "hentai"),
        ("http://example.com/tag/%E3%82%A8%E3%83%AD/", "hard_word", "エロ"),
        ("http://example.com/sex-webcam", "soft_words", "sex, webcam"),
        ("http://escort.example.com/adult/adult", "soft_words", "adult, escort"),
        ("http://example.com/sex/SEX?sex=sex", None, None),  # one word, four times
        ("http://example.com/sexwebcam", None, None),
        ("http://example.com/", None, None),
    ],
)
def test_words(own: UrlRules, url: str, rule: str | None, detail: str | None) -> None:
    match = own.match(normalise(url) or url)
    assert (match and match.rule, match and match.detail) == (rule, detail)


HARMLESS = [
    "https://www.essex.ac.uk/adult",
    "https://www.sussex.ac.uk/",
    "https://scunthorpe.co.uk/",
    "https://arsenal.com/",
    "https://essex-camping.co.uk/essexvideos/essex-chat",
    "https://linux-videos.example/essexvideos",
    "https://my-hero-anime.example/eromanga",
    "https://my-hero-douga.example/",
    "https://hotel-pornichet.example/photos",
    "https://pornic.fr/",
    "https://staff.example/somporn-pornpicha-pornchai",
    "https://superbowlxxx.example/videos",
    "https://penistone.gov.uk/",
    "https://analysis.example/canteen-analysis",
    "https://sextant.example/",
    "https://cocktails.example/pornstar-martini/big-cocktails",
    "https://recipes.example/bukkake-udon/cream-pies/monster-cocktail",
    "https://www.middlesex.edu/adult-education",
    "https://library.example/adults/adult-learning",
    "https://milford.example/hot-milford",
    "https://therapist.example/hot-topics",
    "https://example.org/groups/explore",
    "https://example.org/screenshots-example/teens-explained/morals-explored",
    "https://mdr-tuberculosis.example/",
    "https://android.example/res/drawable-xxxhdpi/icon.html",
    "https://radio.example/hot-adult-contemporary",
    "https://hot-springs-webcam.example/",
    "https://shop.example/dicks-sporting-goods/adult-helmets",
    "https://unifem.example/unifem/domestic-violence",
    "https://java.example/free-java-streams",
    "https://birds.example/great-tits-and-blue-tits",
    "https://news.example/pussy-riot/pussycat-dolls",
    "https://health.example/masturbation-myths",
    "https://counselling.example/porno-sucht",
    "https://school.example/fuzoku-chugakkou/gokkun",
    "https://shop.example/chikan-kurta",
    "https://gay-and-lesbian-families.example/transgender",
    "https://example.jp/舞台裏動画",
    "https://example.jp/方向音痴女子",
    "https://example.jp/付属中学校/美女と野獣",
]


@pytest.mark.parametrize("url", HARMLESS)
def test_harmless_names_pass(own: UrlRules, url: str) -> None:
    assert own.match(normalise(url) or url) is None


def test_soft_words_carry_number_and_threshold() -> None:
    stage = UrlFilterStage(UrlFilterConfig(min_soft_words=3))
    result = stage.process(table_of(["http://e.com/sex/adult", "http://e.com/sex/adult/webcam"]))
    assert result.kept.column("doc_id").to_pylist() == ["x:0"]
    (row,) = result.removed.to_pylist()
    assert (row["rule"], row["value"], row["threshold"]) == ("soft_words", 3.0, 3.0)
    assert (row["detail"], row["stage"], row["doc_id"]) == ("adult, sex, webcam", "url_filter", "x:1")


def test_own_lists_take_the_place_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "words"
    path.write_text("# words\nFrüh-Stück\n", encoding="utf-8")
    found = UrlRules(UrlFilterConfig(strict_list=str(path), hard_list="", soft_list=""))
    assert rule_of(found, "http://e.com/FR%C3%9CH/st%C3%BCck") == "strict_word"
    assert found.match("http://e.com/porn/sex/adult") is None


def test_forms_of_a_word_count_once(tmp_path: Path) -> None:
    path = tmp_path / "words"
    path.write_text("Ape apes\nbear\n", encoding="utf-8")
    found = UrlRules(UrlFilterConfig(strict_list="", hard_list="", soft_list=str(path)))
    assert found.match("http://e.com/ape/apes") is None
    assert found.match("http://e.com/APES-bear") == Match("soft_words", "ape, bear", 2)


@given(st.sets(st.text("abあ1", min_size=1, max_size=5), min_size=1, max_size=8), st.text("abあ1", max_size=20))
def test_the_strict_word_that_begins_first_and_of_those_the_longest(words: set[str], text: str) -> None:
    found = re.search(_pattern(words), text)
    held = [(text.index(word), -len(word), word) for word in words if word in text]
    assert (found.group() if found else None) == (min(held)[2] if held else None)


def test_an_entry_without_letters_is_no_strict_word(tmp_path: Path) -> None:
    path = tmp_path / "words"
    path.write_text("---\n_\n", encoding="utf-8")
    assert UrlRules(UrlFilterConfig(strict_list=str(path))).match("http://e.com/") is None


@pytest.mark.parametrize("kind", ["strict", "hard", "soft"])
def test_words_of_the_lists_can_match(kind: str) -> None:
    """They are words, in lower case, once each; a hard word that a strict one makes superfluous is none."""
    config = UrlFilterConfig()
    found = [word for line in lines(config.word_file(kind)) for word in (line.split() if kind == "soft" else [line])]
    assert len(found) == len(set(found))
    for word in found:
        assert word.isalnum(), word
    if kind == "hard":
        strict = list(lines(config.word_file("strict")))
        for word in found:
            assert not any(part in word for part in strict), word


# Curated sources


def test_curated_sources() -> None:
    curated = ["https://en.wikipedia.org/wiki/X", "https://arxiv.org/abs/1", "https://www.ncbi.nlm.nih.gov/x"]
    others = ["https://notarxiv.org/", "https://nlm.nih.gov/", "https://ubuntu.com/", "https://wikipedia.example/"]
    on, off = (UrlRules(UrlFilterConfig(curated_sources=value)) for value in (True, False))
    assert [rule_of(on, u) for u in curated] == ["curated_source"] * 3
    assert on.match(curated[2]).detail == "ncbi.nlm.nih.gov"  # type: ignore[union-attr]
    assert [rule_of(on, u) for u in others] == [None] * 4
    assert [rule_of(off, u) for u in curated] == [None] * 3


def test_resource_files_are_what_is_read() -> None:
    names = [Path(p).name for p in UrlFilterStage(UrlFilterConfig()).resource_files()]
    assert names == ["url_strict.txt", "url_hard.txt", "url_soft.txt", "url_curated.txt"]
    config = UrlFilterConfig(curated_sources=False, hard_list="")
    assert [Path(p).name for p in UrlFilterStage(config).resource_files()] == ["url_strict.txt", "url_soft.txt"]


# The stage


PIECES = st.sampled_from(
    ["sex", "adult", "porn", "wiki", "github.com", "/", ".", "-", "%E3%82%A8", "é", "a", "", "%", ":"]
)
STAGE = UrlFilterStage(UrlFilterConfig())


@given(st.lists(st.lists(PIECES, max_size=6).map(lambda p: "http://" + "".join(p)) | st.text(max_size=20), max_size=8))
def test_every_row_has_one_fate(addresses: list[str]) -> None:
    addresses = [a.encode("utf-8", "ignore").decode() for a in addresses]
    table = table_of(addresses)
    result = STAGE.process(table)
    kept = result.kept.column("doc_id").to_pylist()
    removed = result.removed.column("doc_id").to_pylist()
    assert sorted([*kept, *removed]) == sorted(table.column("doc_id").to_pylist())
    assert kept == sorted(kept)
    assert result.kept.schema == table.schema
    backwards = STAGE.process(table_of(addresses[::-1]))
    assert sorted(backwards.removed.column("url").to_pylist()) == sorted(result.removed.column("url").to_pylist())


def test_an_empty_table() -> None:
    result = STAGE.process(documents.empty(documents.DOCUMENT))
    assert result.kept.schema == documents.DOCUMENT
    assert result.removed.num_rows == 0


def test_known_cases_of_ut1(shared_crawl: Path) -> None:
    """Every listed URL is found and no harmless one is, with the categories that the cases come from."""
    folder = shared_crawl / "blocklists"
    categories = ("adult", "mixed_adult", "gambling", "dating", "phishing", "malware", "warez", "drogue")
    files = [folder / f"ut1-{c}-{kind}.txt.gz" for c in categories for kind in ("domains", "urls")]
    found = UrlRules(UrlFilterConfig(blocklists=tuple(str(f) for f in files if f.exists()), curated_sources=False))
    for line in (folder / "url_cases.jsonl").read_text().splitlines():
        case = json.loads(line)
        match = found.match(normalise(case["url"]) or "")
        assert (match is not None) is case["block"], case
        if match:
            assert match.rule in ("blocked_domain", "blocked_url"), case


def test_words_hit_no_ordinary_page(own: UrlRules, shared_crawl: Path) -> None:
    for line in (shared_crawl / "pages.jsonl").read_text().splitlines():
        page = json.loads(line)
        assert rule_of(own, page["url"]) in (None, "curated_source"), page["url"]
