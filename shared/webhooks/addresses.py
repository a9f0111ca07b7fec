"""Which addresses a webhook may be delivered to: public ones, and those of networks that a setting allows.

Sources: the IANA special-purpose address registries, https://www.iana.org/assignments/iana-ipv4-special-registry and
https://www.iana.org/assignments/iana-ipv6-special-registry.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network

_PRIVATE_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local; the metadata services of clouds
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",
    )
)
_UNICAST_V6 = IPv6Network("2000::/3")
_PRIVATE_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, among them Teredo, which embeds other addresses
        "2001:db8::/32",
        "2002::/16",  # 6to4, which embeds an IPv4 address
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)
_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")  # where a network without IPv4 has DNS64, it is the address of a public receiver


def parse_networks(text: str) -> tuple[Network, ...]:
    """Parse networks in CIDR notation, separated by commas. Raises ValueError, whose message names the wrong one."""
    networks = []
    for part in filter(None, map(str.strip, text.split(","))):
        try:
            networks.append(ip_network(part))
        except ValueError:
            raise ValueError(f"{part} is no network; allowed: such as 10.0.0.0/8 or fd00::/8") from None
    return tuple(networks)


def is_allowed(text: str, networks: Sequence[Network]) -> bool:
    """Return whether a webhook may be delivered to this IP address. `networks`: those allowed although not public."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return is_in(address, networks) or _is_public(address, networks)


def is_in(address: IPv4Address | IPv6Address, networks: Sequence[Network]) -> bool:
    """Return whether the address, without a zone, is in one of the networks."""
    zone = getattr(address, "scope_id", None)
    return zone is None and any(address in network for network in networks)


def _is_public(address: IPv4Address | IPv6Address, networks: Sequence[Network]) -> bool:
    if isinstance(address, IPv4Address):
        return address.is_global and not is_in(address, _PRIVATE_V4)
    if address.scope_id is not None:
        return False
    if address in _MAPPED or address in _NAT64:
        return is_allowed(str(IPv4Address(int(address) & 0xFFFF_FFFF)), networks)
    return address in _UNICAST_V6 and address.is_global and not is_in(address, _PRIVATE_V6)
