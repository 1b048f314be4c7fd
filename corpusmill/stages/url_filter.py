"""URL filtering: RefinedWeb, appendix G.1 (Penedo et al. 2023).

Rules, in this order; the first that matches is reported, `detail` is what matched:

    blocked_domain   the host, or a domain it belongs to, or host:port, is on a block list
    blocked_url      the address is on a block list; scheme, `www.`, fragment and slashes at the end of the path aside
    strict_word      a strict word in the letters and digits of the URL, across separators ("edsub-wo.rdbar")
    hard_word        a hard word as a whole word
    soft_words       at least `min_soft_words` different soft words as whole words; value is their number
    curated_source   the host belongs to a source that the paper leaves out because it is curated elsewhere (table 14)

The paper takes its block list from UT1 (10 categories, 4.6M entries, some popular domains taken out by hand) and does
not publish its words. [DEVIATION: the words in stages/lists/ were written for this project, and no block list comes
with it: name folders or files of your own.] All comparisons are made on the WHATWG form of the URL; words are looked
for in it percent-decoded, with an international host in Unicode, in NFKC and case-folded.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from os.path import commonprefix
from pathlib import Path
from typing import Annotated, ClassVar, NamedTuple
from urllib.parse import unquote

import ada_url
import pyarrow as pa
from pydantic import Field

from corpusmill.core import urls
from corpusmill.core.key_table import KeyTable, keys_of
from corpusmill.core.verdicts import StageResult, Verdicts
from corpusmill.stages.base import DocumentStage, StageConfig
from corpusmill.stages.url_kernel import suspects, word_keys
from corpusmill.stages.url_lists import BlockLists, address_of, domains_of, lines

_LISTS = Path(__file__).parent / "lists"
_WORD = re.compile(r"[^\W_]+")


class UrlFilterConfig(StageConfig):
    """Lists of the URL filter.

    blocklists: folders of a UT1 category (with files `domains` and `urls`, plain or .gz); local folders and archives
        (.tar, .tar.gz, .tgz, ...) of categories, of which `categories` count; files with one domain or URL a line,
        plain or .gz.
    categories: names of UT1; null: the ten of RefinedWeb, as far as they are there.
    strict_list, hard_list, soft_list: files of words, one a line, "#" at the start of a line for comments; a line of
        soft_list may hold several forms of a word, which count once; null: the project's own; "": none.
    curated_sources: whether the sources of `curated_list` (null: table 14 of the paper) are removed.
    """

    blocklists: tuple[str, ...] = ()
    categories: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    strict_list: str | None = None
    hard_list: str | None = None
    soft_list: str | None = None
    min_soft_words: Annotated[int, Field(ge=1)] = 2
    curated_sources: bool = True
    curated_list: str | None = None

    def block_lists(self) -> BlockLists:
        """The block lists. Raises ConfigError for a path that gives none."""
        return BlockLists.find(self.blocklists, self.categories)

    def word_file(self, kind: str) -> str:
        """Path of the list `kind`: strict, hard, soft or curated; "" for none."""
        path: str | None = getattr(self, f"{kind}_list")
        return str(_LISTS / f"url_{kind}.txt") if path is None else path


class Match(NamedTuple):
    """The rule that a URL breaks, what matched, and for soft words how many."""

    rule: str
    detail: str
    value: float | None = None


class UrlRules:
    """The lists of a config, loaded, and the judgement of URLs.

    blocked: table of the block lists; see url_lists for its entries and notes.
    """

    def __init__(self, config: UrlFilterConfig) -> None:
        self.blocked = config.block_lists().table() if config.blocklists else KeyTable([])
        strict = {_squeeze(_fold(word)) for word in lines(config.word_file("strict"))} - {""}
        self._strict = re.compile(_pattern(strict) if strict else "(?!)")
        self._hard = frozenset(map(_fold, lines(config.word_file("hard"))))
        forms = (_fold(line).split() for line in lines(config.word_file("soft")))
        self._soft = {form: line[0] for line in forms for form in line}
        self._min_soft_words = config.min_soft_words
        curated = lines(config.word_file("curated")) if config.curated_sources else ()
        self._curated = frozenset(urls.host(f"http://{domain}") for domain in curated)
        self._curated_keys = KeyTable(keys_of(list(self._curated)))
        self._word_keys = word_keys(strict, self._hard, self._soft, self._min_soft_words)

    def matches(self, url_column: pa.ChunkedArray) -> list[tuple[int, Match]]:
        """Row number and match of every URL that breaks a rule, in row order; the same as `match` of each."""
        found = []
        for row in suspects(url_column, self.blocked, self._curated_keys, self._word_keys):
            match = self.match(url_column[row].as_py())
            if match:
                found.append((row, match))
        return found

    def match(self, url: str) -> Match | None:
        """The first rule that `url` breaks; None when it breaks none."""
        parts = urls.split(url)
        text = _fold(url if parts is None else f"{_unicode(parts.host)} {unquote(parts.path)} {unquote(parts.query)}")
        return (
            (self._blocked(parts) if parts else None)
            or self._worded(text)
            or (self._curated_source(parts) if parts else None)
        )

    def _blocked(self, parts: urls.Parts) -> Match | None:
        entries = [*domains_of(parts), address_of(parts)]
        for entry, listed in zip(entries, self.blocked.have(keys_of(entries)).tolist(), strict=True):
            if listed:
                is_address = entry.startswith("//")
                return Match("blocked_url" if is_address else "blocked_domain", entry.removeprefix("//"))
        return None

    def _worded(self, text: str) -> Match | None:
        found = _WORD.findall(text)
        strict = self._strict.search("".join(found))
        if strict:
            return Match("strict_word", strict.group())
        hard = next((w for w in found if w in self._hard), None)
        if hard:
            return Match("hard_word", hard)
        soft = sorted({self._soft[word] for word in found if word in self._soft})
        if len(soft) >= self._min_soft_words:
            return Match("soft_words", ", ".join(soft), len(soft))
        return None

    def _curated_source(self, parts: urls.Parts) -> Match | None:
        domain = next((d for d in domains_of(parts) if d in self._curated), None)
        return Match("curated_source", domain) if domain else None


def _unicode(host: str) -> str:
    return str(ada_url.idna_to_unicode(host)) if "xn--" in host else host


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _squeeze(text: str) -> str:
    """The letters and digits of `text`."""
    return "".join(_WORD.findall(text))


def _pattern(words: Collection[str]) -> str:
    """A regular expression for any of `words`, the longest where several begin at one place.

    A trie: many times faster than to try one word after the other.
    """
    prefix = commonprefix(list(words))  # noqa: RUF071 (characters are meant)
    rests = groupby(sorted(word[len(prefix) :] for word in words if word != prefix), lambda rest: rest[0])
    branches = "|".join(_pattern(list(group)) for _, group in rests)
    end = "?" if prefix in words else ""
    return re.escape(prefix) + (f"(?:{branches}){end}" if branches else "")


class UrlFilterStage(DocumentStage[UrlFilterConfig]):
    """Removes documents by their URL; see the module. Works on records and on documents alike.

    expected_share: RefinedWeb's lists match 0.73 % of the pages (G.1); the bands leave room for longer lists.
    """

    name = "url_filter"
    version = 2
    packages = ("ada-url",)
    Config = UrlFilterConfig
    expected_share: ClassVar[Mapping[str, float]] = {
        "blocked_domain": 0.1,
        "blocked_url": 0.05,
        "strict_word": 0.05,
        "hard_word": 0.05,
        "soft_words": 0.05,
        "curated_source": 0.1,
    }

    def __init__(self, config: UrlFilterConfig) -> None:
        super().__init__(config)
        self._rules = UrlRules(config)

    def resource_files(self) -> Sequence[str]:
        """All lists that are read."""
        kinds = ("strict", "hard", "soft", *(["curated"] if self.config.curated_sources else []))
        return [*self.config.block_lists().files, *filter(None, map(self.config.word_file, kinds))]

    def process(self, table: pa.Table) -> StageResult:
        """Judges the `url` of every row."""
        matches = self._rules.matches(table.column("url"))
        if not matches:
            return StageResult(kept=table)
        verdicts = Verdicts(self.name, table)
        for row, match in matches:
            threshold = None if match.value is None else self.config.min_soft_words
            verdicts.remove(row, match.rule, value=match.value, threshold=threshold, detail=match.detail)
        return verdicts.result()
