"""A TCP proxy that cuts each connection after a random number of bytes of its server's answer."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from types import TracebackType
from typing import Self

READ_BYTES = 65536


class CuttingProxy:
    """`async with CuttingProxy(port, cuts=100, seed=7) as proxy:` and point the client at `proxy.url`.

    Cuts `cuts` connections, half of them with FIN and half with RST, each after at most `longest_bytes`; later
    connections pass. `done` counts the cuts."""

    def __init__(self, port: int, *, cuts: int, seed: int, longest_bytes: int = 2000) -> None:
        self._target = port
        self._cuts = cuts
        self._random = random.Random(seed)
        self._longest_bytes = longest_bytes
        self._links: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.done = 0
        self.connections = 0

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for link in self._links:
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.current_task()
        assert link is not None
        self._links.add(link)
        self.connections += 1
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            self._links.discard(link)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, upward = await asyncio.open_connection("127.0.0.1", self._target)
        sending = asyncio.create_task(_copy(reader, upward))
        try:
            left = self._random.randint(1, self._longest_bytes)
            while data := await there.read(READ_BYTES):
                cut = len(data) >= left and self.done < self._cuts
                writer.write(data[:left] if cut else data)
                await writer.drain()
                if cut:
                    self._cut(writer)
                    return
                left -= len(data)
        finally:
            sending.cancel()
            upward.close()

    def _cut(self, writer: asyncio.StreamWriter) -> None:
        self.done += 1
        if self._random.random() < 0.5:
            writer.close()
            return
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(READ_BYTES):
            writer.write(data)
            await writer.drain()
