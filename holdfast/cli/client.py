"""The HTTP client of `holdfast send` and `holdfast tail`: posts jobs idempotently and reads events without loss."""

from __future__ import annotations

import ipaddress
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2
import orjson

from holdfast.shared.errors import HoldfastError

SILENCE_SECONDS = 25.0  # docs/protocol.md: without a byte for so long, a connection is lost
CONNECT_SECONDS = 10.0
FIRST_RETRY_SECONDS = 1.0
POST_ATTEMPTS = 5
MAX_EVENT_BYTES = 64 * 1024 * 1024
TRANSIENT = (429, 502, 503, 504)


class Refused(HoldfastError):
    """The gateway refused the request or does not answer. `detail`: its message."""

    code = "refused"


class UrlUnusable(HoldfastError):
    """The gateway's address is invalid."""

    code = "url_unusable"


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `id` is None for events of the gateway itself, such as `job.queued`."""

    id: str | None
    body: dict[str, Any]

    @property
    def type(self) -> str:
        return str(self.body.get("type"))


def connect(url: str, silence_s: float = SILENCE_SECONDS) -> httpx2.Client:
    """Open a client for the gateway at this address. Local addresses bypass proxies of the environment.

    A connection counts as lost after `silence_s` without a byte. Raises UrlUnusable."""
    check_url(url)
    timeout = httpx2.Timeout(silence_s, connect=CONNECT_SECONDS)
    return httpx2.Client(base_url=url, timeout=timeout, trust_env=not _is_local(url))


def check_url(url: str) -> None:
    """Raise UrlUnusable when the address is invalid."""
    try:
        parts = httpx2.URL(url)
        usable = parts.scheme in ("http", "https") and bool(parts.host) and parts.port in (None, *range(1, 65_536))
    except httpx2.InvalidURL:
        usable = False
    if not usable:
        raise UrlUnusable(f"{url!r} is not the address of a gateway; allowed: http://host:port or https://host:port")


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def post(client: httpx2.Client, path: str, body: dict[str, Any], key: str) -> dict[str, Any]:
    """Post a job. The idempotency key makes retries safe after lost responses and temporary refusals.

    Raises Refused."""
    problem = ""
    for attempt in range(POST_ATTEMPTS):
        if attempt:
            time.sleep(FIRST_RETRY_SECONDS)
        try:
            response = client.post(path, json=body, headers={"Idempotency-Key": key})
        except httpx2.TransportError as error:
            problem = f"{client.base_url} does not answer: {error}"
            continue
        if response.status_code == 202:
            accepted: dict[str, Any] = response.json()
            return accepted
        problem = problem_of(response)
        if response.status_code not in TRANSIENT:
            break
    raise Refused(problem)


def answer(client: httpx2.Client, session_path: str, job_id: str | None, value: Any) -> None:
    """Answer the question of a job; without a job id that of the session's current one. Raises Refused.

    Never retried: a repetition might answer the next question."""
    try:
        job_id = job_id or _checked(client.get(session_path), 200)["job_id"]
        _checked(client.post(f"{session_path}/jobs/{job_id}/answer", json={"value": value}), 202)
    except httpx2.TransportError as error:
        raise Refused(f"{client.base_url} does not answer: {error}") from None


def _checked(response: httpx2.Response, status: int) -> dict[str, Any]:
    if response.status_code != status:
        raise Refused(problem_of(response))
    content: dict[str, Any] = response.json()
    return content


def problem_of(response: httpx2.Response) -> str:
    """Return the gateway's problem as one line."""
    try:
        problem = orjson.loads(response.read())
        return f"{problem['detail']} ({problem['code']})"
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return f"{response.url} answered {response.status_code}"


class Tail:
    """The events at a path. Reconnects after lost connections and resumes after the last event."""

    def __init__(self, client: httpx2.Client, path: str, cursor: str = "", *, only_new: bool = False) -> None:
        self._client = client
        self._path = path
        self._params = {"from": "now"} if only_new else {}
        self._retry_s = FIRST_RETRY_SECONDS
        self._answered = False
        self._lost = False
        self._cursor = cursor

    def __iter__(self) -> Iterator[Event]:
        """Iterate over events until the stream ends for good. After a first response, outages are waited out. Raises
        Refused."""
        while True:
            try:
                yield from self._connection()
            except _Over:
                return
            except httpx2.TransportError as error:
                if not self._answered:
                    raise Refused(f"{self._client.base_url} does not answer: {error}") from None
                self._say_lost(error)
            time.sleep(self._retry_s)

    def _connection(self) -> Iterator[Event]:
        headers = {"Last-Event-ID": self._cursor} if self._cursor else {}
        with self._client.sse(
            self._path, params=self._params, headers=headers, max_event_size=MAX_EVENT_BYTES
        ) as source:
            self._check(source.response)
            self._lost = False
            for frame in source:
                self._retry_s = self._retry_s if frame.retry is None else frame.retry / 1000
                fresh = frame.id if frame.id != self._cursor else None
                self._cursor = frame.id or self._cursor
                if frame.data:
                    yield Event(fresh or None, orjson.loads(frame.data))

    def _say_lost(self, error: httpx2.TransportError) -> None:
        """Print one line per outage."""
        if not self._lost:
            print(f"holdfast: the connection is lost ({error}); waiting for the gateway", file=sys.stderr, flush=True)
        self._lost = True

    def _check(self, response: httpx2.Response) -> None:
        self._answered = True
        if response.status_code == 204:
            raise _Over
        if response.status_code in TRANSIENT:
            raise httpx2.RemoteProtocolError(problem_of(response))
        if response.status_code != 200:
            raise Refused(problem_of(response))


class _Over(Exception):
    """The gateway has no further events for this cursor."""
