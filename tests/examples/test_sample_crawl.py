"""The sample crawl is what its truth file says, and its articles are fit to be kept."""

from __future__ import annotations

import collections
import hashlib
import importlib.util
import io
import itertools
import json
import sys
import zlib
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from warcio.archiveiterator import ArchiveIterator
from warcio.exceptions import ArchiveLoadFailed

SAMPLE_PACKAGE = Path(__file__).resolve().parents[2] / "examples" / "crawl" / "sample_crawl"
STOP_WORDS = {"the", "be", "to", "of", "and", "that", "have", "with"}
AT_LEAST = {
    "article": 60,
    "near_duplicate": 30,
    "exact_duplicate": 20,
    "same_url": 4,
    "copied_passage": 8,
    "other_language": 10,
    "charset": 9,
    "lines": 6,
    "spam": 8,
    "adult_url": 8,
    "link_list": 6,
    "http_error": 6,
    "redirect": 4,
    "table": 3,
    "empty": 2,
    "pdf": 2,
    "image": 2,
    "json": 2,
    "short": 8,
    "bullets": 3,
    "ellipsis": 2,
    "lorem": 2,
    "gzip_body": 2,
    "bad_digest": 2,
    "deep": 1,
    "huge_line": 1,
    "truncated": 1,
    "damaged": 1,
    "warcinfo": 3,
    "metadata": 50,
}


