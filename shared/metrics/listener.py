"""The port of a process for its operators: /livez, /readyz and /metrics over HTTP, from threads.

An event loop that is blocked or busy delays neither. There is no authentication: the port is for a private network.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import orjson
from holdfast.shared.errors import SettingsInvalid
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

IDLE_SECONDS = 30.0  # close a connection that has sent no request for so long


class Page(NamedTuple):
    """A response: its status, its type and its body."""

    status: int
    content_type: str
    body: bytes


Pages = Mapping[str, Callable[[], Page]]


def metrics_page(registry: CollectorRegistry) -> Page:
    """Return the metrics of a registry in the Prometheus text format."""
    return Page(200, CONTENT_TYPE_LATEST, generate_latest(registry))


def health_page(status: str, reasons: Sequence[str]) -> Page:
    """Return `status` where there are no reasons against it, else 503 with the reasons."""
    content = {"status": f"not {status}", "reasons": list(reasons)} if reasons else {"status": status}
    return Page(503 if reasons else 200, "application/json", orjson.dumps(content))


class _Listener(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: str, port: int, pages: Pages) -> None:
        self.address_family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        self.pages = pages
        super().__init__(address[:2], _Handler)  # type: ignore[arg-type]  # host and port, of both families

    def server_bind(self) -> None:
        """Bind without looking the host's name up, as HTTPServer would."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "Holdfast", ""
    timeout = IDLE_SECONDS
    server: _Listener

    def do_GET(self) -> None:
        """Send the page of the path."""
        find = self.server.pages.get(self.path.partition("?")[0])
        page = Page(404, "text/plain; charset=utf-8", b"not found\n") if find is None else find()
        self.send_response(page.status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(page.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page.body)

    do_HEAD = do_GET  # noqa: N815 - the name that the base class calls

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: scrapes are frequent."""


@contextmanager
def listening(host: str, port: int, pages: Pages) -> Iterator[None]:
    """Serve pages by their paths during the block. Raises SettingsInvalid if the address cannot be used."""
    try:
        listener = _Listener(host, port, pages)
    except OSError as error:
        raise _refused(host, port, error) from None
    thread = threading.Thread(target=listener.serve_forever, daemon=True, name="metrics")
    thread.start()
    try:
        yield
    finally:
        listener.shutdown()
        listener.server_close()


def check_free(host: str, port: int) -> None:
    """Raise SettingsInvalid if the address cannot be used."""
    with listening(host, port, {}):
        pass


def _refused(host: str, port: int, error: OSError) -> SettingsInvalid:
    return SettingsInvalid(f"HOLDFAST_METRICS_HOST, HOLDFAST_METRICS_PORT: {host}:{port}: {error.strerror}")
