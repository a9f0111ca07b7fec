"""Protection against cross-site requests (CSRF), by request headers that a browser sets and no page can change.

`Origin` is sent with all requests except simple GETs, `Sec-Fetch-Site` with all requests to HTTPS or loopback.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from holdfast.shared.errors import HoldfastError
from starlette.types import Scope

_LINKABLE = frozenset({"/", "/console", "/openapi.json", "/livez", "/readyz", "/metrics"})


class OriginNotAllowed(HoldfastError):
    code = "origin_not_allowed"
    status = 403
    title = "Requests from this origin are not allowed"

    def __init__(self) -> None:
        super().__init__("The origin must be the gateway's own or be listed in HOLDFAST_CORS_ORIGINS")


class OriginCheck:
    """Refuses requests from pages of other origins.

    Clients other than browsers send neither header and pass, and so do links to the web pages."""

    def __init__(self, origins: Collection[bytes]) -> None:
        self._origins = origins

    def check(self, scope: Scope, fields: Mapping[bytes, bytes]) -> None:
        """Raise OriginNotAllowed if these header fields are those of a foreign page."""
        origin, site = fields.get(b"origin"), fields.get(b"sec-fetch-site")
        if origin is None and site is None:
            return
        if origin in self._origins or site == b"same-origin":
            return
        own = site in (None, b"none") and (origin is None or _is_own(origin, fields))
        if not own and (site in (None, b"none") or not _is_link(scope, fields)):
            raise OriginNotAllowed

    def check_cookie(self, scope: Scope, fields: Mapping[bytes, bytes]) -> None:
        """Raise OriginNotAllowed unless the request comes from a page of the gateway, or has no effect.

        A browser sends cookies with requests that any page causes. It names the origin of all that can have an effect,
        and of WebSockets."""
        if scope["method"] in ("GET", "HEAD") and b"upgrade" not in fields:
            return
        origin = fields.get(b"origin")
        if fields.get(b"sec-fetch-site") != b"same-origin" and (origin is None or not _is_own(origin, fields)):
            raise OriginNotAllowed


def _is_own(origin: bytes, fields: Mapping[bytes, bytes]) -> bool:
    """Return whether the origin has the host and port of the Host header.

    The schemes may differ: a proxy may end TLS."""
    scheme, _, place = origin.partition(b"://")
    host = fields.get(b"host", b"").lower()
    return place in (host, host.removesuffix(b":443" if scheme == b"https" else b":80")) and bool(place)


def _is_link(scope: Scope, fields: Mapping[bytes, bytes]) -> bool:
    """Return whether this is a navigation to the web page: no script can read its response."""
    if scope["method"] not in ("GET", "HEAD") or fields.get(b"sec-fetch-mode") != b"navigate":
        return False
    return scope["path"] in _LINKABLE or scope["path"].startswith("/web/")
