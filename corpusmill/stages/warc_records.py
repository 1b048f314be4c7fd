"""Where records begin and end in a WARC or ARC file, whole or damaged, compressed or not.

A file is read forward from a record start. The layout is known by the bytes that stand there; the name of the file
decides only where those are damaged:

- gzip: every record is a gzip member of its own (ISO 28500 annex D; what Common Crawl writes);
- WARC as it is: head, block of `Content-Length` bytes, CR LF CR LF;
- ARC 1.0 as it is: one line, block of the length it states, LF.

Heads are parsed by warcio. What lies between the records of a damaged file is skipped up to the next position that
opens a record, and the skipped range is reported as one `Damage`. Memory is bounded: a block is held up to a limit, and
what exceeds it is only counted.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Generator
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

from isal import isal_zlib
from warcio.recordloader import ARC2WARCHeadersParser
from warcio.statusandheaders import StatusAndHeadersParser, StatusAndHeadersParserException

from corpusmill.core.errors import InfrastructureError

_WINDOW_BYTES = 1 << 20
_INFLATE_BYTES = 1 << 16
_HEAD_BYTES = 1 << 20  # a record's head is never longer
_PROBE_STEP_BYTES = 16
_PROBE_BYTES = 1 << 14  # of a gzip member, to see whether it opens a record
MAX_MEMBER_BYTES = 1 << 31  # a gzip member that gives more is not read to its end

_INFLATE_ERRORS: tuple[type[Exception], ...] = (zlib.error, isal_zlib.error)  # type: ignore[assignment]

GZIP_MAGIC = b"\x1f\x8b\x08"
_PLAIN_HEADER = GZIP_MAGIC + b"\0"  # without flags, as all writers of WARC but a few have it
_WARC_LINE = re.compile(rb"WARC/\d\.\d{1,2}\r?\n")
_ARC_LINE = re.compile(rb"[a-zA-Z][a-zA-Z0-9+.-]{1,15}:[^\n]{1,8192} [^ \n]+ \d{8,17} [^ \n]+ \d{1,15}\r?\n")
_PLAIN_START = re.compile(
    rb"(?<=\n\r\n)(?=%b)|(?<=\n\n)(?=%b)|(?<=\n)(?=%b)" % (_WARC_LINE.pattern, _WARC_LINE.pattern, _ARC_LINE.pattern)
)
_MAY_OPEN = re.compile(rb"WARC/|[a-zA-Z][a-zA-Z0-9+.-]{1,15}:")
_LINE_BREAKS = b"\r\n"
_RECOMPRESS = "warcio recompress OLD.warc.gz NEW.warc.gz"

_warc_parser = StatusAndHeadersParser(["WARC/"])
_arc_parser = ARC2WARCHeadersParser()


class Source:
    """Random reads in a file of `size` bytes, through one window that moves forward."""

    def __init__(self, file: IO[bytes], size: int, name: str) -> None:
        self.size = size
        self.name = name
        self._file = file
        self._at = 0
        self._window = b""

    def read(self, offset: int, length: int) -> bytes:
        """Bytes [offset, offset + length), fewer only at the end of the file.

        Raises InfrastructureError when storage gives less than the file's size promises.
        """
        length = max(0, min(length, self.size - offset))
        start = offset - self._at
        if start < 0 or start + length > len(self._window):
            self._at, start = offset, 0
            self._window = self._fetch(offset, min(max(length, _WINDOW_BYTES), self.size - offset))
        return self._window[start : start + length]

    def _fetch(self, offset: int, length: int) -> bytes:
        pieces = []
        try:
            self._file.seek(offset)
            while length > 0:
                piece = self._file.read(length)
                if not piece:
                    raise InfrastructureError(
                        "the file ended before its size", where=f"{self.name}:{offset}", value=self.size
                    )
                pieces.append(piece)
                length -= len(piece)
        except OSError as error:
            raise InfrastructureError("could not read", where=f"{self.name}:{offset}", value=str(error)) from error
        return b"".join(pieces)


@dataclass(frozen=True, slots=True)
class RawRecord:
    """A record whose limits are certain.

    offset, length: of its bytes in the file, compressed where the file is.
    headers: WARC headers by lower-case name (those of an ARC record under the WARC names); the first of a kind.
    block: at most the first `block_limit` bytes of the block; `block_bytes`: its true size.
    """

    offset: int
    length: int
    headers: dict[str, str]
    block: bytes
    block_bytes: int

    @property
    def record_type(self) -> str:
        """`response`, `request`, ...; "" when the record states none."""
        return self.headers.get("warc-type", "")

    @property
    def uri(self) -> str:
        """Target URI as written, without the angle brackets that some writers put around it; "" if there is none."""
        return _uri(self.headers)


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes [offset, offset + length) of the file that give no record, or one whose limits are not certain."""

    offset: int
    length: int
    reason: str
    detail: str
    uri: str = ""


