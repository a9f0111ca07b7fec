"""Dialects that send Holdfast's own events, each in its own frame, whatever a viewer has received before."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import ClassVar

import structlog
from holdfast.gateway.dialects.bodies import gap_body, queued_body
from holdfast.gateway.dialects.dialect import CUT, Frames, State, stream_headers
from holdfast.gateway.errors import problem
from holdfast.shared.errors import LogUnavailable
from holdfast.shared.ids import EventId, as_cursor
from holdfast.shared.log.entries import Entry, EntryColumns
from holdfast.shared.log.event_log import Gap
from starlette.responses import Response

logger = structlog.get_logger()


class EventDialect(ABC):
    """A Dialect that only needs `frame`. The rest is that of a client that cannot resume: a stream that ends early is
    cut, and a temporary refusal is an error."""

    media_type: ClassVar[str]
    """Without parameters, in lower case. Requests choose the dialect by it."""

    initial_state: State = None

    opening: bytes = b""
    """The first bytes of every stream."""

    ping: bytes = b""
    """Sent on a quiet stream. Without one, a proxy may close the stream, and a lost client is found late."""

    @abstractmethod
    def frame(self, event_id: bytes | None, body: bytes) -> bytes:
        """Return the frame of an event, or b"" to leave it out.

        Args:
            event_id: the cursor behind the event. None for events that do not move it, which are made for one viewer:
                `job.queued`, and a `gap` with the reason `trimmed`.
            body: a JSON object. docs/protocol.md lists the events.
        """

    @cached_property
    def headers(self) -> Mapping[str, str]:
        charset = "; charset=utf-8" if self.media_type.startswith("text/") else ""
        return stream_headers(f"{self.media_type}{charset}")

    def accepts(self, media_ranges: Collection[str]) -> bool:
        """Return whether a request with these media ranges in its Accept header may be answered in this dialect."""
        return self.media_type in media_ranges

    def event(self, entry: Entry) -> bytes:
        return self.frame(b"%d-%d" % entry.id, entry.body)

    def frames(self, state: State, entries: Sequence[Entry]) -> Frames:
        if state is CUT:
            return b"", CUT
        try:
            if type(entries) is EntryColumns:
                pairs = zip(entries.raw_ids, entries.bodies, strict=True)
                return b"".join([self.frame(event_id, body) for event_id, body in pairs]), state
            return b"".join([self.event(entry) for entry in entries]), state
        except Exception:  # raised, it would end the delivery to all other viewers
            logger.exception("framing an event failed; stream cut", dialect=self.media_type)
            return b"", CUT

    def gap(self, state: State, gap: Gap) -> Frames:
        position = as_cursor(gap.position)
        event_id = None if gap.reason == "trimmed" else b"%d-%d" % position
        return self.frame(event_id, gap_body(gap.reason, position)), state

    def queued(self, job_id: str, position: int) -> bytes:
        return self.frame(None, queued_body(job_id, position))

    def ping_event(self, cursor: EventId) -> bytes:
        return self.ping

    def cursor_only(self, cursor: EventId) -> bytes:
        return b""

    def ticket(self, event: bytes) -> bytes:
        return self.frame(None, event)

    def closing(self, retry_ms: int) -> bytes | None:
        return None

    def refusal(self, retry_ms: int) -> Response:
        return problem(LogUnavailable())
