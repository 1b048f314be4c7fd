from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from stage_tables import records_of
from warcio.archiveiterator import ArchiveIterator

from corpusmill.core import documents, words
from corpusmill.core.errors import ConfigError
from corpusmill.stages import prescreen, with_resiliparse, with_trafilatura
from corpusmill.stages.extract import ExtractConfig, ExtractStage
from corpusmill.stages.prescreen import PrescreenConfig, PrescreenStage
from corpusmill.stages.visible_text import SMALL_BYTES, beginning, most_words

ENGLISH = "The committee met on Tuesday to talk about the budget of the coming year, and it went on for hours. " * 5
GERMAN = "Der Ausschuss tagte am Dienstag, um über den Haushalt des kommenden Jahres zu sprechen, stundenlang. " * 5


def page(text: str) -> bytes:
    return f"<html><head><title>Page</title></head><body><p>{text}</p></body></html>".encode()


@pytest.fixture(scope="module")
def lossless() -> Iterator[PrescreenStage]:
    stage = PrescreenStage(PrescreenConfig())
    yield stage
    stage.close()


@pytest.fixture(scope="module")
def english(lid_model: Path) -> Iterator[PrescreenStage]:
    stage = PrescreenStage(PrescreenConfig(languages={"en": 0.05}))
    yield stage
    stage.close()


# The bound


@pytest.mark.parametrize(
    ("html", "bound"),
    [
        ("", 0),
        ("   \n\u3000", 0),
        ("OK!", 9),
        ("O K !", 9),
        ("<p>OK</p>", 27),
        ("数字", 6),
        ("é", 6),  # e and an accent
        ("&amp;", 15),
        ("<TABLE>", None),
        ("<ta\x01ble>", None),
    ],
)
def test_the_bound_is_three_times_the_characters_that_are_not_blank(html: str, bound: int | None) -> None:
    assert most_words(html) == bound


def number_of_words(text: str) -> int:
    """The most words that any stage may see in `text`."""
    spaced = len(text.split()) + len(re.findall(r"[^\w\s]", text))  # every symbol a word of its own
    return max(spaced, *(len(words.words(text, language)) for language in ("en", "ja", "zh")))


TEXTS = st.text(alphabet="ab1. !?あ数字\u3000\u0958\ufb2c&;#\\n\"'", max_size=20)
ENTITIES = st.sampled_from(["&nbsp;", "&#32;", "&#x4e2d;", "&lt;p&gt;", "&amp;#32;", "&NewLine;", "&#20013", "&fjlig;"])
TAG_NAMES = """
    div p b i br li ul ol dl dt dd blockquote pre code q quote h1 h2 item list row cell head lb article main section
    span a del td th caption iframe details summary figure form math sup hi
"""
TAGS = st.sampled_from(TAG_NAMES.split())
ATTRIBUTES = st.sampled_from(
    [
        "",
        " class='post-content'",
        " id=comments",
        " class='comment-list'",
        " class=hljs",
        " colspan=50",
        " src=//youtube.com/x",
    ]
)


@st.composite
def trees(draw: st.DrawFn, depth: int = 4) -> str:
    if depth == 0 or draw(st.booleans()):
        return draw(TEXTS) + draw(st.sampled_from(["", " "])) + draw(st.one_of(st.just(""), ENTITIES))
    tag, attribute = draw(TAGS), draw(ATTRIBUTES)
    inner = "".join(draw(st.lists(trees(depth - 1), max_size=4)))
    return f"<{tag}{attribute}>{inner}</{tag}>"


JSON_LD = '<script type="application/ld+json">{"articleBody": "%s"}</script>'
FORUM = '<script type="application/ld+json">{"@type": "DiscussionForumPosting"}</script>'


@settings(max_examples=80, deadline=None)
@given(
    tree=trees(),
    head=st.sampled_from(["", FORUM, JSON_LD % ("a\\nb&nbsp;c<br>d\\u4e2d\\u6587 " * 20)]),
    focus=st.sampled_from(["balance", "recall"]),
    comments=st.booleans(),
    formatting=st.booleans(),
)
@example("<div>lead text<p>short</p></div>", "", "recall", True, False)
@example("<ul><li>a<li>b<li>c</ul>", "", "balance", False, True)
@example("!<b>?<b>!<b>?", "", "recall", False, False)
def test_no_text_has_more_words_than_the_bound(
    tree: str, head: str, focus: str, comments: bool, formatting: bool
) -> None:
    html = f"<html><head>{head}</head><body>{tree}</body></html>"
    bound = most_words(html)
    assert bound is not None
    options = {"focus": focus, "tables": True, "comments": comments, "formatting": formatting}
    for fast in (False, True):
        assert number_of_words(with_trafilatura.main_text(html, fast=fast, **options)) <= bound
    assert number_of_words(with_resiliparse.main_text(html, tables=True, comments=comments)) <= bound


