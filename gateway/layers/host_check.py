"""Protection against DNS rebinding: a page of evil.example makes its name resolve to this machine to call the gateway.

The browser then treats both as one origin. Only the Host header still has the name from which the page was loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from holdfast.gateway.hosts import AllowedHosts, parse_host
from holdfast.shared.errors import HoldfastError

MAX_HOST_BYTES = 262  # a name of 255 bytes, a colon and a port
_REMEMBERED = 256


class HostNotAllowed(HoldfastError):
    code = "host_not_allowed"
    status = 421
    title = "The Host header is not allowed"

    def __init__(self) -> None:
        super().__init__("Host must be a loopback name or address, or be listed in HOLDFAST_ALLOWED_HOSTS")


class HostCheck:
    """Refuses requests whose Host is not allowed."""

    def __init__(self, allowed: AllowedHosts) -> None:
        self._allowed = allowed
        self._allows = lru_cache(_REMEMBERED)(self._is_allowed)

    def check(self, fields: Mapping[bytes, bytes]) -> None:
        """Raise HostNotAllowed unless the header fields name an allowed host, or none (HTTP/1.0)."""
        host = fields.get(b"host")
        if host is not None and (len(host) > MAX_HOST_BYTES or not self._allows(host)):
            raise HostNotAllowed

    def _is_allowed(self, value: bytes) -> bool:
        host = parse_host(value.decode("latin-1"))
        return host is not None and host in self._allowed
