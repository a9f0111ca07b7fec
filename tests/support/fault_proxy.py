"""A TCP proxy in the test's process that does to a connection what networks do.

`async with FaultProxy(server.port) as proxy:` and point the product at `proxy.url`. Settings hold from the moment they
are set, for open connections and new ones alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import hiredis

READ_BYTES = 65536
Command = list[bytes]


class FaultProxy:
    """Toxics: `latency_s` (each piece arrives so much later, however many are on their way), `delay_s` before each
    piece, which holds up those behind it, `slice_bytes` as the largest piece, `bytes_per_s`, `black_hole` (nothing
    passes, nothing closes), `refusing` (new connections are reset), `answer` (new connections get these bytes and then
    FIN, whatever they ask), `only_heads` (a connection is closed behind the head of a response), `target` (the port to
    which new connections go). `cut`, `reset`, `half_close` act on open ones; `cuts` counts the connections that the
    first two ended."""

    def __init__(self, port: int) -> None:
        self.target = port
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self._drop: Callable[[Command], bool] | None = None
        self.port = 0
        self.delay_s = 0.0
        self.latency_s = 0.0
        self.slice_bytes = 0
        self.bytes_per_s = 0.0
        self.refusing = False
        self.answer: bytes | None = None
        self.only_heads = False
        self.connections = 0
        self.dropped = 0
        self.cuts = 0
        self._open = asyncio.Event()
        self._open.set()

    @property
    def url(self) -> str:
        """The address as that of a Redis."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def black_hole(self) -> bool:
        return not self._open.is_set()

    @black_hole.setter
    def black_hole(self, closed: bool) -> None:
        (self._open.clear if closed else self._open.set)()

    def drop_reply(self, to: Callable[[Command], bool]) -> None:
        """Whenever a command is one of these, let the server carry it out, then lose its reply and the connection."""
        self._drop = to

    def cut(self) -> None:
        """Close every connection in order, FIN to both sides."""
        self.cuts += len(self._links)
        for link in tuple(self._links):
            link.close()

    def reset(self) -> None:
        """RST to both sides."""
        self.cuts += len(self._links)
        for link in tuple(self._links):
            link.reset()

    def half_close(self) -> None:
        """End the direction from the server: the client reads the end, the server notices nothing."""
        for link in tuple(self._links):
            link.half_close()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.black_hole = False
        self.cut()
        while self._links:
            await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.refusing:
            _reset(writer)
            return
        if self.answer is not None:
            writer.write(self.answer)
            writer.close()
            return
        try:
            there = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            _reset(writer)
            return
        link = _Link(self, (reader, writer), there)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)

    async def pass_on(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        if self.latency_s:
            asyncio.get_running_loop().call_later(self.latency_s, writer.write, data)
            return
        size = self.slice_bytes or len(data)
        for at in range(0, len(data), size):
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            if self.bytes_per_s:
                await asyncio.sleep(min(size, len(data) - at) / self.bytes_per_s)
            await self._open.wait()
            writer.write(data[at : at + size])
            await writer.drain()

    def drops(self, command: Any) -> bool:
        if self._drop is None or not isinstance(command, list) or not self._drop(command):
            return False
        self.dropped += 1
        return True


class _Link:
    """One connection through the proxy."""

    def __init__(
        self,
        proxy: FaultProxy,
        near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._proxy = proxy
        self._near, self._far = near, far
        self._commands = hiredis.Reader()
        self._losing = False
        self._half_closed = False

    async def run(self) -> None:
        ways = {asyncio.create_task(self._up()), asyncio.create_task(self._down())}
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        self.close()
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)

    def close(self) -> None:
        for _, writer in (self._near, self._far):
            writer.close()

    def reset(self) -> None:
        for _, writer in (self._near, self._far):
            _reset(writer)

    def half_close(self) -> None:
        self._half_closed = True
        with contextlib.suppress(OSError, RuntimeError):
            self._near[1].write_eof()

    async def _up(self) -> None:
        with contextlib.suppress(OSError):
            while data := await self._near[0].read(READ_BYTES):
                self._watch(data)
                await self._proxy.pass_on(data, self._far[1])

    async def _down(self) -> None:
        with contextlib.suppress(OSError):
            while data := await self._far[0].read(READ_BYTES):
                if self._losing:
                    self.reset()
                    return
                if self._proxy.only_heads and b"\r\n\r\n" in data:
                    await self._proxy.pass_on(data[: data.index(b"\r\n\r\n") + 4], self._near[1])
                    return
                if not self._half_closed:
                    await self._proxy.pass_on(data, self._near[1])

    def _watch(self, data: bytes) -> None:
        """Read along what the client asks. A pool's connection has one command under way, so the next reply is its."""
        self._commands.feed(data)
        with contextlib.suppress(hiredis.ProtocolError):
            while (command := self._commands.gets()) is not False:
                self._losing = self._losing or self._proxy.drops(command)


def port_of(url: str) -> int:
    """The port of an address such as `redis://127.0.0.1:6379/0`."""
    return int(urlsplit(url).port or 6379)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Abort with RST instead of FIN."""
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
