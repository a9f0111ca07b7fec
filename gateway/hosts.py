"""The host that a gateway listens on, and the hosts and origins that it accepts."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from holdfast.shared.errors import SettingsInvalid

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.?(?::([0-9]{1,5}))?")
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:[0-9]{1,5})?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


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


def is_loopback(listen: str) -> bool:
    """Return whether a name or IP address to listen on is that of the loopback interface."""
    return (_ipv6(listen) or Host(listen.lower())).is_loopback


def parse_host(value: str) -> Host | None:
    """Parse the value of a Host header (RFC 9110 7.2): `name`, `name:port` or `[IPv6]:port`. None when malformed."""
    found = _HOST.fullmatch(value.lower())
    if found is None:
        return None
    name, port = found[1], found[2] or ""
    if not name.startswith("["):
        return Host(name, port)
    return _ipv6(name[1:-1], port)


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
    host = parse_host(entry.removeprefix("*.")) or _ipv6(entry)
    if host is None or (subdomains and host.address is not None):
        raise ValueError(
            f"{entry!r} is not a host; allowed are names (chat.example.com), all subdomains of one (*.example.com) and "
            "IP addresses, each also with :port, and * for any host"
        )
    return Host(f"*.{host.name}", host.port) if subdomains else host


def _ipv6(text: str, port: str = "") -> Host | None:
    try:
        return Host(str(IPv6Address(text)), port)
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
        own = _ipv6(listen) or Host(listen.lower())
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


def parse_origins(text: str) -> frozenset[bytes]:
    """Parse comma-separated origins into the form that browsers send: lower case, without a default port.

    Raises:
        ValueError: an entry is not an origin. The text quotes it and says what is allowed.
    """
    return frozenset(_parse_origin(entry.strip()) for entry in text.split(",") if entry.strip())


def _parse_origin(entry: str) -> bytes:
    found = _ORIGIN.fullmatch(entry.lower())
    if found is None:
        raise ValueError(
            f"{entry!r} is not an origin; allowed are exact ones such as https://chat.example.com or "
            "http://localhost:3000, without a path, and no *"
        )
    scheme, host, port = found.groups()
    return f"{scheme}://{host}{'' if port in (None, _DEFAULT_PORTS.get(scheme)) else port}".encode()


def probe(host: str, port: int = 0) -> int:
    """Bind a socket for a moment, as the gateway does. Returns its port, a free one for 0. Raises OSError."""
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    with socket.socket(family, socket.SOCK_STREAM) as bound:
        # Lingering connections of a predecessor do not matter.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        taken: int = bound.getsockname()[1]
        return taken


def check_listen_host(host: str) -> None:
    """Check that HOLDFAST_HOST can be bound. Raises SettingsInvalid if it is not an address of this machine."""
    try:
        probe(host)
    except (OSError, UnicodeError):  # a UnicodeError: a name with an empty label or one above 63 characters
        raise SettingsInvalid(
            f"HOLDFAST_HOST is {host!r}, which is not an address of this machine: "
            "set 127.0.0.1 or ::1, or 0.0.0.0 to listen on all interfaces"
        ) from None
