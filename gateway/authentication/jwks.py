"""Fetches the public keys of an issuer, and keeps them while its endpoint is unavailable."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context

import httpx
import structlog
from holdfast.gateway.authentication.key_set import KeySet, parse_key_set
from holdfast.gateway.errors import AuthenticationUnavailable

logger = structlog.get_logger()

DEFAULT_TTL_S = 600.0
MIN_TTL_S = 60.0
MAX_TTL_S = 86_400.0
REFETCH_PAUSE_S = 60.0  # between fetches for unknown keys: anyone can send a token that names one
MAX_BACKOFF_S = 60.0
STALE_S = 3600.0  # for which a set answers after its lifetime, while it is fetched anew
DEADLINE_S = 5.0
MAX_BYTES = 64 * 1024
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=\"?([0-9]{1,10})(?![0-9])", re.IGNORECASE)
_NEVER = float("-inf")


class JwksEndpoint:
    """The key set of one URL. It is fetched when it is needed: by one request at a time, whose result all share.

    A set is used for the `max-age` of its response, between 1 minute and 1 day, or 10 minutes where there is none.
    For an hour after that it still answers, while a fetch is under way. While the endpoint fails, the last set stays in
    use, and attempts back off to one a minute.

    Args:
        clock: monotonic time in seconds.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock = clock
        self._client = httpx.AsyncClient(
            timeout=DEADLINE_S,
            follow_redirects=False,
            trust_env=url.startswith("https:"),  # no proxy leads to a loopback address
            headers={"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"},
        )
        self._keys: KeySet | None = None
        self._fresh_until = _NEVER
        self._failures = 0
        self._retry_at = _NEVER
        self._refetch_at = _NEVER
        self._flight: asyncio.Task[None] | None = None

    @property
    def is_refreshing(self) -> bool:
        """Whether a fetch of the key set is in progress."""
        return self._flight is not None

    async def aclose(self) -> None:
        """End a fetch that is under way."""
        if self._flight is not None:
            self._flight.cancel()
            with suppress(asyncio.CancelledError):
                await self._flight
        await self._client.aclose()

    async def keys(self) -> KeySet:
        """Return the current set. Only the very first request waits for a fetch, and the first one for a long time.

        Raises:
            AuthenticationUnavailable: no set could be fetched yet.
        """
        now = self._clock()
        if now >= self._fresh_until and self._may_fetch:
            flight = self._begin()
            if self._keys is None or (now >= self._fresh_until + STALE_S and not self._failures):
                await asyncio.shield(flight)
        if self._keys is None:
            raise AuthenticationUnavailable
        return self._keys

    async def refetched(self) -> KeySet:
        """Return the set after a token named an unknown key: fetched anew, but at most once a minute for all tokens.

        Raises:
            AuthenticationUnavailable: no set could be fetched yet.
        """
        now = self._clock()
        if now >= self._refetch_at and self._may_fetch:
            self._refetch_at = now + REFETCH_PAUSE_S
            self._begin()
        if self._flight is not None:
            await asyncio.shield(self._flight)
        return await self.keys()

    @property
    def _may_fetch(self) -> bool:
        return self.is_refreshing or self._clock() >= self._retry_at

    def _begin(self) -> asyncio.Task[None]:
        if self._flight is None:
            # Several requests share the task: its log lines must not have the id of one of them.
            self._flight = asyncio.create_task(self._refresh(), context=Context())
        return self._flight

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                found, ttl_s = await self._fetch()
        except (httpx.HTTPError, OSError, TimeoutError, ValueError) as error:
            self._fail(error)
        else:
            self._succeed(found, ttl_s)
        finally:
            self._flight = None

    async def _fetch(self) -> tuple[KeySet, float]:
        async with self._client.stream("GET", self._url) as response:
            if response.status_code != 200:
                raise ValueError(f"the response has status {response.status_code}")
            body = bytearray()
            async for piece in response.aiter_raw():  # decompression could multiply its size
                body += piece
                if len(body) > MAX_BYTES:
                    raise ValueError(f"the response is larger than {MAX_BYTES} bytes")
        return parse_key_set(bytes(body)), lifetime_s(response.headers.get("cache-control", ""))

    def _succeed(self, found: KeySet, ttl_s: float) -> None:
        if self._failures:
            logger.info("the keys of the issuer are available again")
        if found != self._keys:
            self._keys = found
            if not len(found):
                logger.warning("the key set of the issuer has no key for RS256 or ES256; its tokens are refused")
        self._failures = 0
        self._fresh_until = self._clock() + ttl_s

    def _fail(self, error: Exception) -> None:
        if not self._failures:
            logger.warning("the keys of the issuer cannot be fetched; the last ones stay in use", error=repr(error))
        self._failures += 1
        self._retry_at = self._clock() + min(2.0 ** (self._failures - 1), MAX_BACKOFF_S)


def lifetime_s(cache_control: str) -> float:
    """Return how long a set may be used (RFC 9111, section 5.2.2), within the bounds above."""
    if re.search(r"\bno-(?:store|cache)\b", cache_control, re.IGNORECASE):
        return MIN_TTL_S
    found = _MAX_AGE.search(cache_control)
    return DEFAULT_TTL_S if found is None else min(max(float(found[1]), MIN_TTL_S), MAX_TTL_S)
