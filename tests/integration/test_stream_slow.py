"""Clients that read slowly or not at all, clients that vanish, and a process that is full or stops."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import orjson
import pytest
from holdfast.gateway.stream import viewer as viewer_module
from holdfast.gateway.stream.hub import StreamLimits
from holdfast.gateway.transports.http import HttpTransport
from holdfast.shared.log.log_replies import Attempt, Event

from tests.support.chunks import unchunked
from tests.support.log import Session
from tests.support.process import until
from tests.support.sse import SseParser, SseStream
from tests.support.streams import Deaf, Streams, ids_until, streams

IMPATIENT = StreamLimits(ping_s=0.4, send_deadline_s=1)
PATIENT = StreamLimits(ping_s=0.4, send_deadline_s=60)
EVENT_BYTES = 250_000
WRITE_BUFFER_BYTES = 64 * 1024  # of a transport, above which it pauses its protocol


@pytest.fixture
async def served(redis_url: str) -> AsyncIterator[Streams]:
    async with streams(redis_url, PATIENT) as served:
        yield served


@pytest.fixture
def server_errors(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What the ASGI server complained about."""
    caplog.set_level(logging.ERROR)
    return caplog.records


async def write_megabytes(session: Session, attempt: Attempt, after: int, count: int) -> int:
    """Append `count` events of 64 KiB behind that seq. Returns the last seq."""
    body = orjson.dumps({"type": "data", "job_id": "j1", "name": "x", "value": "v" * 65_000})
    for seq in range(after, after + count):
        await session.log_writer.append("s", attempt.epoch, seq, [Event("data", "j1", body)])
    return after + count


