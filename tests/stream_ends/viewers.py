"""Viewers that show how a stream ends on the wire: curl, and a WebSocket client."""

from __future__ import annotations

import asyncio
import signal
import ssl
import uuid
from pathlib import Path
from typing import NamedTuple

import websockets.asyncio.client
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.stream_ends.dialects import Dialect, Request, body_of
from tests.support.process import inherited_env

CURL = ["curl", "-sS", "-N", "-k", "--max-time", "90", "-w", "%{http_code} %{http_version} %header{retry-after}"]
SECONDS = 90
_NO_CHECK = ssl.create_default_context()
_NO_CHECK.check_hostname = False
_NO_CHECK.verify_mode = ssl.CERT_NONE


class End(NamedTuple):
    """How a stream ended. `code`: curl's exit code, or the close code of a WebSocket. `status`: of the response, 0 if
    there is none. `version`: of HTTP."""

    code: int
    status: int
    version: str = ""
    retry_after: str = ""


class Curl:
    """A curl that reads one stream into a file."""

    def __init__(self, process: asyncio.subprocess.Process, file: Path) -> None:
        self._process = process
        self._file = file

    @classmethod
    async def open(cls, url: str, request: Request, folder: Path, *, h2: bool) -> Curl:
        file = folder / uuid.uuid4().hex
        command = [*CURL, "--http2" if h2 else "--http1.1", "-o", str(file), url + request.path]
        for name, value in request.headers.items():
            command += ["-H", f"{name}: {value}"]
        if request.body is not None:
            command += ["-H", "Content-Type: application/json", "-d", body_of(request)]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env=inherited_env())
        return cls(process, file)

    @property
    def body(self) -> bytes:
        return self._file.read_bytes() if self._file.exists() else b""

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    async def end(self) -> End:
        written, _ = await self._process.communicate()
        assert self._process.returncode is not None
        status, version, *retry_after = written.decode().split(" ")
        return End(self._process.returncode, int(status), version, "".join(retry_after))


class Socket:
    """A WebSocket that is read until the gateway closes it, or until `complete` has come."""

    def __init__(self, url: str, path: str, complete: bytes) -> None:
        self._complete = complete
        self.body = b""
        self._task = asyncio.create_task(self._read("ws" + url.removeprefix("http") + path))

    async def _read(self, url: str) -> End:
        tls = _NO_CHECK if url.startswith("wss") else None
        try:
            async with websockets.asyncio.client.connect(url, ssl=tls, proxy=None, max_size=None) as socket:
                try:
                    while self._complete not in self.body:
                        message = await socket.recv()
                        self.body += message.encode() if isinstance(message, str) else message
                    return End(0, 101)
                except ConnectionClosed as closed:
                    return End(closed.rcvd.code if closed.rcvd else 1006, 101)
        except InvalidStatus as refused:
            response = getattr(refused, "response", None)
            return (
                End(0, response.status_code, retry_after=response.headers.get("Retry-After", ""))
                if response
                else End(0, 0)
            )
        except OSError:
            return End(7, 0)

    async def end(self) -> End:
        return await asyncio.wait_for(self._task, SECONDS)


Viewer = Curl | Socket


async def view(url: str, dialect: Dialect, request: Request, folder: Path, *, h2: bool) -> Viewer:
    """Begin to read a stream."""
    if dialect.websocket:
        return Socket(url, request.path, dialect.complete)
    return await Curl.open(url, request, folder, h2=h2)
