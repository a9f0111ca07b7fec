"""A viewer that is cut and comes back, on whichever gateway it meets, and keeps what it has accepted."""

from __future__ import annotations

import random
from collections.abc import Sequence

from holdfast.shared.ids import ORIGIN, parse_cursor

from tests.support.sse import Frame, SseStream

DELTAS = ("text.delta", "reasoning.delta")


class Viewer:
    """Reads one path on gateways chosen at random, by its own Last-Event-ID. `frames` is all that it ever accepted."""

    def __init__(self, gateways: Sequence[str], path: str, seed: int = 0) -> None:
        self._gateways = gateways
        self._path = path
        self._random = random.Random(seed)
        self.frames: list[Frame] = []
        self.ended = False

    @property
    def cursor(self) -> str | None:
        return self.frames[-1].id if self.frames else None

    @property
    def ids(self) -> list[str]:
        return [frame.id for frame in self.frames]

    @property
    def text(self) -> str:
        return "".join(frame.json["text"] for frame in self.frames if frame.json["type"] in DELTAS)

    async def read(self, *, cut_after: int | None = None, events: int | None = None) -> None:
        """Connect and read until the stream ends, or is cut after so many bytes of the body or so many events."""
        url = self._random.choice(self._gateways) + self._path
        accepted = 0
        async with SseStream(url, last_event_id=self.cursor, cut_after=cut_after) as stream:
            if stream.status == 204:
                self.ended = True
                return
            assert stream.status == 200
            async for frame in stream:
                self._accept(frame)
                accepted += 1
                if accepted == events:
                    return
        self.ended = self.ended or (bool(self.frames) and self.frames[-1].json["type"].startswith("job.c"))

    def _accept(self, frame: Frame) -> None:
        last = parse_cursor(self.cursor) if self.cursor else ORIGIN
        assert parse_cursor(frame.id) > last, f"{frame.id} came again, or late, after {last}"
        self.frames.append(frame)
