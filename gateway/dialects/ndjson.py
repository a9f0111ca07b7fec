"""Newline-delimited JSON: each line is an event with its cursor as `id`; an empty line is a ping."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from holdfast.gateway.dialects.bodies import gap_body, one_line, queued_body, with_id
from holdfast.gateway.dialects.dialect import Frames, State, stream_headers
from holdfast.gateway.errors import problem
from holdfast.shared.errors import LogUnavailable
from holdfast.shared.ids import EventId, as_cursor
from holdfast.shared.log.entries import Entry
from holdfast.shared.log.event_log import Gap
from starlette.responses import Response

MEDIA_TYPE = "application/x-ndjson"


class Ndjson:
    headers = stream_headers(MEDIA_TYPE)
    initial_state: State = None
    opening = b"\n"
    ping = b"\n"

    def accepts(self, media_ranges: Collection[str]) -> bool:
        return MEDIA_TYPE in media_ranges

    def frames(self, state: State, entries: Sequence[Entry]) -> Frames:
        return b"".join([self.event(entry) for entry in entries]), None

    def event(self, entry: Entry) -> bytes:
        return with_id(b"%d-%d" % entry.id, one_line(entry.body)) + b"\n"

    def gap(self, state: State, gap: Gap) -> Frames:
        position = as_cursor(gap.position)
        body = gap_body(gap.reason, position)
        return (body if gap.reason == "trimmed" else with_id(b"%d-%d" % position, body)) + b"\n", state

    def queued(self, job_id: str, position: int) -> bytes:
        return queued_body(job_id, position) + b"\n"

    def cursor_only(self, cursor: EventId) -> bytes:
        return b'{"id":"%d-%d"}\n' % as_cursor(cursor)

    def ping_event(self, cursor: EventId) -> bytes:
        return b'{"type":"ping","cursor":"%d-%d"}\n' % as_cursor(cursor)

    def closing(self, retry_ms: int) -> bytes:
        return b""

    def refusal(self, retry_ms: int) -> Response:
        return problem(LogUnavailable())


NDJSON = Ndjson()
