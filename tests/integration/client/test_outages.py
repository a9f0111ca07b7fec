"""The Python client when gateways stop, workers die, and a network falls silent. tests/clients has cut connections."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from holdfast.client import Client, Event, JobResult

from tests.support.fault_proxy import FaultProxy
from tests.support.ports import free_port
from tests.support.process import Gateway, Process, Processes, until
from tests.support.scene import words

pytestmark = pytest.mark.timeout(120)


class Deployment:
    """A gateway and a worker of the test's own."""

    def __init__(self, processes: Processes, redis_url: str) -> None:
        self._processes = processes
        self._redis_url = redis_url
        self._port = free_port()

    async def start(self) -> None:
        self.worker = self.add_worker()
        self.gateway = await self.add_gateway()
        async with Client(self.gateway.url) as client:
            await until(lambda: _offers(client))

    async def add_gateway(self) -> Gateway:
        gateway = self._processes.gateway(self._redis_url, port=self._port)
        await gateway.until_ready()
        return gateway

    def add_worker(self) -> Process:
        return self._processes.worker(self._redis_url, HOLDFAST_LEASE_SECONDS="1")


@pytest.fixture
async def deployment(processes: Processes, redis_url: str) -> Deployment:
    deployment = Deployment(processes, redis_url)
    await deployment.start()
    return deployment


@pytest.fixture
async def client(deployment: Deployment) -> AsyncIterator[Client]:
    async with Client(deployment.gateway.url) as client:
        yield client


async def _offers(client: Client) -> bool:
    return "scripted" in str(await client.agents())


def scripted(**options: Any) -> dict[str, Any]:
    return {"agent": "scripted", "options": {"interval_ms": 20, "tokens": 100, **options}}


async def read(client: Client, into: list[Event], session_id: str, job_id: str, **options: Any) -> None:
    async for event in client.stream(session_id, job_id, **options):
        into.append(event)  # noqa: PERF401 - it is looked at while it grows


def deltas(events: list[Event]) -> Callable[[], bool]:
    return lambda: sum(event.type == "text.delta" for event in events) > 10


def texts(events: list[Event]) -> str:
    return "".join(event.body["text"] for event in events if event.type == "text.delta")


async def test_a_gateway_that_is_drained_hands_its_streams_to_the_next(deployment: Deployment, client: Client) -> None:
    job = await client.send("hi", **scripted(tokens=300))
    events: list[Event] = []
    reasons: list[str] = []
    reading = asyncio.create_task(read(client, events, job.session_id, job.job_id, on_outage=reasons.append))
    await until(deltas(events))
    deployment.gateway.terminate()
    assert await deployment.gateway.wait() == 0
    await deployment.add_gateway()
    await reading
    assert texts(events) == words(300)
    assert all("does not answer" in reason for reason in reasons)


async def test_a_job_whose_worker_is_killed_has_the_text_of_the_next_attempt_once(
    deployment: Deployment, client: Client
) -> None:
    job = await client.send("hi", **scripted())
    result = asyncio.create_task(job.result())
    events: list[Event] = []
    reading = asyncio.create_task(read(client, events, job.session_id, job.job_id))
    await until(deltas(events))
    deployment.add_worker()
    deployment.worker.kill()
    done: JobResult = await result
    await reading
    assert done.text == words(100)
    assert done.messages == (await client.conversation(job.session_id)).messages
    assert len(texts(events)) > len(words(100))
    assert [event.body["attempt"] for event in events if event.type == "job.started"] == [1, 2]


async def test_a_network_that_falls_silent_is_left_for_another_connection(deployment: Deployment) -> None:
    async with FaultProxy(int(deployment.gateway.url.rpartition(":")[2])) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        async with Client(url, silence_s=1) as client:
            job = await client.send("hi", **scripted())
            events: list[Event] = []
            reasons: list[str] = []
            reading = asyncio.create_task(read(client, events, job.session_id, job.job_id, on_outage=reasons.append))
            await until(deltas(events))
            proxy.black_hole = True
            await until(lambda: reasons != [])
            proxy.black_hole = False
            await reading
    assert texts(events) == words(100)
    assert len({event.id for event in events}) == len(events)
    assert "ReadTimeout" in reasons[0]


async def test_a_job_that_is_sent_while_its_gateway_restarts_is_accepted_once(
    deployment: Deployment, client: Client
) -> None:
    deployment.gateway.kill()
    sending = asyncio.create_task(client.run("hi", session_id="s", **scripted(tokens=3)))
    await until(lambda: refuses(deployment.gateway.url))
    await deployment.add_gateway()
    assert (await sending).text == words(3)
    assert len([job async for job in client.jobs("s")]) == 1


def refuses(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) != 0
