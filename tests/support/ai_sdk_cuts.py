"""Cuts the stream of a running job at random bytes, and resumes it by its count of chunks.

    python -m tests.support.ai_sdk_cuts 1000

prints how many chunks were lost and doubled over so many cuts. Workers are killed meanwhile.
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
API = "/ai-sdk/workflow/strides"
LONGEST_READ_BYTES = 800


@dataclass
class Cuts:
    """What a client has received over all its connections. `outages`: cuts by the gateway, at a takeover."""

    received: list[bytes] = field(default_factory=list)
    cuts: int = 0
    outages: int = 0

    @property
    def ended(self) -> bool:
        return bool(self.received) and orjson.loads(self.received[-1])["type"] == "finish"

    def line(self, expected: list[bytes]) -> str:
        """Compare with the chunks of a client that was never cut."""
        both = zip(self.received, expected, strict=False)
        same = next(
            (at for at, (one, other) in enumerate(both) if one != other), min(len(self.received), len(expected))
        )
        lost, doubled = len(expected) - same, len(self.received) - same
        return (
            f"{self.cuts} cuts, {self.outages} by the gateway; {len(expected)} chunks, {lost} lost, {doubled} doubled"
        )


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
        cuts.outages += 1
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


async def play(most: int, seed: int, folder: Path, redis_url: str) -> list[str]:
    """Cut jobs, one after the other, until there were so many cuts. Each job is taken over once or twice. Returns a
    line for each job."""
    processes, rng, jobs, lines = Processes(folder), random.Random(seed), Client(redis_url), []
    gateway, worker = processes.gateway(redis_url), processes.worker(redis_url, **AGENTS)
    await gateway.until_ready()
    await jobs.offered("strides")
    total, number = 0, 0
    while total < most:
        number += 1
        session, cuts = f"s{number}", Cuts()
        options: dict[str, Any] = {"steps": 6, "tokens": 40, "interval_ms": 20}
        await jobs.post(session, agent="strides", options=options)
        cutting = asyncio.create_task(cut_until_the_end(gateway.url, session, cuts, rng, most - total))
        for kill_after in sorted(rng.randint(10, 240) for _ in range(rng.randint(1, 2))):
            await jobs.spoke(session, tokens=kill_after)
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