# The visible text


def test_the_beginning_of_the_visible_text_is_found_wherever_it_stands() -> None:
    assert beginning("<title>T</title><p>One</p><p>two</p>", 100) == "One two"
    assert beginning("<p>One</p>", 0) == ""
    assert beginning("<p>One</p>", 2) == "On"
    late = f"<script>{'x' * 40_000}</script><p>{ENGLISH}</p>"
    assert beginning(late, 100) == ENGLISH[:100]
    long = f"<p>{ENGLISH * 100}</p>"
    assert beginning(long, 1000) == (ENGLISH * 100)[:1000]


def test_markup_is_no_text() -> None:
    html = """<!DOCTYPE html><html><head><TITLE>T</TITLE><style>p > a {}</style></head><body class='a"b'>
    <!-- not <p>this</p> --><p>Caf&eacute;&nbsp;a&lt;b</p><SCRIPT>"</scr" + "ipt>"</SCRIPT ><svg><text>no</text></svg>
    3 < 4 <noscript>no</noscript><scripted>yes</scripted></body>"""
    assert beginning(html, 100) == "Café a<b 3 < 4 yes"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<html><HEAD lang=en>no</HEAD><body>yes</body>", "yes"),
        ("<head><meta charset=utf-8>no<body>yes", "yes"),
        ("<head>never closed", "never closed"),
        ("<header>yes</header></head>after", "yes after"),
        ("<head>no</head >yes", "yes"),
    ],
)
def test_the_head_is_no_text(html: str, text: str) -> None:
    assert beginning(html, 100) == text


@pytest.mark.parametrize("end", ["<script>never closed", "<!-- never closed", "<p class='never closed", "</", "<"])
def test_what_is_not_closed_ends_the_text(end: str) -> None:
    assert beginning(f"<p>One two</p>{end}", 100).removesuffix(" </").removesuffix(" <") == "One two"


@settings(max_examples=300)
@given(
    st.lists(
        st.sampled_from(
            [
                "a ",
                "<p>",
                "</p>",
                "<head>",
                "</head>",
                "<script>",
                "</script>",
                "<!--",
                "-->",
                "<",
                ">",
                "&lt;",
                "é" * 700,
            ]
        )
    )
    .map("".join)
    .flatmap(lambda html: st.tuples(st.just(html), st.integers(1, 3000)))
)
def test_the_beginning_is_that_of_the_whole_text(drawn: tuple[str, int]) -> None:
    html, characters = drawn
    assert beginning(html, 1 << 30).startswith(beginning(html, characters))
    assert len(beginning(html, characters)) <= characters


@pytest.mark.parametrize("piece", ["<", "<script>", "<!--", "</", "<p ", "<script></scrip", "a<b>", "<head>"])
def test_any_page_takes_linear_time(piece: str) -> None:
    import time

    html = piece * (2_000_000 // len(piece))
    started = time.process_time()
    beginning(html, 1000)
    beginning(html, 1 << 30)
    assert time.process_time() - started < 5


# Rules


def test_pages_that_can_give_too_few_words_go_with_the_bound(lossless: PrescreenStage) -> None:
    payloads = [b"", b"<p>OK</p>", page("It works!"), page(ENGLISH), b"<p>" + b"x" * SMALL_BYTES]
    result = lossless.process(records_of(payloads))
    assert result.kept["warc_offset"].to_pylist() == [2, 3, 4]
    assert result.kept.schema == documents.RECORD
    rows = result.removed.to_pylist()
    assert [(r["rule"], r["value"], r["threshold"]) for r in rows] == [
        ("too_few_words", 0.0, 50.0),
        ("too_few_words", 27.0, 50.0),
    ]


def test_the_bound_is_of_the_decoded_page(lossless: PrescreenStage) -> None:
    wide = "Not one of these pages has many letters".encode("utf-16")
    assert lossless.process(records_of([wide])).kept.num_rows == 1
    few = "OK, 12345".encode("utf-16")  # 18 bytes and the mark
    assert lossless.process(records_of([few])).removed["value"].to_pylist() == [24.0]


def test_min_words_may_be_off() -> None:
    stage = PrescreenStage(PrescreenConfig(min_words=None))
    assert stage.process(records_of([b"", b"x"])).kept.num_rows == 2
    assert stage._sandbox.pid is None


def test_large_pages_start_no_process() -> None:
    stage = PrescreenStage(PrescreenConfig())
    assert stage.process(records_of([page(ENGLISH * 20)])).kept.num_rows == 1
    assert stage._sandbox.pid is None


def test_pages_in_no_wanted_language_go(english: PrescreenStage) -> None:
    result = english.process(records_of([page(ENGLISH), page(GERMAN), page(ENGLISH + GERMAN), b"<p>OK</p>"]))
    assert result.kept["warc_offset"].to_pylist() == [0, 2]
    german, few = result.removed.to_pylist()
    assert few["rule"] == "too_few_words"
    assert (german["rule"], german["threshold"], german["detail"]) == ("unwanted_language", 0.05, "de")
    assert 0 <= german["value"] < 0.05


def test_one_wanted_language_is_enough(lid_model: Path) -> None:
    stage = PrescreenStage(PrescreenConfig(languages={"en": 0.05, "de": 0.5}))
    try:
        assert stage.process(records_of([page(ENGLISH), page(GERMAN)])).kept.num_rows == 2
    finally:
        stage.close()


def test_only_the_beginning_of_the_text_is_classified(lid_model: Path) -> None:
    mixed = [page(GERMAN + ENGLISH)]
    for characters, kept in ((300, 0), (1000, 1)):
        stage = PrescreenStage(PrescreenConfig(languages={"en": 0.05}, text_characters=characters))
        try:
            assert stage.process(records_of(mixed)).kept.num_rows == kept
        finally:
            stage.close()


def test_menus_scripts_and_hidden_text_are_part_of_the_page_but_not_of_its_visible_text(
    english: PrescreenStage,
) -> None:
    script = f"<script>var text = '{ENGLISH}'</script>"
    assert english.process(records_of([script.encode() + page(GERMAN)])).kept.num_rows == 0


def test_a_page_that_cannot_be_screened_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prescreen, "_TARGET", "hostile_targets:crash_on_request")
    stage = PrescreenStage(PrescreenConfig())
    try:
        result = stage.process(records_of([b"segfault here", b"segfault there"]))
    finally:
        stage.close()
    assert result.kept.num_rows == 2
    assert result.quarantined.num_rows == 0


