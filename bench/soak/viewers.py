"""Special viewers of a soak: a slow one, and one that may stay for hours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from tests.support.history import History, Transcript
from tests.support.sse import Frame, SseStream
from tests.support.watcher import Watcher

SLOW_PAUSE_S = 0.05
FOLD_STEPS = 500


class SlowWatcher(Watcher):
    """Takes a few KiB at a time, through the smallest of buffers, so that the gateway feels it."""

    def _stream(self, url: str, cursor: str | None) -> SseStream:
        return SlowStream(url, last_event_id=cursor, narrow=True, headers=self._headers)


class SlowStream(SseStream):
    """A stream whose reader pauses after each piece."""

    async def chunks(self) -> AsyncIterator[bytes]:
        async for chunk in super().chunks():
            yield chunk
            await asyncio.sleep(SLOW_PAUSE_S)


@dataclass
class Books(Transcript):
    """A transcript that is judged every so often and keeps only what came since. `found`: what was wrong before;
    `folded`: how many steps are no longer kept."""

    found: list[str] = field(default_factory=list)
    folded: int = 0

    def accept(self, frame: Frame) -> None:
        super().accept(frame)
        if len(self.steps) >= FOLD_STEPS and not self.gaps():
            self.found += History(transcripts=[self]).violations({})
            self.start = self.cursor
            self.folded += len(self.steps)
            self.steps.clear()
