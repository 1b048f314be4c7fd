"""The lists that the URL filter reads: words, one a line, and block lists, which become one table a machine.

Block lists are UT1's: folders of a category with files `domains` and `urls`, folders or archives of categories, or
plain files with one domain or URL a line. A list of millions is read once; its table (core/key_table.py) is named by
the content of the lists, so that changed lists make another one.

An entry is looked up in one of two forms: a domain as `host` or `host:port`, an address as `//host[:port]/path?query`.
Both are those of the WHATWG form, where scheme, user name and fragment, the ports 80 and 443, the dot at the end of the
host, and of an address also `www.` and slashes at the end of the path are left out. An entry with a path, be it only a
slash, is an address.
"""

from __future__ import annotations

import gzip
import logging
import lzma
import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import IO, Any, NamedTuple

import numba
import numpy as np

from corpusmill.core import storage, urls
from corpusmill.core.artifacts import package_versions
from corpusmill.core.errors import ConfigError, InputError
from corpusmill.core.hashing import Int64Array, UInt64Array, canonical_json, digest, hash_end, hash_more, hash_start
from corpusmill.core.key_table import ByteArray, KeyTable, keys_of, open_or_make

# RefinedWeb, appendix G.1: the categories of UT1 that it takes.
REFINEDWEB_CATEGORIES = (
    *("adult", "phishing", "dating", "gambling", "filehosting"),
    *("ddos", "agressif", "chat", "mixed_adult", "arjel"),
)
_LISTS = ("domains", "domains.gz", "urls", "urls.gz")
_ARCHIVE = re.compile(r"\.(?:tar|tar\.gz|tgz|tar\.bz2|tar\.xz)$")
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
MAX_LABELS = 127  # a name in the DNS has at most 253 characters (RFC 1035)
MAX_HOST = 253
_FORMAT = 1  # raised when the same lists give another table
_BLOCK_BYTES = 1 << 24
_EXAMPLES = 3
_EXAMPLE_CHARACTERS = 80
_MAX_UNREADABLE = 0.5  # share of a list above which it is no block list
_log = logging.getLogger(__name__)


def lines(path: str) -> Iterator[str]:
    """Entries of a list of words, plain or .gz, without the whitespace around them.

    Empty lines and those that begin with "#" are left out. None for path "".
    """
    if path:
        with _opened(path) as file:
            for raw in file:
                line = raw.decode("utf-8", "replace").strip().removeprefix("\ufeff")
                if line and not line.startswith("#"):
                    yield line


# What a URL is looked up as


def domains_of(parts: urls.Parts) -> Iterator[str]:
    """The names under which a host may be listed: with its port, itself, every domain above it but the last label.

    Domains of more than MAX_LABELS labels are left out: there are none, and a hostile host may have a million.
    """
    host = parts.host.rstrip(".")
    if port := _port(parts):
        yield f"{host}{port}"
    yield host
    if not parts.is_ip:
        labels = host.split(".")
        for first in range(max(1, len(labels) - MAX_LABELS), len(labels) - 1):
            yield ".".join(labels[first:])


def address_of(parts: urls.Parts) -> str:
    """The form in which an address is listed."""
    host = parts.host.rstrip(".").removeprefix("www.")
    return f"//{host}{_port(parts)}{parts.path.rstrip('/')}{parts.query}"


def _port(parts: urls.Parts) -> str:
    return f":{parts.port}" if parts.port not in ("", "80", "443") else ""


# Block lists


