"""The books that the load generator keeps, on answers made up here."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from holdfast.gateway.transports.websocket_frames import UNSOLICITED_PONG, text_frame

from bench.ledger import Verdict
from bench.load import SETTLE_MS, Viewers
from bench.processes import Child
from bench.programs import program

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="the load generator is compiled by gcc")

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
PLAIN, CHUNKED = HEAD + b"\r\n", HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def frame(seq: int, *, at_ns: int | None = None, line_end: bytes = b"\n") -> bytes:
    token = b"@%019d.%09d@" % (time.monotonic_ns() if at_ns is None else at_ns, seq)
    return line_end.join([b"id: 7-%d" % seq, b'data: {"type":"text.delta","text":"%b "}' % token, b"", b""])


def message(seq: int, size: int = 0) -> bytes:
    """A WebSocket frame with an event, which is filled up to `size` bytes."""
    token = b"@%019d.%09d@" % (time.monotonic_ns(), seq)
    text = b'{"id":"7-%d","type":"text.delta","text":"%b"}' % (seq, token)
    return text_frame(text + b" " * (size - len(text)))


def chunked(data: bytes, size: int) -> bytes:
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


class Server:
    """Answers each connection with the next of its scripts, and keeps what was asked."""

    def __init__(self, *answers: list[bytes]) -> None:
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, args=(answers,))
        self._thread.start()

    def _serve(self, answers: tuple[list[bytes], ...]) -> None:
        for answer in answers:
            connection, _ = self._listener.accept()
            self._connections.append(connection)
            self.requests.append(connection.recv(4096))
            with suppress(OSError):  # a viewer that has all it wants may be gone
                for piece in answer:
                    connection.sendall(piece)
                    time.sleep(0.001)

    def close(self) -> None:
        self._thread.join()
        for connection in (*self._connections, self._listener):
            connection.close()


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[..., tuple[Viewers, Server]]]:
    """`watch(published, answer…)`: one viewer of a session with so many published events, and the server it asks."""
    with _closing() as closing:

        def start(
            published: int, *answers: list[bytes], kind: str = "", path: str = "/{session}?skip={bytes}"
        ) -> tuple[Viewers, Server]:
            server = Server(*answers)
            file = tmp_path / "published"
            file.write_bytes(published.to_bytes(4, "little"))
            command = [program("generator/viewers.c"), str(server.port), "1", "1", str(file), kind + path]
            child = Child(command, log=tmp_path / "viewers.log", dialogue=True)
            closing.append(child.stop)
            closing.append(server.close)
            return Viewers(child, 1), server

        yield start


@contextmanager
def _closing() -> Iterator[list[Callable[[], None]]]:
    callbacks: list[Callable[[], None]] = []
    yield callbacks
    for callback in callbacks:
        callback()


def verdict(viewers: Viewers, *, timeout_ms: int = SETTLE_MS) -> Verdict:
    """Return the counts once all published events have arrived, or after `timeout_ms`."""
    viewers.open(0, 1)
    viewers.opened(0, 1)
    return viewers.verdict(0, 1, timeout_ms=timeout_ms)


def test_events_that_come_once_and_in_order_leave_nothing_to_complain_of(
    watch: Callable[..., tuple[Viewers, Server]],
) -> None:
    viewers, _ = watch(3, [PLAIN, frame(1), frame(2), frame(3)])
    assert verdict(viewers).complaints() == []


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_events_are_read_across_chunks_cut_anywhere(
    watch: Callable[..., tuple[Viewers, Server]], size: int, line_end: bytes
) -> None:
    body = b": ping\n\n" + b"".join(frame(seq, line_end=line_end) for seq in range(1, 6))
    viewers, _ = watch(5, [CHUNKED, chunked(body, size)])
    assert verdict(viewers).complaints() == []


def test_a_byte_at_a_time_makes_no_difference(watch: Callable[..., tuple[Viewers, Server]]) -> None:
    viewers, _ = watch(2, [bytes([byte]) for byte in PLAIN + frame(1) + frame(2)])
    assert verdict(viewers).complaints() == []


def test_what_is_skipped_is_lost(watch: Callable[..., tuple[Viewers, Server]]) -> None:
    viewers, _ = watch(5, [PLAIN, frame(1), frame(2), frame(5)])
    assert verdict(viewers).complaints() == ["2 lost"]


def test_a_missing_beginning_is_lost(watch: Callable[..., tuple[Viewers, Server]]) -> None:
    viewers, _ = watch(3, [PLAIN, frame(2), frame(3)])
    assert verdict(viewers).complaints() == ["1 lost"]


def test_what_comes_again_is_doubled(watch: Callable[..., tuple[Viewers, Server]]) -> None:
    viewers, _ = watch(3, [PLAIN, frame(1), frame(2), frame(2), frame(1), frame(3)])
    assert verdict(viewers).complaints() == ["2 doubled"]


def test_what_comes_late_is_out_of_order_and_not_lost(watch: Callable[..., tuple[Viewers, Server]]) -> None:
    viewers, _ = watch(4, [PLAIN, frame(1), frame(3), frame(2), frame(4)])
    assert verdict(viewers).complaints() == ["1 out of order"]


def test_what_never_comes_is_noticed_at_the_end(watch: Callable[..., tuple[Viewers, Server]]) -> None:
    viewers, _ = watch(9, [PLAIN + frame(1) + frame(2)])  # in one write, so both are there with the response
    assert verdict(viewers, timeout_ms=1).complaints() == ["7 never came"]


def test_merged_texts_count_each_of_their_tokens(watch: Callable[..., tuple[Viewers, Server]]) -> None:
    merged = b'id: 7-4\ndata: {"type":"text.delta","text":"@0001@0002@0003@0004","from":"7-1"}\n\n'
    viewers, _ = watch(4, [PLAIN, merged])
    assert verdict(viewers).complaints() == []


def test_a_resume_goes_on_behind_the_last_whole_frame(watch: Callable[..., tuple[Viewers, Server]]) -> None:
    viewers, server = watch(3, [PLAIN, frame(1), frame(2)[:-1]], [PLAIN, frame(2), frame(3)])
    viewers.open(0, 1, goal=2)
    viewers.reached(0, 1, timeout_s=5)
    viewers.drop(0, 1)
    viewers.resume(0, 1)
    assert viewers.reached(0, 1, timeout_s=5).count == 1
    assert viewers.verdict(0, 1).complaints() == []
    assert b"Last-Event-ID: 7-1\r\n" in server.requests[1]
    assert server.requests[1].startswith(b"GET /0?skip=%d " % len(frame(1)))


def test_what_was_published_before_a_measurement_does_not_count_in_it(
    watch: Callable[..., tuple[Viewers, Server]],
) -> None:
    later_ns = time.monotonic_ns() + 3_600_000_000_000
    viewers, _ = watch(2, [PLAIN, frame(1), frame(2, at_ns=later_ns)])
    viewers.measure(0, 1)
    assert verdict(viewers).complaints() == []
    assert viewers.deliveries().events == 1


@pytest.mark.parametrize("piece", [13, 64, 100_000])
def test_messages_of_a_websocket_are_read_in_any_pieces(
    watch: Callable[..., tuple[Viewers, Server]], piece: int
) -> None:
    sizes = (0, 125, 126, 65_536) if piece > 100 else (0, 125, 126, 300)
    wire = UPGRADED + UNSOLICITED_PONG + b"".join(message(seq, size) for seq, size in enumerate(sizes, 1))
    viewers, server = watch(4, [wire[at : at + piece] for at in range(0, len(wire), piece)], kind="ws:")
    assert verdict(viewers).complaints() == []
    assert b"Upgrade: websocket\r\n" in server.requests[0]


def test_a_websocket_is_resumed_behind_the_last_whole_message(watch: Callable[..., tuple[Viewers, Server]]) -> None:
    viewers, server = watch(3, [UPGRADED, message(1), message(2)[:-1]], [UPGRADED, message(2), message(3)], kind="ws:")
    viewers.open(0, 1, goal=2)
    viewers.reached(0, 1, timeout_s=5)
    viewers.drop(0, 1)
    viewers.resume(0, 1)
    assert viewers.verdict(0, 1).complaints() == []
    assert b"Last-Event-ID: 7-1\r\n" in server.requests[1]


def test_a_stream_is_requested_by_post_with_the_session_as_its_key(
    watch: Callable[..., tuple[Viewers, Server]],
) -> None:
    viewers, server = watch(1, [PLAIN, frame(1)], kind="post:", path='/streams {"stream":true}')
    assert verdict(viewers).complaints() == []
    assert server.requests[0].startswith(b"POST /streams HTTP/1.1\r\n")
    assert b"\r\nContent-Length: 15\r\nIdempotency-Key: 0\r\n" in server.requests[0]
    assert server.requests[0].endswith(b'\r\n\r\n{"stream":true}')
