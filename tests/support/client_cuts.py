"""Cut the connections of the client libraries at random bytes, and compare what they read with the logs.

    scripts/client-cuts --cuts 1000 --seed 7 python

Without a name, one client after the other. Each viewer submits a job and reads it through a proxy that cuts. Prints the
counts, and ends with 1 when an event was lost, doubled or reordered, a text is not what the agent says, or a job was
submitted twice.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from holdfast.shared.ids import parse_id
from holdfast.shared.keys import log_key
from holdfast.shared.redis.client import connect

from tests.support.cut_viewers import CLIENTS, Follow, Seen
from tests.support.cutting_proxy import CuttingProxy
from tests.support.process import Processes, until
from tests.support.redis_server import RedisServer
from tests.support.scene import words

TOKENS = 300
OPTIONS = {"tokens": TOKENS, "interval_ms": 20}
MOST_BYTES = 2500
VIEWERS = 32  # in one round


@dataclass
class Report:
    """The counts of a run. `lost`, `doubled` and `reordered` are events; `wrong` are texts, gaps and jobs.

    Only viewers that read every event can lose one; for the others the text decides."""

    cuts: int = 0
    connections: int = 0
    viewers: int = 0
    events: int = 0
    lost: int = 0
    doubled: int = 0
    reordered: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.lost or self.doubled or self.reordered or self.wrong)

    def lines(self) -> list[str]:
        return [
            f"{self.viewers} viewers, {self.connections} connections, {self.cuts} cuts",
            f"{self.events} events: {self.lost} lost, {self.doubled} doubled, {self.reordered} reordered",
            f"{len(self.wrong)} wrong texts, gaps or jobs",
            *self.wrong[:20],
        ]

    def compare(self, seen: Seen, log: list[str], jobs: int) -> None:
        """Compare what a viewer read with the ids of its log, and the number of jobs with one."""
        self.viewers += 1
        self.events += len(seen.ids)
        self.lost += len(set(log) - set(seen.ids)) if seen.mode == "raw" else 0
        self.doubled += sum((Counter(seen.ids) - Counter(log)).values())
        self.reordered += seen.ids != sorted(seen.ids, key=parse_id)
        if seen.text != words(TOKENS):
            self.wrong.append(f"{seen.session_id} ({seen.mode}) has the text {seen.text[-80:]!r}")
        if seen.gaps:
            self.wrong.append(f"{seen.session_id} ({seen.mode}) has {seen.gaps} gaps")
        if jobs != 1:
            self.wrong.append(f"{seen.session_id} has {jobs} jobs")


async def cut_client(
    follow: Follow, gateway_url: str, redis_url: str, *, cuts: int, seed: int, viewers: int = VIEWERS
) -> Report:
    """Submit and read jobs, in rounds of `viewers`, until so many cuts were made."""
    report, number, port = Report(), 0, int(gateway_url.rpartition(":")[2])
    while report.cuts < cuts:
        left = cuts - report.cuts
        async with CuttingProxy(port, cuts=left, most_bytes=MOST_BYTES, seed=seed + number) as proxy:
            seen = await follow(proxy.url, [f"cut-{seed}-{number}-{viewer}" for viewer in range(viewers)], OPTIONS)
        assert len(seen) == viewers
        for each in seen:
            report.compare(each, await _log(redis_url, each.session_id), await _jobs(gateway_url, each.session_id))
        report.cuts += proxy.made
        report.connections += proxy.connections
        number += 1
    return report


async def _log(redis_url: str, session_id: str) -> list[str]:
    redis = connect(redis_url, max_connections=1)
    try:
        return [entry_id.decode() for entry_id, _ in await redis.xrange(log_key(session_id))]
    finally:
        await redis.aclose()


async def _jobs(gateway_url: str, session_id: str) -> int:
    async with httpx2.AsyncClient(base_url=gateway_url, trust_env=False) as client:
        return len((await client.get(f"/v1/sessions/{session_id}")).json()["jobs"])


async def start(processes: Processes, redis_url: str) -> str:
    """Start a gateway and a worker for the viewers of one round. Returns the address of the gateway."""
    gateway = processes.gateway(redis_url)
    worker = processes.worker(redis_url, HOLDFAST_MAX_JOBS=str(VIEWERS))
    await gateway.until_ready()
    async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client:
        await until(lambda: _offers(client), describe=worker.describe)
    return gateway.url


async def _offers(client: httpx2.AsyncClient) -> bool:
    return "scripted" in (await client.get("/v1/agents")).text


async def run(name: str, cuts: int, seed: int) -> Report:
    """Cut one client, with a Redis, a gateway and a worker of its own."""
    with tempfile.TemporaryDirectory() as folder:
        server, processes = RedisServer(Path(folder) / "redis"), Processes(Path(folder))
        server.start()
        try:
            gateway_url = await start(processes, server.url)
            return await cut_client(CLIENTS[name], gateway_url, server.url, cuts=cuts, seed=seed)
        finally:
            processes.kill()
            server.kill()


def main() -> int:
    """Cut the chosen clients and print the reports. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="scripts/client-cuts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("client", nargs="?", choices=sorted(CLIENTS))
    parser.add_argument("--cuts", type=int, default=1000)
    parser.add_argument("--seed", type=int, help="decides where to cut; drawn and printed when left out")
    chosen = parser.parse_args()
    seed = random.randrange(10**6) if chosen.seed is None else chosen.seed
    clean = True
    for name in [chosen.client] if chosen.client else sorted(CLIENTS):
        print(f"scripts/client-cuts --cuts {chosen.cuts} --seed {seed} {name}", flush=True)  # noqa: T201
        report = asyncio.run(run(name, chosen.cuts, seed))
        print("\n".join(report.lines()), flush=True)  # noqa: T201
        clean = clean and report.clean
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
