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

import gzip
import re
import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple
from urllib.parse import unquote

import ada_url
import numpy as np
import pyarrow as pa
from pydantic import Field

from corpusmill.core import storage, urls
from corpusmill.core.errors import ConfigError
from corpusmill.core.hashing import UInt64Array, hash64
from corpusmill.core.verdicts import StageResult, Verdicts
from corpusmill.stages.base import DocumentStage, StageConfig

_LISTS = Path(__file__).parent / "lists"
_UT1_FILES = ("domains", "domains.gz", "urls", "urls.gz")
_PLAIN_HOST = re.compile(r"[a-z0-9_-]*[a-z_-][a-z0-9_-]*(?:\.[a-z0-9_-]+)*(?:\.[a-z][a-z0-9-]*)")
_WORD = re.compile(r"[^\W_]+")


class UrlFilterConfig(StageConfig):
    """Lists of the URL filter.

    blocklists: folders of UT1 categories (each with files `domains` and `urls`, plain or .gz), or files with one domain
        or URL a line, plain or .gz.
    strict_list, hard_list, soft_list: files of words, one a line, "#" at the start of a line for comments; null: the
        project's own; "": none.
    curated_sources: whether the sources of `curated_list` (null: table 14 of the paper) are removed.
    """

    blocklists: tuple[str, ...] = ()
    strict_list: str | None = None
    hard_list: str | None = None
    soft_list: str | None = None
    min_soft_words: Annotated[int, Field(ge=1)] = 2
    curated_sources: bool = True
    curated_list: str | None = None

    def block_files(self) -> list[str]:
        """Paths of all block list files. Raises ConfigError for a path that gives none."""
        files = []
        for path in self.blocklists:
            in_folder = [storage.join(path, name) for name in _UT1_FILES]
            found = [p for p in in_folder if storage.exists(p)]
            if not found and (not storage.exists(path) or _is_folder(path)):
                raise ConfigError(
                    "no block list is here",
                    where="stages.url_filter.blocklists",
                    value=path,
                    remedy="name a file, or a folder with files `domains` or `urls` (UT1), plain or .gz",
                )
            files += found or [path]
        return files

    def word_file(self, kind: str) -> str:
        """Path of the list `kind`: strict, hard, soft or curated; "" for none."""
        path: str | None = getattr(self, f"{kind}_list")
        return str(_LISTS / f"url_{kind}.txt") if path is None else path


def _is_folder(path: str) -> bool:
    return storage.is_local(path) and storage.local_path(path).is_dir()


class Match(NamedTuple):
    """The rule that a URL breaks, what matched, and for soft words how many."""

    rule: str
    detail: str
    value: float | None = None


class HashSet:
    """A set of strings as sorted 64-bit hashes: 8 bytes an entry (4.6M of UT1: 36 MB).

    A string that was not put in is found with probability 2^-64 an entry.
    """

    def __init__(self, keys: Iterable[int]) -> None:
        """Holds the strings of which `keys` are the hashes (see `key`)."""
        self._sorted: UInt64Array = np.unique(np.fromiter(keys, dtype=np.uint64))

    @staticmethod
    def key(entry: str) -> int:
        """Hash of a string, 64 bits."""
        return hash64(entry.encode("utf-8", "surrogatepass"))

    def __len__(self) -> int:
        return len(self._sorted)

    def __contains__(self, entry: str) -> bool:
        key = np.uint64(self.key(entry))
        at = int(np.searchsorted(self._sorted, key))
        return at < len(self._sorted) and bool(self._sorted[at] == key)


