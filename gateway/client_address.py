"""The address of a client, also behind proxies."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import Scope

Network = IPv4Network | IPv6Network

_KEY = "holdfast.client_address"
_MAX_LENGTH = 64  # of IPv6 with a zone and a port; bounds the cache
_V6_PREFIX = 64  # what one subscriber gets at least (RFC 6177)


def parse_networks(text: str) -> tuple[Network, ...]:
    """Parse the comma-separated networks and addresses of HOLDFAST_TRUSTED_PROXIES.

    Raises:
        ValueError: an entry is malformed. The text quotes it and says what is allowed.
    """
    return tuple(_parse_network(entry.strip()) for entry in text.split(",") if entry.strip())


def _parse_network(entry: str) -> Network:
    try:
        return ip_network(entry)
    except ValueError:
        raise ValueError(
            f"{entry!r} is not a network; allowed are 10.0.0.0/8, fd00::/8 or single addresses, separated by commas"
        ) from None


def client_address(scope: Scope, trusted: Sequence[Network]) -> str:
    """Return the client's address in canonical form, and keep it in the scope; empty where it is not known.

    It is the peer's, unless that is a trusted proxy: then it is the last address in X-Forwarded-For that is not one
    too. What stands before it may be forged.
    """
    address: str | None = scope.get(_KEY)
    if address is None:
        address = scope[_KEY] = _find(scope, trusted)
    return address


def _find(scope: Scope, trusted: Sequence[Network]) -> str:
    peer = scope.get("client")
    if not trusted:
        return "" if peer is None else _canonical(peer[0])
    last = None if peer is None else _parse(peer[0])
    if last is not None and _is_in(last, trusted):
        for text in reversed(_forwarded_for(scope)):
            hop = _parse(text)
            if hop is None:
                break
            last = hop
            if not _is_in(hop, trusted):
                break
    return "" if last is None else str(last)


def _forwarded_for(scope: Scope) -> list[str]:
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return ",".join(values).split(",") if values else []


def _is_in(address: IPv4Address | IPv6Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    """Parse an address, of X-Forwarded-For also with a port. None when malformed."""
    text = text.strip(" \t")
    return _parse_short(text) if len(text) <= _MAX_LENGTH else None


@lru_cache(maxsize=4096)
def _canonical(peer: str) -> str:
    address = _parse(peer)
    return "" if address is None else str(address)


@lru_cache(maxsize=4096)
def _parse_short(text: str) -> IPv4Address | IPv6Address | None:
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


@lru_cache(maxsize=4096)
def limited_address(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or the /64 network of an IPv6 address.

    Args:
        address: of `client_address`.
    """
    if ":" not in address:
        return address
    return str(IPv6Network((address, _V6_PREFIX), strict=False))