class BlockLists(NamedTuple):
    """Block lists of a recipe: the files, and the categories that count where a folder or archive holds several.

    categories None stands for REFINEDWEB_CATEGORIES, as far as they are there; those named must be there.
    """

    files: tuple[str, ...]
    categories: tuple[str, ...] | None

    @staticmethod
    def find(paths: Sequence[str], categories: tuple[str, ...] | None) -> BlockLists:
        """The files under `paths`. Raises ConfigError for a path that gives none."""
        files: list[str] = []
        chosen = categories or REFINEDWEB_CATEGORIES
        for path in paths:
            is_folder = storage.is_local(path) and storage.local_path(path).is_dir()
            folders = [path, *(storage.join(path, category) for category in chosen if is_folder)]
            found = [p for f in folders for name in _LISTS if storage.exists(p := storage.join(f, name))]
            if not found and (is_folder or not storage.exists(path)):
                raise ConfigError(
                    "no block list is here",
                    where="stages.url_filter.blocklists",
                    value=path,
                    remedy="name a file, an archive, a folder with files `domains` or `urls` (UT1), or one with such "
                    f"folders of the categories {', '.join(chosen)}",
                )
            files += found or [path]
        return BlockLists(tuple(files), categories)

    def table(self) -> KeyTable:
        """Keys of all entries. Made where this machine has not got the table yet.

        notes["lists"]: one ListReport, as a mapping, for every list.

        Raises:
            InputError: a list cannot be read, or is none.
            ConfigError: a category that was named is in no list.
        """
        sources = [[bool(_ARCHIVE.search(path)), storage.sha256_file(path)] for path in self.files]
        identity = [_FORMAT, package_versions(("ada-url",)), self.categories, sources]
        return open_or_make(f"url-{digest(canonical_json(identity))[:32]}", self._read)

    def _read(self) -> KeyTable:
        keys: list[UInt64Array] = []
        reports = []
        for path in self.files:
            with _reading(path):
                for name, file in self._lists_in(path):
                    found, report = _read_list(name, file)
                    _check(path, report)
                    keys += found
                    reports.append(report)
        self._check_categories({PurePosixPath(report.name).parent.name for report in reports})
        return KeyTable(np.concatenate([*keys, np.empty(0, np.uint64)]), {"lists": [asdict(r) for r in reports]})

    def _lists_in(self, path: str) -> Iterator[tuple[str, IO[bytes]]]:
        """Name (the last folder, if any, and the file) and content of every list in a file."""
        if not _ARCHIVE.search(path):
            with _opened(path) as file:
                yield "/".join(path.split("/")[-2:]), file
            return
        with storage.open_read(path) as whole, tarfile.open(fileobj=whole) as archive:
            members = [(PurePosixPath(member.name), member) for member in archive.getmembers()]
            # UT1 gives English names as links to the French ones.
            links = {name.name: PurePosixPath(member.linkname).name for name, member in members if member.issym()}
            lists = [(name, member) for name, member in members if name.name in _LISTS and member.isfile()]
            chosen = ["", *(self.categories or REFINEDWEB_CATEGORIES)]
            found = [(c, n, m) for c in chosen for n, m in lists if n.parent.name == links.get(c, c)]
            if not found:
                raise ConfigError(
                    "this archive has no list of a chosen category",
                    where=path,
                    value=sorted({name.parent.name for name, _ in lists}),
                    remedy=f"choose others in stages.url_filter.categories; now: {', '.join(chosen[1:])}",
                )
            for category, name, member in found:
                content = archive.extractfile(member)
                assert content is not None  # a regular file
                yield str(PurePosixPath(category, name.name)), _unzipped(content)

    def _check_categories(self, found: set[str]) -> None:
        absent = [category for category in self.categories or () if category not in found]
        if absent:
            raise ConfigError(
                "no block list has this category",
                where="stages.url_filter.categories",
                value=absent,
                remedy=f"these were found: {', '.join(sorted(found - {''})) or 'none'}",
            )


@dataclass
class ListReport:
    """What was in a list: how many domains, addresses, and entries that are neither; a few of the latter."""

    name: str
    domains: int = 0
    addresses: int = 0
    unreadable: int = 0
    examples: list[str] = field(default_factory=list)


def _read_list(name: str, file: IO[bytes]) -> tuple[list[UInt64Array], ListReport]:
    report = ListReport(name)
    keys = []
    for block in _blocks(file):
        plain, starts, ends = _plain_domains(np.frombuffer(block, np.uint8))
        report.domains += len(plain)
        others = []
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            entry = _entry(line := _text(block[start:end]))
            if entry is None:
                report.unreadable += 1
                if len(report.examples) < _EXAMPLES:
                    report.examples.append(line[:_EXAMPLE_CHARACTERS])
            elif entry:
                others.append(entry)
                report.addresses += entry.startswith("//")
                report.domains += not entry.startswith("//")
        keys += [plain, keys_of(others)]
    return keys, report


