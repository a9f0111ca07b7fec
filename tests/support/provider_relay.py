"""Stands between an SDK and the fake provider, and does to single frames what networks and providers do."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

import httpx2
import orjson

OnFrame = Callable[[bytes], Awaitable[bytes]]
"""Given a frame of an answer; returns the bytes to send. May wait as long as it likes, and may raise Cut or End."""


class Cut(Exception):
    """Tear the connection down here."""


class End(Exception):
    """End the answer here, as if it were complete, with these bytes as its last."""

    def __init__(self, last: bytes = b"") -> None:
        super().__init__()
        self.last = last


class Heard(Protocol):
    """Somebody downstream, who can be waited for."""

    async def until(self, count: int, *kinds: str) -> None:
        """Wait until that many events of these types arrived; fail when they do not."""


class Relay:
    """A provider at `url`, by way of `upstream`. `requests` are the bodies that came by, `heads` the lines before
    them, `paths` where they went, `times_s` when by the loop's clock; `left`: a client left."""

    def __init__(self, upstream: str, on_frame: OnFrame) -> None:
        self.url = ""
        self.requests: list[dict[str, Any]] = []
        self.heads: list[str] = []
        self.paths: list[str] = []
        self.times_s: list[float] = []
        self.left = asyncio.Event()
        self._upstream = upstream
        self._on_frame = on_frame
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one request; then the connection ends."""
        path, body = await self._request(reader)
        self._watch(reader)
        try:
            await self._answer(path, body, writer)
        except Cut:
            writer.transport.abort()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def _request(self, reader: asyncio.StreamReader) -> tuple[str, bytes]:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lengths = [line.split(":")[1] for line in head.split("\r\n") if line.lower().startswith("content-length")]
        body = await reader.readexactly(int(lengths[0]))
        self.times_s.append(asyncio.get_running_loop().time())
        self.heads.append(head)
        self.paths.append(head.split(" ")[1])
        self.requests.append(orjson.loads(body))
        return self.paths[-1], body

    def _watch(self, reader: asyncio.StreamReader) -> None:
        async def until_left() -> None:
            with contextlib.suppress(ConnectionError):
                await reader.read()
            self.left.set()

        task = asyncio.create_task(until_left())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, path: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        headers = {"content-type": "application/json"}
        async with (
            httpx2.AsyncClient(trust_env=False, timeout=30) as client,
            client.stream("POST", self._upstream + path, content=body, headers=headers) as answer,
        ):
            told = [name for name in ("content-type", "retry-after") if name in answer.headers]
            head = [f"HTTP/1.1 {answer.status_code} Relayed", *(f"{name}: {answer.headers[name]}" for name in told)]
            writer.write("\r\n".join([*head, "connection: close", "transfer-encoding: chunked", "", ""]).encode())
            try:
                async for frame in _frames(answer.aiter_bytes()):
                    await self._send(await self._on_frame(frame), writer)
            except End as end:
                await self._send(end.last, writer)
            writer.write(b"0\r\n\r\n")
            await writer.drain()

    async def _send(self, frame: bytes, writer: asyncio.StreamWriter) -> None:
        if frame:
            writer.write(f"{len(frame):x}\r\n".encode() + frame + b"\r\n")
            await writer.drain()


async def _frames(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    kept = b""
    async for chunk in chunks:
        *frames, kept = (kept + chunk).split(b"\n\n")
        for frame in frames:
            yield frame + b"\n\n"
    if kept:
        yield kept


async def pass_on(frame: bytes) -> bytes:
    """The relay that changes nothing."""
    return frame


class Pace:
    """Holds each delta of the provider back until the one before it was heard downstream: nothing comes in a burst.
    Then `then` may do what it likes to the frame."""

    DELTA = re.compile(rb'"(content|text|arguments|partial_json|thinking|reasoning_content)":"[^"]')

    def __init__(self, heard: Heard, then: OnFrame = pass_on) -> None:
        self._heard = heard
        self._then = then
        self._sent = 0

    async def __call__(self, frame: bytes) -> bytes:
        if self.DELTA.search(frame):
            await self._heard.until(self._sent, "text.delta", "reasoning.delta", "tool.arguments.delta")
        sent = await self._then(frame)
        self._sent += bool(self.DELTA.search(sent))  # what was held back or garbled is not going to be heard
        return sent


@contextlib.asynccontextmanager
async def relayed(upstream: str, on_frame: OnFrame = pass_on, *, port: int = 0) -> AsyncIterator[Relay]:
    """Relay until the block ends; what is still open then is torn down."""
    relay = Relay(upstream, on_frame)
    handlers: set[asyncio.Task[Any]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        with contextlib.suppress(asyncio.CancelledError):
            await relay.serve(reader, writer)

    server = await asyncio.start_server(handle, "127.0.0.1", port)
    relay.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield relay
    finally:
        server.close()
        for task in handlers | relay._tasks:
            task.cancel()
        await asyncio.gather(*handlers, *relay._tasks, return_exceptions=True)