def test_unknown_languages_and_bad_keys_are_refused(lid_model: Path) -> None:
    stage = PrescreenStage(PrescreenConfig(languages={"klingon": 0.1}))
    with pytest.raises(ConfigError, match="does not know this language"):
        stage.process(records_of([page(ENGLISH)]))
    stage.close()
    for bad in ({"min_words": -1}, {"languages": {}}, {"languages": {"en": 0.0}}, {"text_characters": 0}):
        with pytest.raises(ValidationError):
            PrescreenConfig.model_validate(bad)


def test_it_only_filters_and_reads_the_model_only_for_languages(
    lossless: PrescreenStage, english: PrescreenStage
) -> None:
    assert lossless.only_filters
    assert list(lossless.resource_files()) == []
    assert [Path(p).name for p in english.resource_files()] == ["lid.176.ftz"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=4))
def test_any_bytes_are_kept_or_removed(english: PrescreenStage, payloads: list[bytes]) -> None:
    table = records_of(payloads, None)
    result = english.process(table)
    ids = result.kept["doc_id"].to_pylist() + result.removed["doc_id"].to_pylist()
    assert sorted(ids) == sorted(table["doc_id"].to_pylist())
    assert result.quarantined.num_rows == 0


def test_verdicts_do_not_depend_on_order_or_on_what_went_before(english: PrescreenStage) -> None:
    payloads = [page(t) for t in (ENGLISH, GERMAN, "OK", GERMAN[:30], ENGLISH[:40])]
    kept = set(english.process(records_of(payloads)).kept["payload"].to_pylist())
    shuffled = random.Random(5).sample(payloads * 3, 15)
    assert english.process(records_of(shuffled)).kept["payload"].to_pylist() == [p for p in shuffled if p in kept]


def test_lossless_mode_removes_no_real_page_that_has_enough_words(shared_crawl: Path, lossless: PrescreenStage) -> None:
    """Real pages, and the same ones cut to the size at which the bound is counted at all."""
    payloads: list[bytes] = []
    with (shared_crawl / "warc" / "CC-MAIN-20260801000000-20260801030000-00003.warc.gz").open("rb") as file:
        for record in ArchiveIterator(file):
            if record.rec_type == "response":
                payloads.append(record.content_stream().read())
    payloads = [p for p in payloads[::8] for p in (p, p[-400:], p[len(p) // 2 :][:60])]
    table = records_of(payloads, None)
    removed = set(lossless.process(table).removed["doc_id"].to_pylist())
    assert removed
    extract = ExtractStage(ExtractConfig(fast=True))
    try:
        kept = extract.process(table).kept
    finally:
        extract.close()
    for doc_id, text in zip(kept["doc_id"].to_pylist(), kept["text"].to_pylist(), strict=True):
        assert doc_id not in removed or number_of_words(text) < 50
