"""The synchronous client: the same calls as client.py, without asyncio."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from . import requests, transport
from .auth import StaticToken, SyncToken
from .conversation import Conversation
from .event import Event
from .exchange import Exchange
from .replies import NoReply, Reply
from .requests import JobOptions, Request, StreamOptions
from .result import JobReader, JobResult
from .retries import Retries
from .subscription import Subscription


class SyncClient:
    """A Client without asyncio, with the same arguments, calls and errors. Threads may share one."""

    def __init__(
        self,
        url: str,
        *,
        token: str | Callable[[], str] | None = None,
        patience_s: float = transport.PATIENCE_S,
        silence_s: float = transport.SILENCE_S,
    ) -> None:
        """Raises ArgumentInvalid for an address that is none."""
        self._auth = StaticToken(token) if isinstance(token, str) else None if token is None else SyncToken(token)
        self._patience_s = patience_s
        self._http = httpx.Client(**transport.options(url, self._auth, silence_s))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def send(self, input: Any, **options: Unpack[JobOptions]) -> SyncJob:
        """Submit a job. It is accepted once, whatever happens to connections."""
        accepted = self._json(requests.submit(input, options))
        return SyncJob(self, accepted["session_id"], accepted["job_id"], accepted)

    def run(self, input: Any, **options: Unpack[JobOptions]) -> JobResult:
        """Submit a job and wait for its end. Raises JobFailed, JobCancelled and SessionDeleted."""
        return self.send(input, **options).result()

    def stream(
        self, session_id: str, job_id: str | None = None, cursor: str | None = None, **options: Unpack[StreamOptions]
    ) -> SyncEventStream:
        """Read events, in order and each once: `for event in client.stream(session_id)`.

        `job_id`: only this job's, up to its terminal event. `cursor`: after this event; None is from the start."""
        request = requests.events(session_id, job_id, options)
        subscription = Subscription(
            cursor,
            of_job=job_id is not None,
            patience_s=self._patience_s,
            options=options,
            renew=None if self._auth is None else self._auth.renew,
        )
        return SyncEventStream(self._http, request, subscription)

    def cancel(self, session_id: str, job_id: str) -> None:
        """Cancel a job. Without effect if it has ended."""
        self._call(requests.cancel(session_id, job_id))

    def answer(self, session_id: str, job_id: str, value: Any, question_id: str | None = None) -> None:
        """Answer the question of a job. Only with its `question_id` the call is tried again after a lost response."""
        self._call(requests.answer(session_id, job_id, value, question_id))

    def delete(self, session_id: str) -> None:
        """Cancel the jobs of a session and delete it."""
        self._call(requests.delete(session_id))

    def conversation(self, session_id: str) -> Conversation:
        """Read the conversation. To follow it, stream from its `cursor` and `add` each event."""
        return Conversation.of(self._json(requests.messages(session_id)))

    def session(self, session_id: str) -> dict[str, Any]:
        """Read the state of a session."""
        return self._json(requests.session(session_id))

    def job(self, session_id: str, job_id: str) -> dict[str, Any]:
        """Read the state of a job."""
        return self._json(requests.job(session_id, job_id))

    def agents(self) -> dict[str, Any]:
        """Read which agents are available."""
        return self._json(requests.agents())

    def sessions(self) -> Iterator[dict[str, Any]]:
        """Iterate over all sessions, newest activity first."""
        return self._items("sessions", requests.sessions_page)

    def jobs(self, session_id: str) -> Iterator[dict[str, Any]]:
        """Iterate over the jobs of a session, newest first."""
        return self._items("jobs", partial(requests.jobs_page, session_id))

    def _items(self, name: str, request: Callable[[str | None], Request]) -> Iterator[dict[str, Any]]:
        """Iterate over the items of all pages."""
        page: dict[str, Any] = {"next": None}
        while True:
            page = self._json(request(page["next"]))
            yield from page[name]
            if page["next"] is None:
                return

    def _json(self, request: Request) -> dict[str, Any]:
        return self._call(request).json()

    def _call(self, request: Request) -> Reply:
        exchange = Exchange(request, Retries(self._patience_s))
        while True:
            outcome = exchange.take(self._try(request))
            if isinstance(outcome, Reply):
                return outcome
            time.sleep(outcome)

    def _try(self, request: Request) -> Reply | NoReply:
        try:
            return transport.reply_of(self._http.request(**transport.arguments(request)))
        except transport.FAILURES as error:
            return transport.no_reply(self._http.base_url, error)


@dataclass(frozen=True, slots=True)
class SyncJob:
    """A job that was accepted. `accepted`: the response."""

    client: SyncClient
    session_id: str
    job_id: str
    accepted: dict[str, Any]

    def stream(self, cursor: str | None = None, **options: Unpack[StreamOptions]) -> SyncEventStream:
        """Read the job's events up to its terminal event; see SyncClient.stream."""
        return self.client.stream(self.session_id, self.job_id, cursor, **options)

    def result(self) -> JobResult:
        """Wait for the end of the job. Raises JobFailed, JobCancelled and SessionDeleted."""
        reader = JobReader(self.session_id, self.job_id)
        for event in self.stream():
            reader.add(event)
        return reader.result()

    def cancel(self) -> None:
        self.client.cancel(self.session_id, self.job_id)

    def answer(self, value: Any, question_id: str | None = None) -> None:
        self.client.answer(self.session_id, self.job_id, value, question_id)

    def state(self) -> dict[str, Any]:
        return self.client.job(self.session_id, self.job_id)


class SyncEventStream:
    """An iterator over events that survives lost connections. Iterate once."""

    def __init__(self, http: httpx.Client, request: Request, subscription: Subscription) -> None:
        self._http = http
        self._request = request
        self._subscription = subscription

    @property
    def cursor(self) -> str | None:
        """The position behind the last event: pass it on to continue there later."""
        return self._subscription.cursor

    def __iter__(self) -> Iterator[Event]:
        subscription = self._subscription
        while True:
            outcome: Reply | NoReply | None = None
            try:
                with self._connection() as response:
                    if subscription.opened(response.status_code, response.headers):
                        for chunk in response.iter_bytes():
                            yield from subscription.feed(chunk)
                            if subscription.over:
                                return
                    else:
                        response.read()
                        outcome = transport.reply_of(response)
            except transport.FAILURES as error:
                outcome = transport.no_reply(self._http.base_url, error)
            delay_s = subscription.closed(outcome)
            if delay_s is None:
                return
            time.sleep(delay_s)

    def _connection(self) -> AbstractContextManager[httpx.Response]:
        return self._http.stream(**transport.arguments(self._request, self._subscription.headers()))
