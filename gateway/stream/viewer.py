"""One connected client: its cursor in the log, and whether it is live or catching up."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from holdfast.gateway.dialects.dialect import CUT, END, Dialect, Frames, State
from holdfast.gateway.principal import ANONYMOUS, Principal
from holdfast.gateway.stream.batch import NO_JOB, Batch
from holdfast.gateway.stream.channel import Channel
from holdfast.gateway.stream.counters import Counters
from holdfast.gateway.stream.replay import Replay
from holdfast.gateway.transports.transport import Transport
from holdfast.shared.ids import ORIGIN, EventId
from holdfast.shared.job_record import JobState

PENDING_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """The parsed request for an event stream.

    Args:
        cursor: the last id that the client processed; None: from the start.
        from_now: only events that are appended from now on.
        raw: do not merge deltas while catching up.
        job: stream only this job; its record as of the request.
        wait: wait for a session that does not exist yet.
        ping_events: send pings as events instead of comments.
        deleted: the session is being deleted, or was; only `session.deleted` is sent.
        principal: the caller.
        address: the client's.
    """

    session_id: str
    dialect: Dialect
    cursor: EventId | None = None
    from_now: bool = False
    raw: bool = False
    job: JobState | None = None
    wait: bool = False
    ping_events: bool = False
    deleted: bool = False
    principal: Principal = ANONYMOUS
    address: str = ""


def retry_ms() -> int:
    """Return a jittered time in ms after which a client reconnects, so that not all do so at once."""
    return random.randint(1000, 5000)  # noqa: S311 - jitter, not a secret


class ViewerCallbacks(Protocol):
    """What a viewer calls in the hub."""

    counters: Counters

    def fell_behind(self, viewer: Viewer) -> None:
        """A live viewer must catch up."""

    def catch_up(self, viewer: Viewer) -> None:
        """The viewer is ready for another page."""

    def stalled(self, viewer: Viewer) -> None:
        """A write is blocked by the client."""


class Viewer:
    """A viewer and its position. `cursor` is the id of the last event written, or buffered while the client is slow;
    `_state` is the dialect's state there.

    `replay` is set while the viewer catches up and None while it is live."""

    __slots__ = (
        *("_closing", "_callbacks", "_pending_end", "_pending", "pending_bytes", "_state", "_written"),
        *("begun", "bucket", "channel", "cursor", "deleted", "ended", "job", "job_id", "principal", "transport"),
        *("replay", "scheduled", "request"),
    )

    def __init__(
        self, callbacks: ViewerCallbacks, request: StreamRequest, transport: Transport, channel: Channel
    ) -> None:
        self._callbacks = callbacks
        self.request = request
        self.principal = request.principal
        self.transport = transport
        transport.on_writable = self._writable
        self.channel = channel
        self.job = request.job
        self.job_id = None if request.job is None else request.job.job_id
        self.deleted = request.deleted
        if self.deleted:
            self.job_id = NO_JOB
        self.cursor = request.cursor or ORIGIN
        self._state: State = request.dialect.initial_state
        self.replay: Replay | None = self._new_replay(self.cursor, self._state)
        self.bucket = 0
        self.begun = False
        self.ended = False
        self.scheduled = False
        self._written: tuple[EventId, State] | None = None
        self._pending: list[bytes] = []
        self.pending_bytes = 0
        self._pending_end = False
        self._closing: bytes | None = None

    @property
    def blocked(self) -> bool:
        return self.transport.blocked_since is not None

    @property
    def gone(self) -> bool:
        """Whether the stream has ended or its connection is closed."""
        return self.ended or self.transport.closed

    def open(self) -> None:
        """Send the first byte."""
        self._write(self.request.dialect.opening)

    def ping(self) -> None:
        if self.gone:
            return
        if self.blocked:  # perhaps by a reply to the client, which is not written here
            self._callbacks.stalled(self)
            return
        dialect = self.request.dialect
        self._write(dialect.ping_event(self._sent) if self.request.ping_events else dialect.ping)

    def send_ticket(self, event: bytes) -> bool:
        """Send a renewed ticket. Returns False if the dialect has no such event, or the client is blocked."""
        data = b"" if self.gone or self.blocked else self.request.dialect.ticket(event)
        if data:
            self._write(data)
        return bool(data)

    @property
    def _sent(self) -> EventId:
        """The id up to which everything has been sent. Not valid while blocked."""
        return self.cursor if self.replay is None else self.replay.sent

    def deliver(self, batch: Batch) -> None:
        """Write a live batch. Known events are skipped; a batch that leaves a hole makes the viewer catch up."""
        if self.ended or self.transport.closed or self.replay is not None or batch.last <= self.cursor:
            return
        frames = batch.after(self.cursor, self.request.dialect, self._state, self.job_id)
        if frames is None:
            self.fall_behind()
            return
        self._callbacks.counters.events += len(batch.entries)
        over = batch.ends(self.job_id)
        if self.blocked:
            self._buffer(frames, batch.last, over=over)
        else:
            data, self._state = frames
            self.push(data, batch.last, over=over)

    def push(self, data: bytes, cursor: EventId, *, over: bool) -> None:
        """Write the bytes that advance the viewer to this cursor. Must not be called while blocked."""
        self.cursor = cursor
        if self._state is CUT:
            self.cut(data)
        elif over or self._state is END:
            self.finish(data)
        elif data:
            self._write(data)

    def fall_behind(self) -> None:
        """Change from live to catching up, from the viewer's own cursor."""
        if self.replay is not None or self.gone:
            return
        if self._written is not None:
            self.cursor, self._state = self._written
            self._drop_pending()
        self.replay = self._new_replay(self.cursor, self._state)
        self._callbacks.fell_behind(self)
        if not self.blocked:
            self._callbacks.catch_up(self)

    def go_live(self, join: Callable[[], bool]) -> None:
        """Change from catching up to live, unless `join` returns False: then there is more to catch up with."""
        replay, self.replay = self.replay, None
        if replay is not None:
            self._state = replay.state
        if not join():
            self.replay = replay

    def end_with_deletion(self) -> None:
        """Send only `session.deleted` from now on: the session is being deleted."""
        self.deleted, self.job, self.job_id = True, None, NO_JOB
        if not self._pending_end:
            self._drop_pending()
        if self.replay is not None:
            self.begun, self.replay = False, self._new_replay(self.replay.sent, self.replay.state)

    def finish(self, data: bytes) -> None:
        """Write the last bytes and end the response."""
        if not self.gone:
            self.ended = True
            self._write(data, more=False)

    def cut(self, data: bytes) -> None:
        """Write the last bytes and drop the connection, so that the client does not take the stream for complete."""
        if not self.gone:
            self._write(data)
            self.transport.abort()

    def end_early(self) -> None:
        """End the stream before its end, in the way of its dialect, as soon as the client is no longer blocked."""
        data = self.request.dialect.closing(retry_ms())
        if data is None:
            self.transport.abort()
        elif self.blocked:
            self._closing = data
        else:
            self.finish(data)

    def _new_replay(self, sent: EventId, state: State) -> Replay:
        raw = self.request.raw or self.deleted
        return Replay(self.request.dialect, self.job_id, raw=raw, sent=sent, state=state)

    def _buffer(self, frames: Frames, cursor: EventId, *, over: bool) -> None:
        data, state = frames
        if self.pending_bytes + len(data) > PENDING_BYTES:
            self.fall_behind()
            return
        if self._written is None:
            self._written = self.cursor, self._state
        self._pending.append(data)
        self.pending_bytes += len(data)
        self.cursor, self._state = cursor, state
        self._pending_end = self._pending_end or over

    def _drop_pending(self) -> None:
        self._written, self._pending, self.pending_bytes, self._pending_end = None, [], 0, False

    def _writable(self) -> None:
        if self._closing is not None:
            self.finish(self._closing)
        elif self._written is not None:
            data, over = b"".join(self._pending), self._pending_end
            self._drop_pending()
            self.push(data, self.cursor, over=over)
        elif self.replay is not None:
            self._callbacks.catch_up(self)

    def _write(self, data: bytes, *, more: bool = True) -> None:
        self._callbacks.counters.bytes += len(data)
        self.transport.write(data, more=more)
        if self.blocked:
            self._callbacks.stalled(self)
