"""Server-Sent Events (WHATWG HTML, "Server-sent events"): `data` is an event's JSON, and `id` its cursor."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from holdfast.gateway.dialects.bodies import one_line, ping_body
from holdfast.gateway.dialects.dialect import Frames, State
from holdfast.gateway.dialects.event_dialect import EventDialect
from holdfast.shared.ids import EventId, as_cursor
from holdfast.shared.log.entries import Entry, EntryColumns
from starlette.responses import Response

_MEDIA_RANGES = frozenset({"text/event-stream", "text/*", "application/*", "*/*"})


class Sse(EventDialect):
    media_type = "text/event-stream"
    opening = b"retry: 1000\n\n"
    ping = b": ping\n\n"

    def accepts(self, media_ranges: Collection[str]) -> bool:
        return not _MEDIA_RANGES.isdisjoint(media_ranges)

    def frame(self, event_id: bytes | None, body: bytes) -> bytes:
        data = b"data: %b\n\n" % one_line(body)
        return data if event_id is None else b"id: %b\n%b" % (event_id, data)

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

    def ping_event(self, cursor: EventId) -> bytes:
        return self.frame(None, ping_body(cursor))

    def cursor_only(self, cursor: EventId) -> bytes:
        return b"id: %d-%d\n\n" % as_cursor(cursor)

    def closing(self, retry_ms: int) -> bytes:
        return b"retry: %d\n\n" % retry_ms

    def refusal(self, retry_ms: int) -> Response:
        """An EventSource never reconnects after anything but 200, so it gets a 200 that ends at once."""
        return Response(self.closing(retry_ms), headers={**self.headers, "Connection": "close"}, media_type=None)


SSE = Sse()
