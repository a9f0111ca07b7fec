"""A gateway that answers as a test says, for tests of what is in front of gateways."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


@dataclass
class FakeGateway:
    """Takes requests, and answers each as the test says. `heads` holds what came. Its port refuses connections when it
    is gone."""

    answer: Answer
    heads: list[bytes] = field(default_factory=list)
    address: str = ""

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            await self.answer(reader, writer)
        writer.close()


@contextlib.asynccontextmanager
async def gateway(answer: Answer, port: int = 0) -> AsyncIterator[FakeGateway]:
    fake = FakeGateway(answer)
    server = await asyncio.start_server(fake.take, "127.0.0.1", port)
    fake.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield fake
    server.close()


def answering(text: str, status: str = "200 OK", media_type: str = "application/json") -> Answer:
    """An answer that is whole at once."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {len(text)}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n{text}".encode())
        await writer.drain()

    return answer
