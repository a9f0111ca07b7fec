"""Cut the connections of clients of every dialect at random moments, and compare what they show with the log."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx2

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


async def cut_followers(
    names: Sequence[str], gateway_url: str, redis_url: str, *, cuts: int, seed: int
) -> dict[str, CutCounts]:
    """Follow jobs with each of these clients, side by side, until each was cut so often."""
    jobs = Client(redis_url)
    try:
        found = await asyncio.gather(
            *(_cut_often(name, gateway_url, jobs, cuts, random.Random(f"{seed} {name}")) for name in names)
        )
    finally:
        await jobs.close()
    return dict(zip(names, found, strict=True))


async def _cut_often(name: str, gateway_url: str, jobs: Client, cuts: int, chance: random.Random) -> CutCounts:
    counts = CutCounts()
    while counts.cuts < cuts:
        session_id = f"cut-{chance.randrange(1 << 60)}"
        body = {"agent": "scripted", "input": "count", "options": OPTIONS}
        async with httpx2.AsyncClient(base_url=gateway_url, trust_env=False) as client:
            accepted: dict[str, Any] = (await client.post(f"/v1/sessions/{session_id}/jobs", json=body)).json()
        most = min(MOST_PER_JOB, cuts - counts.cuts)
        counts.add(await _cut_job(name, gateway_url, jobs, (session_id, accepted["job_id"]), most, chance))
    return counts


async def _cut_job(
    name: str, gateway_url: str, jobs: Client, address: tuple[str, str], most: int, chance: random.Random
) -> CutCounts:
    """Follow one job, cut up to `most` times from its first text on."""
    received = asyncio.Event()
    async with FaultProxy(int(gateway_url.rpartition(":")[2])) as proxy:
        proxy.slice_bytes, proxy.delay_s = SLICE_BYTES, SLICE_SECONDS
        job = JobAt(f"http://127.0.0.1:{proxy.port}", *address, agent="scripted")
        cutting = asyncio.create_task(_cut(proxy, received, most, chance))
        shown = await FOLLOWERS[name](job, lambda text: received.set() if text else None)
        cutting.cancel()
        await asyncio.gather(cutting, return_exceptions=True)
        made = proxy.cuts
    log = shown_by(await jobs.kept(*address), [str(entry.id) for entry in await jobs.entries(address[0])])
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
