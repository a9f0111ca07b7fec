"""Whatever a client puts into a body costs the gateway little: of the time of its event loop, of memory, of bandwidth.

Time is counted as CPU time of the loop's thread, which a busy machine does not change.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import orjson
import pytest
from holdfast.shared.log.log_replies import Event
from holdfast.shared.offered_agents import OfferedAgents
from holdfast.shared.redis.client import connect

from bench.hostile import ALLOWED, HOSTILE, SCHEMAS, filled, job
from tests.support.log import Session
from tests.support.process import Processes
from tests.support.served import Served, served

JSON = {"Content-Type": "application/json"}
MAX_ERROR_BYTES = 16 * 1024
SMALL_BODY_BYTES = 10_000_000  # what 50,000 values may take, however few bytes they came in
EXPENSIVE = {
    name: {**HOSTILE, **ALLOWED}[name]
    for name in (
        *("small objects", "a text for a pattern that backtracks", "integers of 4,000 digits"),
        *("9,900 messages", "a long text of quotes", "a long text"),
    )
} | {"arrays in arrays": job("free", filled(b"[[]],", 83_000))}


@dataclass
class Pauses:
    """The longest turn of the event loop, in seconds of its thread's CPU time."""

    longest_s: float = 0.0

    async def watch(self) -> None:
        since = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            self.longest_s = max(self.longest_s, now - since)
            since = now


@contextmanager
def pauses() -> Iterator[Pauses]:
    watched = Pauses()
    task = asyncio.get_running_loop().create_task(watched.watch())
    try:
        yield watched
    finally:
        task.cancel()


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url) as gateway:
        await OfferedAgents(gateway.redis).offer(SCHEMAS)
        yield gateway


async def post(gateway: Served, body: bytes) -> httpx2.Response:
    assert len(body) <= gateway.settings.max_body_bytes
    return await gateway.client.post("/v1/jobs", content=body, headers=JSON)


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_body_is_refused_in_few_words_and_holds_nobody_up(gateway: Served, name: str) -> None:
    with pauses() as watched:
        answer = await post(gateway, HOSTILE[name])
    assert answer.status_code == 422, answer.text
    assert len(answer.content) <= MAX_ERROR_BYTES
    assert len(answer.json().get("errors", [])) <= 20
    assert answer.json()["field"]
    assert watched.longest_s < 0.1


async def test_no_value_that_was_sent_comes_back(gateway: Served) -> None:
    answer = await post(gateway, job("chat", b'{"messages":["sk-4711",{"role":"sk-4711","content":{"sk-4711":1}}]}'))
    assert answer.status_code == 422
    assert "sk-4711" not in answer.text


@pytest.mark.parametrize("name", ALLOWED)
async def test_a_large_body_is_accepted_and_holds_nobody_up(gateway: Served, name: str) -> None:
    with pauses() as watched:
        answer = await post(gateway, ALLOWED[name])
    assert answer.status_code == 202, answer.text
    assert watched.longest_s < 0.1


async def test_many_large_bodies_at_once_hold_nobody_up_for_longer_than_one(gateway: Served) -> None:
    bodies = [HOSTILE["9,900 messages and a bad one"], ALLOWED["9,900 messages"]] * 8
    with pauses() as watched:
        answers = await asyncio.gather(*(post(gateway, body) for body in bodies))
    assert [answer.status_code for answer in answers] == [422, 202] * 8
    assert watched.longest_s < 0.1


async def test_an_answer_that_its_question_does_not_allow_holds_nobody_up(gateway: Served, session: Session) -> None:
    attempt = await session.started()
    asked = orjson.dumps({"type": "question.asked", "schema": SCHEMAS["rows"]})
    await session.log_writer.ask("s", attempt.epoch, 1, Event("question.asked", "j1", asked), "q1")
    value = b'{"value":{"rows":%s}}' % filled(b'{"ab":"x"},', 180_000)
    with pauses() as watched:
        answer = await gateway.client.post("/v1/sessions/s/jobs/j1/answer", content=value, headers=JSON)
    assert (answer.status_code, answer.json()["field"]) == (422, "value.rows.0.ab")
    assert len(answer.content) <= MAX_ERROR_BYTES
    assert watched.longest_s < 0.1


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of a process's memory from /proc")
@pytest.mark.parametrize("name", EXPENSIVE)
async def test_no_body_takes_more_than_ten_times_its_size_of_memory_or_10_mb(
    redis_url: str, processes: Processes, name: str
) -> None:
    """Each body meets a gateway of its own: memory that an earlier one has left behind would hide what it takes."""
    gateway = processes.unforked_gateway(redis_url)
    await gateway.until_ready()
    redis = connect(redis_url, max_connections=1)
    await OfferedAgents(redis).offer(SCHEMAS)
    await redis.aclose()
    async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False, timeout=60) as client:
        for body in (job(agent, b'{"messages":0}') for agent in SCHEMAS):  # everything that is made once is made
            await client.post("/v1/jobs", content=body, headers=JSON)
        grown = await _grown(gateway.pid, client, EXPENSIVE[name])
    assert grown <= max(10 * len(EXPENSIVE[name]), SMALL_BODY_BYTES)


async def _grown(pid: int, client: httpx2.AsyncClient, body: bytes) -> int:
    """By how many bytes the process's memory rises at most while it works on a body."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak is now what is used now
    before = _status(pid, "VmRSS")
    await client.post("/v1/jobs", content=body, headers=JSON)
    return _status(pid, "VmHWM") - before


def _status(pid: int, name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024
