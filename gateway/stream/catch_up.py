"""Catching up: sends viewers the log page by page, in turn, with a bounded number of concurrent reads of a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from holdfast.gateway.dialects.dialect import CUT, END
from holdfast.gateway.stream.counters import Counters
from holdfast.gateway.stream.page_cache import CachedPage, PageCache
from holdfast.gateway.stream.page_queue import RETRY_S, PageQueue
from holdfast.gateway.stream.replay import Rendered, Replay
from holdfast.gateway.stream.viewer import Viewer
from holdfast.shared.errors import DataKeyGone, JobUnknown, SessionUnknown, UnreadableHere
from holdfast.shared.ids import ORIGIN, EventId
from holdfast.shared.job_record import JobState
from holdfast.shared.log.discards import Discard
from holdfast.shared.log.entries import kinds_of
from holdfast.shared.log.event_log import PAGE_EVENTS, Entry, EventLog, Page
from holdfast.shared.log.events import DELETED
from holdfast.shared.redis.errors import RedisError, ResponseError
from holdfast.shared.sessions import Sessions

logger = structlog.get_logger()

LOG_INTERVAL_S = 10


class CatchUp:
    """Sends pages to viewers, with a queue for each server: one that is away or slow holds up no other.

    Args:
        join: makes a viewer that has read everything live, unless more has been appended meanwhile.
        place_of: names the server that has a session at this moment.
    """

    def __init__(
        self,
        log: EventLog,
        sessions: Sessions,
        join: Callable[[Viewer], None],
        place_of: Callable[[str], str],
        counters: Counters,
    ) -> None:
        self._sessions = sessions
        self._log = log
        self.page_cache = PageCache(log)
        self._join = join
        self._place_of = place_of
        self._counters = counters
        self._queues: dict[str, PageQueue] = {}
        self._log_at = 0.0

    def begin(self, viewer: Viewer, first: Page | None) -> None:
        """Send a viewer its first bytes, together with its first page if that is complete without further reads."""
        replay = viewer.replay
        if (
            replay is None
            or first is None
            or first.more
            or _may_show_earlier_session(first)
            or viewer.blocked
            or not viewer.request.dialect.opening  # the head is sent with it: the page may become no bytes
        ):
            viewer.open()
        else:
            self._begin_with_page(viewer, replay, first)
        if viewer.replay is not None and not viewer.blocked:
            self.add(viewer)

    def add(self, viewer: Viewer) -> None:
        """Queue the viewer for a page, unless it is queued already."""
        if viewer.scheduled or viewer.gone:
            return
        self._queue_of(viewer).add(viewer)

    async def close(self) -> None:
        """Stop reading."""
        for queue in self._queues.values():
            await queue.close()

    def _queue_of(self, viewer: Viewer) -> PageQueue:
        place = self._place_of(viewer.request.session_id)
        queue = self._queues.get(place)
        if queue is None:
            self._queues = {known: each for known, each in self._queues.items() if not each.idle}
            queue = self._queues[place] = PageQueue(self._send_page, self.add)
        return queue

    async def _send_page(self, viewer: Viewer) -> float:
        """Send a viewer one page. Returns the seconds to wait before its next one."""
        try:
            await self._advance(viewer)
        except (SessionUnknown, JobUnknown, DataKeyGone):
            viewer.end_early()
        except UnreadableHere as error:  # the client may reach another gateway
            self._log_error(viewer, error)
            viewer.end_early()
        except ResponseError as error:
            self._log_error(viewer, error)
            return RETRY_S
        except RedisError:
            raise
        except Exception as error:  # noqa: BLE001 - logged there
            _drop(viewer, error)
        return 0

    def _log_error(self, viewer: Viewer, error: Exception) -> None:
        """Log at most one line per LOG_INTERVAL_S, since every viewer retries."""
        now = asyncio.get_running_loop().time()
        if now >= self._log_at:
            self._log_at = now + LOG_INTERVAL_S
            logger.warning("reading a log failed; retrying", session_id=viewer.request.session_id, error=str(error))

    async def _advance(self, viewer: Viewer) -> None:
        """Read and send the viewer's next page."""
        replay = viewer.replay
        if replay is None:
            return
        if not viewer.begun:
            cursor = await self._start_cursor(viewer, replay)
            if viewer.replay is replay:
                viewer.cursor, viewer.begun = cursor, True
        elif replay.job_stale and viewer.job is not None:
            viewer.job = await self._job(viewer.job, replay)
            replay.job_stale = False
        shared = await self._page(viewer, replay)
        if shared.page.more:
            await self._check_session(viewer, replay, shared)
        if viewer.replay is replay and not viewer.gone and not viewer.blocked:
            self._deliver(viewer, replay, shared.page, replay.render_cached(viewer.cursor, shared))

    def _begin_with_page(self, viewer: Viewer, replay: Replay, first: Page) -> None:
        viewer.begun = True
        replay.put(viewer.request.dialect.opening)
        try:
            self._deliver(viewer, replay, first, replay.render(viewer.cursor, first))
        except Exception as error:  # noqa: BLE001 - logged there
            _drop(viewer, error)

    async def _page(self, viewer: Viewer, replay: Replay) -> CachedPage:
        """Read the viewer's next page. The first page skips an earlier, deleted session with the same id."""
        shared = await self._read(viewer, replay, replay.count)
        if viewer.cursor == ORIGIN and viewer.job is None and _may_show_earlier_session(shared.page):
            viewer.cursor = await self._session_start(viewer, replay)
            if viewer.cursor != ORIGIN:
                shared = await self._read(viewer, replay, replay.count)
        return shared

    async def _check_session(self, viewer: Viewer, replay: Replay, shared: CachedPage) -> None:
        """Check for a deletion, and read the discards, of a session whose replay takes several pages.

        The discards are shared like the page, since they are read after it."""
        if shared.deleting and not viewer.deleted:
            viewer.end_with_deletion()
        elif not replay.discards_known:
            replay.add_discards(await self._discards(viewer, shared))

    async def _discards(self, viewer: Viewer, shared: CachedPage) -> list[Discard]:
        """Read which events later attempts discarded."""
        place = (EventLog.discards, viewer.job_id)
        if place not in shared.derived:
            shared.derived[place] = await self._log.discards(viewer.request.session_id, viewer.job_id)
        found: list[Discard] = shared.derived[place]
        return found

    async def _read(self, viewer: Viewer, replay: Replay, count: int) -> CachedPage:
        session_id, store = viewer.request.session_id, viewer.channel.behind > 1
        return await self.page_cache.read(session_id, viewer.cursor, count, since=replay.since, store=store)

    async def _session_start(self, viewer: Viewer, replay: Replay) -> EventId:
        """Return the id before the session's first event: the end of an earlier session while the log still has it."""
        shared = await self._read(viewer, replay, PAGE_EVENTS)
        ends = [entry.id for entry in shared.page.entries if entry.kind == DELETED]
        there = bool(ends) and await self._log.presence(viewer.request.session_id) == "there"
        return ends[-1] if there else ORIGIN

    def _deliver(self, viewer: Viewer, replay: Replay, page: Page, rendered: Rendered) -> None:
        self._counters.events += rendered.events
        self._counters.catch_up_pages += 1
        self._counters.gaps += page.gap is not None
        if rendered.state is CUT:
            viewer.cut(rendered.data)
            return
        if rendered.state is END:
            viewer.finish(rendered.data)
            return
        end = None if rendered.over else _recorded_end(viewer.job, rendered.cursor, at_end=rendered.at_end)
        if end is not None:
            viewer.push(rendered.data + replay.finish(end), end.id, over=True)
            return
        going_live = rendered.at_end and not rendered.over
        data = rendered.data + replay.remaining() if going_live else rendered.data
        viewer.push(data, rendered.cursor, over=rendered.over)
        if going_live:
            self._join(viewer)

    async def _start_cursor(self, viewer: Viewer, replay: Replay) -> EventId:
        """Determine the viewer's first cursor."""
        request, cursor = viewer.request, viewer.cursor
        if viewer.deleted:
            return await self._before_deletion(request.session_id)
        if viewer.job is not None:
            cursor = await self._job_start(viewer, viewer.job, replay)
        if request.from_now:
            cursor = await self._log.top(request.session_id)
            replay.put(request.dialect.cursor_only(cursor))
        return cursor

    async def _before_deletion(self, session_id: str) -> EventId:
        """Return the id before `session.deleted`, or the last id while that event has not been appended."""
        last = await self._log.last(session_id)
        if last is None:
            return ORIGIN
        return last.before if last.kind == DELETED else last.id

    async def _job_start(self, viewer: Viewer, job: JobState, replay: Replay) -> EventId:
        """Return the id before the job's first event, or the viewer's cursor if it is later.

        A job that has not started will write after the current end of the log."""
        if job.before is None:
            top = await self._log.top(job.session_id)
            job = viewer.job = await self._job(job, replay)
            if job.before is None:
                if job.position is not None:
                    replay.put(viewer.request.dialect.queued(job.job_id, job.position))
                return top
        return max(viewer.cursor, job.before)

    async def _job(self, job: JobState, replay: Replay) -> JobState:
        """Read the job's record again. Pages read earlier are not used: they may lack the end that the record has."""
        job = await self._sessions.job(job.session_id, job.job_id)
        replay.reset_since()
        return job


def _drop(viewer: Viewer, error: Exception) -> None:
    logger.error("serving a viewer failed; connection dropped", session_id=viewer.request.session_id, exc_info=error)
    viewer.transport.abort()


def _may_show_earlier_session(page: Page) -> bool:
    """Return whether the log may begin with the end of an earlier session: it is trimmed, or the page has that end."""
    return page.gap is not None or DELETED in kinds_of(page.entries)


def _recorded_end(job: JobState | None, cursor: EventId, *, at_end: bool) -> Entry | None:
    """Return a job's terminal event from its record if the log has been read past it without finding it."""
    if job is None or job.end is None or job.end_body is None or not (at_end or cursor >= job.end):
        return None
    return Entry(job.end, f"job.{job.status}", job.job_id, job.end_body, None)