def _check(path: str, report: ListReport) -> None:
    entries = report.domains + report.addresses + report.unreadable
    if report.unreadable > _MAX_UNREADABLE * entries:
        raise InputError(
            f"this is no block list: {report.unreadable} of {entries} entries are neither a domain nor a URL",
            where=f"{path} ({report.name})",
            value=report.examples,
            remedy="give one domain or URL a line",
        )
    if report.unreadable:
        _log.warning(
            "%s (%s): %d of %d entries are neither a domain nor a URL and are left out, e.g. %r",
            *(path, report.name, report.unreadable, entries, report.examples[0]),
        )


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    """The file in blocks of whole lines."""
    rest = b""
    while chunk := file.read(_BLOCK_BYTES):
        head, newline, tail = chunk.rpartition(b"\n")
        if newline:
            yield rest + head
            rest = tail
        else:
            rest += tail
    yield rest


@numba.njit(cache=True, nogil=True)
def _plain_domains(text: ByteArray) -> tuple[UInt64Array, Int64Array, Int64Array]:
    """Keys of the lines that are host names with nothing to normalise but case; starts and ends of the other lines.

    Such a name has two or more labels of ASCII letters, digits, "-" and "_", is not international ("xn--"), and its
    last label begins with a letter (it is no IP address). These are nearly all of millions of entries.
    """
    num_lines = 1
    for at in range(len(text)):
        num_lines += text[at] == 0x0A
    keys = np.empty(num_lines, np.uint64)
    starts, ends = np.empty(num_lines, np.int64), np.empty(num_lines, np.int64)
    num_keys, num_others, start = 0, 0, 0
    while start < len(text):
        end = start
        while end < len(text) and text[end] != 0x0A:
            end += 1
        stop = end
        if stop > start and text[stop - 1] == 0x0D:
            stop -= 1
        state = hash_start(0)
        label, num_labels, is_plain = start, 1, True
        for at in range(start, stop):
            byte = text[at]
            if 0x41 <= byte <= 0x5A:
                byte += 0x20
            is_letter = 0x61 <= byte <= 0x7A
            if byte == 0x2E:
                is_plain &= at > label
                label = at + 1
                num_labels += 1
            elif byte == 0x2D:
                is_plain &= not (at - label == 3 and text[at - 1] == 0x2D)  # may be "xn--"
            elif not (is_letter or 0x30 <= byte <= 0x39 or byte == 0x5F):
                is_plain = False
            if not is_plain:
                break
            state = hash_more(state, byte)
        if is_plain and num_labels > 1 and label < stop and ((text[label] | 0x20) - 0x61) < 26 and text[label] > 0x40:
            keys[num_keys] = hash_end(state, stop - start)
            num_keys += 1
        elif stop > start:
            starts[num_others], ends[num_others] = start, stop
            num_others += 1
        start = end + 1
    return keys[:num_keys], starts[:num_others], ends[:num_others]


def _text(line: bytes) -> str:
    try:
        return line.decode("utf-8").removeprefix("\ufeff").strip()
    except UnicodeDecodeError:  # as a browser sends such an address: byte for byte
        return "".join(chr(byte) if byte < 0x80 else f"%{byte:02X}" for byte in line).strip()


def _entry(line: str) -> str | None:
    """The form in which an entry is looked up; "" for an empty line or comment, None when no URL can be equal to it."""
    if not line or line.startswith("#"):
        return ""
    line = line.removeprefix("*").removeprefix(".")  # ".example.com", as proxies write a domain and all below it
    parts = urls.split(line if _SCHEME.match(line) else f"http://{line}")
    if parts is None or not parts.host:
        return None
    if parts.path == "/" and not parts.query and not line.endswith("/"):
        return next(domains_of(parts))
    return address_of(parts)


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    with _reading(path), storage.open_read(path) as file:
        yield _unzipped(file)


def _unzipped(file: IO[bytes]) -> Any:
    is_gzip = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if is_gzip else file


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Names the file in what goes wrong while it is decompressed."""
    try:
        yield
    except (EOFError, OSError, zlib.error, lzma.LZMAError, tarfile.TarError) as error:
        raise InputError(
            "this list cannot be read", where=path, value=str(error), remedy="get the file again: it is cut or damaged"
        ) from error
