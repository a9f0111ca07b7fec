"""WebSocket messages: each is an event as JSON with its cursor as `id`, in a frame that all viewers share."""

from __future__ import annotations

from holdfast.gateway.dialects.bodies import ping_body, with_id
from holdfast.gateway.dialects.event_dialect import EventDialect
from holdfast.gateway.transports.websocket_frames import TRY_AGAIN_LATER, UNSOLICITED_PONG, close_frame, text_frame
from holdfast.shared.ids import EventId, as_cursor


class WebSocket(EventDialect):
    media_type = ""  # not chosen by one; the header fields are those of transports/websocket_handshake.py
    opening = UNSOLICITED_PONG
    ping = UNSOLICITED_PONG

    def frame(self, event_id: bytes | None, body: bytes) -> bytes:
        return text_frame(body if event_id is None else with_id(event_id, body))

    def queued(self, job_id: str, position: int) -> bytes:
        return b""  # the reply to the job has it; a WebSocket streams sessions only

    def ping_event(self, cursor: EventId) -> bytes:
        return self.frame(None, ping_body(cursor))

    def cursor_only(self, cursor: EventId) -> bytes:
        return self.frame(b"%d-%d" % as_cursor(cursor), b"{}")

    def closing(self, retry_ms: int) -> bytes:
        return close_frame(TRY_AGAIN_LATER, f"retry={retry_ms}")


WEBSOCKET = WebSocket()
