"""`python -m holdfast.gateway` as a process: what it says at its start, and how it ends."""

from __future__ import annotations

import sys
from collections.abc import Callable

import httpx2

from tests.support.ports import free_port
from tests.support.process import Processes, until
from tests.support.redis_server import RedisServer
from tests.support.sse import SseStream


async def test_a_gateway_without_redis_says_once_what_it_waits_for_and_goes_on_when_it_comes(
    processes: Processes, redis_server: Callable[..., RedisServer]
) -> None:
    server = redis_server()
    server.kill()
    gateway = processes.gateway(server.url)
    await gateway.until_output("waiting until Redis can be used")
    server.start()
    await gateway.until_ready()
    await gateway.until_output('"ready"')
    assert gateway.output().count("waiting until Redis can be used") == 1


async def test_a_gateway_that_is_asked_to_end_ends_with_0(processes: Processes, redis_url: str) -> None:
    gateway = processes.gateway(redis_url)
    await gateway.until_ready()
    gateway.terminate()
    assert await gateway.wait() == 0
    assert "Traceback" not in gateway.output()


async def test_an_interrupt_ends_it_with_0_as_well(processes: Processes, redis_url: str) -> None:
    gateway = processes.gateway(redis_url)
    await gateway.until_ready()
    gateway.interrupt()
    assert await gateway.wait() == 0


async def test_open_streams_end_cleanly_with_a_time_to_come_back_and_the_process_with_0(
    processes: Processes, redis_url: str
) -> None:
    processes.worker(redis_url)
    gateway = processes.gateway(redis_url)
    await gateway.until_ready()
    async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client:
        body = {"agent": "scripted", "input": "x", "options": {"tokens": 100_000}}
        await until(lambda: offered(client))
        assert (await client.post("/v1/sessions/s/jobs", json=body)).status_code == 202
    async with SseStream(f"{gateway.url}/v1/sessions/s/events") as stream:
        frames = aiter(stream)
        await anext(frames)
        gateway.terminate()
        async for _ in frames:
            pass
    assert stream.parser.retry_ms is not None
    assert bytes(stream.body).endswith(b"\n\n")
    assert await gateway.wait() == 0
    assert "Traceback" not in gateway.output()


async def offered(client: httpx2.AsyncClient) -> bool:
    return "scripted" in (await client.get("/v1/agents")).text


async def test_a_setting_that_cannot_be_used_is_named_in_one_line(processes: Processes) -> None:
    process = processes.start([sys.executable, "-m", "holdfast.gateway"], HOLDFAST_PORT="eighty")
    assert await process.wait() == 2
    (line,) = process.output().splitlines()
    assert "HOLDFAST_PORT" in line


async def test_a_port_that_is_taken_ends_the_start(processes: Processes, redis_url: str) -> None:
    port = free_port()
    first = processes.gateway(redis_url, port=port)
    await first.until_ready()
    second = processes.gateway(redis_url, port=port)
    assert await second.wait() not in (0, None)
    assert "address already in use" in second.output().lower()
    assert first.running


async def test_log_lines_are_json_where_nobody_watches(processes: Processes, redis_url: str) -> None:
    gateway = processes.gateway(redis_url)
    await gateway.until_ready()
    lines = gateway.output().splitlines()
    assert lines
    assert all(line.startswith("{") for line in lines)
