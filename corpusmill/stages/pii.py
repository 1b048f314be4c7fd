"""PII: email addresses, public IP addresses and phone numbers are replaced by fictitious ones.

Rules `email`, `ipv4`, `ipv6`, `phone`; what they match is said in stages/pii_matches.py. Source: FineWeb (Penedo et al.
2024: emails, public IPv4 addresses), Dolma (Soldaini et al. 2024: phone numbers, documents with many matches).

- The replacement is chosen from a list by a keyed hash of what was matched, and by nothing else: the same address gets
  the same replacement in every document, shard and run. [DEVIATION] FineWeb rotates through its list, so its output
  depends on what the process saw before.
- [DEVIATION] IP addresses become addresses reserved for documentation (RFC 5737, RFC 3849). FineWeb's six are other
  people's addresses that did not answer when the list was made.
- [DEVIATION] IPv6 addresses and, where the recipe names regions, phone numbers are replaced too; FineWeb leaves them.
- A text that holds a replacement keeps it: the stage changes nothing in its own output.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Final, Literal

from pydantic import Field, field_validator

from corpusmill.core.documents import Cut
from corpusmill.core.text import Text
from corpusmill.stages import pii_matches
from corpusmill.stages.base import StageConfig
from corpusmill.stages.pii_matches import Kind, Match
from corpusmill.stages.scored import Bound, Measured, ScoredStage

# With something visible in it: what an empty one joined could be a new match.
Replacement = Annotated[str, Field(pattern=r"\S")]
Replacements = Annotated[tuple[Replacement, ...], Field(min_length=1)]

# FineWeb's; the domains are reserved for examples (RFC 2606).
_EMAILS = ("email@example.com", "firstname.lastname@example.org")
# Two of each block of RFC 5737.
_IPV4 = ("192.0.2.18", "192.0.2.146", "198.51.100.23", "198.51.100.177", "203.0.113.54", "203.0.113.201")
# RFC 3849.
_IPV6 = ("2001:db8::1b:52", "2001:db8:0:4f::a7", "2001:db8:3c4d:15::1a2f", "2001:db8:85a3::8a2e:370:7334")
PHONE_MASK: Final = "|||PHONE_NUMBER|||"  # Dolma's
_NORTH_AMERICAN = tuple(f"202-555-01{number:02}" for number in range(100))  # 555-0100 to -0199: kept for fiction
# Numbers that cannot be anyone's, by region of the number; those of other regions become PHONE_MASK.
FICTITIOUS_PHONES: Final[dict[str, tuple[str, ...]]] = {
    "US": _NORTH_AMERICAN,
    "CA": _NORTH_AMERICAN,
    "GB": tuple(f"01632 960{number:03}" for number in range(0, 1000, 10)),  # Ofcom: for drama
    "JP": tuple(f"03-0000-00{number:02}" for number in range(100)),  # no exchange begins with 0
}
_MAX_KEY_BYTES = 64


class PiiConfig(StageConfig):
    """What is replaced, and by what.

    email, ipv4, ipv6: whether each kind is looked for.
    phone_regions: regions (ISO 3166, e.g. US, JP) whose way of writing phone numbers is looked for; none: no phones.
    email_replacements, ipv4_replacements, ipv6_replacements: one is chosen by the hash of the match; a list of one
        is a mask.
    phone_replacements: the same for phone numbers; null: fictitious numbers of the region, a mask where none are known.
    key: key of the hash, for replacements and records. Who knows the key can test whether a hash is of a given address.
    max_matches: a document with more goes (Dolma: 5); null: none goes.
    record: what the spans keep of a match: `hash` (keyed BLAKE2b of it, 64 bits) or `text` itself.
    """

    email: bool = True
    ipv4: bool = True
    ipv6: bool = True
    phone_regions: tuple[str, ...] = ()
    email_replacements: Replacements = _EMAILS
    ipv4_replacements: Replacements = _IPV4
    ipv6_replacements: Replacements = _IPV6
    phone_replacements: Replacements | None = None
    key: str = ""
    max_matches: Annotated[int, Field(ge=0)] | None = None
    record: Literal["hash", "text"] = "hash"

    @field_validator("phone_regions")
    @classmethod
    def _known(cls, regions: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(regions) - pii_matches.phone_regions()) if regions else []
        if unknown:
            raise ValueError(f"not a region that has phone numbers: {', '.join(unknown)}")
        return regions

    def replacements(self, match: Match) -> tuple[str, ...]:
        """The list from which the replacement of `match` is chosen."""
        if match.kind == "phone":
            return self.phone_replacements or FICTITIOUS_PHONES.get(match.region, (PHONE_MASK,))
        of_kind: tuple[str, ...] = getattr(self, f"{match.kind}_replacements")
        return of_kind

    def all_replacements(self) -> list[str]:
        """Every text that the stage may put into a document, longest first."""
        phones: Iterable[str] = ()
        if self.phone_regions:
            built_in = [number for numbers in FICTITIOUS_PHONES.values() for number in numbers]
            phones = self.phone_replacements or [*built_in, PHONE_MASK]
        given = {*self.email_replacements, *self.ipv4_replacements, *self.ipv6_replacements, *phones}
        return sorted(given, key=lambda replacement: (-len(replacement), replacement))


class Pii(ScoredStage[PiiConfig]):
    """Replaces PII in every document; removes those with more than `max_matches` (`pii_matches`).

    Scores: matches of each kind and of all. Spans hold the places, what was put there and, by `record`, what was there.
    """

    name = "pii"
    version = 1
    packages = ("phonenumbers",)
    Config = PiiConfig
    edits_text = True
    score_names = ("emails", "ipv4_addresses", "ipv6_addresses", "phone_numbers", "matches")
    threshold_keys = frozenset({"max_matches"})

    def __init__(self, config: PiiConfig) -> None:
        super().__init__(config)
        self._key = config.key.encode()
        if len(self._key) > _MAX_KEY_BYTES:
            self._key = hashlib.blake2b(self._key).digest()
        self._replacements = config.all_replacements()
        self._finders: list[tuple[Kind, Callable[[str], Iterator[Match]]]] = []
        if config.email:
            self._finders.append(("email", pii_matches.emails))
        if config.ipv6:
            self._finders.append(("ipv6", pii_matches.ipv6_addresses))
        if config.ipv4:
            self._finders.append(("ipv4", pii_matches.ipv4_addresses))
        if config.phone_regions:
            self._finders.append(("phone", pii_matches.phone_finder(config.phone_regions)))

    def measure(self, text: Text) -> Measured:
        """The matches of `text` and what would replace them."""
        found = self.matches(text)
        counts = [sum(match.kind == kind for match in found) for kind in ("email", "ipv4", "ipv6", "phone")]
        cuts = [Cut(match.kind, match.start, match.end, self._replacement(match)) for match in found]
        return Measured([*counts, len(found)], cuts)

    def bounds(self, language: str) -> Sequence[Bound]:
        """The limit on the number of matches."""
        limit = self.config.max_matches
        return [] if limit is None else [Bound("pii_matches", "matches", ">", limit, "max_matches")]

    def recorded(self, passage: str) -> str:
        """What the spans keep of a match."""
        if self.config.record == "text":
            return passage
        return f"blake2b:{self._hash('record', pii_matches.folded(passage)).hex()}"

    def matches(self, text: Text) -> list[Match]:
        """The matches in `text`, ascending, disjoint; no replacement is one.

        Every finder sees the parts between what was found before it, and all look again at what is left until nothing
        is found: a text with its matches replaced leaves the same parts, so it has none.
        """
        may_hold = pii_matches.candidates(text.points, text.classes)
        finders = [find for kind, find in self._finders if getattr(may_hold, kind)]
        if not finders:
            return []
        string = text.string
        parts = list(_between(0, len(string), self._own(string)))
        found: list[Match] = []
        known = -1
        while len(found) > known:
            known = len(found)
            for find in finders:
                parts = [rest for lo, hi in parts for rest in _search(string, lo, hi, find, found)]
        return sorted(found, key=lambda match: match.start)

    def _own(self, string: str) -> Iterator[tuple[int, int]]:
        """Where replacements stand in a text already."""
        present = [re.escape(own) for own in self._replacements if own in string]
        if present:
            yield from (own.span() for own in re.finditer(pii_matches.bounded("|".join(present)), string))

    def _replacement(self, match: Match) -> str:
        choices = self.config.replacements(match)
        number = int.from_bytes(self._hash(match.kind, match.key), "little")
        return choices[number % len(choices)]

    def _hash(self, purpose: str, value: str) -> bytes:
        data = f"{purpose}\0{value}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(data, digest_size=8, key=self._key).digest()


def _search(
    string: str, lo: int, hi: int, find: Callable[[str], Iterator[Match]], found: list[Match]
) -> list[tuple[int, int]]:
    """Adds what `find` finds in [lo, hi) to `found`; returns the parts of it that are left.

    Nothing that reaches an edge which another match made: there the finder could not see what touches it.
    """
    new = [match._replace(start=lo + match.start, end=lo + match.end) for match in find(string[lo:hi])]
    new = [m for m in new if (m.start > lo or lo == 0) and (m.end < hi or hi == len(string))]
    found += new
    return list(_between(lo, hi, ((match.start, match.end) for match in new)))


def _between(lo: int, hi: int, spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The parts of [lo, hi) that `spans` (ascending, disjoint) leave, empty ones left out."""
    for start, end in spans:
        if start > lo:
            yield lo, start
        lo = end
    if hi > lo:
        yield lo, hi