class _Head(NamedTuple):
    headers: dict[str, str]
    head_bytes: int
    block_bytes: int
    is_arc: bool


class _BadHead(ValueError):
    """A head that cannot be understood; the message is the detail of the damage."""


class _Member(NamedTuple):
    data: bytes  # at most the limit
    inflated_bytes: int
    length: int  # compressed
    fault: str  # "" when the member is whole


def find_start(source: Source, start: int, end: int) -> int | None:
    """Offset of the first position in [start, end) that opens a record by its looks; None when there is none.

    Bytes inside a record may look like one: only a reader that came from the record before knows (see `SliceReader`).
    """
    by_name = (_find_member, _find_plain) if _named_gzip(source) else (_find_plain, _find_member)
    return next((at for find in by_name if (at := find(source, start, end)) is not None), None)


def records(source: Source, start: int, end: int, block_limit: int) -> Generator[RawRecord | Damage, None, int]:
    """Every record whose offset is in [start, end), and the damage between them; `start` must be a record's offset.

    Returns where the first record at or after `end` is, or the size of the file.
    """
    is_gzip = _named_gzip(source)
    at = start
    while at < min(end, source.size):
        if source.read(at, len(GZIP_MAGIC)) == GZIP_MAGIC:
            is_gzip = True
        elif is_gzip and opens_record(source.read(at, _PROBE_BYTES)):
            is_gzip = False
        found = (_read_member if is_gzip else _read_plain)(source, at, block_limit)
        if isinstance(found, RawRecord | Damage):
            yield found
            at += found.length
        else:
            at += found
    return at


def _named_gzip(source: Source) -> bool:
    return source.name.partition("?")[0].endswith(".gz")


def opens_record(data: bytes) -> bool:
    """Whether `data` begins with the first line of a WARC or ARC record."""
    return _WARC_LINE.match(data) is not None or _ARC_LINE.match(data) is not None


def _uri(headers: dict[str, str]) -> str:
    uri = headers.get("warc-target-uri", "")
    return uri[1:-1] if uri.startswith("<") and uri.endswith(">") else uri


def _parse_head(data: bytes) -> _Head:
    stream = io.BytesIO(data)
    counted = 0
    is_arc = False
    try:
        if _WARC_LINE.match(data):
            parsed = _warc_parser.parse(stream)
        elif is_arc := _ARC_LINE.match(data) is not None:
            parsed = _arc_parser.parse(stream)
            counted = parsed.total_len  # lines of a filedesc record that its length counts
        else:
            raise _BadHead(f"neither a WARC nor an ARC record: it begins with {data[:60]!r}")
    except (StatusAndHeadersParserException, ValueError, EOFError) as error:
        raise _BadHead(f"head of the record: {error}") from error
    headers: dict[str, str] = {}
    for name, value in parsed.headers:
        headers.setdefault(name.lower(), value.strip())
    length = headers.get("content-length", "")
    if not (length.isascii() and length.isdecimal() and len(length) < 16):
        raise _BadHead(f"Content-Length is {length!r}")
    return _Head(headers, stream.tell(), max(0, int(length) - counted), is_arc)