class UrlRules:
    """The lists of a config, loaded, and the judgement of one URL."""

    def __init__(self, config: UrlFilterConfig) -> None:
        domains, addresses = array("Q"), array("Q")  # millions of hashes, not of strings
        for path in config.block_files():
            for is_domain, entry in _block_entries(path):
                (domains if is_domain else addresses).append(HashSet.key(entry))
        self._domains = HashSet(domains)
        self._addresses = HashSet(addresses)
        strict = sorted((_squeeze(_fold(w)) for w in _lines(config.word_file("strict"))), key=len, reverse=True)
        self._strict = re.compile("|".join(map(re.escape, strict))) if strict else None
        self._hard = _words(config.word_file("hard"))
        self._soft = _words(config.word_file("soft"))
        self._min_soft_words = config.min_soft_words
        curated = _lines(config.word_file("curated")) if config.curated_sources else ()
        self._curated = frozenset(urls.host(f"http://{domain}") for domain in curated)

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
        for domain in _domains_of(parts):
            if domain in self._domains:
                return Match("blocked_domain", domain)
        address = _address(parts)
        return Match("blocked_url", address) if address in self._addresses else None

    def _worded(self, text: str) -> Match | None:
        strict = self._strict.search(_squeeze(text)) if self._strict else None
        if strict:
            return Match("strict_word", strict.group())
        found = _WORD.findall(text)
        hard = next((w for w in found if w in self._hard), None)
        if hard:
            return Match("hard_word", hard)
        soft = sorted(self._soft.intersection(found))
        if len(soft) >= self._min_soft_words:
            return Match("soft_words", ", ".join(soft), len(soft))
        return None

    def _curated_source(self, parts: urls.Parts) -> Match | None:
        domain = next((d for d in _domains_of(parts) if d in self._curated), None)
        return Match("curated_source", domain) if domain else None


def _domains_of(parts: urls.Parts) -> Iterator[str]:
    """The names under which a host may be listed: with its port, itself, every domain above it but the last label."""
    host = parts.host.rstrip(".")
    if parts.port:
        yield f"{host}:{parts.port}"
    yield host
    if not parts.is_ip:
        labels = host.split(".")
        for first in range(1, len(labels) - 1):
            yield ".".join(labels[first:])


def _address(parts: urls.Parts) -> str:
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.host.removeprefix('www.')}{port}{parts.path.rstrip('/')}{parts.query}"


def _unicode(host: str) -> str:
    return str(ada_url.idna_to_unicode(host)) if "xn--" in host else host


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _squeeze(text: str) -> str:
    """The letters and digits of `text`."""
    return "".join(_WORD.findall(text))


def _words(path: str) -> frozenset[str]:
    return frozenset(_fold(word) for word in _lines(path))


def _lines(path: str) -> Iterator[str]:
    """Entries of a list, plain or .gz: not empty, no comment, without the whitespace around them; none for path ""."""
    if not path:
        return
    with storage.open_read(path) as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        data = gzip.GzipFile(fileobj=file) if is_gzip else file
        for raw in data:
            line = raw.decode("utf-8", "replace").strip().removeprefix("\ufeff")
            if line and not line.startswith("#"):
                yield line


def _block_entries(path: str) -> Iterator[tuple[bool, str]]:
    """Entries of a block list in the form they are looked up in, and whether each is a domain or else an address.

    An entry with a path is an address.
    """
    for line in _lines(path):
        entry = line.lower()
        if _PLAIN_HOST.fullmatch(entry):  # nothing to normalise: most of millions of entries
            yield True, entry
            continue
        parts = urls.split(line if "://" in line else f"http://{line}")
        if parts is None:
            continue  # no URL can be equal to it
        if parts.path == "/" and not parts.query and not line.endswith("/"):
            host = parts.host.rstrip(".")
            yield True, f"{host}:{parts.port}" if parts.port else host
        else:
            yield False, _address(parts)


class UrlFilterStage(DocumentStage[UrlFilterConfig]):
    """Removes documents by their URL; see the module. Works on records and on documents alike."""

    name = "url_filter"
    version = 1
    packages = ("ada-url", "tldextract")
    Config = UrlFilterConfig

    def __init__(self, config: UrlFilterConfig) -> None:
        super().__init__(config)
        self._rules = UrlRules(config)

    def resource_files(self) -> Sequence[str]:
        """All lists that are read."""
        kinds = ("strict", "hard", "soft", *(["curated"] if self.config.curated_sources else []))
        return [*self.config.block_files(), *filter(None, map(self.config.word_file, kinds))]

    def process(self, table: pa.Table) -> StageResult:
        """Judges the `url` of every row."""
        verdicts = Verdicts(self.name, table)
        for row, url in enumerate(table.column("url").to_pylist()):
            match = self._rules.match(url)
            if match:
                threshold = None if match.value is None else self.config.min_soft_words
                verdicts.remove(row, match.rule, value=match.value, threshold=threshold, detail=match.detail)
        return verdicts.result()
