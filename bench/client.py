"""A small HTTP client for single requests, and a viewer for one stream."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from dataclasses import dataclass

from bench.ledger import InvalidRun

PATIENCE_S = 30.0


async def get(port: int, target: str) -> bytes:
    """Return the body of a response. Raises InvalidRun unless it is a success."""
    return await _exchange(port, f"GET {target} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode())


async def post(port: int, target: str, body: bytes) -> bytes:
    head = f"POST {target} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return await _exchange(port, head.encode() + b"\r\n\r\n" + body)


async def _exchange(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        answer = await asyncio.wait_for(reader.read(-1), PATIENCE_S)
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.partition(b" ")[2].startswith(b"2"):
        raise InvalidRun(f"refused: {answer[:200]!r}")
    return body


@dataclass(slots=True)
class EventReader:
    """One SSE viewer over HTTP/1.0, whose body is not chunked."""

    reader: StreamReader
    writer: StreamWriter

    @classmethod
    async def open(cls, port: int, target: str) -> EventReader:
        """Connect and wait for the head of the response."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {target} HTTP/1.0\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n".encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
        if not head.partition(b" ")[2].startswith(b"200"):
            raise InvalidRun(f"refused: {head[:200]!r}")
        return cls(reader, writer)

    async def until(self, text: bytes) -> None:
        """Read until an event's data contains the text. Raises InvalidRun if the stream ends first."""
        async with asyncio.timeout(PATIENCE_S):
            while line := await self.reader.readline():
                if line.startswith(b"data:") and text in line:
                    return
        raise InvalidRun("the stream ended")

    def close(self) -> None:
        self.writer.close()
