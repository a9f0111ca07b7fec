"""Events over a WebSocket: with the client of the `websockets` package, and with hand-made frames."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import random
import socket as sockets
from collections.abc import AsyncIterator
from typing import Self

import pytest
from holdfast.gateway.principal import Principal, anonymous
from holdfast.gateway.transports import uvicorn
from holdfast.gateway.transports.websocket import WebSocketTransport
from starlette.types import Scope
from websockets.exceptions import InvalidStatus

from tests.support.log import Session
from tests.support.process import until
from tests.support.served import Served, served
from tests.support.websocket_client import open_socket, receive, receive_until, until_closed
from tests.support.websocket_frames import ServerFrame, client_frame, server_frames

KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
OFFER = ["Host: localhost", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", KEY]
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
HEARTBEAT = ServerFrame(PONG, b"")


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url, ping_seconds=0.2) as gateway:
        await gateway.offer("scripted")
        yield gateway


class Raw:
    """A connection on which a test sends what it likes."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self._reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    def get(self, path: str, fields: list[str], behind: bytes = b"") -> None:
        self.writer.write("\r\n".join([f"GET {path} HTTP/1.1", *fields, "", ""]).encode() + behind)

    async def upgrade(self, behind: bytes = b"") -> None:
        self.get("/v1/sessions/s/ws", OFFER, behind)
        head = await self.head()
        assert head.startswith("HTTP/1.1 101 Switching Protocols\r\n")
        assert "transfer-encoding" not in head

    async def head(self) -> str:
        return (await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), 20)).decode()

    async def rest(self) -> list[ServerFrame]:
        """The frames up to the end of the connection, without heartbeats."""
        wire = await asyncio.wait_for(self._reader.read(-1), 20)
        return [frame for frame in server_frames(wire) if frame != HEARTBEAT]

    async def some(self, size: int) -> bytes:
        """The next bytes, at most so many."""
        received = bytearray()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3):  # the rest of the log is shorter
                while len(received) < size:
                    received += await self._reader.read(size - len(received))
        return bytes(received)

    async def until(self, end: bytes) -> bytes:
        return await asyncio.wait_for(self._reader.readuntil(end), 20)


def whole_texts(wire: bytes) -> list[bytes]:
    """The text messages in the beginning of a stream that may be cut off."""
    while True:
        try:
            return [frame.payload for frame in server_frames(wire) if frame.opcode == TEXT]
        except (AssertionError, IndexError):
            wire = wire[:-1]


def reading_paused(gateway: Served) -> bool:
    """Whether the gateway reads nothing from its only connection for now."""
    return [connection.handler.flow.read_paused for connection in gateway.server.server_state.connections] == [True]  # type: ignore[union-attr]


def is_stopping(gateway: Served) -> bool:
    """Whether the gateway accepts no more connections."""
    return not any(server.is_serving() for server in gateway.server.servers)


async def counts(gateway: Served, line: str) -> bool:
    """Whether the gateway's metrics have this line."""
    return line in (await gateway.client.get("/metrics")).text.splitlines()


