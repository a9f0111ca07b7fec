"""Protection against DNS rebinding: a page of evil.example makes its name resolve to this machine to call the gateway.

The browser then treats both as one origin. Only the Host header still has the name from which the page was loaded.
"""

from __future__ import annotations

from functools import lru_cache

from holdfast.gateway.errors import respond
from holdfast.gateway.hosts import AllowedHosts, parse_host
from holdfast.shared.errors import HoldfastError
from starlette.types import ASGIApp, Receive, Scope, Send

MAX_HOST_BYTES = 262  # a name of 255 bytes, a colon and a port
_REMEMBERED = 256


class HostNotAllowed(HoldfastError):
    code = "host_not_allowed"
    status = 421
    title = "The Host header is not allowed"

    def __init__(self) -> None:
        super().__init__("Host must be a loopback name or address, or be listed in HOLDFAST_ALLOWED_HOSTS")


class HostCheck:
    """ASGI layer: answer 421 to a request whose Host is not allowed."""

    def __init__(self, app: ASGIApp, allowed: AllowedHosts) -> None:
        self.app = app
        self._allowed = allowed
        self._allows = lru_cache(_REMEMBERED)(self._is_allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            for name, value in scope["headers"]:
                if name == b"host" and (len(value) > MAX_HOST_BYTES or not self._allows(value)):
                    await respond(scope, HostNotAllowed())(scope, receive, send)
                    return
        await self.app(scope, receive, send)

    def _is_allowed(self, value: bytes) -> bool:
        host = parse_host(value.decode("latin-1"))
        return host is not None and host in self._allowed
