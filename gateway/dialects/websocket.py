"""WebSocket messages: each is an event as JSON with its cursor as `id`, in a frame that all viewers share."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from holdfast.gateway.dialects.bodies import gap_body, with_id
from holdfast.gateway.dialects.dialect import Frames, State
from holdfast.gateway.errors import problem
from holdfast.gateway.transports.websocket_frames import TRY_AGAIN_LATER, UNSOLICITED_PONG, close_frame, text_frame
from holdfast.shared.errors import LogUnavailable
from holdfast.shared.ids import EventId, as_cursor
from holdfast.shared.log.entries import Entry, EntryColumns
from holdfast.shared.log.event_log import Gap
from starlette.responses import Response


class WebSocket:
    headers: Mapping[str, str] = {}  # those of the handshake are in transports/websocket_handshake.py
    initial_state: State = None
    opening = UNSOLICITED_PONG
    ping = UNSOLICITED_PONG

    def accepts(self, media_ranges: Collection[str]) -> bool:
        """Not chosen by media ranges: it has a route of its own."""
        return False

    def frames(self, state: State, entries: Sequence[Entry]) -> Frames:
        if len(entries) == 1:  # the common case of live delivery
            return self.event(entries[0]), None
        if type(entries) is EntryColumns:
            pairs = zip(entries.raw_ids, entries.bodies, strict=True)
            return b"".join([text_frame(with_id(event_id, body)) for event_id, body in pairs]), None
        return b"".join([self.event(entry) for entry in entries]), None

    def event(self, entry: Entry) -> bytes:
        return text_frame(with_id(b"%d-%d" % entry.id, entry.body))

    def gap(self, state: State, gap: Gap) -> Frames:
        position = as_cursor(gap.position)
        body = gap_body(gap.reason, position)
        return text_frame(body if gap.reason == "trimmed" else with_id(b"%d-%d" % position, body)), state

    def queued(self, job_id: str, position: int) -> bytes:
        return b""  # the reply to the job has it; a WebSocket streams sessions only

    def cursor_only(self, cursor: EventId) -> bytes:
        return text_frame(b'{"id":"%d-%d"}' % as_cursor(cursor))

    def ping_event(self, cursor: EventId) -> bytes:
        return text_frame(b'{"type":"ping","cursor":"%d-%d"}' % as_cursor(cursor))

    def closing(self, retry_ms: int) -> bytes:
        return close_frame(TRY_AGAIN_LATER, f"retry={retry_ms}")

    def refusal(self, retry_ms: int) -> Response:
        return problem(LogUnavailable())


WEBSOCKET = WebSocket()
