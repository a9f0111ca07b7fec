"""Cuts the stream of a running job at random bytes, and resumes it by the id of its last event, as TanStack AI does.

    python -m tests.support.ag_ui_cuts 1000

prints how many events were lost and doubled over so many cuts. Workers are killed meanwhile.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import orjson

from tests.support.process import Processes
from tests.support.redis_server import RedisServer
from tests.support.workers import Client

AGENTS = {"HOLDFAST_AGENTS": "tests.support.dialect_agents", "HOLDFAST_LEASE_SECONDS": "1"}
API = "/ag-ui/strides"
OPTIONS: dict[str, Any] = {"steps": 4, "tokens": 20, "interval_ms": 20}
LONGEST_READ_BYTES = 800
MOST_PER_RUN = 40


@dataclass
class Cuts:
    """What a client has received over all its connections: ids and events. `outages`: cuts by the gateway."""

    received: list[tuple[str, bytes]] = field(default_factory=list)
    cuts: int = 0
    outages: int = 0

    @property
    def ended(self) -> bool:
        return bool(self.received) and orjson.loads(self.received[-1][1])["type"] in ("RUN_FINISHED", "RUN_ERROR")

    def line(self, expected: list[tuple[str, bytes]]) -> str:
        """Compare with the events of a client that was never cut."""
        lost = len(set(expected) - set(self.received))
        doubled = len(self.received) - len(set(self.received))
        other = "" if lost or doubled or self.received == expected else "; in another order"
        return (
            f"{self.cuts} cuts, {self.outages} by the gateway; {len(expected)} events, {lost} lost, {doubled} doubled"
            + other
        )


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
        cuts.outages += 1
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


async def play(most: int, seed: int, folder: Path, redis_url: str) -> list[str]:
    """Cut runs, one after the other, until there were so many cuts. Each is taken over once or twice. Returns a line
    for each run."""
    processes, rng, jobs, lines = Processes(folder), random.Random(seed), Client(redis_url), []
    gateway, worker = processes.gateway(redis_url), processes.worker(redis_url, **AGENTS)
    await gateway.until_ready()
    await jobs.offered("strides")
    total, number = 0, 0
    async with httpx2.AsyncClient(
        base_url=gateway.url, trust_env=False, timeout=60, headers={"accept-encoding": "identity"}
    ) as client:
        while total < most:
            number += 1
            thread, cuts = f"t{number}", Cuts()
            messages = [{"id": "m1", "role": "user", "content": "Go"}]
            run = {"threadId": thread, "runId": "r1", "messages": messages, "forwardedProps": {"options": OPTIONS}}
            await read_on(client, run, cuts, 1)  # starts the job; the snapshot is for clients that repeat it
            [job] = (await jobs.sessions.jobs(thread, None, 1)).jobs
            cutting = asyncio.create_task(cut_until_the_end(client, run, cuts, rng, min(MOST_PER_RUN, most - total)))
            for kill_after in sorted(rng.randint(5, 70) for _ in range(rng.randint(1, 2))):
                await jobs.spoke(thread, job.job_id, kill_after)
                dead, worker = worker, processes.worker(redis_url, **AGENTS)
                dead.kill()
            lines.append(cuts.line(await cutting))
            total += cuts.cuts
    await jobs.close()
    processes.kill()
    return lines


async def main() -> None:
    most, seed = int(sys.argv[1]), random.randrange(1 << 32)
    sys.stdout.write(f"seed {seed}\n")
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder) / "redis")
        server.start()
        try:
            for line in await play(most, seed, Path(folder), server.url):
                sys.stdout.write(f"{line}\n")
        finally:
            server.kill()


if __name__ == "__main__":
    asyncio.run(main())
