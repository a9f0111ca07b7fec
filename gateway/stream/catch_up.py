"""Brings viewers to the end of their log, page by page and in turn, with a bounded number of reads at the same time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial

import structlog

from gateway.stream.counters import Counters
from gateway.stream.replay import Replay
from gateway.stream.viewer import Viewer
from shared.errors import JobUnknown, SessionUnknown
from shared.event_log import PAGE_EVENTS, Entry, EventLog, Page
from shared.events import DELETED
from shared.ids import ORIGIN, EventId
from shared.redis import RedisError, ResponseError
from shared.sessions import JobState, Sessions

logger = structlog.get_logger()

RETRY_S = 0.5
COMPLAIN_S = 10


class CatchUp:
    """A queue of viewers that can take a page. No viewer has a task; as many take turns as `reads` allows.

    `join(viewer)` makes a viewer live that has read everything, unless there is more to read by then."""

    def __init__(
        self,
        log: EventLog,
        sessions: Sessions,
        reads: int,
        join: Callable[[Viewer], None],
        counters: Counters,
    ) -> None:
        self._sessions = sessions
        self._log = log
        self._pages = SharedPages(log)
        self._reads = reads
        self._join = join
        self._counters = counters
        self._queue: deque[Viewer] = deque()
        self._turns: set[asyncio.Task[None]] = set()
        self._paused = False
        self._complain_at = 0.0

    def add(self, viewer: Viewer) -> None:
        """Give the viewer a turn, unless it waits for one already."""
        if viewer.scheduled or viewer.gone:
            return
        viewer.scheduled = True
        self._queue.append(viewer)
        self._start()

    async def close(self) -> None:
        """Stop reading."""
        self._queue.clear()
        for turn in self._turns:
            turn.cancel()
        await asyncio.gather(*self._turns, return_exceptions=True)

    def _start(self) -> None:
        if self._queue and not self._paused and len(self._turns) < self._reads:
            turn = asyncio.get_running_loop().create_task(self._take_turns())
            self._turns.add(turn)
            turn.add_done_callback(self._turns.discard)

    async def _take_turns(self) -> None:
        while self._queue and not self._paused:
            viewer = self._queue.popleft()
            retry_s = 0.0 if viewer.gone else await self._turn(viewer)
            viewer.scheduled = False
            if viewer.gone or viewer.replay is None:
                continue
            if retry_s:
                asyncio.get_running_loop().call_later(retry_s, self.add, viewer)
            elif not viewer.blocked:
                self.add(viewer)

    async def _turn(self, viewer: Viewer) -> float:
        """One page for one viewer. Returns the seconds to wait before its next one."""
        try:
            await self._advance(viewer)
        except (SessionUnknown, JobUnknown):
            viewer.farewell(b"")
        except ResponseError as error:
            self._complain(viewer, error)
            return RETRY_S
        except RedisError:
            self._pause()
            return RETRY_S
        except Exception:
            logger.exception("a viewer cannot be served", session_id=viewer.wish.session_id)
            viewer.outlet.abort()
        return 0

    def _complain(self, viewer: Viewer, error: ResponseError) -> None:
        """Every viewer tries again and again: one line for all of them, now and then."""
        now = asyncio.get_running_loop().time()
        if now >= self._complain_at:
            self._complain_at = now + COMPLAIN_S
            logger.warning("a log cannot be read", session_id=viewer.wish.session_id, error=str(error))

    def _pause(self) -> None:
        """Redis is away for all: try again in a moment."""
        if not self._paused:
            self._paused = True
            asyncio.get_running_loop().call_later(RETRY_S, self._resume)

    def _resume(self) -> None:
        self._paused = False
        for _ in range(min(self._reads, len(self._queue))):
            self._start()

    async def _advance(self, viewer: Viewer) -> None:
        replay = viewer.replay
        if replay is None:
            return
        if not viewer.begun:
            await self._begin(viewer, replay)
        elif replay.stale and viewer.job is not None:
            viewer.job = await self._sessions.job(viewer.wish.session_id, viewer.job.job_id)
            replay.stale = False
        page = await self._page(viewer, replay)
        if page.more and not replay.informed:
            replay.inform(await self._jobs(viewer))
        if not viewer.gone and not viewer.blocked:
            self._hand_out(viewer, replay, page)

    async def _page(self, viewer: Viewer, replay: Replay) -> Page:
        """The viewer's next page; the first one of a session passes over an earlier session of the same name."""
        session_id = viewer.wish.session_id
        page = await self._pages.read(session_id, viewer.cursor, replay.count)
        if viewer.cursor == ORIGIN and viewer.job is None and _may_show_another(page):
            viewer.cursor = await self._before_first(session_id)
            if viewer.cursor != ORIGIN:
                page = await self._pages.read(session_id, viewer.cursor, replay.count)
        return page

    async def _before_first(self, session_id: str) -> EventId:
        """Where the session begins: the end of an earlier one, for as long as the log still has that in front."""
        page = await self._pages.read(session_id, ORIGIN, PAGE_EVENTS)
        ends = [entry.id for entry in page.entries if entry.kind == DELETED]
        return ends[-1] if ends and await self._sessions.exists(session_id) else ORIGIN

    def _hand_out(self, viewer: Viewer, replay: Replay, page: Page) -> None:
        taken = replay.take(viewer.cursor, page)
        self._counters.events += taken.events
        self._counters.gaps += page.gap is not None
        end = None if taken.over else _recorded_end(viewer.job, taken.cursor, at_end=taken.at_end)
        if end is not None:
            viewer.push(taken.data + replay.conclude(end), end.id, over=True)
            return
        going_live = taken.at_end and not taken.over
        data = taken.data + replay.rest() if going_live else taken.data
        viewer.push(data, taken.cursor, over=taken.over)
        if going_live:
            self._join(viewer)

    async def _begin(self, viewer: Viewer, replay: Replay) -> None:
        """Find out where the viewer starts."""
        wish = viewer.wish
        cursor = viewer.cursor
        if viewer.job is not None:
            cursor = await self._begin_job(viewer, viewer.job, replay)
        if wish.from_now:
            cursor = await self._top(wish.session_id)
            replay.say(wish.form.here(cursor))
        viewer.cursor = cursor
        viewer.begun = True

    async def _begin_job(self, viewer: Viewer, job: JobState, replay: Replay) -> EventId:
        """The id before the job's first event, or a later cursor. A waiting job writes behind the end of the log."""
        if job.before is None:
            top = await self._top(job.session_id)
            job = viewer.job = await self._sessions.job(job.session_id, job.job_id)
            if job.before is None:
                if job.position is not None:
                    replay.say(viewer.wish.form.queued(job.job_id, job.position))
                return top
        return max(viewer.cursor, job.before)

    async def _top(self, session_id: str) -> EventId:
        last = await self._log.last(session_id)
        return ORIGIN if last is None else last.id

    async def _jobs(self, viewer: Viewer) -> list[JobState]:
        if viewer.job is not None:
            return [await self._sessions.job(viewer.wish.session_id, viewer.job.job_id)]
        try:
            return (await self._sessions.session(viewer.wish.session_id)).jobs
        except SessionUnknown:  # deleted just now: the log's end says so
            return []


