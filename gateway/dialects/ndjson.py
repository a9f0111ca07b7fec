"""Newline-delimited JSON: each line is an event with its cursor as `id`; an empty line is a ping."""

from __future__ import annotations

from holdfast.gateway.dialects.bodies import one_line, ping_body, with_id
from holdfast.gateway.dialects.event_dialect import EventDialect
from holdfast.shared.ids import EventId, as_cursor


class Ndjson(EventDialect):
    media_type = "application/x-ndjson"
    opening = b"\n"
    ping = b"\n"

    def frame(self, event_id: bytes | None, body: bytes) -> bytes:
        line = one_line(body)
        return (line if event_id is None else with_id(event_id, line)) + b"\n"

    def ping_event(self, cursor: EventId) -> bytes:
        return self.frame(None, ping_body(cursor))

    def cursor_only(self, cursor: EventId) -> bytes:
        return self.frame(b"%d-%d" % as_cursor(cursor), b"{}")

    def closing(self, retry_ms: int) -> bytes:
        return b""


NDJSON = Ndjson()