class TestEvents:
    async def test_each_event_is_a_message_with_its_id(self, gateway: Served, session: Session) -> None:
        attempt = await session.started()
        await session.append(attempt, 1, "tea")
        async with open_socket(gateway.port) as socket:
            started, delta = await receive(socket), await receive(socket)
        assert (started["id"], started["type"]) == (f"{attempt.epoch}-1", "job.started")
        assert (delta["id"], delta["text"]) == (f"{attempt.epoch}-2", "tea")

    async def test_events_are_those_of_ndjson(self, gateway: Served, session: Session) -> None:
        attempt = await session.started()
        await session.append(attempt, 1, "a", "b")
        await session.finish(attempt, 3)
        async with open_socket(gateway.port) as socket:
            messages = await receive_until(socket, type="job.completed")
        answer = await gateway.client.get("/v1/sessions/s/jobs/j1/events", headers={"Accept": "application/x-ndjson"})
        assert messages == [json.loads(line) for line in answer.text.splitlines() if line]

    async def test_a_reconnect_with_the_last_id_loses_and_doubles_nothing(
        self, gateway: Served, session: Session
    ) -> None:
        attempt = await session.started()
        await session.append(attempt, 1, *"abcdefgh")
        seen: list[str] = []
        while len(seen) < 9:
            query = f"?raw=true&last_event_id={seen[-1]}" if seen else "?raw=true"
            async with open_socket(gateway.port, query=query) as socket:
                seen += [(await receive(socket))["id"] for _ in range(3)]
        assert seen == [f"{attempt.epoch}-{seq}" for seq in range(1, 10)]

    async def test_cuts_at_any_byte_lose_and_double_nothing(self, gateway: Served, session: Session) -> None:
        attempt = await session.started()
        await session.append(attempt, 1, *("x" * (number * 7 % 300) for number in range(299)))
        seen: list[str] = []
        chosen, cuts = random.Random(7), 0
        while len(seen) < 300:
            async with Raw(gateway.port) as raw:
                query = f"&last_event_id={seen[-1]}" if seen else ""
                raw.get(f"/v1/sessions/s/ws?raw=true{query}", OFFER)
                await raw.head()
                seen += [json.loads(text)["id"] for text in whole_texts(await raw.some(chosen.randrange(1, 3000)))]
                raw.writer.transport.abort()
            cuts += 1
        assert seen[:300] == [f"{attempt.epoch}-{seq}" for seq in range(1, 301)]
        assert cuts > 10

    async def test_a_live_event_of_any_size_arrives(self, gateway: Served, session: Session) -> None:
        attempt = await session.started()
        async with open_socket(gateway.port, query="?from=now") as socket:
            assert await receive(socket) == {"id": f"{attempt.epoch}-1"}
            for seq, size in enumerate((1, 100, 60_000, 250_000), 1):
                await session.append(attempt, seq, "x" * size)
                assert (await receive(socket))["text"] == "x" * size

    async def test_the_deletion_of_the_session_closes_normally(self, gateway: Served, session: Session) -> None:
        attempt = await session.started()
        await session.finish(attempt, 1)
        async with open_socket(gateway.port) as socket:
            await receive_until(socket, type="job.completed")
            await gateway.client.delete("/v1/sessions/s")
            await session.log_writer.settle("s")
            messages, code, _ = await until_closed(socket)
        assert (messages[-1]["type"], code) == ("session.deleted", 1000)
        async with open_socket(gateway.port, query=f"?last_event_id={messages[-1]['id']}") as socket:
            assert (await until_closed(socket))[:2] == ([], 1000)

    async def test_pings_are_events_where_the_viewer_wants_them(self, gateway: Served, session: Session) -> None:
        attempt = await session.started()
        async with open_socket(gateway.port, query="?ping=event") as socket:
            messages = await receive_until(socket, type="ping")
        assert messages[-1] == {"type": "ping", "cursor": f"{attempt.epoch}-1"}

    async def test_a_heartbeat_that_needs_no_answer_is_sent_otherwise(self, gateway: Served, session: Session) -> None:
        await session.started()
        async with Raw(gateway.port) as raw:
            await raw.upgrade()
            await raw.until(b'"job.started"')
            await raw.until(b"\x8a\x00")

    async def test_a_session_that_does_not_exist_yet_is_waited_for(self, gateway: Served, session: Session) -> None:
        async with open_socket(gateway.port, query="?wait=true") as socket:
            attempt = await session.started()
            assert (await receive(socket))["id"] == f"{attempt.epoch}-1"

    async def test_a_stopping_gateway_says_when_to_come_back(self, redis_url: str, session: Session) -> None:
        await session.started()
        async with served(redis_url) as stopping, open_socket(stopping.port) as socket:
            await receive(socket)
            stopping.server.should_exit = True
            _, code, reason = await until_closed(socket)
        assert code == 1013
        assert reason.startswith("retry=")
        assert 1000 <= int(reason.removeprefix("retry=")) <= 5000

    async def test_a_viewer_that_takes_nothing_is_dropped(self, redis_url: str, session: Session) -> None:
        attempt = await session.started()
        async with served(redis_url, ping_seconds=0.2, send_deadline_seconds=1) as gateway:
            with sockets.socket() as deaf:
                deaf.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
                deaf.connect(("127.0.0.1", gateway.port))
                deaf.sendall("\r\n".join(["GET /v1/sessions/s/ws HTTP/1.1", *OFFER, "", ""]).encode())
                for seq in range(1, 25):
                    await session.append(attempt, seq, "x" * 250_000)
                await until(lambda: counts(gateway, "holdfast_stream_slow_closed_total 1.0"))


