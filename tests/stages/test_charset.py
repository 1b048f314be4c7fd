from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpusmill.stages.charset import decode, encoding_of, prescan
from corpusmill.stages.warc import fetch_record


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("utf8", "utf-8"),
        (" UTF-8\n", "utf-8"),
        ("ISO-8859-1", "windows-1252"),
        ("us-ascii", "windows-1252"),
        ("latin5", "windows-1254"),
        ("iso-8859-15", "iso-8859-15"),
        ("gb2312", "gbk"),
        ("GB18030", "gb18030"),
        ("big5-hkscs", "big5"),
        ("x-sjis", "shift_jis"),
        ("windows-31j", "shift_jis"),
        ("x-euc-jp", "euc-jp"),
        ("csiso2022jp", "iso-2022-jp"),
        ("ks_c_5601-1987", "euc-kr"),
        ("tis-620", "windows-874"),
        ("cp1251", "windows-1251"),
        ("koi8-ru", "koi8-u"),
        ("866", "ibm866"),
        ("macintosh", "macintosh"),
        ("x-mac-ukrainian", "x-mac-cyrillic"),
        ("utf-16", "utf-16le"),
        ("unicodefffe", "utf-16be"),
        ("iso-2022-kr", "replacement"),
        ("x-user-defined", "x-user-defined"),
        ("utf-7", None),
        ("klingon", None),
        ("", None),
    ],
)
def test_labels(label: str, expected: str | None) -> None:
    assert encoding_of(label) == expected


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (b'<meta charset="Shift_JIS">', "shift_jis"),
        (b"<META CHARSET=euc-kr>", "euc-kr"),
        (b"<meta charset='big5'/>", "big5"),
        (b'<html><head><title>x</title><meta name=a charset = "gbk" >', "gbk"),
        (b'<meta http-equiv="Content-Type" content="text/html; charset=euc-jp">', "euc-jp"),
        (b"<meta content='text/html; charset=\"windows-1251\"' http-equiv=content-type>", "windows-1251"),
        (b'<meta content="text/html; charset=euc-jp">', None),  # no pragma
        (b'<meta http-equiv="refresh" content="charset=euc-jp">', None),
        (b'<meta charset="nonsense"><meta charset="euc-jp">', "euc-jp"),
        (b'<!-- <meta charset="gbk"> --><meta charset="euc-jp">', "euc-jp"),
        (b'<!--><meta charset="gbk">', "gbk"),  # a comment of its own, by the standard
        (b'<p title="<meta charset=gbk>"><meta charset=euc-jp>', "euc-jp"),
        (b"<? <meta charset=gbk> <meta charset=euc-jp>", "euc-jp"),
        (b"</meta charset=gbk><meta charset=euc-jp>", "euc-jp"),
        (b"<metadata charset=gbk>", None),
        (b'<meta charset="utf-16">', "utf-8"),
        (b'<meta charset="x-user-defined">', "windows-1252"),
        (b'<?xml version="1.0" encoding="ISO-8859-2"?><html>', "iso-8859-2"),
        (b"<?xml version='1.0' encoding='utf-16'?><html>", "utf-8"),
        (b'<?xml version="1.0" encoding="ISO-8859-2"?><meta charset="gbk">', "gbk"),
        (b"<\0?\0x\0m\0l\0", "utf-16le"),
        (b"\0<\0?\0x\0m\0l", "utf-16be"),
        (b'<meta charset="gbk', None),
        (b" " * 1020 + b"<meta charset=gbk>", None),
        (b"", None),
    ],
)
def test_prescan(page: bytes, expected: str | None) -> None:
    assert prescan(page) == expected


def test_order_of_sources() -> None:
    meta = '<meta charset="gbk">é'.encode()
    assert decode(b"\xef\xbb\xbf" + meta, "euc-jp") == ('<meta charset="gbk">é', "utf-8")
    assert decode(meta, "utf-8")[1] == "utf-8"
    assert decode(meta, "nonsense")[1] == "gbk"
    assert decode("é und ü".encode(), None) == ("é und ü", "utf-8")
    assert decode(b"plain", None) == ("plain", "utf-8")


def test_byte_order_marks_of_utf_16() -> None:
    assert decode("\ufeffxé".encode("utf-16-le"), "utf-8") == ("xé", "utf-16le")
    assert decode("\ufeffxé".encode("utf-16-be"), None) == ("xé", "utf-16be")


def test_a_declaration_that_is_wrong_is_followed() -> None:
    assert decode("né".encode(), "iso-8859-1") == ("nÃ©", "windows-1252")
    assert decode(b"n\xe9", "utf-8") == ("n\ufffd", "utf-8")


