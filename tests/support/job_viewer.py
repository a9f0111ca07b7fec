"""A viewer of one job, to its end, that drops what it is told to drop."""

from __future__ import annotations

import asyncio
from typing import Any

from holdfast.shared.ids import parse_id
from holdfast.shared.log.events import TERMINAL

from tests.support.sse import Frame
from tests.support.viewer import Viewer


class JobViewer(Viewer):
    """Reads a job's events over as many connections as it takes, some of which it cuts itself."""

    async def watch(self, *, cut_after: tuple[int, ...] = ()) -> None:
        """Read to the job's end; the connection is dropped after so many events, for each of these numbers."""
        cuts = list(cut_after)
        while not self._over:
            try:
                await self.read(events=cuts.pop(0) if cuts else None)
            except (OSError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.05)

    @property
    def kept(self) -> list[dict[str, Any]]:
        """The events of the last attempt."""
        events: list[Frame] = []
        for frame in self.frames:
            if discard_from := frame.json.get("discard_from"):
                events = [event for event in events if parse_id(event.id) < parse_id(discard_from)]
            events.append(frame)
        return [event.json for event in events]

    @property
    def kinds(self) -> list[str]:
        """The types of what is kept, each run of texts as one."""
        found = [event["type"] for event in self.kept]
        return [kind for at, kind in enumerate(found) if kind != "text.delta" or found[at - 1] != kind]

    @property
    def said(self) -> str:
        return "".join(event["text"] for event in self.kept if event["type"] == "text.delta")

    @property
    def _over(self) -> bool:
        return self.ended or (bool(self.frames) and self.frames[-1].json["type"] in TERMINAL)

    def _accept(self, frame: Frame) -> None:
        """It does not mind being told that its job waits for a worker, which has no id."""
        if frame.json["type"] != "job.queued":
            super()._accept(frame)
