"""Reads Server-Sent Events from a raw socket with a parser of its own, so that tests judge the bytes on the wire.

Lines end at CR, LF or CRLF and at nothing else, as the standard has it.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

READ_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Frame:
    """What one blank line dispatched. `id` is the last event id at that point, as a browser would send it back."""

    id: str
    data: str
    event: str = "message"

    @property
    def json(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.data)
        return value


class SseParser:
    """Bytes in, frames out. Keeps `last_event_id`, `retry_ms`, and the comments that passed."""

    def __init__(self) -> None:
        self.last_event_id = ""
        self.retry_ms: int | None = None
        self.comments: list[str] = []
        self._line = bytearray()
        self._after_cr = False
        self._id = ""
        self._data: list[str] = []
        self._event = ""

    def feed(self, chunk: bytes) -> list[Frame]:
        frames: list[Frame] = []
        for byte in chunk:
            if byte == 0x0A and self._after_cr:
                self._after_cr = False
                continue
            self._after_cr = byte == 0x0D
            if byte in (0x0A, 0x0D):
                frames += self._take(bytes(self._line).decode())
                self._line.clear()
            else:
                self._line.append(byte)
        return frames

    def _take(self, line: str) -> list[Frame]:
        if not line:
            return self._dispatch()
        if line.startswith(":"):
            self.comments.append(line[1:].removeprefix(" "))
            return []
        name, _, value = line.partition(":")
        self._field(name, value.removeprefix(" "))
        return []

    def _field(self, name: str, value: str) -> None:
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry_ms = int(value)

    def _dispatch(self) -> list[Frame]:
        self.last_event_id = self._id
        data, event = self._data, self._event
        self._data, self._event = [], ""
        return [Frame(self.last_event_id, "\n".join(data), event or "message")] if data else []


def parse_fields(lines: Iterable[str]) -> dict[str, str]:
    """Header fields by their lower-case names. The values of a repeated field are joined, as RFC 9110 5.3 has it."""
    fields: dict[str, str] = {}
    for name, _, value in (line.partition(":") for line in lines if line):
        known = fields.get(name.lower())
        fields[name.lower()] = value.strip() if known is None else f"{known}, {value.strip()}"
    return fields


class SseStream:
    """One GET for events over a socket of its own. `async with SseStream(url) as stream: async for frame in stream`.

    `cut_after`: bytes of the body after which the connection is torn down, wherever that falls. `narrow`: with the
    smallest of receive buffers, so that who reads slowly is felt by the server soon.
    """

    def __init__(
        self,
        url: str,
        *,
        last_event_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        cut_after: int | None = None,
        narrow: bool = False,
    ) -> None:
        self._url = urlsplit(url)
        self._narrow = narrow
        self._request_headers = {"Accept": "text/event-stream", **(headers or {})}
        if last_event_id is not None:
            self._request_headers["Last-Event-ID"] = last_event_id
        self._left = cut_after
        self.parser = SseParser()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await self._connected()
        target = self._url.path + (f"?{self._url.query}" if self._url.query else "")
        lines = [f"GET {target} HTTP/1.1", f"Host: {self._url.netloc}"]
        lines += [f"{name}: {value}" for name, value in self._request_headers.items()]
        self._writer.write("\r\n".join([*lines, "", ""]).encode())
        try:
            head = await self._within(self._reader.readuntil(b"\r\n\r\n"))
        except BaseException:
            self.cut()
            raise
        status, *rest = head.decode("latin-1").split("\r\n")
        self.status = int(status.split(" ")[1])
        self.headers = parse_fields(rest)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cut()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        address = str(self._url.hostname), self._url.port or 80
        if not self._narrow:
            return await asyncio.open_connection(*address, limit=1 << 20)
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(connection, address)
        except BaseException:
            connection.close()
            raise
        return await asyncio.open_connection(sock=connection, limit=4096)

    def cut(self) -> None:
        """Tear the connection down (RST when bytes are unread), as a vanished network would seem to the server."""
        self._writer.transport.abort()

    async def __aiter__(self) -> AsyncIterator[Frame]:
        """Frames until the server ends the stream, or until `cut_after` bytes came. Fails after 30 s of silence."""
        async for chunk in self.chunks():
            for frame in self.parser.feed(chunk):
                yield frame

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes, without its chunked framing."""
        async for chunk in self._decoded():
            allowed = chunk if self._left is None else chunk[: self._left]
            self.body += allowed
            yield allowed
            if self._left is not None:
                self._left -= len(allowed)
                if self._left == 0:
                    self.cut()
                    return

    async def _decoded(self) -> AsyncIterator[bytes]:
        if self.headers.get("transfer-encoding") != "chunked":
            while chunk := await self._within(self._reader.read(65536)):
                yield chunk
            return
        while size := int(await self._within(self._reader.readuntil(b"\r\n")), 16):
            yield (await self._within(self._reader.readexactly(size + 2)))[:-2]
        await self._within(self._reader.readuntil(b"\r\n"))

    @staticmethod
    async def _within(read: Coroutine[Any, Any, bytes]) -> bytes:
        """Wait for a read, at most READ_SECONDS. wait_for of Python 3.11 ignores a cancellation that comes with data: a
        reader under a timeout of its own would go on for as long as the server sends pings."""
        async with asyncio.timeout(READ_SECONDS):
            return await read