@pytest.fixture(scope="module")
def sample() -> ModuleType:
    """The package of the sample, loaded from its folder as the pipeline does it."""
    spec = importlib.util.spec_from_file_location("sample_crawl", SAMPLE_PACKAGE / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sample_crawl"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def built(sample: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return sample.build(tmp_path_factory.mktemp("crawl"))


@pytest.fixture(scope="module")
def truth(built: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in built.truth_file.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def articles(sample: ModuleType) -> dict[tuple[str, str], Any]:
    return {(article.language, article.slug): article for article in sample.load_articles()}


def member(built: Any, entry: dict[str, Any]) -> bytes:
    data = (built.truth_file.parent / entry["warc_file"]).read_bytes()
    return data[entry["offset"] : entry["offset"] + entry["length"]]


def response(built: Any, entry: dict[str, Any]) -> bytes:
    return next(iter(ArchiveIterator(io.BytesIO(member(built, entry))))).content_stream().read()


def units(language: str, text: str) -> list[str]:
    from sample_crawl.articles import units as split  # type: ignore[import-not-found]

    result: list[str] = split(text, language)
    return result


def windows(items: list[str], size: int) -> set[tuple[str, ...]]:
    return {tuple(items[start : start + size]) for start in range(len(items) - size + 1)}


def page_text(html: str) -> str:
    """The paragraphs, list items and cells of the article on a page."""

    class Body(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.tags: list[str] = []
            self.lines: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.tags.append(tag)
            if tag in ("p", "li", "th", "td"):
                self.lines.append("")

        def handle_endtag(self, tag: str) -> None:
            while self.tags and self.tags.pop() != tag:
                pass

        def handle_data(self, data: str) -> None:
            inside = self.tags and self.tags[-1] in ("p", "li", "th", "td")
            if inside and not {"nav", "aside", "footer", "section", "header"} & set(self.tags):
                self.lines[-1] += data

    body = Body()
    body.feed(html)
    return "\n".join(body.lines)


def test_the_same_sources_give_the_same_bytes(sample: ModuleType, built: Any, tmp_path: Path) -> None:
    again = sample.build(tmp_path)
    for one, other in zip((*built.warc_files, built.truth_file), (*again.warc_files, again.truth_file), strict=True):
        assert hashlib.sha256(one.read_bytes()).digest() == hashlib.sha256(other.read_bytes()).digest()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        path.name for path in built.truth_file.parent.iterdir()
    )


def test_counts_by_kind(built: Any, truth: list[dict[str, Any]]) -> None:
    kinds = collections.Counter(entry["kind"] for entry in truth)
    assert built.kinds == dict(kinds)
    assert built.num_records == len(truth) >= 300
    assert len(built.warc_files) >= 3
    assert {kind: kinds[kind] for kind in AT_LEAST if kinds[kind] < AT_LEAST[kind]} == {}
    types = collections.Counter(entry["record_type"] for entry in truth)
    assert types["request"] == types["response"] == built.num_responses


def test_offsets_tile_each_file(built: Any, truth: list[dict[str, Any]]) -> None:
    for path in built.warc_files:
        end = 0
        for entry in (entry for entry in truth if entry["warc_file"] == path.name):
            assert entry["offset"] == end
            end += entry["length"]
        assert end == path.stat().st_size


def test_offsets_point_to_the_records(built: Any, truth: list[dict[str, Any]]) -> None:
    for entry in truth:
        if entry["kind"] in ("damaged", "truncated"):
            continue
        record = next(iter(ArchiveIterator(io.BytesIO(member(built, entry)), check_digests=True)))
        assert record.rec_type == entry["record_type"]
        assert record.rec_headers.get_header("WARC-Target-URI") == entry["url"]
        record.content_stream().read()
        assert record.digest_checker.passed is (entry["kind"] != "bad_digest")


def test_damage_is_local(built: Any, truth: list[dict[str, Any]]) -> None:
    entries = {entry["kind"]: (index, entry) for index, entry in enumerate(truth)}
    index, damaged = entries["damaged"]
    with pytest.raises(zlib.error):
        zlib.decompress(member(built, damaged), 31)
    after = [entry for entry in truth[index + 1 :] if entry["warc_file"] == damaged["warc_file"]]
    assert len(after) > 20
    assert all(member(built, entry).startswith(b"\x1f\x8b\x08") for entry in after)

    index, truncated = entries["truncated"]
    assert index + 1 == len(truth) or truth[index + 1]["warc_file"] != truncated["warc_file"]
    decompressor = zlib.decompressobj(31)
    assert decompressor.decompress(member(built, truncated)).startswith(b"WARC/1.0")
    assert not decompressor.eof


def read_to_the_end(path: Path) -> int:
    """Number of records that a plain sequential reader gets."""
    with path.open("rb") as stream:
        return sum(1 for record in ArchiveIterator(stream) if record.content_stream().read() is not None)


def test_a_plain_reader_reads_the_undamaged_files_and_stops_at_the_damage(
    built: Any, truth: list[dict[str, Any]]
) -> None:
    kinds = {entry["warc_file"]: entry["kind"] for entry in truth if entry["kind"] in ("damaged", "truncated")}
    assert sorted(kinds.values()) == ["damaged", "truncated"]
    for path in built.warc_files:
        if kinds.get(path.name) == "damaged":
            with pytest.raises(ArchiveLoadFailed):
                read_to_the_end(path)
        elif path.name not in kinds:
            assert read_to_the_end(path) == sum(entry["warc_file"] == path.name for entry in truth)


def test_articles_have_the_length_of_articles(articles: dict[tuple[str, str], Any]) -> None:
    english = {key: units("en", article.text) for key, article in articles.items() if key[0] == "en"}
    japanese = {key: units("ja", article.text) for key, article in articles.items() if key[0] == "ja"}
    assert len(english) >= 60
    assert len(japanese) >= 25
    assert {key: len(words) for key, words in english.items() if not 120 <= len(words) <= 400} == {}
    assert {key: len(characters) for key, characters in japanese.items() if len(characters) < 400} == {}
    assert len({article.site for article in articles.values()}) >= 20
    assert len({article.template for article in articles.values()}) == 5
    assert len({article.url for article in articles.values()}) == len(articles)


def test_english_articles_pass_the_gopher_rules(articles: dict[tuple[str, str], Any]) -> None:
    for key, article in articles.items():
        if key[0] != "en":
            continue
        words = units("en", article.text)
        assert 3 <= sum(map(len, words)) / len(words) <= 10, key
        assert len(STOP_WORDS & set(words)) >= 2, key
        lines = article.text.splitlines()
        assert len(lines) == len(set(lines)), key
        pairs = collections.Counter(itertools.pairwise(words))
        pair, count = max(pairs.items(), key=lambda item: (item[1], len(" ".join(item[0]))))
        assert len(" ".join(pair)) * count <= 0.2 * len(article.text), key
        tens = collections.Counter(zip(*(words[start:] for start in range(10)), strict=False))
        assert max(tens.values()) == 1, key


def test_articles_share_no_window_of_twenty_words(articles: dict[tuple[str, str], Any]) -> None:
    seen: dict[tuple[str, ...], tuple[str, str]] = {}
    for key, article in articles.items():
        for window in windows(units(key[0], article.text), 20):
            assert seen.setdefault(window, key) == key, window


def test_every_article_is_published_once_in_its_own_right(
    truth: list[dict[str, Any]], articles: dict[tuple[str, str], Any]
) -> None:
    own = [
        (entry["language"], entry["source"])
        for entry in truth
        if entry["source"] and entry["url"] == articles[entry["language"], entry["source"]].url
        if entry["kind"] != "same_url"
    ]
    assert sorted(own) == sorted(articles)


def test_near_duplicates_are_near_and_not_equal(
    built: Any, truth: list[dict[str, Any]], articles: dict[tuple[str, str], Any]
) -> None:
    for entry in truth:
        if entry["kind"] != "near_duplicate":
            continue
        article = articles[entry["language"], entry["source"]]
        assert entry["original_url"] == article.url
        page = windows(units(entry["language"], page_text(response(built, entry).decode())), 5)
        shingles = windows(units(entry["language"], article.text), 5)
        lost = len(shingles - page)
        # A replaced word takes away as many shingles as it brings.
        assert (len(shingles) - lost) / (len(shingles) + lost) >= 0.75, (entry["url"], entry["variant"])
        assert (lost > 0) is entry["variant"].startswith("words"), (entry["url"], entry["variant"])


def test_exact_duplicates_are_the_same_bytes(built: Any, truth: list[dict[str, Any]]) -> None:
    original = {entry["url"]: entry for entry in truth if entry["kind"] == "article"}
    copies = [entry for entry in truth if entry["kind"] in ("exact_duplicate", "same_url")]
    for entry in copies:
        assert response(built, entry) == response(built, original[entry["original_url"]])
        assert (entry["url"] == entry["original_url"]) is (entry["kind"] == "same_url")
    variants = {entry["variant"] for entry in copies if entry["kind"] == "exact_duplicate"}
    assert variants == {"host_case", "mirror_host", "scheme", "session", "tracking", "trailing_slash"}


def test_copied_passages_stand_in_both_pages(built: Any, truth: list[dict[str, Any]]) -> None:
    by_url = {entry["url"]: entry for entry in truth if entry["kind"] == "article"}
    hosts = [entry for entry in truth if entry["kind"] == "copied_passage"]
    for entry in hosts:
        source = by_url[entry["original_url"]]
        assert source["source"] != entry["source"]
        assert len(units(entry["language"], entry["passage"])) >= (150 if entry["language"] == "ja" else 70)
        for page in (entry, source):
            assert escape(entry["passage"]) in response(built, page).decode()
    assert {entry["language"] for entry in hosts} == {"en", "ja"}
    assert max(collections.Counter(entry["original_url"] for entry in hosts).values()) >= 2


def test_charset_pages_carry_their_article(
    built: Any, truth: list[dict[str, Any]], articles: dict[tuple[str, str], Any]
) -> None:
    for entry in truth:
        if entry["kind"] == "charset":
            codec = entry["variant"].split()[0].removeprefix("bytes=")
            text = page_text(response(built, entry).decode(codec))
            longest = max(articles[entry["language"], entry["source"]].paragraphs, key=len)
            assert longest in text, entry["variant"]
