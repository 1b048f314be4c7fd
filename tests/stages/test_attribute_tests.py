from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree, html
from trafilatura import settings as trafilatura_settings
from trafilatura import xpaths
from warcio.archiveiterator import ArchiveIterator

from corpusmill.stages.attribute_tests import finder

REGULAR = {"re": "http://exslt.org/regular-expressions"}

TRANSLATED = [
    ".//header",
    "(.//header)[1]",
    ".//cite|.//quote",
    ".//*[@id]",
    ".//*[self::div or self::p][@class='a' or @class = \"b c\"]",
    ".//p[contains(@class, 'a') and not(@id)][1]",
    ".//*[self::div or self::p][not(self::p) or @id='x']",
    ".//div[contains(translate(@class, 'AB', 'ab'), 'ab')]",
    ".//*[starts-with(@id|@class, 'a') or re:test(@style, 'a|b', 'i')]",
    "(.//*[self::span or self::p][re:test(@class, '^b|(?:a b)') and (@id or @style='')])[1]",
    ".//aside|.//div[contains(@class|@id, 'b')]|.//*[re:test(@class, 'C', 'i') or @id='b']|.//*[@style='a']",
    ".//*[self::div or self::p][@class][not(.//span) or @id='x' or contains(text(), 'z')]",
    ".//div[@class='a'][@class='a'][1]",
]
NOT_TRANSLATED = [
    "//p",
    ".//p[2]",
    ".//p[1][@id]",
    ".//p[not(@id)]|.//div",
    ".//p[not(@id)]",  # what is not there would have to be asked about
    ".//p[contains(@class, '')]",
    ".//p[@id][position() < 2]",
    ".//p[@id][count(span)]",
    ".//p[@id][not(span) or position()=2]",
    ".//p[@a!='b']",
    ".//p[translate(@id, 'ab', 'a')='a']",
    ".//p[contains(translate(@id, 'ab', 'a'), 'a')]",
    ".//p[re:test(@id, 'a', 'g')]",
    "(.//p[1])[1]",
    "(.//p)[1]|.//div",
    ".//p[1]|.//div",
    ".//p/span",
    "count(.//p)",
]
# Of a module of its own: with_trafilatura puts functions in the place of the expressions.
_fresh = runpy.run_path(xpaths.__file__)
TRAFILATURA: list[Any] = [
    *(e for v in _fresh.values() if isinstance(v, list) for e in v if e.path.lstrip(" \n(").startswith(".//")),
    trafilatura_settings.BASIC_CLEAN_XPATH,
]

VALUES = st.one_of(
    st.sampled_from(["", "a", "b", "A", "b c", "ab", "x", "share-", "nav", "Footer", "comment-list", "entry-content"]),
    st.text(alphabet="abAB x-\u3000é", max_size=6),
)
ATTRIBUTES = st.lists(st.tuples(st.sampled_from(["id", "class", "style", "role"]), VALUES), max_size=3)
NAMES = st.sampled_from(["div", "p", "span", "header", "aside", "cite", "article", "main", "section", "list", "o:p"])


@st.composite
def elements(draw: st.DrawFn, depth: int = 3) -> Any:
    element = html.Element(draw(NAMES).replace("o:p", "q"))
    for name, value in draw(ATTRIBUTES):
        element.set(name, value)
    if draw(st.booleans()):
        element.text = "z"
    if depth:
        for child in draw(st.lists(elements(depth - 1), max_size=3)):
            element.append(child)
            if draw(st.booleans()):
                element.append(etree.Comment("a"))
    return element


def xpath(path: str) -> etree.XPath:
    return etree.XPath(path, namespaces=REGULAR)


@pytest.mark.parametrize("path", TRANSLATED)
@settings(max_examples=60, deadline=None)
@given(tree=elements())
def test_it_finds_what_libxml2_finds(path: str, tree: Any) -> None:
    expression = xpath(path)
    find = finder(expression)
    assert find is not expression
    assert list(find(tree)) == expression(tree)


@settings(max_examples=60, deadline=None)
@given(tree=elements())
def test_trafilaturas_expressions_find_what_they_found(tree: Any) -> None:
    for expression in TRAFILATURA:
        assert list(finder(expression)(tree)) == expression(tree)


def test_nearly_all_expressions_of_trafilatura_are_translated() -> None:
    left = [expression.path for expression in TRAFILATURA if isinstance(finder(expression), etree.XPath)]
    assert len(TRAFILATURA) > 15
    assert [path.strip().rpartition("|")[2] for path in left] == ["(.//main)[1]"]


@pytest.mark.parametrize("path", NOT_TRANSLATED)
def test_what_is_not_understood_is_left_as_it_is(path: str) -> None:
    expression = xpath(path)
    assert finder(expression) is expression


def test_the_first_of_two_attributes_is_the_first_in_the_source() -> None:
    tree = html.fromstring(
        "<div><p id='a' class='b'>1</p><p class='b' id='a'>2</p><p id='a'>3</p><p class='b'>4</p></div>"
    )
    find = finder(xpath(".//p[contains(@class|@id, 'b')]"))
    assert [element.text for element in find(tree)] == ["2", "4"]


def test_elements_may_be_deleted_while_the_result_is_walked_through() -> None:
    tree = html.fromstring("<div><p class='a'><b>x</b><p class='a'>y</p></div>")
    for element in finder(xpath(".//*[@class='a']"))(tree):
        element.drop_tree()
    assert tree.findall(".//p") == []


def test_real_pages(shared_crawl: Path) -> None:
    pages = []
    with (shared_crawl / "warc" / "CC-MAIN-20260801000000-20260801030000-00003.warc.gz").open("rb") as file:
        for record in ArchiveIterator(file):
            if record.rec_type == "response":
                pages.append(record.content_stream().read())
    found = 0
    for page in pages[::40]:
        tree = html.document_fromstring(page, parser=html.HTMLParser(encoding="utf-8"))
        for expression in TRAFILATURA:
            elements = list(finder(expression)(tree))
            found += len(elements)
            assert elements == expression(tree)
    assert found > 100