def _bad_head(source: Source, offset: int, length: int, data: bytes, error: _BadHead) -> Damage:
    reason = "not_a_warc" if length == source.size and not opens_record(data) else "bad_header"
    return Damage(offset, length, reason, f"{error}; {length} bytes skipped")


# gzip, a member a record


def _read_member(source: Source, offset: int, block_limit: int) -> RawRecord | Damage | int:
    """The record in the member at `offset`; an integer is the length of a member without content."""
    member = _inflate(source, offset, block_limit + _HEAD_BYTES)
    if member.fault:
        return _damaged_member(source, offset, member)
    if not member.data.strip(_LINE_BREAKS) and member.inflated_bytes == len(member.data):
        return member.length
    try:
        head = _parse_head(member.data)
    except _BadHead as error:
        return _bad_head(source, offset, member.length, member.data, error)
    uri = _uri(head.headers)
    block_end = head.head_bytes + head.block_bytes
    if block_end > member.inflated_bytes:
        present = member.inflated_bytes - head.head_bytes
        detail = f"Content-Length is {head.block_bytes}, the record holds {present} bytes"
        return Damage(offset, member.length, "truncated_record", detail, uri)
    after = member.data[block_end:].lstrip(_LINE_BREAKS)
    if opens_record(after):
        detail = f"{member.length} bytes are one gzip member of several records; remedy: {_RECOMPRESS}"
        return Damage(offset, member.length, "not_per_record_gzip", detail, uri)
    if after:
        detail = f"Content-Length is {head.block_bytes}, but {len(after)} bytes or more follow the block"
        return Damage(offset, member.length, "bad_length", detail, uri)
    block = member.data[head.head_bytes : min(block_end, head.head_bytes + block_limit)]
    return RawRecord(offset, member.length, head.headers, block, head.block_bytes)


def _damaged_member(source: Source, offset: int, member: _Member) -> Damage:
    # The search begins right behind `offset`: a damaged stream may inflate far into the members after it.
    following = _find_member(source, offset + 1, source.size)
    length = (source.size if following is None else following) - offset
    uri = ""
    try:
        uri = _uri(_parse_head(_inflated_head(source, offset)).headers)
    except _BadHead:
        if offset == 0 and following is None:
            begins = source.read(0, 60)
            detail = f"no record in {length} bytes ({member.fault}); the file begins with {begins!r}"
            return Damage(offset, length, "not_a_warc", detail)
    if following is None and member.fault == _ENDS:
        return Damage(offset, length, "truncated_record", f"{member.fault}; {length} bytes skipped", uri)
    return Damage(offset, length, "gzip_damaged", f"{member.fault}; {length} bytes skipped", uri)


_ENDS = "the file ends inside a gzip member"


def _inflate(source: Source, offset: int, limit: int) -> _Member:
    """The member at `offset`: by ISA-L, which needs a third of the time less, by zlib if anything is unusual about it.

    ISA-L takes no offence at header flags that mean nothing, and what it says of damage is not what zlib says.
    """
    if source.read(offset, len(_PLAIN_HEADER)) == _PLAIN_HEADER:
        member = _inflate_with(isal_zlib.decompressobj(zlib.MAX_WBITS | 16), source, offset, limit)
        if not member.fault or member.inflated_bytes > MAX_MEMBER_BYTES:
            return member
    return _inflate_with(zlib.decompressobj(zlib.MAX_WBITS | 16), source, offset, limit)


