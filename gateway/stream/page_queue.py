"""The viewers that are ready for a page from one log server, served by a bounded number of tasks."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context

from holdfast.gateway.stream.viewer import Viewer
from holdfast.shared.redis.errors import RedisError

CONCURRENT_READS = 8  # also bounds the pages that are rendered in one iteration of the event loop
RETRY_S = 0.5


class PageQueue:
    """Calls `send_page` for each viewer in turn, in at most CONCURRENT_READS tasks, while the viewer is catching up.

    Args:
        send_page: sends a viewer one page, and returns the seconds to wait before its next one. Raises RedisError while
            the server is unavailable: then nothing is read for RETRY_S.
        again: takes a viewer that needs another page.
    """

    def __init__(self, send_page: Callable[[Viewer], Awaitable[float]], again: Callable[[Viewer], None]) -> None:
        self._send_page = send_page
        self._again = again
        self._viewers: deque[Viewer] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._paused = False

    @property
    def idle(self) -> bool:
        return not self._viewers and not self._tasks

    def add(self, viewer: Viewer) -> None:
        """Queue a viewer that is not queued yet."""
        viewer.scheduled = True
        self._viewers.append(viewer)
        self._start()

    async def close(self) -> None:
        """Stop reading."""
        self._viewers.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self) -> None:
        if self._viewers and not self._paused and len(self._tasks) < CONCURRENT_READS:
            # The task serves viewers of several requests: its log lines must not have the id of one of them.
            task = asyncio.get_running_loop().create_task(self._run(), context=Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        while self._viewers and not self._paused:
            viewer = self._viewers.popleft()
            retry_s = 0.0 if viewer.gone else await self._send(viewer)
            viewer.scheduled = False
            if viewer.gone or viewer.replay is None:
                continue
            if retry_s:
                asyncio.get_running_loop().call_later(retry_s, self._again, viewer)
            elif not viewer.blocked:
                self._again(viewer)
            await asyncio.sleep(0)  # a cached page does not suspend: let live viewers run in between

    async def _send(self, viewer: Viewer) -> float:
        try:
            return await self._send_page(viewer)
        except RedisError:
            self._pause()
            return RETRY_S

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            asyncio.get_running_loop().call_later(RETRY_S, self._resume)

    def _resume(self) -> None:
        self._paused = False
        for _ in range(min(CONCURRENT_READS, len(self._viewers))):
            self._start()