class TestUpgrade:
    @pytest.mark.parametrize(
        ("fields", "status", "code"),
        [
            (["Host: localhost"], 426, "upgrade_required"),
            ([*OFFER[:3], "Sec-WebSocket-Version: 8", KEY], 426, "upgrade_required"),
            ([*OFFER, "Content-Length: 0"], 426, "upgrade_required"),
            (OFFER[:4], 400, "malformed_request"),
            (["Host: evil.example", *OFFER[1:]], 421, "host_not_allowed"),
            ([*OFFER, "Origin: https://evil.example"], 403, "origin_not_allowed"),
            ([*OFFER, "Last-Event-ID: x"], 400, "cursor_invalid"),
            (OFFER, 404, "session_unknown"),
        ],
        ids=["none", "version", "body", "key", "host", "origin", "cursor", "session"],
    )
    async def test_a_refusal_is_a_problem_and_the_connection_goes_on(
        self, gateway: Served, fields: list[str], status: int, code: str
    ) -> None:
        async with Raw(gateway.port) as raw:
            raw.get("/v1/sessions/s/ws", fields)
            head = await raw.head()
            assert head.startswith(f"HTTP/1.1 {status} ")
            assert ("sec-websocket-version: 13" in head.lower()) is (status == 426)
            assert f'"code":"{code}"'.encode() in await raw.until(b"}")
            raw.get("/livez", OFFER[:1])
            assert (await raw.head()).startswith("HTTP/1.1 200 ")

    @pytest.mark.parametrize(
        ("fields", "accepted"),
        [
            (["Origin: http://localhost"], True),
            (["Origin: http://localhost", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: websocket"], True),
            (["Origin: https://app.example", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: websocket"], True),
            (["Origin: http://localhost:81", "Sec-Fetch-Site: same-site"], False),
            (["Origin: https://evil.example", "Sec-Fetch-Site: cross-site"], False),
            (["Origin: null", "Sec-Fetch-Site: cross-site"], False),
        ],
        ids=["own", "own, with metadata", "listed", "another port", "foreign", "none"],
    )
    async def test_the_origin_of_a_page_decides(
        self, redis_url: str, session: Session, fields: list[str], *, accepted: bool
    ) -> None:
        await session.started()
        async with served(redis_url, cors_origins="https://app.example") as gateway, Raw(gateway.port) as raw:
            raw.get("/v1/sessions/s/ws", [*OFFER, *fields])
            assert (await raw.head()).startswith(f"HTTP/1.1 {101 if accepted else 403} ")

    async def test_a_request_behind_a_refused_offer_is_answered(self, gateway: Served) -> None:
        async with Raw(gateway.port) as raw:
            raw.get("/v1/sessions/s/ws", OFFER, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await raw.head()).startswith("HTTP/1.1 404 ")
            await raw.until(b"}")
            assert (await raw.head()).startswith("HTTP/1.1 200 ")

    async def test_other_routes_ignore_the_offer(self, gateway: Served, session: Session) -> None:
        await session.started()
        async with Raw(gateway.port) as raw:
            raw.get("/v1/sessions/s/events", OFFER)
            assert (await raw.head()).startswith("HTTP/1.1 200 ")
            await raw.until(b'"job.started"')

    async def test_frames_in_the_segment_of_the_request_are_read(self, gateway: Served, session: Session) -> None:
        await session.started()
        async with Raw(gateway.port) as raw:
            await raw.upgrade(client_frame(PING, b"early"))
            await raw.until(b"\x8a\x05early")

    async def test_frames_in_front_of_the_response_keep_their_order(self, redis_url: str, session: Session) -> None:
        await session.started()
        allowed, early = asyncio.Event(), client_frame(TEXT, b'{"ref":"1"}') + client_frame(TEXT, b'{"ref":"2"}')

        async def authenticate(scope: Scope) -> Principal:
            await allowed.wait()
            return await anonymous(scope)

        async with served(redis_url, authenticate=authenticate) as gateway, Raw(gateway.port) as raw:
            raw.get("/v1/sessions/s/ws", OFFER, early[:7])
            await until(lambda: reading_paused(gateway))
            raw.writer.write(early[7:])
            await until(lambda: raw.writer.transport.get_write_buffer_size() == 0)
            allowed.set()
            assert b'"ref":"1"' in await raw.until(b'"ref":"2"')

    async def test_the_subprotocol_is_confirmed(self, gateway: Served, session: Session) -> None:
        await session.started()
        async with open_socket(gateway.port, subprotocols=["holdfast.v1"]) as socket:
            assert socket.subprotocol == "holdfast.v1"

    async def test_a_full_gateway_refuses_for_now(self, redis_url: str, session: Session) -> None:
        await session.started()
        async with served(redis_url, max_viewers=1) as gateway, open_socket(gateway.port):
            with pytest.raises(InvalidStatus) as refused:
                await open_socket(gateway.port)
        assert refused.value.response.status_code == 503
        assert "Retry-After" in refused.value.response.headers

    async def test_it_is_counted_as_a_request(self, gateway: Served, session: Session) -> None:
        await session.started()
        async with open_socket(gateway.port):
            metrics = (await gateway.client.get("/metrics")).text
        series = '{method="GET",route="/v1/sessions/{session_id}/ws",status="101"} 1.0'
        assert f"holdfast_http_requests_total{series}" in metrics


class TestClosing:
    async def test_the_code_of_a_client_is_returned(self, gateway: Served, session: Session) -> None:
        await session.started()
        async with Raw(gateway.port) as raw:
            await raw.upgrade(client_frame(CLOSE, (4321).to_bytes(2) + b"bye"))
            assert (await raw.rest())[-1] == (CLOSE, (4321).to_bytes(2))

    @pytest.mark.parametrize(
        ("wire", "code"),
        [
            (client_frame(TEXT, b"x", masked=False), 1002),
            (client_frame(2, b"x"), 1003),
            (client_frame(TEXT, b"\xff"), 1007),
            (client_frame(TEXT, b"x" * 2_000_000), 1009),
            (client_frame(CLOSE, b"\x00"), 1002),
        ],
        ids=["mask", "binary", "utf-8", "size", "close"],
    )
    async def test_what_breaks_the_protocol_closes_with_a_code_that_arrives(
        self, gateway: Served, session: Session, wire: bytes, code: int
    ) -> None:
        await session.started()
        async with Raw(gateway.port) as raw:
            await raw.upgrade()
            raw.writer.write(wire)
            last = (await raw.rest())[-1]
        assert (last.opcode, int.from_bytes(last.payload[:2])) == (CLOSE, code)

    async def test_a_message_that_does_not_end_closes_the_connection(
        self, redis_url: str, session: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await session.started()
        monkeypatch.setattr(uvicorn, "MESSAGE_SECONDS", 0.1)
        async with served(redis_url) as gateway, Raw(gateway.port) as raw:
            await raw.upgrade(client_frame(TEXT, b"STOP", final=False))
            last = (await raw.rest())[-1]
        assert (last.opcode, int.from_bytes(last.payload[:2])) == (CLOSE, 1008)

    async def test_a_handshake_during_the_stop_is_closed_at_once(self, redis_url: str, session: Session) -> None:
        await session.started()
        arrived, allowed = asyncio.Event(), asyncio.Event()

        async def authenticate(scope: Scope) -> Principal:
            arrived.set()
            await allowed.wait()
            return await anonymous(scope)

        async with served(redis_url, authenticate=authenticate) as gateway, Raw(gateway.port) as raw:
            raw.get("/v1/sessions/s/ws", OFFER)
            await arrived.wait()
            gateway.server.should_exit = True
            await until(lambda: is_stopping(gateway))
            allowed.set()
            await raw.head()
            last = (await raw.rest())[-1]
        assert (last.opcode, int.from_bytes(last.payload[:2])) == (CLOSE, 1013)

    async def test_a_thousand_viewers_that_come_and_go_leave_nothing_behind(
        self, gateway: Served, session: Session
    ) -> None:
        await session.started()
        for _ in range(20):
            await asyncio.gather(*(self._visit(gateway) for _ in range(50)))
        await until(lambda: len(gateway.server.server_state.connections) <= 1)
        await until(lambda: not any(type(each) is WebSocketTransport for each in gc.get_objects()))
        assert not gateway.server.server_state.tasks

    async def _visit(self, gateway: Served) -> None:
        async with Raw(gateway.port) as raw:
            await raw.upgrade()
