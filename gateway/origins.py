"""Origins of web pages, as HOLDFAST_CORS_ORIGINS lists them and browsers send them. Pure."""

from __future__ import annotations

import re

_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:[0-9]{1,5})?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


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


def is_own(origin: bytes, host: bytes) -> bool:
    """Return whether the origin has the host and port of this Host header.

    The schemes may differ: a proxy may end TLS."""
    scheme, _, place = origin.partition(b"://")
    own = host.lower()
    return place in (own, own.removesuffix(b":443" if scheme == b"https" else b":80"))
