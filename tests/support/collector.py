"""A collector of traces: a real HTTP server that receives OTLP, and notes the spans."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.process import until


@dataclass(frozen=True)
class SpanSeen:
    """One span. Ids are hexadecimal; `parent` is empty for the first of a trace. Times are in ns since 1970."""

    name: str
    service: str
    trace_id: str
    span_id: str
    parent: str
    began_ns: int
    ended_ns: int
    attributes: dict[str, Any]
    failed: bool


class TraceCollector:
    """What has been exported to `url`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.spans: list[SpanSeen] = []

    def named(self, name: str) -> list[SpanSeen]:
        return [span for span in self.spans if span.name == name]

    async def got(self, **counts: int) -> None:
        """Wait for so many spans of each name, whose spaces are `_` here."""
        wanted = {name.replace("_", " "): count for name, count in counts.items()}
        await until(
            lambda: all(len(self.named(name)) >= count for name, count in wanted.items()),
            describe=lambda: str([span.name for span in self.spans]),
        )

    def add(self, body: bytes) -> None:
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = {each.key: each.value.string_value for each in group.resource.attributes}
            for scope in group.scope_spans:
                self.spans += [_seen(span, resource["service.name"]) for span in scope.spans]


def _seen(span: Any, service: str) -> SpanSeen:
    attributes = {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}
    ids = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
    times = span.start_time_unix_nano, span.end_time_unix_nano
    return SpanSeen(span.name, service, *ids, *times, attributes, failed=span.status.code == 2)


@contextmanager
def trace_collector() -> Iterator[TraceCollector]:
    """Collect during the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            collector.add(_inflated(body, self.headers.get("Content-Encoding")))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = TraceCollector(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()


def _inflated(body: bytes, encoding: str | None) -> bytes:
    assert encoding in (None, "identity"), encoding
    return body
