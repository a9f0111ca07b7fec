"""Protection against cross-site requests (CSRF), by request headers that a browser sets and no page can change.

`Origin` is sent with all requests except simple GETs, `Sec-Fetch-Site` with all requests to HTTPS or loopback.
"""

from __future__ import annotations

from collections.abc import Collection

from holdfast.gateway.errors import respond
from holdfast.shared.errors import HoldfastError
from starlette.types import ASGIApp, Receive, Scope, Send

_FIELDS = frozenset({b"origin", b"sec-fetch-site"})
_LINKABLE = frozenset({"/", "/openapi.json", "/livez", "/readyz", "/metrics"})


class OriginNotAllowed(HoldfastError):
    code = "origin_not_allowed"
    status = 403
    title = "Requests from this origin are not allowed"

    def __init__(self) -> None:
        super().__init__("The origin must be the gateway's own or be listed in HOLDFAST_CORS_ORIGINS")


class OriginCheck:
    """ASGI layer: answer 403 to requests from pages of other origins.

    Clients other than browsers send neither header and pass, and so do links to the web page."""

    def __init__(self, app: ASGIApp, origins: Collection[bytes]) -> None:
        self.app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            fields = [field for field in scope["headers"] if field[0] in _FIELDS]
            if fields and not self._allows(scope, fields):
                await respond(scope, OriginNotAllowed())(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _allows(self, scope: Scope, fields: list[tuple[bytes, bytes]]) -> bool:
        given = dict(fields)
        if len(given) < len(fields):  # a browser sends each of them once
            return False
        origin, site = given.get(b"origin"), given.get(b"sec-fetch-site")
        if origin in self._origins or site == b"same-origin":
            return True
        if site is None or site == b"none":
            return origin is None or _is_own(origin, scope)
        return _is_link(scope)


def _is_own(origin: bytes, scope: Scope) -> bool:
    """Return whether the origin has the host and port of the Host header.

    The schemes may differ: a proxy may end TLS."""
    scheme, _, place = origin.partition(b"://")
    hosts = [value.lower() for name, value in scope["headers"] if name == b"host"]
    return len(hosts) == 1 and place in (hosts[0], hosts[0].removesuffix(b":443" if scheme == b"https" else b":80"))


def _is_link(scope: Scope) -> bool:
    """Return whether this is a navigation to the web page: no script can read its response."""
    if scope["method"] not in ("GET", "HEAD") or (b"sec-fetch-mode", b"navigate") not in scope["headers"]:
        return False
    return scope["path"] in _LINKABLE or scope["path"].startswith("/web/")
