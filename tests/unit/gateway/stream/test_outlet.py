from __future__ import annotations

import asyncio

from starlette.types import Message

from gateway.stream.outlet import Outlet


class Client:
    """Takes writes at once, until `full` is set; then each waits for `take`."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.full = False
        self.aborted = False
        self.writable = 0
        self.waiting: asyncio.Event = asyncio.Event()
        self.outlet = Outlet(self.send, self.abort)

    async def send(self, message: Message) -> None:
        if self.full:
            await self.waiting.wait()
        self.taken.append(message["body"])

    def abort(self) -> None:
        self.aborted = True

    def write(self, data: bytes) -> bool:
        return self.outlet.write(data, self.note)

    def blocked(self) -> bool:
        return self.outlet.blocked_since is not None

    def note(self) -> None:
        self.writable += 1


async def test_a_write_that_the_client_takes_at_once_makes_no_task() -> None:
    client = Client()
    before = asyncio.all_tasks()
    assert client.write(b"a")
    assert client.taken == [b"a"]
    assert asyncio.all_tasks() == before
    assert not client.blocked()


async def test_a_write_that_waits_is_finished_later_and_says_so() -> None:
    client = Client()
    client.full = True
    assert not client.write(b"a")
    assert client.blocked()
    client.waiting.set()
    async with asyncio.timeout(5):
        while not client.writable:
            await asyncio.sleep(0)
    assert not client.blocked()
    assert (client.taken, client.writable) == ([b"a"], 1)


async def test_a_write_that_waits_more_than_once_is_finished_too() -> None:
    taken: list[bytes] = []

    async def send(message: Message) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.sleep(0), 5)
        taken.append(message["body"])

    outlet = Outlet(send, lambda: None)
    done = asyncio.Event()
    outlet.write(b"a", done.set)
    async with asyncio.timeout(5):
        await done.wait()
    assert taken == [b"a"]


async def test_a_send_that_fails_drops_the_connection_and_raises_nothing() -> None:
    async def send(message: Message) -> None:
        raise RuntimeError("the server is going away")

    aborted: list[bool] = []
    outlet = Outlet(send, lambda: aborted.append(True))
    assert not outlet.write(b"a", lambda: None)
    assert (aborted, outlet.closed) == ([True], True)


async def test_a_send_that_fails_after_it_waited_drops_the_connection_and_raises_nothing() -> None:
    async def send(message: Message) -> None:
        await asyncio.sleep(0)
        raise RuntimeError("the server is going away")

    aborted = asyncio.Event()
    outlet = Outlet(send, aborted.set)
    outlet.write(b"a", lambda: None)
    async with asyncio.timeout(5):
        await aborted.wait()


async def test_a_closed_outlet_writes_nothing_and_calls_nobody() -> None:
    client = Client()
    client.full = True
    client.write(b"a")
    client.outlet.close()
    client.waiting.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert (client.taken, client.writable, client.aborted) == ([], 0, False)
    assert not client.write(b"b")
