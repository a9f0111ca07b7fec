from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest
from holdfast.gateway.dialects.sse import SSE
from holdfast.gateway.stream import subscriber
from holdfast.gateway.stream.subscriber import CONCURRENT_CHECKS, Subscriber
from holdfast.gateway.stream.viewer import StreamRequest
from holdfast.shared.redis.auto_pipeline import AutoPipeline
from holdfast.shared.redis.errors import RedisTimeoutError, ResponseError
from holdfast.shared.redis.log_connections import LogConnection, LogConnections


class Server:
    """A pipeline that replies to reads immediately, and to existence checks when the test resolves them."""

    def __init__(self, found: object = ()) -> None:
        self.found = found
        self.reads = 0
        self.asked: list[asyncio.Future[list[bytes | None]]] = []

    async def connection_for(self, _key: str) -> Server:
        return self

    def call_soon(self, on_reply: Callable[[object], None], *_command: object) -> None:
        self.reads += 1
        on_reply(self.found)

    async def execute_soon(self, *_command: object) -> list[bytes | None]:
        self.asked.append(asyncio.get_running_loop().create_future())
        return await self.asked[-1]


def logs(server: Server) -> LogConnections:
    return LogConnections(LogConnection("", redis=None, pipeline=cast("AutoPipeline", server)))


async def test_concurrent_existence_checks_are_limited() -> None:
    server = Server()
    subscribing = Subscriber(logs(server))
    asking = [
        asyncio.create_task(subscribing.subscribe(StreamRequest(f"s{number}", SSE)))
        for number in range(3 * CONCURRENT_CHECKS)
    ]
    answered = 0
    while answered < len(asking):
        await asyncio.sleep(0)
        assert len(server.asked) - answered <= CONCURRENT_CHECKS
        for asked in server.asked[answered:]:
            asked.set_result([b"1", None, None])
            answered += 1
    assert all([(await task).presence == "there" for task in asking])


async def test_waiting_for_a_check_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriber, "CHECK_DEADLINE_S", 0.01)
    subscribing = Subscriber(logs(Server()))
    before = [
        asyncio.create_task(subscribing.subscribe(StreamRequest(f"s{number}", SSE)))
        for number in range(CONCURRENT_CHECKS)
    ]
    await asyncio.sleep(0)
    with pytest.raises(RedisTimeoutError):
        await subscribing.subscribe(StreamRequest("late", SSE))
    for task in before:
        task.cancel()


@pytest.mark.parametrize("found", [ResponseError("WRONGTYPE"), [(b"1795247093801-1", [b"none", b"of ours"])], []])
async def test_an_unreadable_first_page_does_not_refuse_the_viewer(found: object) -> None:
    server = Server(found)
    asking = asyncio.create_task(Subscriber(logs(server)).subscribe(StreamRequest("s", SSE)))
    await asyncio.sleep(0)
    server.asked[0].set_result([b"1", None, None])
    assert await asking == ("there", None)


async def test_one_of_many_subscribers_of_a_session_reads_its_first_page() -> None:
    server = Server()
    subscribing = Subscriber(logs(server))
    asking = [asyncio.create_task(subscribing.subscribe(StreamRequest("s", SSE))) for _ in range(CONCURRENT_CHECKS)]
    await asyncio.sleep(0)
    for asked in server.asked:
        asked.set_result([b"1", None, None])
    assert all([(await task).presence == "there" for task in asking])
    assert server.reads == 1


async def test_a_viewer_from_now_reads_no_page() -> None:
    server = Server()
    asking = asyncio.create_task(Subscriber(logs(server)).subscribe(StreamRequest("s", SSE, from_now=True)))
    await asyncio.sleep(0)
    server.asked[0].set_result([b"1", None, None])
    assert (await asking, server.reads) == (("there", None), 0)


async def test_waiting_in_line_counts_towards_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriber, "CHECK_DEADLINE_S", 0.05)
    server = Server()
    subscribing = Subscriber(logs(server))
    before = [
        asyncio.create_task(subscribing.subscribe(StreamRequest(f"s{number}", SSE)))
        for number in range(CONCURRENT_CHECKS)
    ]
    await asyncio.sleep(0)
    late = asyncio.create_task(subscribing.subscribe(StreamRequest("late", SSE)))
    await asyncio.sleep(0)
    for asked in server.asked:
        asked.set_result([b"1", None, None])
    await asyncio.gather(*before)
    with pytest.raises(RedisTimeoutError):
        await late
    assert len(server.asked) == CONCURRENT_CHECKS + 1
