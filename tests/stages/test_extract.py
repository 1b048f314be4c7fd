from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from stage_tables import records_of

from corpusmill.core import documents
from corpusmill.core.hashing import content_hash
from corpusmill.stages import extract, with_resiliparse, with_trafilatura
from corpusmill.stages.charset import decode
from corpusmill.stages.extract import Backend, ExtractConfig, ExtractStage
from corpusmill.stages.main_text import tidy
from corpusmill.stages.sandbox import Sandbox

BACKENDS: tuple[Backend, ...] = ("trafilatura", "resiliparse")

PAGE = """<!DOCTYPE html><html><head><title>{title}</title></head><body>
<nav><a href="/">Home</a> <a href="/about">About us</a></nav>
<article><h1>{title}</h1>
<p>The first paragraph of {title} says enough about its subject to be taken for the text of an article.</p>
<p>The second one goes on, in the same vein and at some length, so that nobody takes it for a menu.</p>
<p>Shared by every page: this sentence stands in all of them, word for word, like a disclaimer at the end.</p>
</article><div class="comments" id="comments"><p>First! says a reader below the line.</p></div>
<footer>All rights reserved</footer></body></html>"""


def pages(n: int) -> list[bytes]:
    return [PAGE.format(title=f"Story number {i}").encode() for i in range(n)]


@pytest.fixture(scope="module")
def stage() -> Iterator[ExtractStage]:
    built = ExtractStage(ExtractConfig())
    yield built
    built.close()


@pytest.fixture(scope="module", params=BACKENDS)
def any_stage(request: pytest.FixtureRequest) -> Iterator[ExtractStage]:
    """A stage of each back end."""
    built = ExtractStage(ExtractConfig(backend=request.param))
    yield built
    built.close()


def test_main_text_without_menus_comments_and_footer(stage: ExtractStage) -> None:
    result = stage.process(records_of(pages(1)))
    assert result.kept.schema == documents.DOCUMENT
    row = result.kept.to_pylist()[0]
    assert row["text"].startswith("Story number 0\nThe first paragraph of Story number 0 says")
    assert row["text"].endswith("like a disclaimer at the end.")
    assert "reader below the line" not in row["text"]
    assert row["charset"] == "utf-8"
    assert row["content_hash"] == content_hash(row["text"])
    assert {k: row[k] for k in documents.ORIGIN.names} == {
        k: v for k, v in records_of(pages(1)).to_pylist()[0].items() if k in documents.ORIGIN.names
    }


BARE_LIBRARY = """
import json, sys, trafilatura
options = json.loads(sys.stdin.readline())
pages = json.loads(sys.stdin.readline())
print(json.dumps([trafilatura.extract(page, include_comments=False, **options) or "" for page in pages]))
"""


def by_the_bare_library(pages: list[str], **options: bool) -> list[str]:
    """Texts by trafilatura in a process that has never heard of corpusmill, whose changes to it hold for a process."""
    asked = f"{json.dumps(options)}\n{json.dumps(pages)}\n"
    done = subprocess.run([sys.executable, "-c", BARE_LIBRARY], input=asked, capture_output=True, text=True, check=True)
    texts: list[str] = json.loads(done.stdout)
    return texts


def odd_pages() -> list[str]:
    """Pages that take the ways through trafilatura on which its parts are replaced."""
    words = "It is not that the ferry was late, but that nobody in the village had expected it to come at all. "
    return [
        PAGE.format(title="A story"),
        PAGE.format(title="Control \x01 characters \x1f and \ufffe\uffff"),
        f"<html><body><div>{words * 3}</div><div><font>{words * 9}</font></div></body></html>",
        f"<html><body><div class='sidebar'>{words}</div><span class='bottom'>{words}</span><p>{words}</p>",  # jusText
    ]


def ours(htmls: list[str], focus: str) -> list[str]:
    options = {"tables": True, "comments": False, "fast": False, "formatting": False}
    return [with_trafilatura.main_text(html, focus=focus, **options) for html in htmls]


@pytest.mark.parametrize("focus", ["balance", "precision", "recall"])
def test_the_text_is_that_of_the_bare_library(focus: str) -> None:
    found = ours(odd_pages(), focus)
    assert all(found)
    options = {"favor_precision": focus == "precision", "favor_recall": focus == "recall"}
    assert found == by_the_bare_library(odd_pages(), **options)


