"""A healthy Redis 40 ms away: many calls at once take a few round trips each, and none is refused."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import httpx2
import pytest

from tests.support.fault_proxy import FaultProxy, port_of
from tests.support.served import Served, served

ROUND_TRIP_S = 0.04
GETS = 400
POSTS = 200


@pytest.fixture
async def far(redis_url: str) -> AsyncIterator[Served]:
    async with FaultProxy(port_of(redis_url)) as proxy:
        proxy.latency_s = ROUND_TRIP_S / 2
        async with served(proxy.url) as gateway:
            await gateway.offer("scripted")
            yield gateway


async def at_once(gateway: Served, count: int, method: str, path: str, **request: object) -> tuple[Counter[int], float]:
    """Make so many calls at the same time. Answers how often each status came, and how long it took."""
    limits = httpx2.Limits(max_connections=count)
    async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False, timeout=60, limits=limits) as http:
        began_s = asyncio.get_running_loop().time()
        answers = await asyncio.gather(
            *(http.request(method, path.format(number), **request) for number in range(count))  # type: ignore[arg-type]
        )
        return Counter(answer.status_code for answer in answers), asyncio.get_running_loop().time() - began_s


async def test_400_gets_at_once_are_all_answered_in_less_time_than_one_by_one(far: Served) -> None:
    body = {"agent": "scripted", "input": "go"}
    assert (await far.client.post("/v1/sessions/s/jobs", json=body)).status_code == 202
    statuses, took_s = await at_once(far, GETS, "GET", "/v1/sessions/s")
    assert statuses == {200: GETS}
    assert took_s < GETS * ROUND_TRIP_S  # three connections, one call each at a time, take twice this


async def test_200_posts_at_once_are_all_accepted(far: Served) -> None:
    body = {"agent": "scripted", "input": "go"}
    statuses, took_s = await at_once(far, POSTS, "POST", "/v1/sessions/s{}/jobs", json=body)
    assert statuses == {202: POSTS}
    assert took_s < POSTS * ROUND_TRIP_S


async def test_calls_at_once_share_the_connections_that_the_setting_allows(redis_url: str) -> None:
    async with FaultProxy(port_of(redis_url)) as proxy:
        proxy.latency_s = ROUND_TRIP_S / 2
        async with served(proxy.url, gateway_redis_connections=2) as gateway:
            await gateway.offer("scripted")
            await at_once(gateway, 100, "POST", "/v1/sessions/s{}/jobs", json={"agent": "scripted", "input": "go"})
            # To the queue, to the log, those that tail and catch up, and at the start those that look at the rights
            # and the one that awaits a notice of a change.
            assert proxy.connections <= 2 + 2 + 2 + 2 + 1
