"""Finds email addresses, public IP addresses and phone numbers in a text.

What counts as a match is said at each finder. Letters next to a match: a script that writes spaces (and digits of any
script) bounds nothing, so `xinfo@example.com` is one address; kana, Han, Thai and Hangul do, as Japanese and Korean
write words against an address (`info@example.comまで`).
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple

import numba

from corpusmill.core.characters import DIGIT, Classes
from corpusmill.core.words import UNSPACED_SCRIPTS, CodePoints

Kind = Literal["email", "ipv6", "ipv4", "phone"]


class Match(NamedTuple):
    """Code points [start, end) of a text that are PII.

    key: what is meant, the same however it is written: case, width, spaces and leading zeros aside.
    region: of a phone number (ISO 3166), "" for all else.
    """

    kind: Kind
    start: int
    end: int
    key: str
    region: str = ""


class Candidates(NamedTuple):
    """Which kinds a text may hold; a text without any needs no further look."""

    email: bool
    ipv4: bool
    ipv6: bool
    phone: bool


_PHONE_DIGITS = 7  # fewer are no number that can be called from everywhere
_PHONE_GAP = 4  # characters between two digits of a number, at most, as phonenumbers has it
_GLUED = UNSPACED_SCRIPTS + "\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3"
_ALNUM = rf"[^\W_{_GLUED}]"
_BEGINS_ALNUM, _BEGINS_WORD = re.compile(_ALNUM), re.compile(rf"[^\W{_GLUED}]")
_TOKEN_CHARACTERS = 2_000  # how far back a URL around a match may begin
_IN_URL = re.compile(r"(?:://|(?<![^\W_])www\.)\S*\Z", re.IGNORECASE)


def bounded(pattern: str) -> str:
    """An expression for `pattern` where no letter or digit touches it."""
    return rf"(?<!{_ALNUM})(?:{pattern})(?!{_ALNUM})"


# Email addresses

_AT = re.compile("[@＠﹫]")
_LOCAL_CHARACTER = rf"(?:[^\W{_GLUED}]|[+%'＋－-])"
_LOCAL_REVERSED = re.compile(rf"{_LOCAL_CHARACTER}+(?:[.．]{_LOCAL_CHARACTER}+)*")
_MAX_LOCAL, _MAX_DOMAIN = 64, 253  # RFC 5321, RFC 1035
# Top-level domains in scripts that do not separate words: prose may follow them without a space, so they are listed.
_GLUED_TLDS = (
    "みんな|コム|セール|ファッション|ストア|クラウド|グーグル|ポイント|アマゾン|家電|食品|書籍|テスト|世界|中国|中國|公司|"
    "网络|網絡|网址|网店|网站|在线|中文网|我爱你|商标|商店|商城|集团|新闻|娱乐|手机|移动|信息|游戏|企业|慈善|健康|招聘|"
    "餐厅|佛山|广东|台湾|台灣|香港|新加坡|澳門|政务|公益|测试|測試|ไทย|คอม|ລາວ|한국|닷컴|닷넷|삼성"
)
_LABEL = rf"(?:{_ALNUM}(?:(?:{_ALNUM}|-)*{_ALNUM})?|(?:(?=\w)[{_GLUED}])+)"
_DOMAIN = re.compile(
    rf"(?:{_LABEL}[.．])+(?P<tld>xn--[a-z0-9-]*[a-z0-9]|[^\W\d_{_GLUED}]{{2,63}}|{_GLUED_TLDS})"
    rf"(?!{_ALNUM}|[@＠﹫])",
    re.IGNORECASE,
)
_IMAGE_SUFFIXES = frozenset({"png", "jpg", "jpeg", "gif", "svg", "webp"})  # icon@2x.png; none is a domain
_USER_INFO = re.compile(r"://[^\s/?#]*\Z")


def emails(text: str) -> Iterator[Match]:
    """Email addresses: local part @ domain with at least one dot; ASCII, full-width and international.

    - The local part holds letters, digits and `_ + - % '`, in pieces joined by dots, 64 characters at most; it begins
      with a letter, digit or underscore. [DEVIATION] RFC 5321 allows more (`! # $ & * / = ? ^ { | } ~`, quoted
      strings): in web text these are separators of URLs and markup.
    - The domain's labels are letters, digits and hyphens of scripts that write spaces, or letters of one that does not
      (例え.jp), never both; the last is letters only, Punycode, or a listed top-level domain.
    - `icon@2x.png` and the user of a URL (`ssh://git@host.com/`) are none.
    """
    after = -1
    for at in _AT.finditer(text):
        start = _local_start(text, max(after + 1, at.start() - _MAX_LOCAL - 1), at.start())
        domain = _DOMAIN.match(text, at.end(), min(len(text), at.end() + _MAX_DOMAIN + 2))
        if start is None or domain is None or domain.group("tld").lower() in _IMAGE_SUFFIXES:
            continue
        if _USER_INFO.search(text, max(0, start - _MAX_DOMAIN), start):
            continue
        after = domain.end()
        yield Match("email", start, after, folded(text[start:after]))


def _local_start(text: str, limit: int, end: int) -> int | None:
    """Where the local part that ends at `end` begins; None when there is none or it is too long."""
    found = _LOCAL_REVERSED.match(text[limit:end][::-1])
    if found is None or found.end() > _MAX_LOCAL:
        return None
    start = end - found.end()
    while start < end and not _BEGINS_WORD.match(text[start]):
        start += 1
    return start if start < end else None


def folded(written: str) -> str:
    """The one form of all ways to write an address: width and case do not count."""
    return unicodedata.normalize("NFKC", written).casefold()


# IP addresses

_DOTTED = re.compile(r"[0-9０-９.．]+")
_TO_ASCII = str.maketrans("０１２３４５６７８９．", "0123456789.")
_QUAD = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_SPACES = r"[^\S\n]*"
_NUMBERED = (
    "v|ver|vers|versions?|versión|versao|versão|versione|versiones|версия|версии|revisions?|rev|releases?|rel|builds?|"
    "firmware|drivers?|kernel|editions?|patch|sections?|sec|sección|secciones|seção|sezione|abschnitt|kapitel|chapters?|"
    "chap|chapitre|capítulos?|capitolo|clauses?|articles?|art|paragraphs?|para|appendix|annex|figures?|fig|tables?|"
    "bölüm|раздел|глава"
)
_NUMBERED_GLUED = "バージョン|ヴァージョン|リビジョン|ファームウェア|版本|版|第|節|章|図|表|项|項|버전|§"
# "version 1.2.3.4", "Ver. 1.2.3.4", "Edition: 12.1.0.1", "第 1.2.3.4 節": a number, no address.
_AFTER_NUMBERED = re.compile(
    rf"(?:(?<!{_ALNUM})(?:{_NUMBERED})|{_NUMBERED_GLUED})[.．]?{_SPACES}[:：=#№(（\"']?{_SPACES}\Z",
    re.IGNORECASE,
)
_NUMBERED_CONTEXT = 40
_BEFORE_NUMBERED = re.compile(rf"{_SPACES}[節章項条版図表号]")
# Between the numbers of a list: what follows a version is one too.
_JOINED = re.compile(
    rf"{_SPACES}(?:,|/|、|・|[-–~～〜]|and|or|to|through|und|et|y|e|から|と|や|および|または)?{_SPACES}", re.IGNORECASE
)
_MAX_JOINED = 20
_HEADING = re.compile(rf"[.．]?[^\S\n]+(?=[^\W\d_])(?:[{_GLUED}]|[^\W\d_a-zß-öø-ÿ])")
_MAX_HEADING_NUMBER = 20
_IN_IPV6 = re.compile(r"(?<![0-9A-Za-z])[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]*:\Z")
_MAX_IPV6 = 45


def ipv4_addresses(text: str) -> Iterator[Match]:
    """Public IPv4 addresses: four numbers of 0 to 255 and dots, ASCII or full-width, that are globally reachable.

    None of these is one: part of a longer dotted number or of a name (`8.8.8.8.example.com`); part of a URL or path;
    what a letter, underscore or backslash touches (`v1.2.3.4`), or a hyphen and letter (`1.2.3.4-beta`); a number
    after a word for a version or section, and those of a list after it; the number of a heading (`5.9.1.1. Protect` at
    the start of a line, all numbers below 20); numbers with leading zeros.
    """
    numbered_end = len(text)
    for run in _DOTTED.finditer(text):
        written = run.group().translate(_TO_ASCII)
        bare = written.rstrip(".")
        if not _QUAD.fullmatch(bare) or (len(written) - len(bare) == 1 and _BEGINS_ALNUM.match(text, run.end())):
            continue
        start, end = run.start(), run.start() + len(bare)
        if _is_number(text, start, end) or _joins(text, numbered_end, start):
            numbered_end = end
        elif not _touched(text, start, end) and _is_public(bare):
            yield Match("ipv4", start, end, bare)


def _joins(text: str, end: int, start: int) -> bool:
    """Whether only a comma, dash, "and" or the like stands between a number's end and another's start."""
    return end <= start <= end + _MAX_JOINED and _JOINED.fullmatch(text, end, start) is not None


def _is_number(text: str, start: int, end: int) -> bool:
    """Whether the dotted number [start, end) is that of a version or section."""
    if _AFTER_NUMBERED.search(text, max(0, start - _NUMBERED_CONTEXT), start) or _BEFORE_NUMBERED.match(text, end):
        return True
    opens_line = start == 0 or text[start - 1] == "\n"
    small = all(int(number) < _MAX_HEADING_NUMBER for number in re.split("[.．]", text[start:end]))
    return opens_line and small and _HEADING.match(text, end) is not None


def _touched(text: str, start: int, end: int) -> bool:
    """Whether what stands around [start, end) makes it a part of a name, a path or a URL."""
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    previous = before[-1:]
    if _BEGINS_WORD.match(previous) or _BEGINS_WORD.match(after) or previous == "\\" or after[:1] == "\\":
        return True
    if _IN_IPV6.search(text, max(0, start - _MAX_IPV6), start):
        return True
    if previous in ("/", "-") and not before[:-1].isdigit() and not (previous == "-" and before[:-1].isspace()):
        return True
    if after[:1] in ("/", "-") and _BEGINS_ALNUM.match(after[1:]) and not after[1:].isdigit():
        return True
    return _IN_URL.search(text, max(0, start - _TOKEN_CHARACTERS), start) is not None


_COLONS = re.compile(rf"(?:(?<!{_ALNUM})[0-9A-Fa-f]{{1,4}})?:[0-9A-Fa-f]{{0,4}}:[0-9A-Fa-f:.]*")
_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")  # all that is assigned so far: `dead::beef` is none


def ipv6_addresses(text: str) -> Iterator[Match]:
    """Public IPv6 addresses (global unicast, or a public IPv4 address mapped into IPv6), bounded as IPv4 ones are.

    Full-width colons and digits are not read as an address's.
    """
    for run in _COLONS.finditer(text):
        written = run.group()
        head = 1 if written[0] == ":" and written[:2] != "::" else 0
        bare = written[head:].rstrip(".")
        bare = bare[:-1] if bare.endswith(":") and not bare.endswith("::") else bare
        start = run.start() + head
        end = start + len(bare)
        if len(bare) <= _MAX_IPV6 and not _touched(text, start, end) and _is_public(bare):
            yield Match("ipv6", start, end, str(ipaddress.IPv6Address(bare)))


def _is_public(written: str) -> bool:
    """Whether it is an address that anyone can reach, by the registries that Python's `ipaddress` knows."""
    try:
        address = ipaddress.ip_address(written)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return address in _GLOBAL_UNICAST and address.is_global
        address = address.ipv4_mapped
    return address.is_global and not address.is_multicast


