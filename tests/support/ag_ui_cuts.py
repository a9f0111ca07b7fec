"""Cuts the stream of a running job at random bytes, and resumes it by the id of its last event, as TanStack AI does.
Workers are killed meanwhile."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import orjson
from holdfast.shared.ids import parse_id

from tests.support.cut_counts import CutCounts
from tests.support.process import Processes
from tests.support.workers import Client

AGENTS = {"HOLDFAST_AGENTS": "tests.support.dialect_agents", "HOLDFAST_LEASE_SECONDS": "1"}
API = "/ag-ui/strides"
OPTIONS: dict[str, Any] = {"steps": 4, "tokens": 20, "interval_ms": 20}
LONGEST_READ_BYTES = 800
MOST_PER_RUN = 40


@dataclass
class Cuts:
    """What a client has received over all its connections: ids and events. `cuts`: not those by the gateway."""

    received: list[tuple[str, bytes]] = field(default_factory=list)
    cuts: int = 0

    @property
    def ended(self) -> bool:
        return bool(self.received) and orjson.loads(self.received[-1][1])["type"] in ("RUN_FINISHED", "RUN_ERROR")

    def counts(self, expected: list[tuple[str, bytes]]) -> CutCounts:
        """Compare what counts with that of a client that was never cut."""
        return CutCounts.of(self.cuts, counted(self.received), counted(expected))


def counted(received: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Leave out what a takeover discards, the correction itself, and the ends of what it interrupts: a client receives
    them only if it had received something of what is discarded."""
    kept: list[tuple[str, bytes]] = []
    for event_id, data in received:
        event = orjson.loads(data)
        if event.get("name") == "holdfast.takeover":
            first = parse_id(event["value"]["discardFrom"])
            kept = [other for other in kept if parse_id(other[0].partition(".")[0]) < first]
        elif event["type"] != "MESSAGES_SNAPSHOT" and not event["type"].endswith("_END"):
            kept.append((event_id, data))
    return kept


async def read_on(client: httpx2.AsyncClient, run: dict[str, Any], cuts: Cuts, limit: int | None) -> None:
    """Repeat the POST with the last id, and read up to so many bytes or the end. An event that was not read whole is
    not received."""
    headers = {"last-event-id": cuts.received[-1][0]} if cuts.received else {}
    body, cut = b"", False
    try:
        async with client.stream("POST", API, json=run, headers=headers) as response:
            assert response.status_code == 200
            async for piece in response.aiter_raw():
                body += piece
                if limit is not None and len(body) >= limit:
                    body, cut = body[:limit], True
                    break
    except httpx2.RemoteProtocolError:
        pass  # cut by the gateway, at a takeover
    for frame in body.split(b"\n\n")[:-1]:
        if frame.startswith(b"id: "):
            event_id, _, data = frame.partition(b"\ndata: ")
            cuts.received.append((event_id[4:].decode(), data))
    cuts.cuts += cut


async def cut_until_the_end(
    client: httpx2.AsyncClient, run: dict[str, Any], cuts: Cuts, rng: random.Random, most: int
) -> list[tuple[str, bytes]]:
    """Cut the stream of a run at random, `most` times or until it ends. Returns the events of a client without cuts,
    which has received the beginning."""
    while not cuts.ended:
        await read_on(client, run, cuts, rng.randint(1, LONGEST_READ_BYTES) if cuts.cuts < most else None)
    whole = Cuts(received=cuts.received[:1])
    while not whole.ended:
        await read_on(client, run, whole, None)
    return whole.received


async def play(most: int, seed: int, folder: Path, redis_url: str) -> CutCounts:
    """Cut runs, one after the other, until there were so many cuts. Each is taken over once or twice."""
    processes, rng, jobs, counts = Processes(folder), random.Random(seed), Client(redis_url), CutCounts()
    gateway, worker = processes.gateway(redis_url), processes.worker(redis_url, **AGENTS)
    await gateway.until_ready()
    await jobs.offered("strides")
    number = 0
    async with httpx2.AsyncClient(
        base_url=gateway.url, trust_env=False, timeout=60, headers={"accept-encoding": "identity"}
    ) as client:
        while counts.cuts < most:
            number += 1
            thread, cuts = f"t{number}", Cuts()
            messages = [{"id": "m1", "role": "user", "content": "Go"}]
            run = {"threadId": thread, "runId": "r1", "messages": messages, "forwardedProps": {"options": OPTIONS}}
            await read_on(client, run, cuts, 1)  # starts the job; the snapshot is for clients that repeat it
            [job] = (await jobs.sessions.jobs(thread, None, 1)).jobs
            cutting = asyncio.create_task(
                cut_until_the_end(client, run, cuts, rng, min(MOST_PER_RUN, most - counts.cuts))
            )
            for kill_after in sorted(rng.randint(5, 70) for _ in range(rng.randint(1, 2))):
                await jobs.spoke(thread, job.job_id, kill_after)
                dead, worker = worker, processes.worker(redis_url, **AGENTS)
                dead.kill()
            counts.add(cuts.counts(await cutting))
    await jobs.close()
    processes.kill()
    return counts
