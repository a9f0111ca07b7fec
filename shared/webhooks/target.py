"""The URL of a webhook: what it may be, and its parts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from holdfast.shared.errors import RequestInvalid
from holdfast.shared.webhooks.addresses import Network, is_allowed

FIELD = "webhook.url"
MAX_URL_BYTES = 2000
MAX_HOST_CHARACTERS = 253
PORTS = {"https": 443, "http": 80}
_PRINTABLE = re.compile(r"[\x21-\x7e]+")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_NUMBER = re.compile(r"(?:\d+|0[xX][0-9a-fA-F]*)\.?")  # such a last label makes a name an IPv4 address for resolvers


class Target(NamedTuple):
    """The parts of a webhook's URL. `host`: a name or an IP address, without brackets. `path`: with the query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The value of the header `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def parse_target(url: str, networks: Sequence[Network]) -> Target:
    """Parse the URL of a webhook. Raises RequestInvalid, which names the field and what is allowed.

    `networks`: those that webhooks may be delivered to although they are not public; with any, `http` is allowed."""
    if len(url) > MAX_URL_BYTES or _PRINTABLE.fullmatch(url) is None or "\\" in url:
        raise RequestInvalid(FIELD, f"must be a URL of 1 to {MAX_URL_BYTES} printable ASCII characters, without `\\`")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise RequestInvalid(FIELD, "must be a URL such as https://example.com/webhook") from None
    schemes = ("https", "http") if networks else ("https",)
    if parts.scheme not in schemes:
        raise RequestInvalid(FIELD, f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    if "@" in parts.netloc:
        raise RequestInvalid(FIELD, "must have no user name and no password")
    if "#" in url:
        raise RequestInvalid(FIELD, "must have no fragment")
    port = PORTS[parts.scheme] if port is None else port
    if port not in PORTS.values() and port < 1024:
        raise RequestInvalid(FIELD, "must have the port 80, 443 or one from 1024 on")
    host = _host(parts.hostname or "", networks)
    if "[" in parts.netloc and ":" not in host:  # urlsplit takes names such as v1.x there (RFC 3986, IPvFuture)
        raise RequestInvalid(FIELD, "may have brackets around an IPv6 address only")
    return Target(parts.scheme, host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))


def _host(host: str, networks: Sequence[Network]) -> str:
    try:
        ip_address(host)
    except ValueError:
        is_name = len(host) <= MAX_HOST_CHARACTERS and _NAME.fullmatch(host)
        if not is_name or _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
            raise RequestInvalid(FIELD, "must have a host name (an international one as punycode)") from None
        return host
    if not is_allowed(host, networks):
        raise RequestInvalid(FIELD, "must not have a private or reserved address")
    return host
