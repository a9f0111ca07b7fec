"""The messages that a client sends on one connection, answered one after the other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context

Answer = Callable[[bytes], Awaitable[bytes]]
"""Carry out what a text message requests, and return the reply. Raises nothing."""


class Inbox:
    """Runs one task while there are messages, and stops between two of them while the client takes no replies.

    Args:
        tasks: those that the server awaits when it stops.
        send: sends a reply.
        on_change: called when the inbox is no longer full, and when it has become idle.
    """

    __slots__ = ("_answer", "_busy", "_on_change", "_paused", "_send", "_task", "_tasks", "_waiting")

    def __init__(
        self,
        tasks: set[asyncio.Task[None]],
        answer: Answer,
        send: Callable[[bytes], None],
        on_change: Callable[[], None],
    ) -> None:
        self._tasks = tasks
        self._answer = answer
        self._send = send
        self._on_change = on_change
        self._waiting: deque[bytes] = deque()
        self._task: asyncio.Task[None] | None = None
        self._busy = False
        self._paused = False

    @property
    def is_full(self) -> bool:
        """Whether a message waits behind the one that is answered, now or next: no further one is to be read yet."""
        return len(self._waiting) > (0 if self._busy else 1)

    @property
    def is_idle(self) -> bool:
        """Whether no message is carried out or waits."""
        return self._task is None and not self._waiting

    def add(self, text: bytes) -> None:
        """Add a message."""
        self._waiting.append(text)
        self._start()

    def pause(self) -> None:
        """Begin no further message: a reply could not be sent."""
        self._paused = True

    def resume(self) -> None:
        """Continue after a pause."""
        self._paused = False
        self._start()

    def close(self) -> None:
        """Carry out what has arrived without replies: a client may send STOP and close at once."""
        self._send, self._on_change = _ignore, _nothing
        self.resume()

    def _start(self) -> None:
        if self._waiting and not self._paused and self._task is None:
            # Which callback begins it is chance: its log lines must not have the id of that one's request.
            self._task = asyncio.get_running_loop().create_task(self._run(), context=Context())
            self._tasks.add(self._task)
            self._task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        try:
            while self._waiting and not self._paused:
                text, self._busy = self._waiting.popleft(), True
                if not self._waiting:
                    self._on_change()
                reply = await self._answer(text)
                self._busy = False
                self._send(reply)  # looked up now: `close` may have replaced it
        finally:
            self._task, self._busy = None, False
        if self.is_idle:
            self._on_change()


def _ignore(reply: bytes) -> None: ...


def _nothing() -> None: ...
