"""From the block of an HTTP response record to its payload: head, transfer and content encodings, digest."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa
from warcio.statusandheaders import StatusAndHeadersParser, StatusAndHeadersParserException

_HEAD_END = re.compile(rb"\r?\n\r?\n")
_HEAD_BYTES = 1 << 20
_STEP_BYTES = 1 << 20
_CHUNK_HEAD = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")
_CHARSET = re.compile(r""";\s*charset\s*=\s*(?:"([^"]*)"|'([^']*)'|([^;\s]*))""", re.IGNORECASE)

_http_parser = StatusAndHeadersParser(["HTTP/"])


class PayloadDamage(ValueError):
    """A block or body that cannot be understood; `partial` is what could be read of the payload before."""

    def __init__(self, detail: str, partial: bytes = b"") -> None:
        super().__init__(detail)
        self.partial = partial


class PayloadTooLarge(ValueError):
    """The payload exceeds the limit; `seen_bytes` of it were decoded before that was certain."""

    def __init__(self, seen_bytes: int) -> None:
        super().__init__(seen_bytes)
        self.seen_bytes = seen_bytes


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """Head and body of a response.

    headers: (lower-case name, value) in the order of the message.
    body: as the record stores it, encodings not undone.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def all(self, name: str) -> list[str]:
        """Values of every header called `name` (lower case)."""
        return [value for key, value in self.headers if key == name]

    @property
    def media_type(self) -> str:
        """Essence of the last Content-Type that has one, in lower case; "" if none has."""
        essences = [value.partition(";")[0].strip().lower() for value in self.all("content-type")]
        return next((e for e in reversed(essences) if "/" in e), "")

    @property
    def charset(self) -> str | None:
        """Label of the charset parameter of the last Content-Type that has one."""
        for value in reversed(self.all("content-type")):
            match = _CHARSET.search(value)
            label = next((g for g in match.groups() if g), None) if match else None
            if label:
                return label.strip()
        return None

    @property
    def is_chunked(self) -> bool:
        """Whether the message says that its body is cut in chunks."""
        return any("chunked" in value.lower() for value in self.all("transfer-encoding"))


def parse_http(block: bytes) -> HttpResponse:
    """Splits the block of a response record. Raises PayloadDamage when it does not begin with an HTTP head."""
    end = _HEAD_END.search(block, 0, _HEAD_BYTES)
    if end is None:
        raise PayloadDamage(f"no HTTP head in a block that begins with {block[:60]!r}")
    try:
        parsed = _http_parser.parse(io.BytesIO(block[: end.end()]))
    except (StatusAndHeadersParserException, EOFError) as error:
        raise PayloadDamage(f"no HTTP status line in a block that begins with {block[:60]!r}") from error
    status = parsed.statusline.split()[1:2]  # "1.1 200 OK"
    if not (status and status[0].isascii() and status[0].isdecimal()):
        raise PayloadDamage(f"no status code in {parsed.statusline[:60]!r}")
    headers = tuple((name.lower(), value.strip()) for name, value in parsed.headers)
    return HttpResponse(int(status[0]), headers, block[end.end() :])


def undo_encodings(response: HttpResponse, limit: int) -> bytes:
    """The payload with transfer and content encodings undone, at most `limit` bytes.

    As browsers and crawlers do, an encoding that is declared but was not applied (or that nobody knows) is passed over.
    Raises PayloadTooLarge, or PayloadDamage where the data break off or turn wrong in the middle.
    """
    body = dechunk(response.body) if response.is_chunked else response.body
    names = [n.strip().lower() for value in response.all("content-encoding") for n in value.split(",")]
    for name in reversed(names):
        decoder = _DECODERS.get(name)
        if decoder is not None:
            body = _decode(body, decoder, name, limit)
    if len(body) > limit:
        raise PayloadTooLarge(len(body))
    return body


def dechunk(body: bytes) -> bytes:
    """Undoes the chunked transfer encoding (RFC 9112, 7.1); `body` itself when its first line is no chunk's.

    A missing last chunk is tolerated, a chunk that is cut off raises PayloadDamage.
    """
    pieces: list[bytes] = []
    at = 0
    while at < len(body):
        head = _CHUNK_HEAD.match(body, at)
        if head is None:
            if at == 0:
                return body
            raise PayloadDamage(f"no chunk length at byte {at} of the body", b"".join(pieces))
        size = int(head.group(1), 16)
        if size == 0:
            break
        pieces.append(body[head.end() : head.end() + size])
        at = head.end() + size + 2
        if len(pieces[-1]) < size:
            raise PayloadDamage(f"a chunk of {size} bytes is cut off", b"".join(pieces))
        if body[at - 2 : at] not in (b"\r\n", b"\r", b""):
            raise PayloadDamage(f"a chunk does not end at byte {at - 2} of the body", b"".join(pieces))
    return b"".join(pieces)


def _decode(body: bytes, decoder: Callable[[bytes], Iterator[bytes]], name: str, limit: int) -> bytes:
    out = bytearray()
    try:
        for piece in decoder(body):
            out += piece
            if len(out) > limit:
                raise PayloadTooLarge(len(out))
    except (zlib.error, EOFError, OSError, pa.ArrowException) as error:
        if not out:
            return body  # declared, but not applied
        raise PayloadDamage(f"Content-Encoding {name}: {error}", bytes(out)) from error
    return bytes(out)


def _gunzip(body: bytes) -> Iterator[bytes]:
    while True:
        inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
        yield from _inflate(body, inflater)
        body = inflater.unused_data
        if not body.startswith(b"\x1f\x8b"):  # another member may follow (RFC 1952, 2.2); what else does is ignored
            return


def _undeflate(body: bytes) -> Iterator[bytes]:
    # RFC 9110 means zlib, some servers send the bare stream; browsers take both.
    is_zlib = len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    yield from _inflate(body, zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS))


def _inflate(data: bytes, inflater: zlib._Decompress) -> Iterator[bytes]:
    while True:
        out = inflater.decompress(data, _STEP_BYTES)
        data = inflater.unconsumed_tail
        yield out
        if inflater.eof:
            return
        if not data and len(out) < _STEP_BYTES:
            raise EOFError("the stream is cut off")


def _arrow_codec(codec: str) -> Callable[[bytes], Iterator[bytes]]:
    def decode(body: bytes) -> Iterator[bytes]:
        with pa.CompressedInputStream(pa.BufferReader(body), codec) as stream:
            while piece := stream.read(_STEP_BYTES):
                yield piece

    return decode


_DECODERS: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    "gzip": _gunzip,
    "x-gzip": _gunzip,
    "deflate": _undeflate,
    "br": _arrow_codec("brotli"),
    "zstd": _arrow_codec("zstd"),
}

_ALGORITHMS = {
    "md5": hashlib.md5,
    "sha1": hashlib.sha1,
    "sha256": hashlib.sha256,
    "sha384": hashlib.sha384,
    "sha512": hashlib.sha512,
}


def digest_matches(stated: str, response: HttpResponse) -> bool | None:
    """Whether `stated` (WARC-Payload-Digest, `algorithm:value`) fits the payload; None if it cannot be judged.

    The standard leaves open what is hashed. Compared are the body as the record stores it (Common Crawl, which stores
    it decoded, Heritrix, wget) and, where it is chunked, the body without chunks (warcprox, Browsertrix). The value may
    be base 32 (Common Crawl), hexadecimal or base 64.
    """
    name, _, value = stated.partition(":")
    algorithm = _ALGORITHMS.get(name.strip().lower().replace("-", "").replace("_", ""))
    if algorithm is None or not value:
        return None
    value = value.strip().rstrip("=")
    return any(value in _spellings(algorithm(body).digest(), value) for body in _hashed_bodies(response))


def _hashed_bodies(response: HttpResponse) -> Iterator[bytes]:
    yield response.body
    if response.is_chunked:
        try:
            yield dechunk(response.body)
        except PayloadDamage:
            return


def _spellings(digest: bytes, like: str) -> set[str]:
    """The ways to write `digest`; base 32 and hexadecimal in the case of `like`."""
    base32 = base64.b32encode(digest).decode().rstrip("=")
    base16 = digest.hex()
    folded = {base32.lower(), base16} if like == like.lower() else {base32, base16.upper()}
    return folded | {
        base64.b64encode(digest).decode().rstrip("="),
        base64.urlsafe_b64encode(digest).decode().rstrip("="),
    }
