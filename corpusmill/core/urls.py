"""URLs: the WHATWG form, hosts, registered domains and the key that equal pages share.

Everything here is a pure function of its argument: the public suffix list is the one that tldextract brings along,
never the network's.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import tldextract
from ada_url import URL, HostType

# Parameters that name a campaign or a click, never a page. `utm_*` is matched by prefix.
# fmt: off
TRACKING_PARAMETERS = frozenset({
    "fbclid", "gclid", "gclsrc", "dclid", "gbraid", "wbraid", "msclkid", "yclid", "ysclid", "twclid", "ttclid",
    "srsltid", "igshid", "igsh", "mc_cid", "mc_eid", "mkt_tok", "vero_id", "oly_anon_id", "oly_enc_id", "wickedid",
    "_hsenc", "_hsmi", "_ga", "_gl",
})
# fmt: on

_suffixes = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None, fallback_to_snapshot=True)


class Parts(NamedTuple):
    """Components of a URL in the WHATWG form.

    host: lower case and Punycode, an IPv6 address in brackets, "" if there is none; port: "" for the scheme's own;
    path: with its leading slash; query: with its question mark, or "".
    """

    scheme: str
    host: str
    port: str
    path: str
    query: str
    is_ip: bool


def _parse(url: str) -> URL | None:
    try:
        return URL(url)
    except (ValueError, UnicodeEncodeError):  # the latter: lone surrogates
        return None


def normalise(url: str) -> str | None:
    """`url` as the WHATWG URL standard serialises it; None when it is not an absolute URL.

    Scheme and host are in lower case, an international host in Punycode, the default port gone, dot segments resolved
    and what may not stand in a URL percent-encoded.
    """
    parsed = _parse(url)
    return None if parsed is None else str(parsed.href)


def split(url: str) -> Parts | None:
    """Components of `url`; None when it is not an absolute URL."""
    parsed = _parse(url)
    if parsed is None:
        return None
    return Parts(
        parsed.protocol[:-1],
        parsed.hostname,
        parsed.port,
        parsed.pathname,
        parsed.search,
        parsed.host_type != HostType.DEFAULT and bool(parsed.hostname),
    )


def host(url: str) -> str:
    """Host of `url` in lower case and Punycode, without port; an IPv6 address in brackets; "" when there is none."""
    parsed = _parse(url)
    return "" if parsed is None else str(parsed.hostname)


def registered_domain(url_or_host: str) -> str:
    """The part of a host that was registered, e.g. `example.co.uk`; "" for an IP address, a bare suffix or no host.

    Private suffixes (`github.io`, `blogspot.com`) count as ordinary domains, as in most link graphs. Where no rule of
    the public suffix list fits (`.example`, an internal name), the last label is the suffix: the list's own default.
    """
    if "://" not in url_or_host:
        url_or_host = f"http://{url_or_host}/"
    parsed = _parse(url_or_host)
    if parsed is None or parsed.host_type != HostType.DEFAULT:
        return ""
    return _registered(parsed.hostname)


@lru_cache(maxsize=65_536)
def _registered(hostname: str) -> str:
    parts = _suffixes(hostname)
    if not parts.suffix and parts.subdomain:
        return f"{parts.subdomain.rpartition('.')[2]}.{parts.domain}"
    return str(parts.top_domain_under_public_suffix)


def dedup_key(url: str) -> str:
    """What two addresses of one page have in common; `url` itself when it cannot be parsed.

    host[:port]path[?query] of the WHATWG form, where
    - the scheme, user name, password and fragment are dropped (http and https are one page);
    - the default port is dropped, that of http under https too and the reverse;
    - slashes at the end of the path are dropped, and `www.` is kept: many hosts serve another page without it;
    - TRACKING_PARAMETERS and `utm_*` are dropped, the other parameters kept as they are written and sorted; an empty
      query is none.
    """
    parsed = _parse(url)
    if parsed is None:
        return url
    port = "" if parsed.port in ("", "80", "443") else f":{parsed.port}"
    parameters = [p for p in str(parsed.search)[1:].split("&") if p and not _tracks(p)]
    query = "?" + "&".join(sorted(parameters)) if parameters else ""
    return f"{parsed.hostname}{port}{parsed.pathname.rstrip('/')}{query}"


def _tracks(parameter: str) -> bool:
    name = parameter.partition("=")[0].lower()
    return name.startswith("utm_") or name in TRACKING_PARAMETERS