# Phone numbers

_PHONE_RUN = re.compile(r"\d(?:[-xX‐-―−ー－／ \xa0\u00ad\u200b\u2060\u3000()（）［］.．\[\]/~⁓∼～]{0,4}\d)+")
_AFTER_TELEPHONE = re.compile(
    rf"(?:(?<!{_ALNUM})(?:tel|telephone|phone|ph|mobile|cell|fax|call|text|whatsapp|sms|télé?phone|teléfono|telefon|telefone)"
    rf"|電話番号?|電話|携帯|携帯電話|ＴＥＬ|ＦＡＸ|ファックス|ファクス|手机|电话|☎|📞|📱)[.．]?{_SPACES}[:：]?{_SPACES}[(（]?\Z",
    re.IGNORECASE,
)
_TELEPHONE_CONTEXT = 24
_DOT_AND_DIGIT = re.compile(r"[.．]\d")
_LEAD_CHARACTERS = 12  # brackets, plus signs and what precedes a number
_EXTENSION_CHARACTERS = 24
_MAX_TRIES = 10_000


def phone_regions() -> frozenset[str]:
    """The regions whose phone numbers can be looked for (ISO 3166)."""
    import phonenumbers  # only where phone numbers are looked for

    return frozenset(phonenumbers.SUPPORTED_REGIONS)