def test_resiliparse_gives_the_same_document_around_its_text() -> None:
    built = ExtractStage(ExtractConfig(backend="resiliparse"))
    try:
        row = built.process(records_of(pages(1))).kept.to_pylist()[0]
    finally:
        built.close()
    paragraphs = row["text"].split("\n\n")
    assert paragraphs[0] == "Story number 0"
    assert paragraphs[1].startswith("The first paragraph of Story number 0 says")
    assert paragraphs[-1].endswith("like a disclaimer at the end.")
    assert not {"About us", "All rights reserved", "reader below the line"} & set(row["text"].splitlines())
    assert row["charset"] == "utf-8"
    assert row["content_hash"] == content_hash(row["text"])


def test_resiliparse_text_is_nfc_without_control_characters_or_texts_of_images() -> None:
    html = "<p>Cafe\u0301 and a\x07b, <img alt='not text' src=x.png> then.</p><pre>a\x0cb\x85c</pre>"
    text = with_resiliparse.main_text(f"<html><body><main>{html * 3}</main></body></html>", tables=True, comments=False)
    assert "Caf\u00e9 and ab, then." in text
    assert "a b c" in text


def test_resiliparse_keeps_bullets_and_leaves_tables_out_when_asked() -> None:
    html = "<main><p>Some text.</p><ol><li>one</li></ol><table><tr><td>left</td><td>right</td></tr></table></main>"
    text = with_resiliparse.main_text(html, tables=True, comments=False)
    assert "1. one" in text
    assert "left" in text
    assert "left" not in with_resiliparse.main_text(html, tables=False, comments=False)


def test_a_child_imports_its_own_back_end_alone() -> None:
    for module, other in (("with_resiliparse", "trafilatura"), ("visible_text", "trafilatura")):
        code = f"import sys, corpusmill.stages.{module}; assert {other!r} not in sys.modules"
        subprocess.run([sys.executable, "-c", code], check=True)


def test_options_reach_the_library() -> None:
    html = PAGE.format(title="A story").replace(
        "</article>", "<table><tr><td>Left cell</td><td>Right cell</td></tr></table></article>"
    )

    def text(**options: object) -> str:
        built = ExtractStage(ExtractConfig.model_validate(options))
        try:
            return str(built.process(records_of([html.encode()])).kept["text"][0])
        finally:
            built.close()

    assert "Left cell" in text()
    assert "Left cell" not in text(include_tables=False)
    assert "reader below the line" in text(include_comments=True)
    assert "# A story" in text(include_formatting=True)


def test_the_same_page_six_times_gives_the_same_text(any_stage: ExtractStage) -> None:
    # A library with a cache of segments seen gives 1121, 1121, 1121, 0, 0, 0 characters.
    texts = any_stage.process(records_of(pages(1) * 6)).kept["text"].to_pylist()
    assert len(texts) == 6
    assert len(set(texts)) == 1


def test_texts_do_not_depend_on_order_or_on_what_went_before(any_stage: ExtractStage) -> None:
    payloads = pages(40)
    expected = dict(zip(payloads, any_stage.process(records_of(payloads)).kept["text"].to_pylist(), strict=True))
    shuffled = random.Random(3).sample(payloads * 2, len(payloads) * 2)
    assert any_stage.process(records_of(shuffled)).kept["text"].to_pylist() == [expected[p] for p in shuffled]
    for payload in payloads[:2]:
        alone = ExtractStage(any_stage.config)
        assert alone.process(records_of([payload])).kept["text"].to_pylist() == [expected[payload]]
        alone.close()


def test_pages_without_text_are_removed_under_no_text(any_stage: ExtractStage) -> None:
    payloads = [
        b"",
        b"   \n",
        b"<html><body></body></html>",
        pages(1)[0],
        b"<html><script>x()</script></html>",
        b"\x00",
    ]
    result = any_stage.process(records_of(payloads))
    assert result.kept["doc_id"].to_pylist() == ["a.warc.gz:3"]
    assert result.removed["rule"].to_pylist() == ["no_text"] * 5
    assert result.removed["characters"].to_pylist() == [0] * 5


def test_the_charset_is_undone_and_recorded(stage: ExtractStage) -> None:
    html = PAGE.format(title="委員会の予算")
    japanese = stage.process(records_of([html.encode("shift_jis")], "Shift_JIS")).kept.to_pylist()[0]
    assert japanese["text"].startswith("委員会の予算")
    assert japanese["charset"] == "shift_jis"


SENTENCE = "This is a sentence of some length, so that it is taken for text, and here is more of it."


