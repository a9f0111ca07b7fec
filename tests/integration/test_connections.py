"""What a gateway process costs Redis: a fixed number of connections, whatever the number of viewers."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import redis.asyncio
from holdfast.shared.log.log_replies import Attempt

from tests.support.log import delta
from tests.support.process import Gateway, Processes, until
from tests.support.sse import SseStream
from tests.support.workers import Client

VIEWERS = 500
MOST_CONNECTIONS = 8


async def connections_of(client: redis.asyncio.Redis, gateway: Gateway, mine: set[Any]) -> int:
    """Connections at the server that are not this test's own."""
    assert gateway.running
    return len([one for one in await client.client_list() if one["id"] not in mine])


async def test_500_viewers_of_500_sessions_take_at_most_8_redis_connections(
    redis_url: str, processes: Processes
) -> None:
    client = Client(redis_url)
    looker = redis.asyncio.Redis.from_url(redis_url)
    await client.offered_agents.offer({"scripted": {}})
    for number in range(VIEWERS):
        await client.post(f"s{number}")
    await client.post("warm")
    await speak(client, "warm")  # the test's last connection
    mine = {one["id"] for one in await looker.client_list()}
    gateway = processes.gateway(redis_url)
    await gateway.until_ready()
    async with AsyncExitStack() as stack:
        urls = [f"{gateway.url}/v1/sessions/s{number}/events?raw=true" for number in range(VIEWERS)]
        streams = await asyncio.gather(*(stack.enter_async_context(SseStream(url)) for url in urls))
        most = await connections_of(looker, gateway, mine)
        reading = [asyncio.create_task(first_text(stream)) for stream in streams]
        for number in range(VIEWERS):  # in turn, so that the test itself needs no connection more
            await speak(client, f"s{number}")
        await until(lambda: all(task.done() for task in reading))
        await asyncio.gather(*reading)
        most = max(most, await connections_of(looker, gateway, mine))
    assert 1 <= most <= MOST_CONNECTIONS
    await client.close()
    await looker.aclose()


async def first_text(stream: SseStream) -> None:
    """Read until the session's agent says something."""
    async for frame in stream:
        if frame.json["type"] == "text.delta":
            assert frame.json["text"] == "hello"
            return


async def speak(client: Client, session: str) -> None:
    """What a worker does, up to the first token."""
    attempt = await client.log_writer.claim(session, "j1", delivery=1, claim_id=session, worker_id="w", offered=True)
    assert isinstance(attempt, Attempt)
    await client.log_writer.append(session, attempt.epoch, 1, [delta("j1", "hello")])
