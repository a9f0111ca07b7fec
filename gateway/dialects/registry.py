"""The dialects of Holdfast's own events, and the choice of one by a request's Accept header."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.gateway.dialects.event_dialect import EventDialect
from holdfast.gateway.dialects.ndjson import NDJSON
from holdfast.gateway.dialects.sse import SSE
from holdfast.gateway.errors import NotAcceptable

# The first that accepts a request is chosen. SSE is last, since it accepts */*.
DIALECTS: Sequence[EventDialect] = (
    NDJSON,
    SSE,
)

_REFUSED = frozenset({"q=0", "q=0.0", "q=0.00", "q=0.000"})


def choose(accept: str) -> EventDialect:
    """Choose a dialect for this Accept header: Server-Sent Events where it is empty. Raises NotAcceptable."""
    media_ranges = _media_ranges(accept or "*/*")
    for dialect in DIALECTS:
        if dialect.accepts(media_ranges):
            return dialect
    raise NotAcceptable([dialect.media_type for dialect in reversed(DIALECTS)])


def _media_ranges(accept: str) -> set[str]:
    """Return the media ranges of an Accept header without those with q=0."""
    ranges = ["".join(part.lower().split()).split(";") for part in accept.split(",")]
    return {kind for kind, *parameters in ranges if not _REFUSED & set(parameters)}
