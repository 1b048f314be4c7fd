"""Bytes of a page to text, as browsers do it.

The encoding is (HTML standard, 13.2.3.2 "Determining the character encoding"):

1. that of a byte order mark, which wins over everything;
2. the charset parameter of the HTTP Content-Type, if its label is known;
3. what the prescan of the first 1,024 bytes finds in `<meta>`, else in an XML declaration;
4. UTF-8 if the bytes are valid UTF-8 [DEVIATION: browsers do not guess UTF-8; a corpus gains from it];
5. what uchardet makes of the bytes, else windows-1252.

A declaration that is wrong is followed, as in browsers. Labels and decoders are those of the Encoding standard:
`iso-8859-1` means windows-1252, `gb2312` means GBK, `shift_jis` and EUC-JP have the extensions of windows-31j, a label
of utf-16 in `<meta>` means utf-8. Python's codecs are used where they agree with it. [DEVIATION: byte 0x80 in GBK is
U+FFFD, not the euro sign; x-mac-cyrillic differs in three letters.]
"""

from __future__ import annotations

import codecs
import re

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

_PRESCAN_BYTES = 1024
_WHITESPACE = b"\t\n\x0c\r "
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_BE, "utf-16be"), (codecs.BOM_UTF16_LE, "utf-16le"))

# Labels that resiliparse's table leaves out. "replacement" stands for encodings that are an attack on ASCII.
_MORE_LABELS = {
    **dict.fromkeys(
        ("replacement", "csiso2022kr", "hz-gb-2312", "iso-2022-cn", "iso-2022-cn-ext", "iso-2022-kr"),
        "replacement",
    ),
    "x-user-defined": "x-user-defined",
    "x-mac-cyrillic": "x-mac-cyrillic",
    "x-mac-ukrainian": "x-mac-cyrillic",
}
# Names of the Encoding standard for resiliparse's Python names, where they differ by more than a prefix.
_NAMES = {
    "utf-16-le": "utf-16le",
    "utf-16-be": "utf-16be",
    "cp866": "ibm866",
    "iso8859-11": "windows-874",
    "mac-roman": "macintosh",
    "euc_jp": "euc-jp",
    "euc_kr": "euc-kr",
    "iso2022_jp": "iso-2022-jp",
}
# Python codecs for names of the Encoding standard, where Python would take another one or none.
_CODECS = {
    "shift_jis": "cp932",
    "euc-kr": "cp949",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "windows-874": "cp874",
    "macintosh": "mac-roman",
    "x-mac-cyrillic": "mac-cyrillic",
}


def encoding_of(label: str) -> str | None:
    """Name of the Encoding standard, in lower case, that `label` stands for; None for an unknown label."""
    label = label.strip(_WHITESPACE.decode()).lower()
    if label in _MORE_LABELS:
        return _MORE_LABELS[label]
    codec = map_encoding_to_html5(label, False)
    if codec is None:
        return None
    name = _NAMES.get(codec, codec)
    return name.replace("cp125", "windows-125").replace("iso8859-", "iso-8859-")


def decode(payload: bytes, http_charset: str | None) -> tuple[str, str]:
    """Text of `payload`, and the encoding it was decoded with (a name of the Encoding standard, in lower case).

    http_charset: label of the Content-Type header, None if there is none.
    Bytes that mean nothing become U+FFFD. The text holds no byte order mark at its start, no NUL (HTML ignores it)
    and no surrogates, so that it can always be written as UTF-8.
    """
    encoding = _encoding(payload, http_charset)
    for bom, name in _BOMS:
        if encoding == name and payload.startswith(bom):
            payload = payload[len(bom) :]
    return _decode(payload, encoding).replace("\0", ""), encoding


def _encoding(payload: bytes, http_charset: str | None) -> str:
    for bom, name in _BOMS:
        if payload.startswith(bom):
            return name
    declared = encoding_of(http_charset) if http_charset else None
    return declared or prescan(payload) or _detect(payload)


