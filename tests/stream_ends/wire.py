"""What the wire shows when a stream is complete, when its gateway stops or dies, and when a client reconnects."""

from __future__ import annotations

import asyncio
import functools
import itertools
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import httpx2

from tests.stream_ends.agents import SHORT_WORDS, WORDS
from tests.stream_ends.dialects import DIALECTS, Dialect, Request, words
from tests.stream_ends.stage import Stage
from tests.stream_ends.viewers import Curl, End, Viewer, view
from tests.support.process import until

SEEN_WORDS = 10  # before a gateway stops
SLOW = ("Server-Sent Events", "NDJSON", "AI SDK `v7`", "AG-UI")
_numbers = itertools.count()


@dataclass
class Reading:
    """One stream of a dialect. `missing`: words that were in the log before the gateway stopped and did not arrive."""

    dialect: Dialect
    session: str
    request: Request
    viewer: Viewer
    end: End | None = None
    missing: int = 0

    async def has(self, count: int) -> None:
        """Wait until so many words have arrived."""
        await until(lambda: len(words(self.viewer.body)) >= count, describe=self._describe)

    def _describe(self) -> str:
        return f"{self.dialect.name} has read {self.viewer.body[-500:]!r}"

    @property
    def complete(self) -> bool:
        return self.dialect.complete in self.viewer.body


@dataclass
class Seen:
    """The cells of one path, by event and dialect."""

    cells: dict[tuple[str, str], str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


async def begin(stage: Stage, text: str, dialects: Sequence[Dialect] = DIALECTS) -> list[Reading]:
    """Begin a stream of a job of its own in each dialect."""
    return list(await asyncio.gather(*(_begin(stage, dialect, text) for dialect in dialects)))


async def _begin(stage: Stage, dialect: Dialect, text: str) -> Reading:
    session = f"s{next(_numbers)}"
    job_id = await stage.submit(session, text) if dialect.native else ""
    request = dialect.begin(session, text, job_id)
    viewer = await view(stage.url, dialect, request, stage.folder, h2=stage.h2)
    return Reading(dialect, session, request, viewer)


async def read_on(stage: Stage, reading: Reading) -> Reading:
    """Reconnect as a client of the dialect does."""
    assert reading.dialect.resume is not None
    request = reading.dialect.resume(reading.session, reading.request, reading.viewer.body)
    viewer = await view(stage.url, reading.dialect, request, stage.folder, h2=stage.h2)
    return Reading(reading.dialect, reading.session, request, viewer, await viewer.end())


async def finished(stage: Stage, seen: Seen) -> None:
    """Read jobs to their ends."""
    for reading in await begin(stage, "short"):
        end = await reading.viewer.end()
        whole = reading.complete and words(reading.viewer.body) == set(range(SHORT_WORDS))
        _cell(seen, "finished", reading, str(end.code) if whole else f"{end.code}, incomplete")
        if not whole or end.code != 0:
            seen.wrong.append(f"{reading.dialect.name}: finished as {end}")


async def stopped(stage: Stage, seen: Seen, event: str, stop: Callable[[], Awaitable[None]]) -> list[Reading]:
    """Stop a gateway in the middle of streams. Returns what was read."""
    readings = await begin(stage, "long")
    for reading in readings:
        await reading.has(SEEN_WORDS)
    logged = {reading.session: await stage.logged(reading.session) for reading in readings}
    await stop()
    for reading in readings:
        reading.end = await reading.viewer.end()
        received = words(reading.viewer.body)
        reading.missing = len(logged[reading.session] - received)
        lacks = f", {reading.missing} lost" if reading.missing else ""
        _cell(seen, event, reading, f"{reading.end.code}{', complete' if reading.complete else lacks}")
        if reading.complete or received != set(range(len(received))):
            seen.wrong.append(f"{reading.dialect.name}: {event}, and looks finished or has a hole")
    return readings


async def reconnected(stage: Stage, seen: Seen, event: str, readings: Sequence[Reading]) -> None:
    """Reconnect once; with a gateway that serves, to the end."""
    resumable = [reading for reading in readings if reading.dialect.resume is not None]
    for before, after in zip(resumable, await asyncio.gather(*(read_on(stage, one) for one in resumable)), strict=True):
        assert after.end is not None
        _cell(seen, event, before, _answer(after.end, after.viewer.body))
        if after.complete and words(before.viewer.body + after.viewer.body) != set(range(WORDS)):
            seen.wrong.append(f"{before.dialect.name}: {event}: has a hole")
        if event == "resumed" and not after.complete:
            seen.wrong.append(f"{before.dialect.name}: {event}: {after.end}")


def _answer(end: End, body: bytes) -> str:
    if not end.status:
        return "refused"
    after = f", Retry-After {end.retry_after}" if end.retry_after else ""
    only = ", only `retry:`" if body.startswith(b"retry:") and b"data:" not in body else ""
    return f"{end.status}{after}{only}, {end.code}" if end.status in (101, 200) else f"{end.status}{after}"


async def slow(stage: Stage, seen: Seen) -> None:
    """Have viewers that accept nothing dropped, one dialect at a time."""
    for number, dialect in enumerate(dialect for dialect in DIALECTS if dialect.name in SLOW):
        [reading] = await begin(stage, "flood", [dialect])
        assert isinstance(reading.viewer, Curl)
        await reading.has(1)
        reading.viewer.freeze()
        await until(functools.partial(_dropped, stage, number + 1))
        reading.viewer.thaw()
        end = await reading.viewer.end()
        _cell(seen, "slow", reading, f"{end.code}{', complete' if reading.complete else ''}")
        if reading.complete:
            seen.wrong.append(f"{dialect.name}: slow, and looks finished")


async def _dropped(stage: Stage, count: int) -> bool:
    """Return whether the running gateway has dropped so many slow viewers."""
    async with httpx2.AsyncClient(base_url=stage.running[0].url, trust_env=False) as client:
        metrics = (await client.get("/metrics")).text
    found = re.search(r"^holdfast_stream_slow_closed_total (\S+)$", metrics, re.MULTILINE)
    return found is not None and float(found[1]) >= count


def _cell(seen: Seen, event: str, reading: Reading, cell: str) -> None:
    seen.cells[event, reading.dialect.name] = cell


async def measure(stage: Stage, seen: Seen) -> None:
    """Measure one path."""
    await finished(stage, seen)
    first = stage.running[0]

    async def drain() -> None:
        first.terminate()

    readings = await stopped(stage, seen, "drained", drain)
    await first.wait()
    await reconnected(stage, seen, "nobody", readings)
    await stage.start(0)
    await reconnected(stage, seen, "resumed", readings)
    second = stage.running[0]

    async def kill() -> None:
        second.kill()

    await stopped(stage, seen, "killed", kill)
    await stage.start(0)
    await slow(stage, seen)
