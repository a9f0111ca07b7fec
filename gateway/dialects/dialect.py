"""What a dialect is: the form in which viewers receive the events of a log."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Final, Protocol

from holdfast.shared.ids import EventId
from holdfast.shared.log.entries import Entry
from holdfast.shared.log.event_log import Gap
from starlette.responses import Response
from starlette.types import Scope

State = Hashable
"""What a dialect remembers of the events that a viewer has received. None for a dialect that remembers nothing."""


CUT: Final[State] = "cut"
"""The state after which the connection is cut, since to a client a clean end means that the stream is complete."""

END: Final[State] = "end"
"""The state after which the stream ends cleanly, although its job may go on."""


Frames = tuple[bytes, State]
"""Complete frames, and the dialect's state after them. A plain tuple: one is made for each live event."""

ResumeRefusal = Callable[[Scope, int], Response | None]
"""Refuses temporarily what a client resumes that gives up on an error: it reconnects after so many ms. None: a request
whose client gets an error."""

RESUME_REFUSAL = "holdfast.resume_refusal"  # the key in the scope of a request to a dialect that has its own


class Dialect(Protocol):
    """A pure translation of a log. Viewers in the same state receive the same bytes, which are made once for them.

    event_dialect.py implements it for Holdfast's own events, translation.py for those of another protocol. Each method
    that returns bytes returns complete frames. Dialects are hashable."""

    def __hash__(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The header fields of a stream, in lower case."""

    @property
    def initial_state(self) -> State:
        """The state of a viewer that has received nothing."""

    @property
    def opening(self) -> bytes:
        """The first bytes of every stream."""

    @property
    def ping(self) -> bytes: ...

    def frames(self, state: State, entries: Sequence[Entry]) -> Frames:
        """Return the frames of consecutive entries, for a viewer in this state."""

    def ping_event(self, cursor: EventId) -> bytes:
        """Return a ping that an EventSource reports as a message. Everything up to the cursor has been sent."""

    def gap(self, state: State, gap: Gap) -> Frames:
        """Announce missing events. A trimmed gap has no id: the next event has one."""

    def queued(self, job_id: str, position: int) -> bytes:
        """Announce that a job waits at this position of its session's backlog."""

    def cursor_only(self, cursor: EventId) -> bytes:
        """Move the client's cursor without an event."""

    def ticket(self, event: bytes) -> bytes:
        """Announce a renewed ticket, by an event of a dialect that has one for it. b"" if the client cannot use it."""

    def closing(self, retry_ms: int) -> bytes | None:
        """Return the last bytes of a stream that the gateway ends early, with the time after which to reconnect.

        None: the connection is cut instead."""

    def refusal(self, retry_ms: int) -> Response:
        """Refuse a stream temporarily: reconnect after `retry_ms`."""


def stream_headers(media_type: str) -> dict[str, str]:
    """Return the header fields of a stream that no cache may store and no proxy may buffer."""
    return {
        "content-type": media_type,
        "cache-control": "no-cache, no-transform",
        "x-accel-buffering": "no",
        "vary": "accept-encoding",
    }