def hostile() -> dict[str, bytes]:
    return {
        "nested": b"<html><body>" + b"<div>" * 4_000 + b"<p>" + SENTENCE.encode(),
        "open inline tags": b"<p>" + b"<b><i>" * 50_000 + SENTENCE.encode(),
        "one long line": b"<html><body><p>" + b"word " * 400_000 + b"</p></body></html>",
        "nul bytes": PAGE.format(title="N\x00ul").replace("vein", "ve\x00in").encode(),
        "references to nothing": PAGE.format(title="&#xD800; &#0; &#x110000; &#xFFFF;").encode(),
        "bytes of no charset": b"<html><body><p>" + bytes(range(256)) * 20 + SENTENCE.encode() + b"</p></body></html>",
        "angle brackets": b"<" * 200_000,
        "a header of many lines": PAGE.format(title="x").encode() + b"\n" * 50_000,
        "a zip file": b"PK\x03\x04" + bytes(range(256)) * 50,
    }


def test_hostile_pages_are_kept_removed_or_quarantined_and_the_others_come_through(any_stage: ExtractStage) -> None:
    good = pages(1)[0]
    payloads = [p for bad in hostile().values() for p in (bad, good)]
    result = any_stage.process(records_of(payloads))
    assert result.kept.num_rows + result.removed.num_rows + result.quarantined.num_rows == len(payloads)
    kept = dict(zip(result.kept["warc_offset"].to_pylist(), result.kept["text"].to_pylist(), strict=True))
    assert len({kept[i] for i in range(1, len(payloads), 2)}) == 1
    for text in kept.values():
        assert text
        assert "\x00" not in text
        assert text.encode()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_page_over_its_limits_is_quarantined_with_its_name(backend: Backend) -> None:
    stage = ExtractStage(ExtractConfig(backend=backend, max_html_bytes=3_000_000, cpu_seconds=0.3))
    slow = b"<html><body>" + (b"<p>some words here" * 150_000 if backend == "trafilatura" else b"<div>" * 100_000)
    large = b"<html><body>" + b"x" * 3_000_000
    try:
        result = stage.process(records_of([pages(1)[0], slow, large, pages(2)[1]]))
    finally:
        stage.close()
    assert result.kept["doc_id"].to_pylist() == ["a.warc.gz:0", "a.warc.gz:3"]
    rows = result.quarantined.to_pylist()
    assert [(r["doc_id"], r["reason"]) for r in rows] == [("a.warc.gz:1", "cpu_limit"), ("a.warc.gz:2", "size_limit")]
    assert "limit 3000000" in rows[1]["detail"]
    assert rows[0]["warc_offset"] == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_crash_in_the_parser_takes_one_page(monkeypatch: pytest.MonkeyPatch, backend: Backend) -> None:
    monkeypatch.setitem(extract._TARGETS, backend, "hostile_targets:crash_on_request")
    stage = ExtractStage(ExtractConfig(backend=backend))
    try:
        result = stage.process(records_of([b"good", b"segfault here", b"fine"]))
    finally:
        stage.close()
    assert result.kept["text"].to_pylist() == ["good", "fine"]
    assert result.quarantined["reason"].to_pylist() == ["crashed:SIGSEGV"]


def nested(depth: int) -> str:
    return "<html><body>" + "<div>" * depth + f"<p>{SENTENCE * 5}"


@pytest.mark.parametrize("depth", [200, 256, 300, 2000])
def test_pages_nested_more_deeply_than_libxml2_goes_have_their_text(stage: ExtractStage, depth: int) -> None:
    result = stage.process(records_of([nested(depth).encode(), pages(1)[0]]))
    assert result.kept["text"].to_pylist()[0].startswith(SENTENCE)
    assert result.kept.num_rows == 2


def test_a_page_nested_beyond_all_limits_has_no_text(stage: ExtractStage) -> None:
    assert stage.process(records_of([nested(3000).encode()])).removed["rule"].to_pylist() == ["no_text"]