def _inflate_with(inflater: Any, source: Source, offset: int, limit: int) -> _Member:
    data = bytearray()
    inflated = 0
    at = offset

    def member(fault: str = "") -> _Member:
        return _Member(bytes(data), inflated, at - offset - len(inflater.unused_data), fault)

    while not inflater.eof:
        piece = source.read(at, _INFLATE_BYTES)
        if not piece:
            return member(_ENDS)
        at += len(piece)
        while True:
            try:
                out = inflater.decompress(piece, _WINDOW_BYTES)
            except _INFLATE_ERRORS as error:
                return member(f"gzip: {error}")
            inflated += len(out)
            data += out[: max(0, limit - len(data))]
            piece = inflater.unconsumed_tail
            if inflated > MAX_MEMBER_BYTES:
                return member(f"a gzip member of more than {MAX_MEMBER_BYTES} bytes when inflated")
            # They may hold output back when the input is used up, but only when the output was full.
            if inflater.eof or (not piece and len(out) < _WINDOW_BYTES):
                break
    return member()


def _find_member(source: Source, start: int, end: int) -> int | None:
    at = start
    while at < min(end, source.size):
        window = source.read(at, _WINDOW_BYTES)
        found = window.find(GZIP_MAGIC)
        while found >= 0 and at + found < end:
            if opens_record(_inflated_head(source, at + found)):
                return at + found
            found = window.find(GZIP_MAGIC, found + 1)
        at += max(1, len(window) - len(GZIP_MAGIC) + 1)
    return None


def _inflated_head(source: Source, offset: int) -> bytes:
    """What the first bytes of the member at `offset` give, as far as they inflate; b"" when it is none."""
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
    data = source.read(offset, _PROBE_BYTES)
    head = bytearray()
    try:
        # In small steps: what zlib has inflated of a step is lost when it finds an error in the same step.
        for at in range(0, len(data), _PROBE_STEP_BYTES):
            head += inflater.decompress(data[at : at + _PROBE_STEP_BYTES])
            if inflater.eof or len(head) >= _PROBE_BYTES or (len(head) > 17 and not _MAY_OPEN.match(head)):
                break
    except zlib.error:
        pass
    return bytes(head)


# Not compressed


def _read_plain(source: Source, offset: int, block_limit: int) -> RawRecord | Damage | int:
    """The record at `offset`; an integer is the length of the line breaks there, if nothing else is."""
    data = source.read(offset, _HEAD_BYTES)
    breaks = len(data) - len(data.lstrip(_LINE_BREAKS))
    if breaks:
        return breaks
    try:
        head = _parse_head(data)
    except _BadHead as error:
        following = _find_plain(source, offset + 1, source.size)
        length = (source.size if following is None else following) - offset
        return _bad_head(source, offset, length, data, error)
    block_start = offset + head.head_bytes
    block_end = block_start + head.block_bytes
    ending = _line_breaks_after(source, block_end, head.is_arc)
    if ending is None:
        following = _find_plain(source, block_start, source.size)
        length = (source.size if following is None else following) - offset
        ended = block_end > source.size
        detail = "the file ends before the block does" if ended else "no record ends where the block does"
        return Damage(
            offset,
            length,
            "truncated_record" if ended and following is None else "bad_length",
            f"Content-Length is {head.block_bytes}: {detail}; {length} bytes skipped",
            _uri(head.headers),
        )
    block = source.read(block_start, min(head.block_bytes, block_limit))
    return RawRecord(offset, block_end + ending - offset, head.headers, block, head.block_bytes)


def _line_breaks_after(source: Source, block_end: int, is_arc: bool) -> int | None:
    """Number of line break bytes that end a record; None when its block cannot end at `block_end`."""
    if block_end > source.size:
        return None
    tail = source.read(block_end, _PROBE_BYTES)
    breaks = len(tail) - len(tail.lstrip(_LINE_BREAKS))
    if (not is_arc and tail.startswith(b"\r\n\r\n")) or breaks == len(tail) or opens_record(tail[breaks:]):
        return breaks
    return None


def _find_plain(source: Source, start: int, end: int) -> int | None:
    at = start
    while at < min(end, source.size):
        before = max(0, at - 3)  # a start is known by the line breaks before it
        window = source.read(before, _WINDOW_BYTES)
        match = _PLAIN_START.search(window, at - before)
        if match:
            return before + match.start() if before + match.start() < end else None
        if before + len(window) >= source.size:
            return None
        at = before + len(window) - _PROBE_BYTES
    return None
