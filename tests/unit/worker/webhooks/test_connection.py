"""A connection to a receiver reads a bounded number of times, and lets the event loop turn meanwhile."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from holdfast.worker.webhooks.connection import MAX_READS, READ_BYTES, Connection, TooMuchReceived, tls_context

from tests.support.tls import Authority


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


async def flood(theirs: socket.socket, piece: bytes) -> None:
    with suppress(OSError):
        while True:
            await asyncio.get_running_loop().sock_sendall(theirs, piece)


@pytest.mark.parametrize("piece", [b"a", b"a" * 65_536], ids=["one byte", "64 KiB"])
async def test_it_reads_a_bounded_number_of_times(pair: tuple[socket.socket, socket.socket], piece: bytes) -> None:
    connection, sending = Connection(pair[0]), asyncio.create_task(flood(pair[1], piece))
    received = [len(await connection.receive()) for _ in range(MAX_READS)]
    with pytest.raises(TooMuchReceived):
        await connection.receive()
    assert 0 < max(received) <= READ_BYTES
    sending.cancel()


async def test_the_loop_turns_at_each_read_although_there_is_something_to_read(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    pair[1].send(b"a" * 10 * READ_BYTES)
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    connection = Connection(pair[0])
    for _ in range(10):
        await connection.receive()
    turning.cancel()
    assert turns >= 10


async def test_records_of_tls_without_data_count_too(pair: tuple[socket.socket, socket.socket], tmp_path: Path) -> None:
    """The other end renews its session again and again, which nothing above TLS sees."""
    authority, loop = Authority(tmp_path), asyncio.get_running_loop()
    ours = ssl.create_default_context(cafile=str(authority.file))
    context = authority.server_context("hook.example")
    context.num_tickets = 200
    from_peer, to_peer = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = context.wrap_bio(from_peer, to_peer, server_side=True)

    async def serve() -> None:
        done = False
        with suppress(OSError):
            while True:
                with suppress(ssl.SSLWantReadError):
                    if not done:
                        theirs.do_handshake()
                        done = True
                for at in range(0, len(sent := to_peer.read()), 100):
                    await loop.sock_sendall(pair[1], sent[at : at + 100])
                    await asyncio.sleep(0.001)
                from_peer.write(await loop.sock_recv(pair[1], 65_536))

    serving = asyncio.create_task(serve())
    connection = Connection(pair[0])
    await connection.start_tls(ours, "hook.example")
    with pytest.raises(TooMuchReceived):
        await connection.receive()
    serving.cancel()


def test_the_other_end_can_choose_no_group_that_takes_long_to_compute_with() -> None:
    context = tls_context()
    assert [cipher["name"] for cipher in context.get_ciphers() if cipher["kea"] == "kx-dhe"] == []
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
