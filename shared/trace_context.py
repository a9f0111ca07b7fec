"""Parse `traceparent`, which names a trace and a span in it (W3C Trace Context)."""

from __future__ import annotations

import re
from contextvars import ContextVar

_VERSION_0 = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

TRACEPARENT: ContextVar[str] = ContextVar("traceparent", default="")
"""The one that the header fields of the current request have; empty without one."""


def parse_traceparent(value: bytes | None) -> str:
    """Return the value of the header field if it is valid, otherwise an empty string: a client's mistake in it must not
    refuse its request. Later versions of the format begin a new trace."""
    return value.decode() if value is not None and _VERSION_0.fullmatch(value) else ""


def trace_id_of(traceparent: str) -> str | None:
    """Return the id of the trace, 32 hexadecimal digits; None for an empty string."""
    return traceparent[3:35] or None


def trace_keys(traceparent: str) -> dict[str, str]:
    """Return the field of a log line that names the trace, if there is one."""
    return {"trace_id": traceparent[3:35]} if traceparent else {}
