"""JSON bodies that the dialects of Holdfast's own events share."""

from __future__ import annotations

import orjson
from holdfast.shared.ids import EventId, as_cursor

_LF, _CR = b"\n\r"  # integers: `in` is twice as fast as with bytes


def one_line(body: bytes) -> bytes:
    """Replace line breaks, which would end the frame. JSON has them only between tokens, as whitespace."""
    if _LF in body or _CR in body:
        return body.replace(b"\r", b" ").replace(b"\n", b" ")
    return body


def with_id(event_id: bytes, body: bytes) -> bytes:
    """Insert an id as the first member of a JSON object."""
    rest = body.lstrip()[1:]
    comma = b"" if rest.lstrip().startswith(b"}") else b","
    return b'{"id":"%b"%b%b' % (event_id, comma, rest)


def gap_body(reason: str, position: EventId) -> bytes:
    """Return the body of a `gap`."""
    return orjson.dumps({"type": "gap", "reason": reason, "position": str(position)})


def queued_body(job_id: str, position: int) -> bytes:
    """Return the body of `job.queued`."""
    return orjson.dumps({"type": "job.queued", "job_id": job_id, "position": position})


def ping_body(cursor: EventId) -> bytes:
    """Return the body of a `ping` that is sent as an event."""
    return b'{"type":"ping","cursor":"%d-%d"}' % as_cursor(cursor)
