"""A receiver of webhooks: a real HTTP server on a loopback address, which notes what it gets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tests.support.process import until

OK = b"HTTP/1.1 204 No Content\r\n\r\n"


@dataclass
class Received:
    """One request. `headers` have lower-case names."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def message(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.body)
        return message


class Receiver:
    """`answer` makes the response to the number of a request, from 0 on; None: none, until the receiver closes."""

    def __init__(self, answer: Callable[[int], bytes | None]) -> None:
        self.port = 0
        self.received: list[Received] = []
        self._answer = answer
        self._open = 0
        self._closed = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?key=private-1"

    @property
    def hook(self) -> dict[str, Any]:
        return {"url": self.url}

    async def got(self, count: int) -> list[Received]:
        await until(lambda: len(self.received) >= count, describe=lambda: f"{len(self.received)} webhooks came")
        return self.received

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            line, *fields = head.strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
            body = await reader.readexactly(int(headers["content-length"]))
            self.received.append(Received(line, headers, body))
            response = self._answer(len(self.received) - 1)
            if response is None:
                await self._closed.wait()
            else:
                writer.write(response)
                await writer.drain()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        self._open -= 1

    async def close(self) -> None:
        self._closed.set()
        await until(lambda: not self._open)


@asynccontextmanager
async def receiver(
    answer: Callable[[int], bytes | None] = lambda _: OK, host: str = "127.0.0.1"
) -> AsyncIterator[Receiver]:
    made = Receiver(answer)
    server = await asyncio.start_server(made.handle, host, 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await made.close()
