"""The asynchronous client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from . import requests, transport
from .auth import AsyncToken, StaticToken
from .conversation import Conversation
from .event import Event
from .exchange import Exchange
from .replies import NoReply, Reply
from .requests import JobOptions, Request, StreamOptions
from .result import JobReader, JobResult
from .retries import Retries
from .subscription import Subscription


class Client:
    """A connection to the gateways at one address. Use it as `async with Client(url) as client`.

    `token`: a bearer token, or a function that returns one, which is called again after a 401. `patience_s`: how long
    a call is tried again, and how long an outage of a stream may last. `silence_s`: a connection without a byte for so
    long is lost; gateways ping every 10 s. Methods raise Refused for what the gateway refuses and Unavailable when it
    does not answer; the JSON that they return is that of docs/protocol.md."""

    def __init__(
        self,
        url: str,
        *,
        token: str | Callable[[], str | Awaitable[str]] | None = None,
        patience_s: float = transport.PATIENCE_S,
        silence_s: float = transport.SILENCE_S,
    ) -> None:
        """Raises ArgumentInvalid for an address that is none."""
        self._auth = StaticToken(token) if isinstance(token, str) else None if token is None else AsyncToken(token)
        self._patience_s = patience_s
        self._http = httpx.AsyncClient(**transport.options(url, self._auth, silence_s))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def send(self, input: Any, **options: Unpack[JobOptions]) -> Job:
        """Submit a job. It is accepted once, whatever happens to connections."""
        accepted = await self._json(requests.submit(input, options))
        return Job(self, accepted["session_id"], accepted["job_id"], accepted)

    async def run(self, input: Any, **options: Unpack[JobOptions]) -> JobResult:
        """Submit a job and wait for its end. Raises JobFailed, JobCancelled and SessionDeleted."""
        return await (await self.send(input, **options)).result()

    def stream(
        self, session_id: str, job_id: str | None = None, cursor: str | None = None, **options: Unpack[StreamOptions]
    ) -> EventStream:
        """Read events, in order and each once: `async for event in client.stream(session_id)`.

        `job_id`: only this job's, up to its terminal event. `cursor`: after this event; None is from the start."""
        request = requests.events(session_id, job_id, options)
        subscription = Subscription(
            cursor,
            of_job=job_id is not None,
            patience_s=self._patience_s,
            options=options,
            renew=None if self._auth is None else self._auth.renew,
        )
        return EventStream(self._http, request, subscription)

    async def cancel(self, session_id: str, job_id: str) -> None:
        """Cancel a job. Without effect if it has ended."""
        await self._call(requests.cancel(session_id, job_id))

    async def answer(self, session_id: str, job_id: str, value: Any, question_id: str | None = None) -> None:
        """Answer the question of a job. Only with its `question_id` the call is tried again after a lost response."""
        await self._call(requests.answer(session_id, job_id, value, question_id))

    async def delete(self, session_id: str) -> None:
        """Cancel the jobs of a session and delete it."""
        await self._call(requests.delete(session_id))

    async def conversation(self, session_id: str) -> Conversation:
        """Read the conversation. To follow it, stream from its `cursor` and `add` each event."""
        return Conversation.of(await self._json(requests.messages(session_id)))

    async def session(self, session_id: str) -> dict[str, Any]:
        """Read the state of a session."""
        return await self._json(requests.session(session_id))

    async def job(self, session_id: str, job_id: str) -> dict[str, Any]:
        """Read the state of a job."""
        return await self._json(requests.job(session_id, job_id))

    async def agents(self) -> dict[str, Any]:
        """Read which agents are available."""
        return await self._json(requests.agents())

    def sessions(self) -> AsyncIterator[dict[str, Any]]:
        """Iterate over all sessions, newest activity first."""
        return self._items("sessions", requests.sessions_page)

    def jobs(self, session_id: str) -> AsyncIterator[dict[str, Any]]:
        """Iterate over the jobs of a session, newest first."""
        return self._items("jobs", partial(requests.jobs_page, session_id))

    async def _items(self, name: str, request: Callable[[str | None], Request]) -> AsyncIterator[dict[str, Any]]:
        """Iterate over the items of all pages."""
        page: dict[str, Any] = {"next": None}
        while True:
            page = await self._json(request(page["next"]))
            for item in page[name]:
                yield item
            if page["next"] is None:
                return

    async def _json(self, request: Request) -> dict[str, Any]:
        return (await self._call(request)).json()

    async def _call(self, request: Request) -> Reply:
        exchange = Exchange(request, Retries(self._patience_s))
        while True:
            outcome = exchange.take(await self._try(request))
            if isinstance(outcome, Reply):
                return outcome
            await asyncio.sleep(outcome)

    async def _try(self, request: Request) -> Reply | NoReply:
        try:
            return transport.reply_of(await self._http.request(**transport.arguments(request)))
        except transport.FAILURES as error:
            return transport.no_reply(self._http.base_url, error)


@dataclass(frozen=True, slots=True)
class Job:
    """A job that was accepted. `accepted`: the response."""

    client: Client
    session_id: str
    job_id: str
    accepted: dict[str, Any]

    def stream(self, cursor: str | None = None, **options: Unpack[StreamOptions]) -> EventStream:
        """Read the job's events up to its terminal event; see Client.stream."""
        return self.client.stream(self.session_id, self.job_id, cursor, **options)

    async def result(self) -> JobResult:
        """Wait for the end of the job. Raises JobFailed, JobCancelled and SessionDeleted."""
        reader = JobReader(self.session_id, self.job_id)
        async for event in self.stream():
            reader.add(event)
        return reader.result()

    async def cancel(self) -> None:
        await self.client.cancel(self.session_id, self.job_id)

    async def answer(self, value: Any, question_id: str | None = None) -> None:
        await self.client.answer(self.session_id, self.job_id, value, question_id)

    async def state(self) -> dict[str, Any]:
        return await self.client.job(self.session_id, self.job_id)


class EventStream:
    """An iterator over events that survives lost connections. Iterate once."""

    def __init__(self, http: httpx.AsyncClient, request: Request, subscription: Subscription) -> None:
        self._http = http
        self._request = request
        self._subscription = subscription

    @property
    def cursor(self) -> str | None:
        """The position behind the last event: pass it on to continue there later."""
        return self._subscription.cursor

    async def __aiter__(self) -> AsyncIterator[Event]:
        subscription = self._subscription
        while True:
            outcome: Reply | NoReply | None = None
            try:
                async with self._connection() as response:
                    if subscription.opened(response.status_code, response.headers):
                        async for chunk in response.aiter_bytes():
                            for event in subscription.feed(chunk):
                                yield event
                            if subscription.over:
                                return
                    else:
                        await response.aread()
                        outcome = transport.reply_of(response)
            except transport.FAILURES as error:
                outcome = transport.no_reply(self._http.base_url, error)
            delay_s = subscription.closed(outcome)
            if delay_s is None:
                return
            await asyncio.sleep(delay_s)

    def _connection(self) -> AbstractAsyncContextManager[httpx.Response]:
        return self._http.stream(**transport.arguments(self._request, self._subscription.headers()))
