"""Authenticate requests with a bearer token, and renew it when the gateway refuses it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

import httpx

REFUSED = 401


class StaticToken(httpx.Auth):
    """Sends one token with every request."""

    def __init__(self, token: str) -> None:
        self._token = token

    def renew(self, ticket: str) -> None:
        """Send a ticket that a stream has renewed."""
        self._token = ticket

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        yield _with(request, self._token)


class _Renewed(httpx.Auth):
    """Keeps the token that a callback returned, until the gateway refuses it."""

    def __init__(self) -> None:
        self._token: str | None = None

    def renew(self, ticket: str) -> None:
        """Send a ticket that a stream has renewed."""
        self._token = ticket

    def _wanted(self, refused: str | None) -> str | None:
        """Return the token, None if a new one is needed: without one, or if it is still the one that was refused."""
        return None if self._token == refused else self._token


class SyncToken(_Renewed):
    """Asks a function for a token at the first request, and after each 401; once for requests that fail together."""

    def __init__(self, callback: Callable[[], str]) -> None:
        super().__init__()
        self._callback = callback
        self._lock = threading.Lock()

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        token = self._get(None)
        response = yield _with(request, token)
        if response.status_code == REFUSED:
            yield _with(request, self._get(token))

    def _get(self, refused: str | None) -> str:
        with self._lock:
            token = self._wanted(refused)
            if token is None:
                token = self._token = self._callback()
            return token


class AsyncToken(_Renewed):
    """The same with a function that may be asynchronous."""

    def __init__(self, callback: Callable[[], str | Awaitable[str]]) -> None:
        super().__init__()
        self._callback = callback
        self._lock = asyncio.Lock()

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        token = await self._get(None)
        response = yield _with(request, token)
        if response.status_code == REFUSED:
            yield _with(request, await self._get(token))

    async def _get(self, refused: str | None) -> str:
        async with self._lock:
            token = self._wanted(refused)
            if token is None:
                made = self._callback()
                token = self._token = made if isinstance(made, str) else await made
            return token


def _with(request: httpx.Request, token: str) -> httpx.Request:
    request.headers["Authorization"] = f"Bearer {token}"
    return request
