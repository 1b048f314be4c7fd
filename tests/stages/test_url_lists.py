from __future__ import annotations

import bz2
import gzip
import io
import logging
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpusmill.core import storage, urls
from corpusmill.core.errors import ConfigError, InputError
from corpusmill.core.key_table import KeyTable, keys_of
from corpusmill.stages.url_lists import (
    REFINEDWEB_CATEGORIES,
    BlockLists,
    _plain_domains,
    _read_list,
    address_of,
    domains_of,
)


def table(*paths: Path, categories: tuple[str, ...] | None = None) -> KeyTable:
    return BlockLists.find([str(path) for path in paths], categories).table()


def has(found: KeyTable, *entries: str) -> list[bool]:
    held: list[bool] = found.have(keys_of(entries)).tolist()
    return held


def listed(tmp_path: Path, content: bytes | str) -> KeyTable:
    path = tmp_path / "list.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return table(path)


def archive(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w:" + {"gz": "gz", "tgz": "gz", "tar": "", "bz2": "bz2"}[path.suffix[1:]]) as tar:
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


# Entries


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        ("bad.example", "bad.example"),
        ("  BAD.Example \r", "bad.example"),
        ("\ufeffbad.example", "bad.example"),
        (".bad.example", "bad.example"),
        ("*.bad.example", "bad.example"),
        ("bad.example.", "bad.example"),
        ("http://bad.example", "bad.example"),
        ("bad.example:8080", "bad.example:8080"),
        ("bad.example:443", "bad.example"),
        ("http://bad.example:443", "bad.example"),
        ("192.0.2.7", "192.0.2.7"),
        ("0xC0000207", "192.0.2.7"),
        ("192.0.2.7:81", "192.0.2.7:81"),
        ("[2001:DB8:0::1]", "[2001:db8::1]"),
        ("日本語.example", "xn--wgv71a119e.example"),
        ("XN--wgv71a119e.example", "xn--wgv71a119e.example"),
        ("a_b.c-d.example", "a_b.c-d.example"),
        ("1.2.3.example", "1.2.3.example"),
        ("localhost", "localhost"),
        ("bad.example/", "//bad.example"),
        ("www.bad.example/x/", "//bad.example/x"),
        ("bad.example/X?y=1#z", "//bad.example/X?y=1"),
        ("bad.example/あ", "//bad.example/%E3%81%82"),
        ("bad.example/go?to=http://x.example/", "//bad.example/go?to=http://x.example/"),
        ("https://me@bad.example:443/x", "//bad.example/x"),
        ("bad.example:8080/x", "//bad.example:8080/x"),
        ("bad.example/a/../b c", "//bad.example/b%20c"),
    ],
)
def test_the_form_in_which_entries_are_looked_up(tmp_path: Path, line: str, entry: str) -> None:
    found = listed(tmp_path, f"# a comment\n{line}\n\n")
    assert len(found) == 1
    assert has(found, entry) == [True]
    (report,) = found.notes["lists"]
    assert (report["addresses"], report["domains"]) == ((1, 0) if entry.startswith("//") else (0, 1))


def test_bytes_that_are_not_utf8_are_those_that_a_browser_sends(tmp_path: Path) -> None:
    found = listed(tmp_path, b"bad.example/caf\xe9\n")
    assert has(found, "//bad.example/caf%E9") == [True]


def test_entries_that_are_none_are_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = listed(tmp_path, "a.example\nnot a host\nb.example\nc.example/x\n1.2.3.4.5\nc.example:port\n")
    (report,) = found.notes["lists"]
    counts = {key: report[key] for key in ("domains", "addresses", "unreadable")}
    assert counts == {"domains": 2, "addresses": 1, "unreadable": 3}
    assert report["examples"] == ["not a host", "1.2.3.4.5", "c.example:port"]
    assert "list.txt): 3 of 6 entries" in caplog.text
    assert "not a host" in caplog.text


def test_what_is_no_list_is_refused(tmp_path: Path) -> None:
    for content in (b"<!DOCTYPE html>\n<p>Not Found, sorry</p>\n", bytes(range(256)) * 50, b"0.0.0.0 bad.example\n"):
        with pytest.raises(InputError, match="no block list") as error:
            listed(tmp_path, content)
        assert "list.txt" in str(error.value)


def test_an_empty_list(tmp_path: Path) -> None:
    assert len(listed(tmp_path, "\n# nothing\n")) == 0


NAMES = st.text("aZ09-_.x", min_size=1, max_size=12) | st.sampled_from(
    ["xn--a.b", "XN--A.b", "a.0x1", "a.1", "é.x", "a.b/c"]
)


