"""The header field `traceparent`."""

from __future__ import annotations

import pytest
from holdfast.shared.trace_context import parse_traceparent, trace_id_of, trace_keys

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
VALID = f"00-{TRACE}-00f067aa0ba902b7-01"


def test_a_valid_value_names_its_trace() -> None:
    assert parse_traceparent(VALID.encode()) == VALID
    assert trace_id_of(VALID) == TRACE
    assert trace_keys(VALID) == {"trace_id": TRACE}


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"00-" + TRACE.encode() + b"-0000000000000000-01",
        b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01",
        VALID.upper().encode(),
        VALID.encode() + b"-more",
        b"ff" + VALID[2:].encode(),
        "00-ä".encode("latin-1"),
    ],
)
def test_any_other_value_is_ignored(value: bytes | None) -> None:
    assert parse_traceparent(value) == ""
    assert trace_id_of("") is None
    assert trace_keys("") == {}
