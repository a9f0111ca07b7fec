"""Server-Sent Events (WHATWG HTML, "Server-sent events"): `data` is an event's JSON, and `id` its cursor."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from holdfast.gateway.dialects.bodies import gap_body, one_line, queued_body
from holdfast.gateway.dialects.dialect import Frames, State, stream_headers
from holdfast.shared.ids import EventId, as_cursor
from holdfast.shared.log.entries import Entry, EntryColumns
from holdfast.shared.log.event_log import Gap
from starlette.responses import Response

_MEDIA_RANGES = frozenset({"text/event-stream", "text/*", "application/*", "*/*"})


class Sse:
    headers = stream_headers("text/event-stream; charset=utf-8")
    initial_state: State = None
    opening = b"retry: 1000\n\n"
    ping = b": ping\n\n"

    def accepts(self, media_ranges: Collection[str]) -> bool:
        return not _MEDIA_RANGES.isdisjoint(media_ranges)

    def frames(self, state: State, entries: Sequence[Entry]) -> Frames:
        if len(entries) == 1:  # the common case of live delivery
            return self.event(entries[0]), None
        return self._join(entries), None

    def event(self, entry: Entry) -> bytes:
        epoch, seq = entry.id
        return b"id: %d-%d\ndata: %b\n\n" % (epoch, seq, one_line(entry.body))

    def _join(self, entries: Sequence[Entry]) -> bytes:
        if type(entries) is EntryColumns:
            pairs = zip(entries.raw_ids, entries.bodies, strict=True)
            frames = b"".join([b"id: %b\ndata: %b\n\n" % pair for pair in pairs])
        else:
            frames = b"".join([b"id: %d-%d\ndata: %b\n\n" % (*entry.id, entry.body) for entry in entries])
        if frames.count(b"\n") == 3 * len(entries) and b"\r" not in frames:
            return frames
        return b"".join([self.event(entry) for entry in entries])

    def gap(self, state: State, gap: Gap) -> Frames:
        position = as_cursor(gap.position)
        frame = b"data: %b\n\n" % gap_body(gap.reason, position)
        return (frame if gap.reason == "trimmed" else b"id: %d-%d\n%b" % (*position, frame)), state

    def queued(self, job_id: str, position: int) -> bytes:
        return b"data: %b\n\n" % queued_body(job_id, position)

    def cursor_only(self, cursor: EventId) -> bytes:
        return b"id: %d-%d\n\n" % as_cursor(cursor)

    def ping_event(self, cursor: EventId) -> bytes:
        return b'data: {"type":"ping","cursor":"%d-%d"}\n\n' % as_cursor(cursor)

    def closing(self, retry_ms: int) -> bytes:
        return b"retry: %d\n\n" % retry_ms

    def refusal(self, retry_ms: int) -> Response:
        """An EventSource never reconnects after anything but 200, so it gets a 200 that ends at once."""
        return Response(self.closing(retry_ms), headers={**self.headers, "Connection": "close"}, media_type=None)


SSE = Sse()