def phone_finder(regions: Sequence[str]) -> Callable[[str], Iterator[Match]]:
    """A finder of the phone numbers that someone in one of `regions` can call as they are written.

    What a number is says the package `phonenumbers` at its leniency STRICT_GROUPING (valid, digits grouped as the
    region groups them or not at all), for each region in turn; numbers with "+" and a country code are found in any.
    Ungrouped digits are one after a word for telephone only. Dotted quads are none, and what a letter, digit or dotted
    number touches.
    """
    import phonenumbers

    def matches(window: str, region: str) -> Iterator[Any]:
        return iter(phonenumbers.PhoneNumberMatcher(window, region, phonenumbers.Leniency.STRICT_GROUPING, _MAX_TRIES))

    def find(text: str) -> Iterator[Match]:
        for lo, hi in _phone_windows(text):
            taken: list[Match] = []
            for region in regions:
                for found in matches(text[lo:hi], region):
                    start, end = lo + found.start, lo + found.end
                    overlaps = any(start < match.end and match.start < end for match in taken)
                    if overlaps or _in_dotted_number(text, start, end) or _is_bare_number(text, start, end):
                        continue
                    key = phonenumbers.format_number(found.number, phonenumbers.PhoneNumberFormat.E164)
                    home = phonenumbers.region_code_for_number(found.number) or region
                    taken.append(Match("phone", start, end, key, home))
            yield from sorted(taken, key=lambda match: match.start)

    return find


