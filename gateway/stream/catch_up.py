"""Brings viewers to the end of their log, page by page and in turn, with a bounded number of reads at the same time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import structlog
from holdfast.gateway.stream.counters import Counters
from holdfast.gateway.stream.page_cache import CachedPage, PageCache
from holdfast.gateway.stream.replay import Rendered, Replay
from holdfast.gateway.stream.retry import retry_ms
from holdfast.gateway.stream.viewer import Viewer
from holdfast.shared.discards import Discard
from holdfast.shared.entries import kinds_of
from holdfast.shared.errors import JobUnknown, SchemaNewer, SessionUnknown
from holdfast.shared.event_log import PAGE_EVENTS, Entry, EventLog, Page
from holdfast.shared.events import DELETED
from holdfast.shared.ids import ORIGIN, EventId
from holdfast.shared.redis import RedisError, ResponseError
from holdfast.shared.sessions import JobState, Sessions

logger = structlog.get_logger()

TURNS = 8  # reads in flight at most, and the pages that may come in one turn of the event loop
RETRY_S = 0.5
COMPLAIN_S = 10


class CatchUp:
    """A queue of viewers that can take a page. No viewer has a task; TURNS of them take turns at the same time.

    `join(viewer)` makes a viewer live that has read everything, unless there is more to read by then."""

    def __init__(
        self,
        log: EventLog,
        sessions: Sessions,
        join: Callable[[Viewer], None],
        counters: Counters,
    ) -> None:
        self._sessions = sessions
        self._log = log
        self._page_cache = PageCache(log)
        self._join = join
        self._counters = counters
        self._queue: deque[Viewer] = deque()
        self._turns: set[asyncio.Task[None]] = set()
        self._paused = False
        self._complain_at = 0.0

    def begin(self, viewer: Viewer, first: Page | None) -> None:
        """Send a viewer its first bytes: with the page that it came with, unless there is more to ask about."""
        replay = viewer.replay
        if replay is None or first is None or first.more or _may_show_another(first) or viewer.blocked:
            viewer.open()
        else:
            self._begin_with(viewer, replay, first)
        if viewer.replay is not None and not viewer.blocked:
            self.add(viewer)

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
        if self._queue and not self._paused and len(self._turns) < TURNS:
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
            await asyncio.sleep(0)  # a page that is held is no wait: live viewers come in between

    async def _turn(self, viewer: Viewer) -> float:
        """One page for one viewer. Returns the seconds to wait before its next one."""
        try:
            await self._advance(viewer)
        except (SessionUnknown, JobUnknown):
            viewer.farewell(b"")
        except SchemaNewer as error:  # another gateway may know it
            self._complain(viewer, error)
            viewer.farewell(viewer.request.form.farewell(retry_ms()))
        except ResponseError as error:
            self._complain(viewer, error)
            return RETRY_S
        except RedisError:
            self._pause()
            return RETRY_S
        except Exception as error:  # noqa: BLE001 - logged there
            _drop(viewer, error)
        return 0

    def _complain(self, viewer: Viewer, error: Exception) -> None:
        """Every viewer tries again and again: one line for all of them, now and then."""
        now = asyncio.get_running_loop().time()
        if now >= self._complain_at:
            self._complain_at = now + COMPLAIN_S
            logger.warning("a log cannot be read", session_id=viewer.request.session_id, error=str(error))

    def _pause(self) -> None:
        """Redis is away for all: try again in a moment."""
        if not self._paused:
            self._paused = True
            asyncio.get_running_loop().call_later(RETRY_S, self._resume)

    def _resume(self) -> None:
        self._paused = False
        for _ in range(min(TURNS, len(self._queue))):
            self._start()

    async def _advance(self, viewer: Viewer) -> None:
        replay = viewer.replay
        if replay is None:
            return
        if not viewer.begun:
            await self._begin(viewer, replay)
        elif replay.stale and viewer.job is not None:
            viewer.job = await self._job(viewer.job, replay)
            replay.stale = False
        shared = await self._page(viewer, replay)
        if shared.page.more:
            await self._ask_more(viewer, replay, shared)
        if viewer.replay is replay and not viewer.gone and not viewer.blocked:
            self._hand_out(viewer, replay, shared.page, replay.render_cached(viewer.cursor, shared))

    def _begin_with(self, viewer: Viewer, replay: Replay, first: Page) -> None:
        viewer.begun = True
        replay.say(viewer.request.form.opening)
        try:
            self._hand_out(viewer, replay, first, replay.render(viewer.cursor, first))
        except Exception as error:  # noqa: BLE001 - logged there
            _drop(viewer, error)

    async def _page(self, viewer: Viewer, replay: Replay) -> CachedPage:
        """The viewer's next page; the first one of a session passes over an earlier session of the same name."""
        shared = await self._read(viewer, replay, replay.count)
        if viewer.cursor == ORIGIN and viewer.job is None and _may_show_another(shared.page):
            viewer.cursor = await self._before_first(viewer, replay)
            if viewer.cursor != ORIGIN:
                shared = await self._read(viewer, replay, replay.count)
        return shared

    async def _ask_more(self, viewer: Viewer, replay: Replay, shared: CachedPage) -> None:
        """Find out what concerns a replay of several pages. Who may share the page may share this, which was read
        after it."""
        if not viewer.deleted and await self._is_deleting(viewer, shared):
            viewer.end_with_deletion()
        elif not replay.informed:
            replay.inform(await self._discards(viewer, shared))

    async def _is_deleting(self, viewer: Viewer, shared: CachedPage) -> bool:
        if EventLog.presence not in shared.derived:
            shared.derived[EventLog.presence] = await self._log.presence(viewer.request.session_id)
        return bool(shared.derived[EventLog.presence] == "deleting")

    async def _discards(self, viewer: Viewer, shared: CachedPage) -> list[Discard]:
        """What later attempts discarded."""
        place = (EventLog.discards, viewer.job_id)
        if place not in shared.derived:
            shared.derived[place] = await self._log.discards(viewer.request.session_id, viewer.job_id)
        found: list[Discard] = shared.derived[place]
        return found

    async def _read(self, viewer: Viewer, replay: Replay, count: int) -> CachedPage:
        session_id, store = viewer.request.session_id, viewer.channel.behind > 1
        return await self._page_cache.read(session_id, viewer.cursor, count, since=replay.since, store=store)

    async def _before_first(self, viewer: Viewer, replay: Replay) -> EventId:
        """Where the session begins: the end of an earlier one, for as long as the log still has that in front."""
        shared = await self._read(viewer, replay, PAGE_EVENTS)
        ends = [entry.id for entry in shared.page.entries if entry.kind == DELETED]
        return ends[-1] if ends and await self._log.exists(viewer.request.session_id) else ORIGIN

    def _hand_out(self, viewer: Viewer, replay: Replay, page: Page, rendered: Rendered) -> None:
        self._counters.events += rendered.events
        self._counters.gaps += page.gap is not None
        end = None if rendered.over else _recorded_end(viewer.job, rendered.cursor, at_end=rendered.at_end)
        if end is not None:
            viewer.push(rendered.data + replay.conclude(end), end.id, over=True)
            return
        going_live = rendered.at_end and not rendered.over
        data = rendered.data + replay.rest() if going_live else rendered.data
        viewer.push(data, rendered.cursor, over=rendered.over)
        if going_live:
            self._join(viewer)

    async def _begin(self, viewer: Viewer, replay: Replay) -> None:
        """Find out where the viewer starts."""
        cursor = await self._start_of(viewer, replay)
        if viewer.replay is replay:
            viewer.cursor = cursor
            viewer.begun = True

    async def _start_of(self, viewer: Viewer, replay: Replay) -> EventId:
        request, cursor = viewer.request, viewer.cursor
        if viewer.deleted:
            return await self._before_deletion(request.session_id)
        if viewer.job is not None:
            cursor = await self._begin_job(viewer, viewer.job, replay)
        if request.from_now:
            cursor = await self._log.top(request.session_id)
            replay.say(request.form.here(cursor))
        return cursor

    async def _before_deletion(self, session_id: str) -> EventId:
        """The id before `session.deleted`, or the last one while that is not there."""
        last = await self._log.last(session_id)
        if last is None:
            return ORIGIN
        return last.before if last.kind == DELETED else last.id

    async def _begin_job(self, viewer: Viewer, job: JobState, replay: Replay) -> EventId:
        """The id before the job's first event, or a later cursor. A waiting job writes behind the end of the log."""
        if job.before is None:
            top = await self._log.top(job.session_id)
            job = viewer.job = await self._job(job, replay)
            if job.before is None:
                if job.position is not None:
                    replay.say(viewer.request.form.queued(job.job_id, job.position))
                return top
        return max(viewer.cursor, job.before)

    async def _job(self, job: JobState, replay: Replay) -> JobState:
        """The job's record as it is now. What was read before it may lack an end that it knows."""
        job = await self._sessions.job(job.session_id, job.job_id)
        replay.renew()
        return job


def _drop(viewer: Viewer, error: Exception) -> None:
    logger.error("a viewer cannot be served", session_id=viewer.request.session_id, exc_info=error)
    viewer.transport.abort()


def _may_show_another(page: Page) -> bool:
    """Whether a log may begin with the end of an earlier session: cut there, or with that end on its first page."""
    return page.gap is not None or DELETED in kinds_of(page.entries)


def _recorded_end(job: JobState | None, cursor: EventId, *, at_end: bool) -> Entry | None:
    """A job's terminal event from its record, when the log was read past it or to its end and did not have it."""
    if job is None or job.end is None or job.end_body is None or not (at_end or cursor >= job.end):
        return None
    return Entry(job.end, f"job.{job.status}", job.job_id, job.end_body, None)