def test_detection_where_nothing_is_declared() -> None:
    japanese = "これは文字コードを宣言していないページです。自動判定に任せます。" * 3
    for codec, name in (("euc_jp", "euc-jp"), ("cp932", "shift_jis"), ("iso2022_jp", "iso-2022-jp")):
        assert decode(japanese.encode(codec), None) == (japanese, name)
    russian = "Широкая электрификация южных губерний даст мощный толчок подъёму сельского хозяйства. " * 3
    assert decode(russian.encode("cp1251"), None) == (russian, "windows-1251")


def test_bytes_that_are_not_utf_8_throughout_are_not_utf_8() -> None:
    text, encoding = decode(b"caf\xe9", None)
    assert encoding != "utf-8"
    assert "\ufffd" not in text


@pytest.mark.parametrize(
    ("payload", "label", "expected"),
    [
        (b"\x93x\x94 \x81\x80", "iso-8859-1", "“x” \x81€"),  # holes of cp1252 are control characters
        (b"\xaa\x81", "windows-1253", "\ufffd\x81"),
        (b"\x87\x40\x81\x60\xfa\x40", "shift_jis", "①～ⅰ"),  # NEC and IBM extensions, wave dash
        (b"\xad\xa1\xa1\xc1\xa1\xdd\xf9\xa1x", "euc-jp", "①～－" + b"\xed\x40".decode("cp932") + "x"),
        (b"\x8e\xb1\x8f\xb0\xa1\xa2<", "euc-jp", "ｱ丂\ufffd<"),
        (b"\xa4<", "euc-jp", "\ufffd<"),  # the second byte is not swallowed
        (b'a\x1b$B-!$"\x1b(J\\\x1b(I1\x1b(Bb\xe9', "iso-2022-jp", "a①あ¥ｱb\ufffd"),
        (b"\x8c\x63\xb0\xa1", "euc-kr", "똠가"),  # UHC
        (b"\x81\x30\x84\x36", "gb2312", "\u00a5"),  # four bytes of GB 18030
        (b"\xfe\x50", "gbk", b"\xfe\x50".decode("gb18030")),
        (b"\x87\x40", "big5", b"\x87\x40".decode("big5hkscs")),  # HKSCS
        (b"\xa1", "windows-874", "ก"),
        (b"a\x80\xff", "x-user-defined", "a\uf780\uf7ff"),
        (b"<script>", "hz-gb-2312", "\ufffd"),
        (b"a\0b", "utf-8", "ab"),
        (b"\xed\xa0\x80", "utf-8", "\ufffd\ufffd\ufffd"),  # a surrogate in UTF-8
        (b"\x00\xd8a\0", "utf-16le", "\ufffda"),
        (b"\xa2", "x-mac-cyrillic", b"\xa2".decode("mac-cyrillic")),
    ],
)
def test_decoders(payload: bytes, label: str, expected: str) -> None:
    assert decode(payload, label)[0] == expected


LABELS = ["utf-8", "utf-16", "utf-16be", "shift_jis", "euc-jp", "iso-2022-jp", "euc-kr", "gb18030", "big5", None]
LABELS += ["windows-1252", "windows-1253", "windows-874", "koi8-r", "x-user-defined", "replacement", "x-mac-cyrillic"]


@given(st.binary(max_size=200), st.sampled_from(LABELS))
def test_any_bytes_give_text_that_can_be_written(payload: bytes, label: str | None) -> None:
    text, encoding = decode(payload, label)
    text.encode("utf-8")
    assert "\0" not in text
    assert encoding == encoding.lower()


@given(st.text(st.sampled_from("aあ亜ア、。漢ｱ<"), max_size=50), st.sampled_from(["cp932", "euc_jp", "iso2022_jp_ext"]))
def test_japanese_round_trip(text: str, codec: str) -> None:
    label = {"cp932": "shift_jis", "euc_jp": "euc-jp", "iso2022_jp_ext": "iso-2022-jp"}[codec]
    assert decode(text.encode(codec), label) == (text, label)


@given(st.text("<>!-metacharset='\"/ =?x\0\n", max_size=80))
def test_prescan_always_ends(text: str) -> None:
    prescan(text.encode())


def test_real_pages_in_old_encodings(shared_crawl: Path) -> None:
    """Every page that is not in UTF-8, decoded by its HTTP label and again by what it says itself."""
    seen = 0
    for line in (shared_crawl / "pages.jsonl").read_text().splitlines():
        page = json.loads(line)
        if page["charset"] in ("utf-8", "iso-8859-1"):
            continue
        record = fetch_record(str(shared_crawl / page["warc"]), page["offset"], page["length"])
        expected = record.payload.decode(page["charset"]).replace("\0", "")
        assert decode(record.payload, page["charset"]) == (expected, encoding_of(page["charset"])), page["id"]
        if page["charset_declared"] == page["charset"]:
            assert decode(record.payload, None)[0] == expected, page["id"]
        seen += 1
    assert seen > 100
