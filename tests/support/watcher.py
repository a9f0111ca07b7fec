"""A viewer that goes from gateway to gateway, is cut at random, and writes down all that it accepts."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from holdfast.shared.ids import ORIGIN, EventId, parse_cursor

from tests.support.history import Transcript
from tests.support.sse import SseStream

AWAY = (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError, EOFError)
STOPS = 204


class Watcher:
    """Comes back by its own Last-Event-ID, as an EventSource would: any status but 200 or 204 is `refused`.

    `stay_s`: the longest that one connection lasts; None: until it ends by itself. `headers`: of each request."""

    def __init__(
        self,
        gateways: Sequence[str],
        path: str,
        transcript: Transcript,
        seed: int,
        *,
        stay_s: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._gateways = gateways
        self._path = path
        self._random = random.Random(seed)
        self._stay_s = stay_s
        self._headers = headers or {}
        self.transcript = transcript
        self._texts: list[tuple[EventId, str | None, str]] = []
        self.over = False
        self.refused: list[int] = []
        self.comments = 0

    @property
    def text(self) -> str:
        """The text of the job that began last, whoever said it."""
        return "".join(text for _, _, text in self._texts)

    @property
    def texts(self) -> dict[str | None, str]:
        """The text of each agent of that job."""
        texts: defaultdict[str | None, str] = defaultdict(str)
        for _, agent, text in self._texts:
            texts[agent] += text
        return dict(texts)

    async def watch(self) -> None:
        """Connect again and again, until the stream says that nothing comes any more."""
        while not self.over:
            with contextlib.suppress(*AWAY):
                await self.connect()
            await asyncio.sleep(self._random.uniform(0.02, 0.2))

    async def connect(self) -> None:
        """One connection, as long as it lasts."""
        cursor = str(self.transcript.cursor)
        url = self._random.choice(self._gateways) + self._path
        stay_s = None if self._stay_s is None else self._random.uniform(0.05, self._stay_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(stay_s):
                async with self._stream(url, None if cursor == "0-0" else cursor) as stream:
                    self.transcript.connections += 1
                    if stream.status != 200:
                        self._stop(stream.status)
                        return
                    await self._read(stream)

    def _stream(self, url: str, cursor: str | None) -> SseStream:
        return SseStream(url, last_event_id=cursor, headers=self._headers)

    async def _read(self, stream: SseStream) -> None:
        async for frame in stream:
            self.transcript.accept(frame)
            event = frame.json
            if event["type"] == "job.started":
                self._discard(event.get("discard_from"))
            elif event["type"] == "text.delta":
                self._texts.append((parse_cursor(frame.id), event.get("agent"), event["text"]))
        self.comments += len(stream.parser.comments)

    def _discard(self, discard_from: str | None) -> None:
        """Drop what an earlier attempt said from an id on; at the first start of a job, all that was said before."""
        first = ORIGIN if discard_from is None else parse_cursor(discard_from)
        self._texts = [said for said in self._texts if said[0] < first]

    def _stop(self, status: int) -> None:
        self.over = True
        if status != STOPS:
            self.refused.append(status)


async def dismiss(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel the tasks until each has heard it: wait_for of Python 3.11 now and then swallows a cancellation."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=0.1)
