"""Host headers and the hosts that a gateway accepts. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.?(?::([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class Host:
    """A name or an IP address in canonical form, and the port; `""` where none is given."""

    name: str
    port: str = ""

    @property
    def address(self) -> IPv4Address | IPv6Address | None:
        """The IP address; None for a name."""
        try:
            return ip_address(self.name)
        except ValueError:
            return None

    @property
    def is_loopback(self) -> bool:
        """Whether the host is `localhost` (RFC 6761) or a loopback address."""
        if self.name == "localhost" or self.name.endswith(".localhost"):
            return True
        return self.address is not None and self.address.is_loopback


def parse_host(value: str) -> Host | None:
    """Parse the value of a Host header (RFC 9110 7.2): `name`, `name:port` or `[IPv6]:port`. None when malformed."""
    found = _HOST.fullmatch(value.lower())
    if found is None:
        return None
    name, port = found[1], found[2] or ""
    if not name.startswith("["):
        return Host(name, port)
    address = _ipv6(name[1:-1])
    return None if address is None else Host(address, port)


def parse_allowed_hosts(text: str) -> tuple[Host, ...]:
    """Parse the comma-separated entries of HOLDFAST_ALLOWED_HOSTS. `*.` matches every subdomain.

    Raises:
        ValueError: an entry is malformed. The text quotes it and says what is allowed.
    """
    return tuple(_parse_entry(entry.strip()) for entry in text.split(",") if entry.strip())


def _parse_entry(entry: str) -> Host:
    if entry == "*":
        return Host("*")
    subdomains = entry.startswith("*.")
    host = parse_host(entry.removeprefix("*.")) or _bare_ipv6(entry)
    if host is None or (subdomains and host.address is not None):
        raise ValueError(
            f"{entry!r} is not a host; allowed are names (chat.example.com), all subdomains of one (*.example.com) and "
            "IP addresses, each also with :port, and * for any host"
        )
    return Host(f"*.{host.name}", host.port) if subdomains else host


def _bare_ipv6(text: str) -> Host | None:
    address = _ipv6(text)
    return None if address is None else Host(address)


def _ipv6(text: str) -> str | None:
    try:
        return str(IPv6Address(text))
    except ValueError:
        return None


class AllowedHosts:
    """The hosts that a gateway accepts: those of `entries`, the one that it listens on, and loopback hosts.

    If it listens on another interface than loopback, every IP address is accepted too: DNS rebinding needs a name,
    while health checks and scrapers address a machine by its IP.

    Args:
        listen: the name or IP address that the gateway listens on.
        entries: what HOLDFAST_ALLOWED_HOSTS adds.
    """

    def __init__(self, listen: str, entries: Iterable[Host] = ()) -> None:
        own = _bare_ipv6(listen) or Host(listen.lower())
        self._entries = (own, *entries)
        self._any_address = not own.is_loopback

    def __contains__(self, host: Host) -> bool:
        if host.is_loopback or (self._any_address and host.address is not None):
            return True
        return any(_matches(host, entry) for entry in self._entries)


def _matches(host: Host, entry: Host) -> bool:
    if entry.port not in ("", host.port):
        return False
    if entry.name.startswith("*"):
        return host.name.endswith(entry.name[1:])
    return host.name == entry.name
