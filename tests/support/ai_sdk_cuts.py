"""Cuts the stream of a running job at random bytes, and resumes it by its count of chunks. Workers are killed
meanwhile."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import orjson

from tests.support.cut_counts import CutCounts
from tests.support.process import Processes
from tests.support.workers import Client

AGENTS = {"HOLDFAST_AGENTS": "tests.support.dialect_agents", "HOLDFAST_LEASE_SECONDS": "1"}
API = "/ai-sdk/workflow/strides"
LONGEST_READ_BYTES = 800


@dataclass
class Cuts:
    """What a client has received over all its connections. `cuts`: not those by the gateway, at a takeover."""

    received: list[bytes] = field(default_factory=list)
    cuts: int = 0

    @property
    def ended(self) -> bool:
        return bool(self.received) and orjson.loads(self.received[-1])["type"] == "finish"

    def counts(self, expected: list[bytes]) -> CutCounts:
        """Compare with the chunks of a client that was never cut, each by its number."""
        return CutCounts.of(self.cuts, list(enumerate(self.received)), list(enumerate(expected)))


async def read_on(client: httpx2.AsyncClient, session: str, cuts: Cuts, limit: int | None) -> None:
    """Read from the next chunk on, up to so many bytes or the end. A chunk that was not read whole is not received."""
    url, body, cut = f"{API}/{session}/stream?startIndex={len(cuts.received)}", b"", False
    try:
        async with client.stream("GET", url) as response:
            assert response.status_code == 200
            async for piece in response.aiter_raw():
                body += piece
                if limit is not None and len(body) >= limit:
                    body, cut = body[:limit], True
                    break
    except httpx2.RemoteProtocolError:
        pass  # cut by the gateway, at a takeover
    frames = body.split(b"\n\n")[:-1]
    cuts.received += [frame[6:] for frame in frames if frame.startswith(b"data: {")]
    cuts.cuts += cut


async def cut_until_the_end(url: str, session: str, cuts: Cuts, rng: random.Random, most: int) -> list[bytes]:
    """Cut the stream of a job at random, `most` times or until it ends. Returns the chunks of a client without cuts."""
    async with httpx2.AsyncClient(
        base_url=url, trust_env=False, timeout=60, headers={"accept-encoding": "identity"}
    ) as client:
        while not cuts.ended:
            await read_on(client, session, cuts, rng.randint(1, LONGEST_READ_BYTES) if cuts.cuts < most else None)
        whole = Cuts()
        while not whole.ended:
            await read_on(client, session, whole, None)
        return whole.received


async def play(most: int, seed: int, folder: Path, redis_url: str) -> CutCounts:
    """Cut jobs, one after the other, until there were so many cuts. Each job is taken over once or twice."""
    processes, rng, jobs, counts = Processes(folder), random.Random(seed), Client(redis_url), CutCounts()
    gateway, worker = processes.gateway(redis_url), processes.worker(redis_url, **AGENTS)
    await gateway.until_ready()
    await jobs.offered("strides")
    number = 0
    while counts.cuts < most:
        number += 1
        session, cuts = f"s{number}", Cuts()
        options: dict[str, Any] = {"steps": 6, "tokens": 40, "interval_ms": 20}
        await jobs.post(session, agent="strides", options=options)
        cutting = asyncio.create_task(cut_until_the_end(gateway.url, session, cuts, rng, most - counts.cuts))
        for kill_after in sorted(rng.randint(10, 240) for _ in range(rng.randint(1, 2))):
            await jobs.spoke(session, tokens=kill_after)
            dead, worker = worker, processes.worker(redis_url, **AGENTS)
            dead.kill()
        counts.add(cuts.counts(await cutting))
    await jobs.close()
    processes.kill()
    return counts