@given(st.lists(NAMES | NAMES.map(lambda name: f"a.{name}.Ex"), max_size=10), st.sampled_from(["\n", "\r\n"]))
def test_the_fast_way_gives_what_the_parser_gives(names: list[str], newline: str) -> None:
    """Lines that look like host names are hashed as they are; the parser gives the same keys for each."""
    data = newline.join(names).encode()
    plain, starts, ends = _plain_domains(np.frombuffer(data, np.uint8))
    others = [data[a:b].decode() for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
    taken = list(names)
    for other in others:
        taken.remove(other)
    parsed = [urls.split(f"http://{name}") for name in taken]
    assert plain.tolist() == keys_of([next(domains_of(parts)) for parts in parsed if parts]).tolist()
    assert None not in parsed


def test_blocks_end_between_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"".join(b"%d.example\nx.example/%d\n" % (i, i) for i in range(50)) + b"last.example"
    whole = [key for keys in _read_list("x", io.BytesIO(content))[0] for key in keys.tolist()]
    for size in (1, 7, 100, 1000):
        monkeypatch.setattr("corpusmill.stages.url_lists._BLOCK_BYTES", size)
        keys, report = _read_list("x", io.BytesIO(content))
        assert sorted(key for some in keys for key in some.tolist()) == sorted(whole)
        assert (report.domains, report.addresses) == (51, 50)


# What a URL is looked up as


def test_names_and_address_of_a_url() -> None:
    parts = urls.split("http://me@www.a.b.example.:8080/x/?y#z")
    assert parts is not None
    assert list(domains_of(parts)) == [
        "www.a.b.example:8080",
        "www.a.b.example",
        "a.b.example",
        "b.example",
    ]
    assert address_of(parts) == "//a.b.example:8080/x?y"
    parts = urls.split("http://192.0.2.7:443/")
    assert parts is not None
    assert list(domains_of(parts)) == ["192.0.2.7"]
    assert address_of(parts) == "//192.0.2.7"


# Folders and archives


CONTENT = {
    "adult/domains": b"adult.example\n",
    "adult/urls": b"x.example/adult\n",
    "adult/usage": b"black\n",
    "press/domains": b"press.example\n",
    "gambling/domains": b"gambling.example\n",
}
EVERY = ("adult.example", "//x.example/adult", "press.example", "gambling.example")


def folder(tmp_path: Path) -> Path:
    for name, content in CONTENT.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize("kind", ["folder", "all.tar.gz", "all.tgz", "all.tar", "all.tar.bz2"])
def test_categories(tmp_path: Path, kind: str) -> None:
    (tmp_path / "in").mkdir()
    if kind == "folder":
        path = folder(tmp_path / "in")
    else:
        path = archive(tmp_path / kind, {f"./blacklists/{name}": content for name, content in CONTENT.items()})
    assert has(table(path), *EVERY) == [True, True, False, True]  # RefinedWeb's: the press is none of them
    assert has(table(path, categories=("press",)), *EVERY) == [False, False, True, False]
    if kind == "folder":
        assert has(table(path / "press"), *EVERY) == [False, False, True, False]
        assert has(table(path / "adult", categories=("adult",)), *EVERY) == [True, True, False, False]
    with pytest.raises(ConfigError) as error:
        table(path, categories=("adult", "pres"))
    assert "['pres']" in str(error.value)
    with pytest.raises(ConfigError) as error:
        table(path, categories=("none",))
    assert "none" in str(error.value)


def test_links_and_compressed_lists_in_an_archive(tmp_path: Path) -> None:
    files = {"b/adult/domains.gz": gzip.compress(b"adult.example\n"), "b/agressif/domains": b"agressif.example\n"}
    path = archive(tmp_path / "all.tar.gz", files, links={"b/porn": "adult", "b/violence": "agressif"})
    assert has(table(path, categories=("porn",)), "adult.example", "agressif.example") == [True, False]
    assert has(table(path, categories=("violence",)), "adult.example", "agressif.example") == [False, True]


def test_an_archive_without_categories(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.tar.gz", {"domains": b"a.example\n", "urls": b"b.example/x\n"})
    found = table(path)
    assert has(found, "a.example", "//b.example/x") == [True, True]
    assert [report["name"] for report in found.notes["lists"]] == ["domains", "urls"]
    other = archive(tmp_path / "y.tar.gz", {"readme": b"", "press/domains": b"a.example\n"})
    with pytest.raises(ConfigError, match="no list of a chosen category") as error:
        table(other)
    assert "press" in str(error.value)


def test_refinedweb_takes_ten() -> None:
    assert len(set(REFINEDWEB_CATEGORIES)) == 10


@pytest.mark.parametrize("kind", ["list.gz", "all.tar.gz", "all.tar.bz2", "all.tar"])
def test_a_damaged_file_is_named(tmp_path: Path, kind: str) -> None:
    content = os.urandom(3000).hex().encode().replace(b"a", b".example\n")
    path = tmp_path / kind
    if kind == "list.gz":
        path.write_bytes(gzip.compress(content))
    else:
        archive(path, {"adult/domains": content})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(InputError, match="cannot be read") as error:
        table(path)
    assert str(path) in str(error.value)
    path.write_bytes(bz2.compress(b"") + b"\0" * 2000)
    with pytest.raises(InputError):
        table(path)


# The table of a machine


def test_a_changed_list_makes_another_table(
    tmp_path: Path, tables_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORPUSMILL_TABLES", str(tmp_path / "tables"))
    path = tmp_path / "x.txt"
    path.write_text("a.example\n")
    table(path)
    (made,) = storage.list_files(str(tmp_path / "tables"))
    written = Path(made).stat().st_mtime_ns
    table(path)
    copy = tmp_path / "copy.txt"
    copy.write_text("a.example\n")
    table(copy)
    assert storage.list_files(str(tmp_path / "tables")) == [made]
    assert Path(made).stat().st_mtime_ns == written
    path.write_text("b.example\n")
    assert has(table(path), "a.example", "b.example") == [False, True]
    assert len(storage.list_files(str(tmp_path / "tables"))) == 2
    Path(made).write_bytes(b"damaged")
    assert has(table(copy), "a.example", "b.example") == [True, False]
