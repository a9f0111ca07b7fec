"""The way out to one client: ASGI's `send`, driven by hand, so that a write that does not wait costs no task."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from starlette.types import Send


class Outlet:
    """Writes body bytes. At most one write is under way: while it waits for the client, `blocked_since` is set."""

    __slots__ = ("_abort", "_on_writable", "_send", "_task", "blocked_since", "closed")

    def __init__(self, send: Send, abort: Callable[[], None]) -> None:
        self._send = send
        self._abort = abort
        self._task: asyncio.Task[None] | None = None
        self._on_writable: Callable[[], None] | None = None
        self.blocked_since: float | None = None
        self.closed = False

    def write(self, data: bytes, on_writable: Callable[[], None], *, more: bool = True) -> bool:
        """Write, and return whether the client took it at once; otherwise `on_writable` is called when it has.

        Must not be called while blocked. Errors of a connection that is going away are none of ours."""
        if self.closed:
            return False
        writing = self._send({"type": "http.response.body", "body": data, "more_body": more})
        try:
            waited = writing.send(None)  # type: ignore[attr-defined]  # a coroutine, as every server has it
        except StopIteration:
            return True
        except Exception:  # noqa: BLE001 - the server's business, and it knows
            self.abort()
            return False
        loop = asyncio.get_running_loop()
        self.blocked_since = loop.time()
        self._on_writable = on_writable
        self._task = loop.create_task(_rest(writing, waited))  # type: ignore[arg-type]
        self._task.add_done_callback(self._written)
        return False

    def abort(self) -> None:
        """Drop the connection now, whatever it still holds."""
        if not self.closed:
            self.closed = True
            self._abort()

    def close(self) -> None:
        """The request is over: nothing is written any more."""
        self.closed = True
        self._on_writable = None
        if self._task is not None:
            self._task.cancel()

    def _written(self, task: asyncio.Task[None]) -> None:
        self._task = None
        self.blocked_since = None
        on_writable, self._on_writable = self._on_writable, None
        if task.cancelled():
            return
        if task.exception() is not None:
            self.abort()
        elif on_writable is not None and not self.closed:
            on_writable()


@types.coroutine
def _rest(coroutine: Coroutine[Any, Any, None], waited: Any) -> Generator[Any, Any, None]:
    """Await what is left of a coroutine that was begun by hand and waits for `waited`."""
    while True:
        thrown: BaseException | None = None
        try:
            yield waited
        except BaseException as error:  # noqa: BLE001 - cancellation belongs to it too
            thrown = error
        try:
            waited = coroutine.send(None) if thrown is None else coroutine.throw(thrown)
        except StopIteration:
            return
