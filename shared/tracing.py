"""Spans of a job: submit, wait, attempt, model request, webhook. None for an event that is sent.

Without an endpoint nothing of OpenTelemetry is imported, and a span only passes its parent on, so that processes with
an endpoint continue the trace of a client.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from typing import Literal, Protocol

from holdfast.shared.errors import SettingsInvalid

Kind = Literal["server", "client", "consumer", "internal"]
Attributes = Mapping[str, str | int | bool]

_EXPORTER = "opentelemetry.exporter.otlp.proto.http"


class Span:
    """A span that is not recorded. `traceparent`: that of its parent; empty without one."""

    def __init__(self, traceparent: str) -> None:
        self.traceparent = traceparent

    def set(self, attributes: Attributes) -> None:
        """Add attributes."""

    def end(self, error: str = "") -> None:
        """End the span now. `error`: the code of the error with which it ended."""


class SpanRecorder(Protocol):
    """Records the spans of a process."""

    def start(self, name: str, kind: Kind, parent: str, attributes: Attributes, began_ms: int | None) -> Span:
        """Start a span."""

    def current(self, traceparent: str) -> AbstractContextManager[None]:
        """Make the span with this `traceparent` the parent of spans that other libraries start in the block."""

    def close(self) -> None:
        """Export what is left."""


_recorder: SpanRecorder | None = None


def check_tracing(endpoint: str | None) -> None:
    """Raise SettingsInvalid if there is an endpoint and OpenTelemetry is not installed."""
    try:
        missing = endpoint is not None and find_spec(_EXPORTER) is None
    except ModuleNotFoundError:
        missing = True
    if missing:
        raise SettingsInvalid(
            "HOLDFAST_OTLP_ENDPOINT needs OpenTelemetry, which is not installed: pip install 'holdfast-gateway[otel]'"
        )


@contextmanager
def traced(endpoint: str | None, process: str) -> Iterator[None]:
    """Record the spans of this process during the block, and export them to an endpoint, if there is one.

    Args:
        endpoint: the address of an OTLP collector over HTTP, such as http://127.0.0.1:4318.
        process: `gateway` or `worker`.
    """
    global _recorder  # noqa: PLW0603 - one per process, as with logging
    if endpoint is None:
        yield
        return
    from holdfast.shared.otel import OtelRecorder  # noqa: PLC0415 - an optional extra

    _recorder = recorder = OtelRecorder(endpoint, process)
    try:
        yield
    finally:
        _recorder = None
        recorder.close()


def start_span(
    name: str, kind: Kind, parent: str, attributes: Attributes | None = None, began_ms: int | None = None
) -> Span:
    """Start a span below the `traceparent` of its parent. `began_ms`: in ms since 1970, if not now."""
    if _recorder is None:
        return Span(parent)
    return _recorder.start(name, kind, parent, attributes or {}, began_ms)


def span_attributes(keys: Attributes) -> Attributes:
    """Return the keys of a log line as attributes of a span: `holdfast.job_id` for `job_id`."""
    return {f"holdfast.{name}": value for name, value in keys.items()}


def current_span(traceparent: str) -> AbstractContextManager[None]:
    """Make the span with this `traceparent` the parent of spans that other libraries start in the block."""
    return nullcontext() if _recorder is None or not traceparent else _recorder.current(traceparent)
