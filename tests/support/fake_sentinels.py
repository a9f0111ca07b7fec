"""Three sentinels in the test's process, each naming the primary that the test tells it to name."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import hiredis

from tests.support.process import until

PLACE = "*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%d\r\n"


class FakeSentinels:
    """`named`: the port that each names; None: it knows no primary; 0: it does not answer. `links`: the connections."""

    def __init__(self, named: Sequence[int | None]) -> None:
        self.named = list(named)
        self.links: set[asyncio.StreamWriter] = set()
        self.ports: list[int] = []

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in self.ports)}/main/0"

    def name(self, port: int) -> None:
        """Let all of them name this port from now on."""
        self.named = [port] * len(self.named)

    async def serve(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        commands = hiredis.Reader()
        self.links.add(writer)
        try:
            while data := await reader.read(65536):
                commands.feed(data)
                while command := commands.gets():
                    writer.write(self._reply(number, command[0]))
        finally:
            self.links.discard(writer)
            writer.close()

    def _reply(self, number: int, command: bytes) -> bytes:
        named = self.named[number]
        if command != b"SENTINEL":
            return b"+OK\r\n"
        if named is None:
            return b"*-1\r\n"
        return (PLACE % (len(str(named)), named)).encode() if named else b""


@contextlib.asynccontextmanager
async def fake_sentinels(*named: int | None) -> AsyncIterator[FakeSentinels]:
    """Serve as many sentinels as there are ports, until the block ends."""
    sentinels = FakeSentinels(named)
    async with contextlib.AsyncExitStack() as stack:
        for number in range(len(named)):

            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int = number) -> None:
                await sentinels.serve(number, reader, writer)

            server = await stack.enter_async_context(await asyncio.start_server(serve, "127.0.0.1", 0))
            sentinels.ports.append(server.sockets[0].getsockname()[1])
        yield sentinels
        for writer in sentinels.links:
            writer.close()
        await until(lambda: not sentinels.links)
