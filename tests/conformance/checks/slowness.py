"""A viewer that does not read."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from tests.conformance.kit import Kit
from tests.conformance.viewer import Failed
from tests.support.sse import Frame, SseParser

READ_S = 60.0


class Deaf:
    """Asks for a stream and reads nothing until it is told to, with the smallest of buffers. HTTP/1.0: no chunks."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        parts = urlsplit(url)
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.connect((parts.hostname, parts.port or 80))
        lines = [f"GET {parts.path}{'?' if parts.query else ''}{parts.query} HTTP/1.0", f"Host: {parts.netloc}"]
        lines += [f"{name}: {value}" for name, value in {"Accept": "text/event-stream", **headers}.items()]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        self._socket.setblocking(False)

    async def frames(self) -> AsyncIterator[Frame]:
        """Now read, until the server ends the stream or has dropped it."""
        parser, received = SseParser(), bytearray()
        loop = asyncio.get_running_loop()
        in_body = False
        try:
            while chunk := await asyncio.wait_for(loop.sock_recv(self._socket, 65536), READ_S):
                received += chunk
                if not in_body:
                    in_body = b"\r\n\r\n" in received
                    chunk = bytes(received).partition(b"\r\n\r\n")[2]
                for frame in parser.feed(chunk) if in_body else ():
                    yield frame
        except ConnectionError:
            return

    def close(self) -> None:
        self._socket.close()


async def slow_viewer(kit: Kit) -> str:
    """A viewer that does not read holds up nobody, and has the whole text once it reads and comes back"""
    job = await kit.adapter.start(kit.adapter.long_tokens, 0)
    deaf = Deaf(kit.adapter.urls[0] + (job.exact or job.path), dict(kit.adapter.headers))
    try:
        fast = await kit.viewer(job).finish()
        slow = kit.viewer(job, exact=True, first_gateway=1)
        async for frame in deaf.frames():
            slow.accept(frame)
            if slow.ended:
                break
    finally:
        deaf.close()
    kept = "to its end" if slow.ended else "dropped, and resumed"
    await slow.finish()
    slow.must_say(fast.text)
    if job.text is not None and fast.text != job.text:
        raise Failed("even the fast one was not told everything")
    return f"{len(fast.text) // 1024} KiB of text, {kept}"
