"""A viewer as a browser is one: it is cut, comes back to any gateway by its last id, and keeps what it was told."""

from __future__ import annotations

import asyncio
from itertools import count

from tests.conformance.adapter import Adapter
from tests.support.sse import Frame, SseStream

COME_BACK_S = 0.1
FINISH_S = 60.0
BROKEN = (OSError, EOFError, ValueError)  # the connection, its end in the middle of a chunk, a chunk that is none


class Failed(Exception):
    """What the server did instead of what it should; one line."""


class Viewer:
    """Knows nothing of ids but that they differ. `text` is what a person would read; `ended`: the end was told."""

    def __init__(self, adapter: Adapter, path: str, *, cursor: str | None = None, first_gateway: int = 0) -> None:
        self._adapter = adapter
        self._path = path
        self._gateways = count(first_gateway)
        self._seen: dict[str, str] = {}
        self.cursor = cursor
        self.frames: list[Frame] = []
        self.text = ""
        self.ended = False
        self.connections = 0
        self.status = 0
        self.retry_ms: int | None = None

    def stream(self, *, cut_after: int | None = None) -> SseStream:
        """A connection to the next gateway, from the cursor on."""
        url = self._adapter.urls[next(self._gateways) % len(self._adapter.urls)] + self._path
        return SseStream(url, last_event_id=self.cursor, headers=self._adapter.headers, cut_after=cut_after)

    async def read(self, *, cut_after: int | None = None, events: int | None = None) -> None:
        """Connect once, and stay until the stream ends, or for so many bytes or events. Raises Failed."""
        self.connections += 1
        try:
            async with self.stream(cut_after=cut_after) as stream:
                self.status = stream.status
                if stream.status == 200:
                    await self._take(stream, events)
        except TimeoutError:
            raise Failed("nothing came for 30 s, not even a comment") from None
        except BROKEN:
            return
        self.retry_ms = stream.parser.retry_ms
        if self.status == 204:
            self.ended = True
        elif self.status != 200:
            raise Failed(f"a viewer that reads is answered with {self.status}")

    async def _take(self, stream: SseStream, events: int | None) -> None:
        taken = 0
        async for frame in stream:
            self.accept(frame)
            taken += 1
            if taken == events or self.ended:
                return

    async def finish(self) -> Viewer:
        """Come back until the end was told. Raises Failed when that takes a minute."""
        try:
            async with asyncio.timeout(FINISH_S):
                await self._read_on()
        except TimeoutError:
            raise Failed(f"no end within {FINISH_S:.0f} s, after {len(self.frames)} events") from None
        return self

    async def _read_on(self) -> None:
        had = -1
        while not self.ended:
            if len(self.frames) == had:
                await asyncio.sleep(COME_BACK_S)
            had = len(self.frames)
            await self.read()

    def accept(self, frame: Frame) -> None:
        """Take an event in. Raises Failed when it came before, or comes after the end."""
        if frame.id and self._seen.get(frame.id) == frame.data:
            raise Failed(f"event {frame.id} came twice")
        if frame.id and frame.id in self._seen and frame.id != self.cursor:
            raise Failed(f"another event has the id {frame.id} of an earlier one")
        if self.ended:
            raise Failed(f"an event came after the job's last: {frame.data[:60]}")
        self._seen.setdefault(frame.id, frame.data)
        self.cursor = frame.id or self.cursor
        self.frames.append(frame)
        if self._adapter.starts_over(frame):
            self.text = ""
        self.text += self._adapter.text(frame)
        self.ended = self._adapter.ends(frame)

    def told(self) -> list[tuple[str, str]]:
        """The id and the data of every event. Where some carry ids, those that carry none are not of the log."""
        numbered = any(frame.id for frame in self.frames)
        return [(frame.id, frame.data) for frame in self.frames if frame.id or not numbered]

    def must_say(self, text: str) -> None:
        """Raises Failed with where the texts part, unless they are one."""
        if self.text != text:
            raise Failed(_difference(self.text, text))


def _difference(got: str, wanted: str) -> str:
    together = min(len(got), len(wanted))
    at = next((at for at in range(together) if got[at] != wanted[at]), together)
    return (
        f"the text has {len(got)} characters and should have {len(wanted)}; at {at} it says "
        f"{got[at : at + 20]!r} for {wanted[at : at + 20]!r}"
    )
