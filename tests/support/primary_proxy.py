"""A proxy in front of a primary that cuts off clients, replicas or sentinels, as a pulled cable does.

It is a process of its own (`python -m tests.support.primary_proxy PORT`): in a busy process of a test it would be so
slow that sentinels take the primary for dead.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

ROOT = Path(__file__).resolve().parents[2]
READ_BYTES = 65536
KIND_IN_READS = 4
Kind = Literal["client", "replica", "sentinel"]
_WORDS: dict[bytes, Kind] = {b"REPLCONF": "replica", b"sentinel-": "sentinel"}


class PrimaryProxy:
    """Starts a proxy to a port of this machine. It listens on `port` until the block ends."""

    def __init__(self, target: int) -> None:
        command = [sys.executable, "-m", "tests.support.primary_proxy", str(target)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, start_new_session=True
        )
        self.port = int(self._answer())

    def cut(self, *kinds: Kind) -> None:
        """Let nothing pass any more on connections of these kinds, old and new, and close none of them."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(kinds).encode() + b"\n")
        self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> bytes:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


class _Link:
    """One connection through the proxy. Until it has shown its kind it passes as a client's."""

    def __init__(self, cut: set[str], *ends: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self._cut = cut
        self._near, self._far = ends
        self._kind: Kind = "client"

    async def run(self) -> None:
        ways = [asyncio.create_task(self._up()), asyncio.create_task(self._pass(self._far[0], self._near[1]))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        for _, writer in (self._near, self._far):
            writer.transport.abort()
        await asyncio.gather(*ways, return_exceptions=True)

    async def _up(self) -> None:
        """Pass on what a client sends. Its first commands tell its kind."""
        for _ in range(KIND_IN_READS):
            data = await self._near[0].read(READ_BYTES)
            self._kind = next((kind for word, kind in _WORDS.items() if word in data), self._kind)
            self._write(self._far[1], data)
        await self._pass(self._near[0], self._far[1])

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(READ_BYTES):
                self._write(writer, data)
                await writer.drain()

    def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if self._kind not in self._cut:
            writer.write(data)


async def serve(target: int) -> None:
    """Print the port, then take kinds to cut from the standard input until it ends."""
    cut: set[str] = set()

    async def link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            writer.transport.abort()
            return
        await _Link(cut, (reader, writer), there).run()

    server = await asyncio.start_server(link, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    while line := await asyncio.to_thread(sys.stdin.readline):
        cut.update(line.split())
        sys.stdout.write("cut\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
