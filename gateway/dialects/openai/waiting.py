"""Waits for a job in the place of a client that wants no stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from holdfast.gateway.dialects.translation import Event, Numbered, Place, Translated, Translation
from holdfast.gateway.stream.hub import StreamHub
from holdfast.gateway.stream.viewer import StreamRequest
from holdfast.gateway.transports.uvicorn import EXTENSION, StreamProtocol
from holdfast.shared.job_record import JobState
from holdfast.shared.log.entries import Entry
from holdfast.shared.log.events import ASKED, DELETED, TERMINAL
from starlette.requests import Request

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


class _Waiter:
    """A Transport that ends the wait with its first byte, or when the gateway drops it."""

    on_writable: Callable[[], None] | None = None
    on_gone: Callable[[], None] | None = None
    on_shutdown: Callable[[], None] | None = None
    blocked_since: float | None = None

    def __init__(self) -> None:
        self.over = asyncio.get_running_loop().create_future()
        self.closed = False

    def write(self, data: bytes, *, more: bool = True) -> None:
        if data or not more:
            self.abort()

    def abort(self) -> None:
        self.closed = True
        if not self.over.done():
            self.over.set_result(None)


async def settled(request: Request, hub: StreamHub, job: JobState, timeout_s: float, *, questions: bool) -> None:
    """Wait until a job has ended, the client has disconnected, the gateway stops or the time is over.

    Args:
        job: its record, read before.
        questions: wait no longer than until the agent asks a person.
    """
    protocol: StreamProtocol = request.scope["extensions"][EXTENSION]["connection"]
    if job.end is not None or hub.full or protocol.stopping:
        return
    kinds = frozenset({*_ENDS, ASKED}) if questions else _ENDS
    waiter = _Waiter()
    hub.attach(StreamRequest(job.session_id, Numbered(_Signals(kinds)), job.cursor, raw=True, job=job), waiter)
    protocol.on_shutdown = waiter.abort
    left = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({waiter.over, left}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        protocol.on_shutdown = None
        left.cancel()
        waiter.abort()
        if waiter.on_gone is not None:
            waiter.on_gone()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
