"""`holdfast gateway --processes N`: several processes on one port."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import httpx2
import pytest

from tests.support.process import Gateway, Processes, until
from tests.support.sse import SseStream


@pytest.fixture
async def gateway(processes: Processes, redis_url: str) -> Gateway:
    gateway = processes.gateway(redis_url, HOLDFAST_GATEWAY_PROCESSES="2")
    await until(lambda: listening(gateway) == 2)
    await gateway.until_ready()
    return gateway


def listening(gateway: Gateway) -> int:
    return gateway.output().count('"listening"')


def children(gateway: Gateway) -> list[int]:
    found = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text()
    return [int(pid) for pid in found.split()]


def port_of(gateway: Gateway) -> int:
    return int(gateway.url.rpartition(":")[2])


async def answering(gateway: Gateway) -> set[str]:
    """The processes that answer new connections: each has a prefix of its own for the ids of requests."""
    found = set()
    for _ in range(40):
        async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client:
            found.add((await client.get("/livez")).headers["x-request-id"].partition("-")[0])
    return found


async def test_connections_are_spread_over_the_processes(gateway: Gateway) -> None:
    assert len(await answering(gateway)) == 2


async def test_a_process_that_is_killed_is_started_again(gateway: Gateway) -> None:
    os.kill(children(gateway)[0], signal.SIGKILL)
    await until(lambda: listening(gateway) == 3)
    assert len(await answering(gateway)) == 2


async def test_streams_of_all_processes_end_cleanly_after_one_signal(gateway: Gateway) -> None:
    streams = [SseStream(f"{gateway.url}/v1/sessions/s/events?wait=true") for _ in range(16)]
    for stream in streams:
        await stream.__aenter__()
    gateway.terminate()
    for stream in streams:
        async for _ in stream:
            pass
        assert stream.parser.retry_ms is not None
        await stream.__aexit__(None, None, None)
    assert await gateway.wait() == 0
    assert gateway.output().count('"stopped"') == 2


async def test_no_process_outlives_the_first_one(gateway: Gateway) -> None:
    left = children(gateway)
    gateway.kill()
    await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left))
    assert gateway.output().count('"stopped"') == 2


async def test_a_port_that_is_taken_is_not_shared(gateway: Gateway, processes: Processes, redis_url: str) -> None:
    other = processes.gateway(redis_url, port=port_of(gateway), HOLDFAST_GATEWAY_PROCESSES="2")
    assert await other.wait() == 1
    assert re.search(rf"port {port_of(gateway)}: Address already in use", other.output())
