"""Cut the connections of clients of every dialect at random moments, and compare what they show with the log."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import httpx2
from holdfast.shared.owner import Owner, complete_id

from tests.support.cut_counts import CutCounts
from tests.support.dialect_followers import AG_UI, AI_SDK, NATIVE
from tests.support.fault_proxy import FaultProxy
from tests.support.followers import OPENAI, WEBSOCKET, Follow, JobAt, shown_by
from tests.support.workers import Client

FOLLOWERS: dict[str, Follow] = {**NATIVE, **WEBSOCKET, **OPENAI, **AI_SDK, **AG_UI}
OPTIONS = {"tokens": 150, "interval_ms": 20, "tools": 2}
CALM_SECONDS = 0.1  # on average, between two cuts
MOST_PER_JOB = 25
SLICE_BYTES, SLICE_SECONDS = 100, 0.001  # so that a cut falls into the middle of an event


class Access(NamedTuple):
    """How clients of a gateway that authenticates get access: by an API key without a subject, or by tickets that are
    made with it. Without a key, there is no authentication."""

    key: str = ""
    tenant: str = ""
    by_ticket: bool = False

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def complete_id(self, session_id: str) -> str:
        return complete_id(Owner(self.tenant, ""), session_id) if self.key else session_id

    async def token(self, client: httpx2.AsyncClient, session_id: str) -> str:
        """Return what a client of the session sends. `client`: one with the key."""
        if not self.by_ticket:
            return self.key
        made = await client.post(f"/v1/sessions/{session_id}/tickets", json={})
        return str(made.json()["ticket"])


ANYBODY = Access()


async def cut_followers(
    names: Sequence[str], gateway_url: str, redis_url: str, *, cuts: int, seed: int, access: Access = ANYBODY
) -> dict[str, CutCounts]:
    """Follow jobs with each of these clients, side by side, until each was cut so often."""
    jobs = Client(redis_url)
    try:
        found = await asyncio.gather(
            *(_cut_often(name, gateway_url, jobs, cuts, random.Random(f"{seed} {name}"), access) for name in names)
        )
    finally:
        await jobs.close()
    return dict(zip(names, found, strict=True))


async def _cut_often(
    name: str, gateway_url: str, jobs: Client, cuts: int, chance: random.Random, access: Access
) -> CutCounts:
    counts = CutCounts()
    while counts.cuts < cuts:
        session_id = f"cut-{chance.randrange(1 << 60)}"
        body = {"agent": "scripted", "input": "count", "options": OPTIONS}
        async with httpx2.AsyncClient(base_url=gateway_url, trust_env=False, headers=access.headers) as client:
            accepted: dict[str, Any] = (await client.post(f"/v1/sessions/{session_id}/jobs", json=body)).json()
            token = await access.token(client, session_id)
        most = min(MOST_PER_JOB, cuts - counts.cuts)
        job = JobAt(gateway_url, session_id, accepted["job_id"], "scripted", token)
        counts.add(await _cut_job(name, jobs, job, most, chance, access))
    return counts


async def _cut_job(name: str, jobs: Client, job: JobAt, most: int, chance: random.Random, access: Access) -> CutCounts:
    """Follow one job, cut up to `most` times from its first text on."""
    received = asyncio.Event()
    async with FaultProxy(int(job.url.rpartition(":")[2])) as proxy:
        proxy.slice_bytes, proxy.delay_s = SLICE_BYTES, SLICE_SECONDS
        cutting = asyncio.create_task(_cut(proxy, received, most, chance))
        cut_job = job._replace(url=f"http://127.0.0.1:{proxy.port}")
        shown = await FOLLOWERS[name](cut_job, lambda text: received.set() if text else None)
        cutting.cancel()
        await asyncio.gather(cutting, return_exceptions=True)
        made = proxy.cuts
    session = access.complete_id(job.session_id)
    log = shown_by(await jobs.kept(session, job.job_id), [str(entry.id) for entry in await jobs.entries(session)])
    seen, expected = (each.ids if shown.ids and each.ids else each.text.split(" ") for each in (shown, log))
    counts = CutCounts.of(made, seen, expected)
    if counts.clean and shown != (log if shown.ids else replace(log, ids=None)):
        counts.wrong.append(f"{name}: {shown} is not {log}")
    return counts


async def _cut(proxy: FaultProxy, received: asyncio.Event, most: int, chance: random.Random) -> None:
    await received.wait()
    while proxy.cuts < most:
        await asyncio.sleep(chance.uniform(0, 2 * CALM_SECONDS))
        if chance.random() < 0.5:
            proxy.cut()
        else:
            proxy.reset()