def test_a_table_without_rows_starts_no_process(stage: ExtractStage) -> None:
    fresh = ExtractStage(ExtractConfig())
    result = fresh.process(documents.empty(documents.RECORD))
    assert result.kept.schema == documents.DOCUMENT
    assert result.kept.num_rows == 0
    assert fresh._sandbox.pid is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see https://example.org/a?b=c#d now", "see now"),
        ("see (https://example.org/a_(b)) now", "see () now"),
        ("(see https://example.org/x.), [http://example.org/]", "(see.), []"),
        ("Read more at http://example.org.", "Read more at."),
        ("www.example.org is down", "is down"),
        ("WWW.EXAMPLE.ORG and HTTPS://EXAMPLE.ORG/", "and"),
        ("詳しくはhttps://example.jp/page.htmlをご覧ください。", "詳しくはをご覧ください。"),
        ("см. https://ru.example.org/вики/Статья дальше", "см. дальше"),
        ("ftp://ftp.example.org/pub, and more", ", and more"),
        ("README.md and Node.js stay, so does e.g. this", "README.md and Node.js stay, so does e.g. this"),
        ("mail a@example.org, xhttp://no", "mail a@example.org, xhttp://no"),
        ("a\nhttps://example.org/\nb", "a\n\nb"),
        ("a\n\nhttps://example.org/\n\nb", "a\n\nb"),
        ("a\n\n\n\n\nb\n\nc\nd", "a\n\nb\n\nc\nd"),
        ("https://example.org/", ""),
    ],
)
def test_urls_and_newlines(text: str, expected: str) -> None:
    assert tidy(text, remove_urls=True) == expected


def test_urls_may_stay() -> None:
    assert tidy("see https://example.org/\n\n\n\nnow", remove_urls=False) == "see https://example.org/\n\nnow"


@settings(max_examples=200, deadline=None)
@given(text=st.text(alphabet="ab/:. \n\tあhttpswww()", max_size=80))
@example("www.www.www.")
def test_tidy_leaves_at_most_two_newlines_and_only_deletes(text: str) -> None:
    tidied = tidy(text, remove_urls=True)
    assert "\n\n\n" not in tidied
    characters = iter(text)
    assert all(c in characters for c in tidied)  # a subsequence


def test_tidy_takes_linear_time() -> None:
    for unit in (" ", ".", "www.", "http://", "http://)", "\n", "("):
        tidy(unit * (1_000_000 // len(unit)), remove_urls=True)
    for unit in (")", "()", ".", ")."):
        tidy("http://a" + unit * (1_000_000 // len(unit)), remove_urls=True)


def payloads_of(shared_crawl: Path, number: int) -> list[bytes]:
    from warcio.archiveiterator import ArchiveIterator

    payloads: list[bytes] = []
    with (shared_crawl / "warc" / "CC-MAIN-20260801000000-20260801030000-00001.warc.gz").open("rb") as file:
        for record in ArchiveIterator(file):
            if record.rec_type == "response":
                payloads.append(record.content_stream().read())
            if len(payloads) == number:
                break
    return payloads


def test_real_pages_have_the_text_of_the_bare_library(shared_crawl: Path) -> None:
    htmls = [decode(payload, None)[0] for payload in payloads_of(shared_crawl, 60)]
    htmls = [html for html in htmls if len(html) < 80_000]
    assert len(htmls) > 20
    assert ours(htmls, "precision") == by_the_bare_library(htmls, favor_precision=True)


def test_real_pages_in_any_order(shared_crawl: Path, any_stage: ExtractStage) -> None:
    payloads = payloads_of(shared_crawl, 25)
    forward = any_stage.process(records_of(payloads, None)).kept
    backward = any_stage.process(records_of(payloads[::-1], None)).kept
    assert forward.num_rows > 15
    assert forward["text"].to_pylist() == backward["text"].to_pylist()[::-1]


def test_main_text_of_nothing() -> None:
    options = {"tables": True, "comments": False, "fast": False, "formatting": False}
    assert with_trafilatura.main_text("", focus="balance", **options) == ""
    assert with_resiliparse.main_text("", tables=True, comments=False) == ""


def test_the_stage_can_be_sent_to_a_worker() -> None:
    import pickle

    stage = pickle.loads(pickle.dumps(ExtractStage(ExtractConfig(fast=True))))
    assert stage.config.fast
    assert isinstance(stage._sandbox, Sandbox)
    assert json.loads(json.dumps(stage.config.model_dump())) == stage.config.model_dump()


@pytest.mark.parametrize(
    "bad",
    [
        {"focus": "both"},
        {"cpu_seconds": 0},
        {"memory_bytes": 1},
        {"deduplicate": True},
        {"backend": "lynx"},
        {"backend": "resiliparse", "fast": True},
        {"backend": "resiliparse", "focus": "precision"},
        {"backend": "resiliparse", "include_formatting": True},
    ],
)
def test_config_refuses(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ExtractConfig.model_validate(bad)