class SharedPages:
    """Viewers that want the same page at the same time share one read."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._reading: dict[tuple[str, EventId, int], asyncio.Task[Page]] = {}

    async def read(self, session_id: str, cursor: EventId, count: int) -> Page:
        """As EventLog.read."""
        key = (session_id, cursor, count)
        reading = self._reading.get(key)
        if reading is None:
            reading = asyncio.create_task(self._log.read(session_id, cursor, count))
            self._reading[key] = reading
            reading.add_done_callback(partial(self._done, key))
        return await asyncio.shield(reading)

    def _done(self, key: tuple[str, EventId, int], reading: asyncio.Task[Page]) -> None:
        del self._reading[key]
        if not reading.cancelled():
            reading.exception()  # whoever waited has it; if nobody did, it is no concern


def _may_show_another(page: Page) -> bool:
    """Whether a log may begin with the end of an earlier session: cut there, or with that end on its first page."""
    return page.gap is not None or any(entry.kind == DELETED for entry in page.entries)


def _recorded_end(job: JobState | None, cursor: EventId, *, at_end: bool) -> Entry | None:
    """A job's terminal event from its record, when the log was read past it or to its end and did not have it."""
    if job is None or job.end is None or job.end_body is None or not (at_end or cursor >= job.end):
        return None
    return Entry(job.end, f"job.{job.status}", job.job_id, job.end_body, None)
