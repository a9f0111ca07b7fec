"""What the connections to all providers share."""

from __future__ import annotations

import ssl
from functools import cache

import httpx2

CONNECT_TIMEOUT_S = 10.0
WRITE_TIMEOUT_S = 60.0


@cache
def tls() -> ssl.SSLContext:
    """The trusted certificates, read once: that takes longer than all the rest of making a client."""
    return httpx2.create_ssl_context()


def timeouts(idle_timeout_s: float) -> httpx2.Timeout:
    """The idle timeout runs from one piece of an answer to the next, the first included."""
    return httpx2.Timeout(connect=CONNECT_TIMEOUT_S, read=idle_timeout_s, write=WRITE_TIMEOUT_S, pool=CONNECT_TIMEOUT_S)
