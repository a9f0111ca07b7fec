"""A wait ends by the record of the job. An event is only the reason to read it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from holdfast.gateway.dialects.openai.waiting import settled
from holdfast.gateway.settings import GatewaySettings
from holdfast.gateway.transports.uvicorn import EXTENSION
from holdfast.shared.ids import EventId
from holdfast.shared.job_record import JobState
from starlette.requests import ClientDisconnect, Request

from tests.unit.gateway.dialects.openai.records import EPOCH, record

ASKED = record(cursor=EventId(EPOCH, 2), question={"question_id": "q1"})


class Hub:
    """Signals an event to every viewer at once; with `stops`, drops it instead."""

    def __init__(self, *, stops: bool = False, silent: bool = False) -> None:
        self.stops = stops
        self.silent = silent
        self.cursors: list[EventId] = []

    def admits(self, session_id: str, address: str) -> bool:
        return True

    def attach(self, request: Any, transport: Any) -> None:
        self.cursors.append(request.cursor)
        if self.stops:
            transport.abort()
        elif not self.silent:
            transport.write(b"over")


async def waited(
    hub: Hub,
    first: JobState,
    *later: JobState,
    questions: bool = True,
    receive: Callable[[], Awaitable[Any]] | None = None,
) -> JobState:
    records = iter(later)

    async def job(*_: str) -> JobState:
        return next(records)

    protocol = SimpleNamespace(stopping=False, on_shutdown=None)
    state: Any = {"hub": hub, "sessions": SimpleNamespace(job=job), "settings": GatewaySettings()}
    scope = {"type": "http", "extensions": {EXTENSION: {"connection": protocol}}, "state": state}
    request = Request(scope, receive or asyncio.Event().wait)  # type: ignore[arg-type]
    return await settled(request, state, first, 30, questions=questions)


async def test_a_question_that_is_open_already_ends_the_wait() -> None:
    assert await waited(hub := Hub(), ASKED) is ASKED
    assert hub.cursors == []


async def test_a_question_that_is_answered_already_does_not_end_the_wait() -> None:
    asked_again = record(cursor=EventId(EPOCH, 5))
    ended = record(cursor=EventId(EPOCH, 9), end=EventId(EPOCH, 9))
    assert await waited(hub := Hub(), record(), asked_again, ended) is ended
    assert hub.cursors == [EventId(EPOCH, 1), EventId(EPOCH, 5)]


async def test_a_question_does_not_end_a_wait_for_the_end() -> None:
    ended = record(cursor=EventId(EPOCH, 9), end=EventId(EPOCH, 9))
    assert await waited(Hub(), ASKED, ended, questions=False) is ended


async def test_a_stop_ends_the_wait() -> None:
    assert await waited(Hub(stops=True), job := record()) is job


async def test_missing_events_end_the_wait() -> None:
    """Else the job's record would be read again and again."""
    unchanged = record()
    assert await waited(Hub(), record(), unchanged) is unchanged


async def test_nothing_is_read_for_a_client_that_has_disconnected() -> None:
    async def gone() -> dict[str, str]:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientDisconnect):
        await waited(Hub(silent=True), record(), receive=gone)
