"""What gateway and worker still know of sessions that are gone.

A loop that rests may hold on to whom it served last, so one session more or less proves nothing: what counts is whether
anything grows with their number, and whether those who came later made the earlier ones forgotten.
"""

from __future__ import annotations

import asyncio
import gc
import secrets
import urllib.parse
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from holdfast.worker.attempt.jobs import Job

from bench.soak.client import Client as Person
from tests.support.census import bearers, census
from tests.support.history import Transcript
from tests.support.process import until
from tests.support.served import Served, served
from tests.support.streams import Deaf
from tests.support.watcher import Watcher, dismiss
from tests.support.workers import Client, worker_on

SESSIONS = 12
LATER = 10
JOBS: tuple[dict[str, object], ...] = (
    {"tokens": 6, "interval_ms": 20, "tools": 1},
    {"tokens": 5, "interval_ms": 5, "fail_at": 3},
    {"tokens": 3, "interval_ms": 5, "ask": "Go on?"},
)
ENDLESS: dict[str, object] = {"tokens": 100_000, "interval_ms": 100}


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    """With a worker beside it, in this process. It closes connections that rest after a second."""
    async with (
        served(redis_url, ping_seconds=0.2, send_deadline_seconds=1, idle_seconds=1) as gateway,
        worker_on(redis_url),
    ):
        await until(lambda: _offered(gateway))
        yield gateway


async def test_no_kind_of_object_grows_in_number_with_the_sessions_that_have_gone(gateway: Served) -> None:
    await _visits(gateway, "first", 1)
    usual = census()
    await _visits(gateway, "later", SESSIONS)
    await until(lambda: not _grown(usual), 20, lambda: str(_grown(usual)))


async def test_nothing_bears_the_name_of_a_session_that_has_gone_once_others_came(gateway: Served) -> None:
    name = secrets.token_hex(8)  # made here, so that no code bears it
    await _visits(gateway, name, SESSIONS)
    for number in range(LATER):
        await _visits(gateway, f"later-{number}", 1)
        urllib.parse.clear_cache()  # type: ignore[attr-defined]  # of what this test asked for
        if not bearers(f"{name}-"):
            return
    pytest.fail(f"still named by {Counter(bearers(f'{name}-'))}")


@pytest.mark.parametrize("ending", ["completed", "cancelled", "deleted"])
async def test_a_job_that_is_over_is_freed_before_the_garbage_collector_comes_by(ending: str, redis_url: str) -> None:
    client = Client(redis_url)
    async with worker_on(redis_url):
        await client.offered("scripted")
        gc.collect()
        known = _jobs()  # of other tests of this process, which still hold them
        gc.disable()
        try:
            await client.post(options={"tokens": 5 if ending == "completed" else 100_000})
            if ending != "completed":
                await client.spoke()
                await (client.cancel() if ending == "cancelled" else client.delete())
            await client.empty()
            await until(lambda: _jobs() == known)
        finally:
            gc.enable()
            await client.close()


def _jobs() -> list[Job]:
    return [thing for thing in gc.get_objects() if isinstance(thing, Job)]


def _grown(usual: Counter[str]) -> dict[str, int]:
    """The classes of which there is at least one object more for each session."""
    return {kind: more for kind, more in (census() - usual).items() if more >= SESSIONS}


async def _visits(gateway: Served, name: str, count: int) -> None:
    """So many sessions side by side, from their first job until nobody is there any more."""
    async with Person(gateway.url) as client:
        await asyncio.gather(*(_visit(gateway.url, client, f"{name}-{number}", number) for number in range(count)))
    await until(lambda: _nobody(gateway))


async def _visit(url: str, client: Person, session: str, number: int) -> None:
    """Jobs that complete, fail, ask and are cancelled; every other session is deleted while one runs."""
    jobs = [await client.post(session, options) for options in (*JOBS, ENDLESS)]
    path = f"{url}/v1/sessions/{session}"
    watchers = [
        Watcher([path], "/events?raw=true", Transcript(session, "steady"), number),
        Watcher([path], "/events", Transcript(session, "dropping", raw=False), number, stay_s=0.3),
        Watcher([path], f"/jobs/{jobs[0]}/events", Transcript(session, "of a job"), number),
    ]
    watching = [asyncio.create_task(watcher.watch()) for watcher in watchers]
    deaf = Deaf(f"{path}/events")
    await client.answer(session, jobs[2])
    await until(lambda: any(event.job_id == jobs[3] for event in watchers[0].transcript.events()))
    if number % 2:
        await client.cancel(session, jobs[3])
        await client.ended(session)
    await client.delete(session)
    await until(lambda: all(watcher.over for watcher in watchers))
    deaf.close()
    await dismiss(watching)


async def _offered(gateway: Served) -> bool:
    return "scripted" in (await gateway.client.get("/v1/agents")).text


async def _nobody(gateway: Served) -> bool:
    text = (await gateway.client.get("/metrics")).text
    return "holdfast_viewers 0.0" in text and "holdfast_queue_depth 0.0" in text