def _phone_windows(text: str) -> Iterator[tuple[int, int]]:
    """Parts of lines with enough digits, and room for an extension after them; disjoint, ascending."""
    lo = hi = -_LEAD_CHARACTERS - 1
    for run in _PHONE_RUN.finditer(text):
        if sum(c.isdecimal() for c in run.group()) < _PHONE_DIGITS:
            continue
        if run.start() - _LEAD_CHARACTERS > hi:
            if hi > 0:
                yield lo, hi
            lo = max(0, run.start() - _LEAD_CHARACTERS)
        line_end = text.find("\n", run.end(), run.end() + _EXTENSION_CHARACTERS)
        hi = line_end if line_end >= 0 else min(len(text), run.end() + _EXTENSION_CHARACTERS)
    if hi > 0:
        yield lo, hi


def _is_bare_number(text: str, start: int, end: int) -> bool:
    return text[start:end].isdecimal() and not _AFTER_TELEPHONE.search(text, max(0, start - _TELEPHONE_CONTEXT), start)


def _in_dotted_number(text: str, start: int, end: int) -> bool:
    if _QUAD.fullmatch(text[start:end].translate(_TO_ASCII)):
        return True
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    if _BEGINS_WORD.match(before[-1:]) or _BEGINS_WORD.match(after):
        return True
    return _DOT_AND_DIGIT.match(after) is not None or _DOT_AND_DIGIT.match(before[::-1]) is not None


# All of them


def candidates(points: CodePoints, classes: Classes) -> Candidates:
    """One pass over a text's code points (uint32) and classes (uint8) for what every match of a kind needs."""
    return Candidates(*_scan(points, classes))


@numba.njit(cache=True, nogil=True)
def _scan(points: CodePoints, classes: Classes) -> tuple[bool, bool, bool, bool]:
    email = ipv4 = ipv6 = phone = False
    dots = digits = colons = phone_digits = gap = 0
    for i in range(len(points)):
        c = points[i]
        dot = c == 0x2E or c == 0xFF0E
        if c == 0x40 or c == 0xFF20 or c == 0xFE6B:
            email = True
        if dot or 0x30 <= c <= 0x39 or 0xFF10 <= c <= 0xFF19:
            dots += dot
            digits += not dot
            ipv4 = ipv4 or (dots >= 3 and digits >= 4)
        else:
            dots = digits = 0
        if c == 0x3A:
            colons += 1
            ipv6 = ipv6 or colons >= 2
        elif not (c == 0x2E or 0x30 <= c <= 0x39 or 0x41 <= c <= 0x46 or 0x61 <= c <= 0x66):
            colons = 0
        if classes[i] & DIGIT:
            phone_digits += 1
            gap = 0
            phone = phone or phone_digits >= _PHONE_DIGITS
        else:
            gap += 1
            phone_digits = 0 if gap > _PHONE_GAP else phone_digits
    return email, ipv4, ipv6, phone
