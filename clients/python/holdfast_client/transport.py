"""What both clients do with httpx: options of a client, and its errors and responses as values."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Mapping
from typing import Any

import httpx

from .errors import ArgumentInvalid
from .replies import NoReply, Reply
from .requests import Request

SILENCE_S = 25.0  # docs/protocol.md: without a byte for so long, a connection is lost
CONNECT_S = 10.0
PATIENCE_S = 60.0

# A body that cannot be decoded was cut where a proxy ended the response as if it were complete.
FAILURES = (httpx.TransportError, httpx.DecodingError)
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


def options(url: str, auth: httpx.Auth | None, silence_s: float) -> dict[str, Any]:
    """Return the arguments of httpx's clients. Local addresses bypass proxies of the environment, but not its
    SSL_CERT_FILE. Each stream holds a connection, so that their number is not limited. Raises ArgumentInvalid."""
    address = checked_url(url)
    local = _is_local(address.host)
    return {
        "base_url": address,
        "auth": auth,
        "timeout": httpx.Timeout(silence_s, connect=CONNECT_S),
        "limits": httpx.Limits(max_connections=None, max_keepalive_connections=20),
        "trust_env": not local,
        "verify": ssl.create_default_context() if local and address.scheme == "https" else True,
    }


def checked_url(url: str) -> httpx.URL:
    """Parse the address of a gateway. Raises ArgumentInvalid."""
    try:
        address = httpx.URL(url)
        if address.scheme in ("http", "https") and address.host and address.port in (None, *range(1, 65_536)):
            return address
    except httpx.InvalidURL:
        pass
    raise ArgumentInvalid(f"{url!r} is not the address of a gateway; allowed: http://host:port or https://host:port")


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def arguments(request: Request, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return a request as arguments of httpx's `build_request`."""
    return {
        "method": request.method,
        "url": request.path,
        "params": dict(request.params),
        "json": request.json,
        "headers": {**request.headers, **(headers or {})},
    }


def reply_of(response: httpx.Response) -> Reply:
    """Return a response that was read as a value."""
    return Reply(response.status_code, _lower(response.headers), response.content)


def _lower(headers: httpx.Headers) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def no_reply(url: httpx.URL, error: httpx.RequestError) -> NoReply:
    """Return the failure of a connection as a value."""
    return NoReply(f"{url} does not answer: {str(error) or type(error).__name__}", not isinstance(error, _UNSENT))
