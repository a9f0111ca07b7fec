"""A log that is trimmed while viewers resume: what they cannot have any more has to be declared, in time."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from tests.conformance.adapter import Job, NotOffered
from tests.conformance.kit import CHECK_S, Kit
from tests.conformance.viewer import Failed, Viewer
from tests.support.sse import Frame

KEPT_EVENTS = 300
FIRST_EVENTS = 60
CONNECTIONS = 3
MOST_FRAMES = 6
AT_ONCE = 50
ARRIVALS_S = 2.0


@dataclass
class Tally:
    """What all viewers of one job saw. A hole is `told` when a frame declared it before the first event behind it."""

    connections: int = 0
    events: int = 0
    told: int = 0
    untold: int = 0

    def __str__(self) -> str:
        return f"{self.connections} connections, {self.events} events, {self.told} holes told, {self.untold} untold"


class Reader:
    """A viewer that knows the whole text of the job, and up to where it has been told of it."""

    def __init__(self, kit: Kit, job: Job, tally: Tally, start: tuple[str, int]) -> None:
        self._adapter = kit.adapter
        self._viewer = kit.viewer(job, cursor=start[0])
        self._text = job.text or ""
        self._position = start[1]
        self._warned = False
        self._tally = tally

    async def read(self, frames: int) -> None:
        """Connect with the last id, and be cut after so many frames."""
        self._tally.connections += 1
        self._warned = False
        async with self._viewer.stream() as stream:
            if stream.status != 200:
                raise Failed(f"a viewer that resumes is answered with {stream.status}")
            async for frame in stream:
                self._take(frame)
                frames -= 1
                if not frames:
                    return

    def _take(self, frame: Frame) -> None:
        self._viewer.cursor = frame.id or self._viewer.cursor
        self._warned = self._warned or self._adapter.tells_of_loss(frame)
        text = self._adapter.text(frame)
        if not text:
            return
        self._tally.events += 1
        begins = self._text.find(text, self._position)
        if begins < 0:
            raise Failed(f"{text[:20]!r} came again, or was never said in one piece")
        if begins > self._position:
            self._tally.told += self._warned
            self._tally.untold += not self._warned
        self._position = begins + len(text)
        self._warned = False


async def resumed_at_5000(kit: Kit) -> str:
    """Viewers resume from trimmed cursors at 5,000 events/s: each hole is declared before the event behind it"""
    return await _resume(kit, 5000)


async def resumed_at_50(kit: Kit) -> str:
    """Viewers resume from trimmed cursors at 50 events/s: each hole is declared before the event behind it"""
    return await _resume(kit, 50)


async def _resume(kit: Kit, per_s: int) -> str:
    job = await kit.adapter.start(int(per_s * CHECK_S), 1000 / per_s)
    if job.text is None:
        raise NotOffered("the adapter does not know what the job will say")
    seen = await _first_events(kit, job)
    tally, chance, places = Tally(), random.Random(per_s), asyncio.Semaphore(AT_ONCE)

    async def view(number: int) -> None:
        reader = Reader(kit, job, tally, chance.choice(seen))
        cuts = [chance.randint(1, MOST_FRAMES) for _ in range(CONNECTIONS)]
        async with places:
            await asyncio.sleep(chance.uniform(0, ARRIVALS_S))
            for frames in cuts:
                await reader.read(frames)

    async with kit.adapter.trimming(job, KEPT_EVENTS):
        await _trimmed(kit, job, seen[-1][0])
        async with asyncio.TaskGroup() as group:
            for number in range(kit.viewers):
                group.create_task(view(number))
    await kit.adapter.cancel(job)
    if tally.untold or not tally.told:
        raise Failed(f"{kit.viewers} viewers: {tally}")
    return f"{kit.viewers} viewers, {tally}"


async def _first_events(kit: Kit, job: Job) -> list[tuple[str, int]]:
    """The ids of the job's first events, each with the length of the text up to it."""
    viewer: Viewer = kit.viewer(job, exact=True)
    seen: list[tuple[str, int]] = []
    while len(seen) < FIRST_EVENTS:
        await viewer.read(events=1)
        if viewer.cursor:
            seen.append((viewer.cursor, len(viewer.text)))
    return seen


async def _trimmed(kit: Kit, job: Job, cursor: str) -> None:
    """Wait until the log does not have what follows the cursor any more."""
    while True:
        async with kit.viewer(job, cursor=cursor).stream() as stream:
            async for frame in stream:
                if kit.adapter.tells_of_loss(frame):
                    return
                break
        await asyncio.sleep(0.05)
