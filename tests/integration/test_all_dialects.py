"""One session is watched through all dialects and both client libraries at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.support.completions import completions
from tests.support.dialect_followers import AG_UI, AI_SDK, NATIVE
from tests.support.followers import LIBRARIES, OPENAI, WEBSOCKET, Followers, JobAt, Shown, shown_by
from tests.support.gated import Gate, gated, told
from tests.support.served import Served, served
from tests.support.workers import Client, worker_on

CLIENTS = NATIVE | OPENAI | WEBSOCKET | LIBRARIES | AI_SDK


@dataclass
class Audience:
    """All clients of one session, in the middle of its job's text."""

    gateway: Served
    jobs: Client
    gate: Gate
    job: JobAt
    groups: list[Followers]

    async def ended(self) -> dict[str, Shown]:
        return {name: shown for group in self.groups for name, shown in (await group.ended()).items()}

    async def log(self) -> Shown:
        entries = await self.jobs.entries(self.job.session_id)
        return shown_by(
            await self.jobs.kept(self.job.session_id, self.job.job_id), [str(entry.id) for entry in entries]
        )


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url, ping_seconds=0.2) as gateway, worker_on(redis_url, [gated]):
        yield gateway


@pytest.fixture
async def audience(gateway: Served, redis_url: str, tmp_path: Path) -> AsyncIterator[Audience]:
    """The job is started by a chat completion. Its question is answered by completions and clients of AG-UI, where a
    question ends a run."""
    jobs, gate = Client(redis_url), Gate(tmp_path / "gate")
    await jobs.offered("gated")
    async with AsyncExitStack() as stack:
        stack.push_async_callback(jobs.close)
        starting = await stack.enter_async_context(Followers(JobAt(gateway.url, "", ""), completions(gate.path)))
        await starting.show("Looking. ")
        [session] = (await gateway.client.get("/v1/sessions")).json()["sessions"]
        job = JobAt(gateway.url, session["session_id"], session["job_id"])
        watching = await stack.enter_async_context(Followers(job, CLIENTS))
        await watching.show("Looking. ")
        answering = await stack.enter_async_context(Followers(job, AG_UI))
        groups = [starting, watching, answering]
        gate.open(5)
        for group in groups:
            await group.show(" 4 ")
        yield Audience(gateway, jobs, gate, job, groups)


async def test_a_session_shows_the_same_in_all_dialects_and_client_libraries(audience: Audience) -> None:
    audience.gate.open()
    await shows_everywhere(audience, "completed")
    assert (await audience.log()).text == told()


async def shows_everywhere(audience: Audience, end: str) -> None:
    ended, log = await audience.ended(), await audience.log()
    assert log.end == end
    assert len(ended) == len(CLIENTS | AG_UI) + 2
    for name, shown in ended.items():
        completion = name.startswith("chat completions")
        expected = replace(log, ids=log.ids if shown.ids else None, tools=[] if completion else log.tools)
        assert shown == expected, name


async def test_a_stop_ends_the_job_in_all_dialects_and_client_libraries(audience: Audience) -> None:
    path = f"/v1/sessions/{audience.job.session_id}/jobs/{audience.job.job_id}/cancel"
    assert (await audience.gateway.client.post(path)).status_code == 202
    await shows_everywhere(audience, "cancelled")