class TestSlow:
    async def test_a_client_that_takes_nothing_is_dropped_after_the_deadline_and_others_notice_nothing(
        self, redis_url: str, session: Session, server_errors: list[logging.LogRecord]
    ) -> None:
        attempt = await session.started()
        async with streams(redis_url, IMPATIENT) as served, served.open(raw="true") as healthy:
            deaf = Deaf(served.url(raw="true"))
            await until(lambda: served.hub.counters.viewers == 2)
            reading = asyncio.create_task(ids_until(healthy, f"{attempt.epoch}-121"))
            last = await write_megabytes(session, attempt, 1, 120)
            assert await reading == [f"{attempt.epoch}-{seq}" for seq in range(1, last + 1)]
            await until(lambda: served.hub.counters.viewers == 1, 15)  # the kernel's own deadline is 30 s
            assert served.hub.counters.slow_closed == 1
            deaf.close()
        assert server_errors == []

    async def test_a_client_that_reads_again_in_time_misses_nothing(self, served: Streams, session: Session) -> None:
        attempt = await session.started()
        deaf = Deaf(served.url(raw="true"))
        await until(lambda: served.hub.counters.events == 1)
        last = await write_megabytes(session, attempt, 1, 120)
        await until(lambda: served.hub.counters.catch_ups == 1)
        newest = f"id: {attempt.epoch}-{last}\n".encode()
        wire = bytearray()
        while wire.find(b"\n\n\r\n", wire.find(newest, -90_000)) < 0 or newest not in wire[-90_000:]:
            wire += await deaf.read()
        deaf.close()
        frames = SseParser().feed(unchunked(bytes(wire).partition(b"\r\n\r\n")[2]))
        assert [frame.id for frame in frames] == [f"{attempt.epoch}-{seq}" for seq in range(1, last + 1)]

    async def test_a_client_that_is_slow_but_takes_something_all_the_time_is_not_dropped(
        self, redis_url: str, session: Session
    ) -> None:
        """Its deadline ran over 800 KB: the kernel kept 2.5 MB for it, and called them moving when a third was gone."""
        attempt = await session.started()
        await write_megabytes(session, attempt, 1, 120)
        async with streams(redis_url, IMPATIENT) as served:
            slow = Deaf(served.url(raw="true"))
            await until(lambda: bool(served.hub.keep_alive.stalled))
            for _ in range(60):
                await slow.read(16_384)
                await asyncio.sleep(0.05)
            slow.close()
            assert served.hub.counters.slow_closed == 0

    async def test_what_waits_for_a_slow_client_is_bounded(
        self, served: Streams, session: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        attempt = await session.started()
        deaf = Deaf(served.url(raw="true"))
        await until(lambda: served.hub.counters.events == 1)
        last = await write_megabytes(session, attempt, 1, 80)
        await until(lambda: served.hub.counters.catch_ups == 1)
        (viewer,) = served.hub.viewers
        gc.collect()
        tracemalloc.start()
        await write_megabytes(session, attempt, last, 100)
        gc.collect()
        grown, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert viewer.pending_bytes <= viewer_module.PENDING_BYTES
        assert grown < 2_000_000  # of the 6.5 MB that were written
        deaf.close()

    @pytest.mark.parametrize("query", ["true", "false"])
    async def test_a_slow_client_holds_one_large_event_at_most(
        self, served: Streams, session: Session, query: str
    ) -> None:
        attempt = await session.started()
        for seq in range(1, 9):
            await session.append(attempt, seq, "x" * EVENT_BYTES)
        deaf = Deaf(served.url(raw=query))
        await until(lambda: any(viewer.blocked for viewer in served.hub.viewers))
        for seq in range(9, 17):
            await session.append(attempt, seq, "x" * EVENT_BYTES)
        (viewer,) = served.hub.viewers
        assert isinstance(viewer.transport, HttpTransport)
        transport = viewer.transport._connection.transport
        held = transport.get_write_buffer_size() + viewer.pending_bytes
        assert held <= viewer_module.PENDING_BYTES + WRITE_BUFFER_BYTES + EVENT_BYTES + 1024
        deaf.close()


class TestVanishing:
    async def test_a_client_that_goes_away_during_a_long_replay_ends_it(
        self, served: Streams, session: Session, server_errors: list[logging.LogRecord]
    ) -> None:
        attempt = await session.started()
        for batch in range(5):
            await session.append(attempt, 1 + batch * 20_000, *("w" * 100 for _ in range(20_000)))
        for _ in range(5):
            async with served.open(raw="true") as stream:
                await anext(stream.chunks())
        await until(lambda: served.hub.counters.viewers == 0)
        assert served.hub.counters.events < 100_000, "one whole replay, of five"
        assert server_errors == []

    async def test_a_thousand_clients_that_come_and_go_leave_nothing_behind(
        self, served: Streams, session: Session, server_errors: list[logging.LogRecord]
    ) -> None:
        attempt = await session.started()
        for round_ in range(20):
            opened = [served.open(raw="true") for _ in range(50)]
            await asyncio.gather(*(stream.__aenter__() for stream in opened))
            await session.append(attempt, round_ + 1, "w")
            for stream in opened:
                stream.cut()
        await until(lambda: served.hub.counters.viewers == 0)
        assert served.tailer.channels == {}
        assert served.hub.viewers == set()
        assert not any(served.hub.keep_alive.buckets)
        assert server_errors == []

    async def test_the_kernel_is_told_to_drop_a_connection_that_acknowledges_nothing(self, served: Streams) -> None:
        async with served.open():
            await until(lambda: served.hub.counters.viewers == 1)
            (protocol,) = served.server.server_state.connections
            transport = protocol.transport
            connection = transport.get_extra_info("socket")
            limits = [
                connection.getsockopt(socket.IPPROTO_TCP, option)
                for option in (socket.TCP_USER_TIMEOUT, socket.TCP_NOTSENT_LOWAT)
            ]
        assert limits == [30_000, 16 * 1024]


class TestPings:
    async def test_pings_come_on_an_idle_stream_and_carry_no_id(self, served: Streams) -> None:
        async with served.open() as stream:
            chunks = stream.chunks()
            while len(stream.parser.comments) < 3:
                assert stream.parser.feed(await anext(chunks)) == []
        assert stream.parser.comments[:3] == ["ping"] * 3
        assert stream.parser.last_event_id == ""


class TestFullAndStopping:
    async def test_a_stream_beyond_the_cap_is_told_to_come_again_with_a_200(self, redis_url: str) -> None:
        async with streams(redis_url, StreamLimits(max_viewers=2)) as served:
            async with served.open(), served.open():
                await until(lambda: served.hub.full)
                async with served.open() as refused:
                    assert [frame async for frame in refused] == []
                    assert refused.status == 200
                    assert refused.headers["content-type"].startswith("text/event-stream")
                    assert 1000 <= (refused.parser.retry_ms or 0) <= 5000
                lines = served.open()
                lines._request_headers["Accept"] = "application/x-ndjson"
                async with lines:
                    assert lines.status == 503
                    assert "retry-after" in lines.headers
            await until(lambda: not served.hub.full)
            async with served.open() as accepted:
                assert await anext(accepted.chunks()) == b"retry: 1000\n\n"

    async def test_a_server_that_stops_ends_every_stream_at_an_event_and_spreads_the_return(
        self, redis_url: str, session: Session, server_errors: list[logging.LogRecord]
    ) -> None:
        attempt = await session.started()
        async with streams(redis_url) as served, AsyncExitStack() as stack:
            opened = [await stack.enter_async_context(served.open(raw="true")) for _ in range(30)]
            for stream in opened:
                await ids_until(stream, f"{attempt.epoch}-1")

            async def pour() -> None:
                for seq in range(1, 300):
                    await session.append(attempt, seq, "w")

            pouring = asyncio.create_task(pour())
            served.server.should_exit = True
            endings = await asyncio.gather(*(self.ending(stream) for stream in opened))
            await asyncio.wait_for(asyncio.shield(served.serving), 5)
            await pouring
        for frames, retry_ms in endings:
            assert frames == [f"{attempt.epoch}-{seq}" for seq in range(2, len(frames) + 2)]
            assert 1000 <= retry_ms <= 5000
        assert len({retry_ms for _, retry_ms in endings}) > 5
        assert server_errors == []

    async def ending(self, stream: SseStream) -> tuple[list[str], int]:
        """The ids until the orderly end of the response, and the last `retry:`."""
        ids = [frame.id async for frame in stream]
        return ids, stream.parser.retry_ms or 0

    async def test_a_client_that_takes_nothing_does_not_hold_up_the_stop(
        self, redis_url: str, session: Session, server_errors: list[logging.LogRecord]
    ) -> None:
        attempt = await session.started()
        async with streams(redis_url, PATIENT) as served:
            deaf = Deaf(served.url(raw="true"))
            await until(lambda: served.hub.counters.events == 1)
            await write_megabytes(session, attempt, 1, 100)
            await until(lambda: served.hub.counters.catch_ups == 1)
            (viewer,) = served.hub.viewers
            await served.hub.drain(grace_s=0.1)
            assert viewer.transport.closed  # at once: the kernel, too, would drop it after half a minute
            await until(lambda: served.hub.counters.viewers == 0)
            deaf.close()
        assert server_errors == []
