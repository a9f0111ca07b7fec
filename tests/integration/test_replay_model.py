"""Replays of a log that is trimmed and written between any two of their pages, and cut after any frame."""

from __future__ import annotations

import random
from collections.abc import Callable

import orjson
import pytest
from holdfast.gateway.dialects.sse import SSE
from holdfast.gateway.stream.replay import Replay
from holdfast.shared.ids import ORIGIN, EventId
from holdfast.shared.log.log_replies import Attempt, Event

from tests.support.history import Chain, History, Transcript, final_log
from tests.support.log import Session, delta
from tests.support.sse import SseParser

VIEWERS = 150
FIRST_EVENTS = 300


class Run:
    """One session with two jobs, the first of which had two attempts, and viewers of all of it and of either job."""

    def __init__(self, session: Session, seed: int) -> None:
        self.session = session
        self.random = random.Random(seed)
        self.ids: list[EventId] = []
        self.histories = {job_id: History(chains={"s": Chain()}) for job_id in (None, "j1", "j2")}
        self.words = 0

    async def fill(self) -> None:
        first = await self.session.started("j1")
        self.note_start(first, ORIGIN)
        await self.write(first, FIRST_EVENTS // 3)
        last = self.ids[-1]
        second = await self.session.claim("j1", delivery=2)
        self.note_start(second, last)
        for history in self.histories.values():
            history.chains["s"].discarded.append((self.ids[0], self.ids[-1]))
        await self.write(second, FIRST_EVENTS // 3)
        await self.session.finish(second, self.ids[-1].seq)
        self.ids.append(self.ids[-1].next())
        last = self.ids[-1]
        self.attempt = await self.session.started("j2")
        self.note_start(self.attempt, last)
        self.histories["j2"].chains["s"].discarded.append((self.ids[0], self.ids[-1]))
        self.histories["j1"].chains["s"].discarded.append((self.ids[-1], EventId(self.attempt.epoch + 1, 1)))
        await self.write(self.attempt, FIRST_EVENTS // 3)

    def note_start(self, attempt: Attempt, prev: EventId) -> None:
        self.ids.append(EventId(attempt.epoch, 1))
        for history in self.histories.values():
            history.chains["s"].prevs[self.ids[-1]] = prev

    async def write(self, attempt: Attempt, count: int) -> None:
        """Mostly deltas, which are merged; now and then an event between them, which is not."""
        events: list[Event] = []
        for _ in range(count):
            self.words += 1
            if self.random.random() < 0.1:
                body = orjson.dumps({"type": "status", "job_id": attempt.job_id, "message": f"m{self.words}"})
                events.append(Event("status", attempt.job_id, body))
            else:
                events.append(delta(attempt.job_id, f"w{self.words} "))
        await self.session.log_writer.append("s", attempt.epoch, self.ids[-1].seq, events)
        for event in events:
            self.ids.append(self.ids[-1].next())
            for history in self.histories.values():
                history.appended("s", self.ids[-1], event.body, "ok")

    async def view(self, job_id: str | None) -> None:
        """One viewer from any cursor that there ever was. It is cut three times at most and comes back."""
        raw = self.random.random() < 0.3
        start = self.random.choice([ORIGIN, *self.ids])
        name = f"{job_id} from {start}{' raw' if raw else ''}"
        viewer = self.histories[job_id].client("s", name, raw=raw and job_id is None, start=start)
        for _ in range(3):
            if await self.connection(viewer, job_id, raw=raw):
                return

    async def connection(self, viewer: Transcript, job_id: str | None, *, raw: bool) -> bool:
        """Whether it lasted to the end of the log."""
        replay, cursor, parser = Replay(SSE, job_id, raw=raw), viewer.cursor, SseParser()
        replay.add_discards(await self.session.log.discards("s", job_id))
        left = self.random.choice([1, 2, 3, 5, 8, 1000])
        while True:
            rendered = replay.render(cursor, await self.session.log.read("s", cursor, self.random.randint(1, 30)))
            frames = parser.feed(rendered.data + (replay.remaining() if rendered.at_end else b""))
            for frame in frames[:left]:
                viewer.accept(frame)
            left -= len(frames)
            if left <= 0:
                return False
            if frames and not rendered.at_end:
                assert frames[-1].json.get("reason") != "trimmed", "a gap came without the event behind it"
            if rendered.at_end or rendered.over:
                return True
            cursor = rendered.cursor
            await self.disturb(cursor)

    async def disturb(self, cursor: EventId) -> None:
        """Something happens to the log between two pages: mostly it is trimmed in front of the viewer."""
        match self.random.randrange(4):
            case 0:
                await self.write(self.attempt, self.random.randint(1, 20))
            case 1 | 2:
                ahead = self.ids.index(cursor) + self.random.randint(1, 40) if cursor in self.ids else 1
                oldest = self.ids[min(ahead, len(self.ids) - 1)]
                await self.session.redis.xtrim(self.session.keys.log, minid=str(oldest), approximate=False)


@pytest.mark.parametrize("seed", range(4))
async def test_every_hole_is_told_before_the_event_behind_it_however_often_the_log_is_trimmed(
    open_session: Callable[..., Session], seed: int
) -> None:
    run = Run(open_session(), seed)
    await run.fill()
    for _ in range(VIEWERS):
        await run.write(run.attempt, 10)
        await run.view(run.random.choice([None, None, "j1", "j2"]))
    log = {"s": await final_log(run.session.log, "s")}
    for history in run.histories.values():
        assert history.violations(log) == []
    gaps = [gap for history in run.histories.values() for one in history.transcripts for gap in one.gaps()]
    assert len(gaps) > VIEWERS // 2
