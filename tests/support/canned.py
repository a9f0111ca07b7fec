"""A server that answers one connection after the other with given bytes, for clients that must cope with them."""

from __future__ import annotations

import socket
import ssl
import threading

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
GONE = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"


def response(status: str, body: bytes = b"", content_type: str = "application/json") -> bytes:
    """A complete response, `status` as in "404 Not Found"."""
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


class Canned:
    """`requests` are what came. With `silent`, each connection stays open until the client closes it. `tls`: its end of
    TLS."""

    def __init__(self, *answers: bytes, silent: bool = False, tls: ssl.SSLContext | None = None) -> None:
        self._silent = silent
        self.requests: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http{'' if tls is None else 's'}://127.0.0.1:{self._listener.getsockname()[1]}"
        if tls is not None:
            self._listener = tls.wrap_socket(self._listener, server_side=True)
        self._thread = threading.Thread(target=self._serve, args=(answers,))
        self._thread.start()

    def fields(self, name: str) -> list[str | None]:
        """The value of a header field in each request, None where it is missing."""
        return [_field(request, name) for request in self.requests]

    def close(self) -> None:
        self._listener.close()
        self._thread.join(10)

    def _serve(self, answers: tuple[bytes, ...]) -> None:
        for answer in answers:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            with connection:
                self.requests.append(connection.recv(65536).decode())
                connection.sendall(answer)
                while self._silent and connection.recv(65536):
                    pass


def _field(request: str, name: str) -> str | None:
    lines = [line.partition(": ") for line in request.split("\r\n")]
    return next((value for field, _, value in lines if field.lower() == name), None)