def _detect(payload: bytes) -> str:
    if b"\x1b$" not in payload:  # shifts of ISO-2022-JP, which is ASCII throughout
        try:
            payload.decode("utf-8")
            return "utf-8"
        except UnicodeDecodeError:
            pass
    guess = detect_encoding(payload, html5_compatible=False)
    # UTF-8 was tried above: bytes that are not UTF-8 throughout are a single-byte encoding rather than a broken one.
    name = encoding_of(guess) if guess else None
    return "windows-1252" if name in (None, "utf-8") else str(name)


# Prescan (HTML standard, "prescan a byte stream to determine its encoding")

_XML_ENCODING = re.compile(rb"""<\?xml[^>]*?encoding[\x00-\x20]*=[\x00-\x20]*(?:"([^">]*)"|'([^'>]*)')""")
_META_CHARSET = re.compile(
    rb"""charset[\t\n\x0c\r ]*=[\t\n\x0c\r ]*(?:"([^"]*)"|'([^']*)'|([^"'\t\n\x0c\r ;][^\t\n\x0c\r ;]*))"""
)
_META = re.compile(rb"<meta[\t\n\x0c\r /]", re.IGNORECASE)
_TAG = re.compile(rb"</?[A-Za-z]")


def prescan(payload: bytes) -> str | None:
    """The encoding that the first 1,024 bytes of a page declare in themselves, None if they do not."""
    data = payload[:_PRESCAN_BYTES]
    if data.startswith(b"<\0?\0x\0"):
        return "utf-16le"
    if data.startswith(b"\0<\0?\0x"):
        return "utf-16be"
    return _prescan_meta(data) or _xml_encoding(data)


def _xml_encoding(data: bytes) -> str | None:
    match = _XML_ENCODING.match(data)
    return _declared_inside(next(g for g in match.groups() if g is not None)) if match else None


def _declared_inside(label: bytes) -> str | None:
    """Encoding of a label that was read as ASCII, and so cannot be UTF-16."""
    name = encoding_of(label.decode("latin-1"))
    return {"utf-16le": "utf-8", "utf-16be": "utf-8", "x-user-defined": "windows-1252"}.get(name or "", name)


def _prescan_meta(data: bytes) -> str | None:
    at = data.find(b"<")
    while at >= 0:
        if data.startswith(b"<!--", at):
            at = data.find(b"-->", at + 2)
        elif _META.match(data, at):
            attributes, at = _attributes(data, at + 5)
            found = _meta_encoding(attributes)
            if found:
                return found
        elif _TAG.match(data, at):
            while at < len(data) and data[at] not in b"\t\n\x0c\r >":
                at += 1
            _, at = _attributes(data, at)
        elif data[at + 1 : at + 2] in (b"!", b"/", b"?"):
            at = data.find(b">", at)
        else:
            at += 1
        at = data.find(b"<", at) if at >= 0 else at
    return None


def _meta_encoding(attributes: dict[bytes, bytes]) -> str | None:
    if b"charset" in attributes:
        return _declared_inside(attributes[b"charset"])
    if attributes.get(b"http-equiv") == b"content-type":
        match = _META_CHARSET.search(attributes.get(b"content", b""))
        if match:
            return _declared_inside(next(g for g in match.groups() if g is not None))
    return None


def _attributes(data: bytes, at: int) -> tuple[dict[bytes, bytes], int]:
    """Attributes of a tag from `at` on (names and values in lower case, first of a name), and where they end."""
    found: dict[bytes, bytes] = {}
    while True:
        name, value, at = _attribute(data, at)
        if not name:
            return found, at
        found.setdefault(name, value)


def _attribute(data: bytes, at: int) -> tuple[bytes, bytes, int]:
    """HTML standard, "get an attribute"; the name is empty when there is none or the data end."""
    end = len(data)
    while at < end and data[at] in b"\t\n\x0c\r /":
        at += 1
    start = at
    while at < end and data[at] not in b"\t\n\x0c\r />" and not (data[at] == 0x3D and at > start):
        at += 1
    name = data[start:at].lower()
    while at < end and data[at] in _WHITESPACE:
        at += 1
    if at == end:
        return b"", b"", end
    if data[at] != 0x3D:
        return name, b"", at
    at += 1
    while at < end and data[at] in _WHITESPACE:
        at += 1
    if at < end and data[at] in b"\"'":
        close = data.find(data[at : at + 1], at + 1)
        return (name, data[at + 1 : close].lower(), close + 1) if close >= 0 else (b"", b"", end)
    start = at
    while at < end and data[at] not in b"\t\n\x0c\r >":
        at += 1
    return (name, data[start:at].lower(), at) if at < end else (b"", b"", end)


