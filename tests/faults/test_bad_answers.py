"""Something else answers at the address of Redis: every process lives, says so, and goes on when Redis is back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

import httpx2
import pytest

from tests.support.fault_proxy import FaultProxy, port_of
from tests.support.process import Gateway, Processes, until
from tests.support.scene import Scene, words
from tests.support.sse import SseStream
from tests.support.workers import Client

JOB = {"agent": "scripted", "input": "go", "options": {"tokens": 1}}
SESSIONS = ("s", "t", "u")


def hang_up(proxy: FaultProxy) -> None:
    proxy.answer = b""


def reset(proxy: FaultProxy) -> None:
    proxy.refusing = True


def babble(proxy: FaultProxy) -> None:
    proxy.answer = bytes(range(256)) * 8


def pretend(proxy: FaultProxy) -> None:
    """Replies that nothing was asked for, and of kinds that nobody expects."""
    proxy.answer = b"*2\r\n:1\r\n+OK\r\n" * 20


def speak_http(proxy: FaultProxy) -> None:
    proxy.answer = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\nConnection: close\r\n\r\ngone"


SHORT = [(fault, seconds) for fault in (hang_up, reset, babble, pretend, speak_http) for seconds in (1, 3)]
LONG = [(fault, 10) for fault in (reset, speak_http)]  # longer than five leases: without a connection, and with one


@pytest.mark.parametrize(("fault", "seconds"), [*SHORT, *LONG])
async def test_f23_whatever_answers_instead_of_redis_ends_no_process_no_job_and_no_stream(
    redis_url: str, processes: Processes, fault: Callable[[FaultProxy], None], seconds: int
) -> None:
    client = Client(redis_url)
    async with FaultProxy(port_of(redis_url)) as proxy:
        workers = [processes.worker(proxy.url, HOLDFAST_LEASE_SECONDS="2") for _ in range(2)]
        gateway = processes.gateway(proxy.url, HOLDFAST_PING_SECONDS="0.2")
        await gateway.until_ready()
        await client.offered("scripted")
        play = Scene(client, [gateway.url])
        for session in SESSIONS:
            await play.post(session, tokens=50 * (seconds + 1), interval_ms=20)
            play.watch(session)
        await play.heard(5)
        async with SseStream(f"{gateway.url}/v1/sessions/s/events") as stream:
            fault(proxy)
            proxy.reset()
            statuses, pings = await asyncio.gather(calls(gateway, seconds), pings_of(stream, seconds))
            proxy.answer, proxy.refusing = None, False
        assert statuses == {503}
        assert pings >= seconds
        await play.verdict()
        for session in SESSIONS:
            assert await client.said(session) == words(50 * (seconds + 1))
            assert (await client.job(session)).attempt == 1
        for process in (gateway, *workers):
            assert process.running, process.describe()
            assert "Traceback" not in process.output(), process.describe()
        await until(lambda: answers(gateway))
        await play.close()
    await client.close()


async def calls(gateway: Gateway, seconds: float) -> set[int]:
    """The statuses of calls that are made for so long."""
    until_s, statuses = time.monotonic() + seconds, set()
    async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False, timeout=30) as http:
        while time.monotonic() < until_s:
            statuses.add((await http.get("/v1/sessions/s")).status_code)
            statuses.add((await http.post("/v1/sessions/new/jobs", json=JOB)).status_code)
            statuses.add((await http.get("/v1/sessions/s/messages")).status_code)
            statuses.add((await http.get("/v1/agents")).status_code)
            await asyncio.sleep(0.05)
    return statuses


async def pings_of(stream: SseStream, seconds: float) -> int:
    """How many comments come on a stream in that time."""
    before = len(stream.parser.comments)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            async for _ in stream:
                pass
            raise AssertionError("the stream ended")
    return len(stream.parser.comments) - before


async def answers(gateway: Gateway) -> bool:
    async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as http:
        return (await http.get("/readyz")).status_code == 200
