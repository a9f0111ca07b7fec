"""A TCP proxy that cuts each connection after a random number of bytes from the server, wherever that falls."""

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
    """Cuts connections, half of them by FIN and half by RST, until `cuts` have been made; later ones pass whole.

    `most_bytes`: the longest that a connection passes before its cut. `made`: the cuts so far, `connections`: those
    that were accepted."""

    def __init__(self, port: int, *, cuts: int, most_bytes: int, seed: int) -> None:
        self._target = port
        self._left = cuts
        self._most_bytes = most_bytes
        self._random = random.Random(seed)
        self._links: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.made = 0
        self.connections = 0
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await asyncio.sleep(0)  # connections that were just accepted become links
        for link in tuple(self._links):
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        link = asyncio.current_task()
        assert link is not None
        self._links.add(link)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):  # cancelled by __aexit__ only
                await self._serve(reader, writer)
        finally:
            writer.close()
            self._links.discard(link)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        ways = [asyncio.create_task(_pass_on(reader, back)), asyncio.create_task(self._cut(there, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            back.close()  # first: this task may be cancelled while it waits
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _cut(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what the server sends, up to the cut."""
        left = self._random.randint(1, self._most_bytes)
        while data := await there.read(READ_BYTES):
            whole = self._left <= 0
            writer.write(data if whole else data[:left])
            await writer.drain()
            left -= 0 if whole else len(data)
            if left < 0:
                self._left -= 1
                self.made += 1
                if self._random.random() < 0.5:
                    reset(writer)
                return


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(READ_BYTES):
        writer.write(data)
        await writer.drain()


def reset(writer: asyncio.StreamWriter) -> None:
    """Abort with RST instead of FIN."""
    linger = struct.pack("ii", 1, 0)
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()