# Decoders


def _decode(payload: bytes, encoding: str) -> str:
    if encoding == "replacement":
        return "\ufffd" if payload else ""
    if encoding == "x-user-defined":
        return payload.decode("latin-1").translate(_USER_DEFINED)
    if encoding == "euc-jp":
        return _decode_euc_jp(payload)
    if encoding == "iso-2022-jp":
        return _decode_iso_2022_jp(payload)
    if encoding.startswith("windows-"):
        return payload.decode(_CODECS.get(encoding, encoding), _C1_CONTROLS)
    return payload.decode(_CODECS.get(encoding, encoding), "replace")


_USER_DEFINED = {byte: 0xF700 + byte for byte in range(0x80, 0x100)}

# Python leaves holes in code pages; the standard fills those below 0xA0 with the control character of the number.
_C1_CONTROLS = "corpusmill-c1-controls"
_NEC_AND_IBM = "corpusmill-nec-and-ibm"


def _c1_controls(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    byte = error.object[error.start]
    return (chr(byte) if byte < 0xA0 else "\ufffd"), error.start + 1


def _nec_and_ibm(error: UnicodeError) -> tuple[str, int]:
    """Two bytes of EUC-JP that JIS X 0208 leaves empty and windows-31j fills, e.g. a digit in a circle."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    lead, *trail = error.object[error.start : error.start + 2]
    if lead >= 0xA1 and trail and 0xA1 <= trail[0] <= 0xFE:
        row, cell = lead - 0xA1, trail[0] - 0xA1
        shifted = 0x81 + row // 2 if row < 62 else 0xC1 + row // 2
        second = cell + 0x9F if row % 2 else cell + 0x40 + (cell >= 63)
        return bytes((shifted, second)).decode("cp932", "replace")[:1], error.start + 2
    return "\ufffd", error.start + 1


codecs.register_error(_C1_CONTROLS, _c1_controls)
codecs.register_error(_NEC_AND_IBM, _nec_and_ibm)

# Where Python's JIS X 0208 and windows-31j see another character in the same bytes.
_AS_WINDOWS_31J = tuple(
    zip("\u301c\u2016\u2212\u00a2\u00a3\u00ac", "\uff5e\u2225\uff0d\uffe0\uffe1\uffe2", strict=True)
)


def _as_windows_31j(text: str) -> str:
    for python, windows in _AS_WINDOWS_31J:  # translate() looks at every character in Python
        text = text.replace(python, windows)
    return text


def _decode_euc_jp(payload: bytes) -> str:
    return _as_windows_31j(payload.decode("euc_jp", _NEC_AND_IBM))


_SHIFT = re.compile(rb"\x1b(\(B|\(J|\(I|\$@|\$B)")
_HIGH_BIT = bytes(byte | 0x80 if 0x21 <= byte <= 0x7E else byte for byte in range(256))


def _decode_iso_2022_jp(payload: bytes) -> str:
    """Each shifted run is EUC-JP or half-width katakana without the high bit; a line break does not end a run."""
    pieces = _SHIFT.split(payload)
    texts = [pieces[0].decode("ascii", "replace")]
    for mode, run in zip(pieces[1::2], pieces[2::2], strict=True):
        if mode in (b"$@", b"$B"):
            texts.append(run.translate(_HIGH_BIT).decode("euc_jp", _NEC_AND_IBM))
        elif mode == b"(I":
            texts.append(run.translate(_HIGH_BIT).decode("cp932", "replace"))
        else:
            text = run.decode("ascii", "replace")
            texts.append(text.replace("\\", "¥").replace("~", "‾") if mode == b"(J" else text)
    return _as_windows_31j("".join(texts))
