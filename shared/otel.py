"""Record spans with the SDK of OpenTelemetry, and export them in batches from a thread of its own.

The variables `OTEL_*` of the SDK apply: sampler, resource attributes, headers of the exporter, and so on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from holdfast.shared.tracing import Attributes, Kind, Span
from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

EXPORT_SECONDS = 3.0  # an export is given up after so long

_KINDS: dict[Kind, SpanKind] = {
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "consumer": SpanKind.CONSUMER,
    "internal": SpanKind.INTERNAL,
}


class OtelSpan(Span):
    """A span of OpenTelemetry."""

    def __init__(self, span: trace.Span) -> None:
        found = span.get_span_context()
        super().__init__(f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}")
        self._span = span

    def set(self, attributes: Attributes) -> None:
        self._span.set_attributes(dict(attributes))

    def end(self, error: str = "") -> None:
        if error:
            self._span.set_attribute("error.type", error)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class OtelRecorder:
    """Records the spans of one process, which is the service `holdfast-<process>`."""

    def __init__(self, endpoint: str, process: str) -> None:
        resource = Resource.create({SERVICE_NAME: f"holdfast-{process}", SERVICE_VERSION: version("holdfast-gateway")})
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS)
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("holdfast")

    def start(self, name: str, kind: Kind, parent: str, attributes: Attributes, began_ms: int | None) -> Span:
        """Start a span. Without a parent it begins a trace, wherever it is called."""
        above = trace.set_span_in_context(_remote(parent), context.Context()) if parent else context.Context()
        began_ns = None if began_ms is None else began_ms * 1_000_000
        span = self._tracer.start_span(name, above, _KINDS[kind], dict(attributes), start_time=began_ns)
        return OtelSpan(span)

    @contextmanager
    def current(self, traceparent: str) -> Iterator[None]:
        """Make the span with this `traceparent` the current one in the block."""
        token = context.attach(trace.set_span_in_context(_remote(traceparent)))
        try:
            yield
        finally:
            context.detach(token)

    def close(self) -> None:
        """Export what is left, for EXPORT_SECONDS at most."""
        self._provider.force_flush(int(EXPORT_SECONDS * 1000))
        self._provider.shutdown()


def _remote(traceparent: str) -> NonRecordingSpan:
    _, trace_id, span_id, flags = traceparent.split("-")
    found = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return NonRecordingSpan(found)
