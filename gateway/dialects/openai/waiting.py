"""Waits for a job in the place of a client that requested no stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from holdfast.gateway.dependencies import State, address_of
from holdfast.gateway.dialects.translation import Event, Numbered, Place, Translated, Translation
from holdfast.gateway.stream.hub import StreamHub
from holdfast.gateway.stream.viewer import StreamRequest
from holdfast.gateway.transports.uvicorn import EXTENSION, StreamProtocol
from holdfast.shared.job_record import JobState
from holdfast.shared.log.entries import Entry
from holdfast.shared.log.events import ASKED, DELETED, TERMINAL
from starlette.requests import ClientDisconnect, Request

_ENDS = TERMINAL | {DELETED}


@dataclass(frozen=True)
class _Signals(Translation):
    """Becomes bytes only where the wait is over."""

    kinds: frozenset[str]
    ping: ClassVar[bytes] = b""

    def translate(self, state: Hashable, entry: Entry) -> Translated:
        return ((entry.kind,) if entry.kind in self.kinds else ()), state

    def lost(self, state: Hashable) -> Sequence[Event]:
        return ("lost",)

    def frame(self, event: Event, place: Place) -> bytes:
        return b"over"

    def received(self, event: Event, place: Place, cursor: Hashable) -> bool:
        return False


class Waiter:
    """A Transport that ends the wait with its first byte, or when the gateway drops it."""

    on_writable: Callable[[], None] | None = None
    on_gone: Callable[[], None] | None = None
    on_shutdown: Callable[[], None] | None = None
    blocked_since: float | None = None

    def __init__(self) -> None:
        self.over = asyncio.get_running_loop().create_future()
        self.signalled = False
        self.closed = False

    def write(self, data: bytes, *, more: bool = True) -> None:
        if not self.closed and (data or not more):
            self.signalled = True
            self.abort()

    def abort(self) -> None:
        self.closed = True
        if not self.over.done():
            self.over.set_result(None)


async def settled(request: Request, state: State, job: JobState, timeout_s: float, *, questions: bool) -> JobState:
    """Wait until a job has ended, the gateway stops or the time is over. Returns its newest record.

    Args:
        job: its record, read before.
        questions: also return when the agent waits for a person.

    Raises ClientDisconnect, RedisError; SessionUnknown, JobUnknown if the session is deleted meanwhile.
    """
    left = asyncio.create_task(_disconnected(request))
    try:
        async with asyncio.timeout(timeout_s):
            while job.end is None and not (questions and job.question is not None):
                if not await _signal(request, state["hub"], job, left, questions=questions):
                    break
                # The event alone is not enough: a question that a takeover repeats may be answered already.
                before, job = job, await state["sessions"].job(job.session_id, job.job_id)
                if job.cursor == before.cursor:  # events are missing in the log
                    break
    except TimeoutError:
        pass
    finally:
        left.cancel()
    return job


async def _signal(
    request: Request, hub: StreamHub, job: JobState, left: asyncio.Task[None], *, questions: bool
) -> bool:
    """Wait for an event after the job's record that may change it. Returns False when the gateway ends the wait.

    Raises ClientDisconnect."""
    protocol: StreamProtocol = request.scope["extensions"][EXTENSION]["connection"]
    address = address_of(request.scope)
    if protocol.stopping or not hub.admits(job.session_id, address):
        return False
    kinds = _ENDS | {ASKED} if questions else _ENDS
    waiter = Waiter()
    signals = Numbered(_Signals(kinds))
    hub.attach(StreamRequest(job.session_id, signals, job.cursor, raw=True, job=job, address=address), waiter)
    protocol.on_shutdown = waiter.abort
    try:
        await asyncio.wait({waiter.over, left}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        protocol.on_shutdown = None
        waiter.abort()
        if waiter.on_gone is not None:
            waiter.on_gone()
    if left.done():
        raise ClientDisconnect
    return waiter.signalled


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
