"""Options for connections to providers."""

from __future__ import annotations

import ssl
from functools import cache

import httpx2

CONNECT_TIMEOUT_S = 10.0
WRITE_TIMEOUT_S = 60.0


@cache
def tls() -> ssl.SSLContext:
    """Load the trusted certificates once, which takes longer than the rest of creating a client."""
    return httpx2.create_ssl_context()


def timeouts(idle_timeout_s: float) -> httpx2.Timeout:
    """Return timeouts. The idle timeout applies between pieces of an answer, and before the first."""
    return httpx2.Timeout(connect=CONNECT_TIMEOUT_S, read=idle_timeout_s, write=WRITE_TIMEOUT_S, pool=CONNECT_TIMEOUT_S)
