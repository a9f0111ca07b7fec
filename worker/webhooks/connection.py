"""A connection of which a bounded number of reads is made, TLS included, whatever the other end sends."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import TypeVar

READ_BYTES = 4096
MAX_READS = 100  # of TLS and the response's head together: a certificate chain takes about two, the head one

_Result = TypeVar("_Result")


# Without the finite-field groups of TLS 1.2: a server may choose one of 10,000 bits, which takes long to compute with.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


def tls_context() -> ssl.SSLContext:
    """Return a context whose handshake costs little, whatever the other end chooses, and happens once a connection."""
    context = ssl.create_default_context()
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    return context


class TooMuchReceived(Exception):
    """The other end sent more than a connection reads."""


class Connection:
    """A connected socket, without blocking, with or without TLS. It counts what it reads below TLS, where the other end
    can send records that carry no data. Every call raises OSError, TooMuchReceived."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._loop = asyncio.get_running_loop()
        self._reads_left = MAX_READS
        self._from_peer, self._to_peer = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None

    async def start_tls(self, context: ssl.SSLContext, name: str) -> None:
        """Verify that the certificate is one for the name. Raises ssl.SSLError."""
        self._tls = context.wrap_bio(self._from_peer, self._to_peer, server_hostname=name)
        await self._complete(self._tls.do_handshake)

    async def send(self, data: bytes) -> None:
        tls = self._tls
        if tls is None:
            await self._loop.sock_sendall(self._socket, data)
        else:
            await self._complete(lambda: tls.write(data))

    async def receive(self) -> bytes:
        """Return the next bytes; none at the end."""
        tls = self._tls
        if tls is None:
            return await self._read()
        try:
            return await self._complete(lambda: tls.read(READ_BYTES))
        except ssl.SSLZeroReturnError:
            return b""

    async def _complete(self, step: Callable[[], _Result]) -> _Result:
        """Take a step of TLS, with what it needs from the other end."""
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                await self._flush()
                if received := await self._read():
                    self._from_peer.write(received)
                else:
                    self._from_peer.write_eof()
            else:
                await self._flush()
                return result

    async def _flush(self) -> None:
        if self._to_peer.pending:
            await self._loop.sock_sendall(self._socket, self._to_peer.read())

    async def _read(self) -> bytes:
        if not self._reads_left:
            raise TooMuchReceived
        self._reads_left -= 1
        await asyncio.sleep(0)  # sock_recv does not yield while there is something to read
        return await self._loop.sock_recv(self._socket, READ_BYTES)
