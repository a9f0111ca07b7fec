from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from holdfast.gateway.stream import arrivals
from holdfast.gateway.stream.arrivals import QUESTIONS, Arrivals
from holdfast.gateway.stream.framing import SSE
from holdfast.gateway.stream.viewer import StreamRequest
from holdfast.shared.redis import RedisTimeoutError, ResponseError


class Server:
    """A pipe whose server says when it is told to that a session is there, and at once what its log has."""

    def __init__(self, found: object = ()) -> None:
        self.found = found
        self.reads = 0
        self.asked: list[asyncio.Future[list[bytes | None]]] = []

    async def wire(self) -> Server:
        return self

    def call_soon(self, on_reply: Callable[[object], None], *_command: object) -> None:
        self.reads += 1
        on_reply(self.found)

    async def ask_soon(self, *_command: object) -> list[bytes | None]:
        self.asked.append(asyncio.get_running_loop().create_future())
        return await self.asked[-1]


async def test_of_those_who_all_come_at_once_a_few_get_their_answer_at_a_time() -> None:
    server = Server()
    arriving = Arrivals(server)  # type: ignore[arg-type]
    asking = [asyncio.create_task(arriving.ask(StreamRequest(f"s{number}", SSE))) for number in range(3 * QUESTIONS)]
    answered = 0
    while answered < len(asking):
        await asyncio.sleep(0)
        assert len(server.asked) - answered <= QUESTIONS
        for asked in server.asked[answered:]:
            asked.set_result([b"1", None, None])
            answered += 1
    assert all([(await task).presence == "there" for task in asking])


async def test_who_waits_for_a_turn_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "PATIENCE_S", 0.01)
    arriving = Arrivals(Server())  # type: ignore[arg-type]
    before = [asyncio.create_task(arriving.ask(StreamRequest(f"s{number}", SSE))) for number in range(QUESTIONS)]
    await asyncio.sleep(0)
    with pytest.raises(RedisTimeoutError):
        await arriving.ask(StreamRequest("late", SSE))
    for task in before:
        task.cancel()


@pytest.mark.parametrize("found", [ResponseError("WRONGTYPE"), [(b"1795247093801-1", [b"none", b"of ours"])], []])
async def test_a_page_that_cannot_be_read_is_no_refusal(found: object) -> None:
    server = Server(found)
    asking = asyncio.create_task(Arrivals(server).ask(StreamRequest("s", SSE)))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    server.asked[0].set_result([b"1", None, None])
    assert await asking == ("there", None)


async def test_of_a_crowd_that_comes_for_one_session_one_reads_for_himself() -> None:
    server = Server()
    arriving = Arrivals(server)  # type: ignore[arg-type]
    asking = [asyncio.create_task(arriving.ask(StreamRequest("s", SSE))) for _ in range(QUESTIONS)]
    await asyncio.sleep(0)
    for asked in server.asked:
        asked.set_result([b"1", None, None])
    assert all([(await task).presence == "there" for task in asking])
    assert server.reads == 1


async def test_who_wants_only_what_comes_reads_nothing() -> None:
    server = Server()
    asking = asyncio.create_task(Arrivals(server).ask(StreamRequest("s", SSE, from_now=True)))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    server.asked[0].set_result([b"1", None, None])
    assert (await asking, server.reads) == (("there", None), 0)


async def test_who_waited_in_line_has_no_longer_to_wait_for_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "PATIENCE_S", 0.05)
    server = Server()
    arriving = Arrivals(server)  # type: ignore[arg-type]
    before = [asyncio.create_task(arriving.ask(StreamRequest(f"s{number}", SSE))) for number in range(QUESTIONS)]
    await asyncio.sleep(0)
    late = asyncio.create_task(arriving.ask(StreamRequest("late", SSE)))
    await asyncio.sleep(0)
    for asked in server.asked:
        asked.set_result([b"1", None, None])
    await asyncio.gather(*before)
    with pytest.raises(RedisTimeoutError):
        await late
    assert len(server.asked) == QUESTIONS + 1
