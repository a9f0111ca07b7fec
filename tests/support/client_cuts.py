"""Cut the connections of the Python client at random bytes, and compare what it read with the log.

    scripts/client-cuts --cuts 1000 --seed 7

Both forms of the client submit jobs and read them through a proxy that cuts. Prints the counts, and ends with 1 when an
event was lost, doubled or reordered, a text is not what the agent says, or a job was submitted twice.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from holdfast.client import Client, Conversation, Event, SyncClient
from holdfast.shared.ids import ORIGIN
from holdfast.shared.log.event_log import EventLog
from holdfast.shared.redis.client import connect

from tests.support.cutting_proxy import CuttingProxy
from tests.support.ports import free_port
from tests.support.process import Processes, until
from tests.support.redis_server import RedisServer
from tests.support.scene import words

TOKENS = 300
INTERVAL_MS = 20
MOST_BYTES = 2500
PATIENCE_S = 120.0
VIEWERS = 16  # of each form in one round


@dataclass
class Seen:
    """What one viewer read: `ids` in order, and its conversation."""

    ids: list[str] = field(default_factory=list)
    conversation: Conversation = field(default_factory=Conversation)

    def add(self, event: Event) -> None:
        self.conversation.add(event)
        if event.id is not None:
            self.ids.append(event.id)


@dataclass
class Report:
    """The counts of a run. `lost`, `doubled` and `reordered` are events; `wrong` are texts and jobs."""

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
            f"{len(self.wrong)} wrong texts or jobs",
            *self.wrong[:20],
        ]

    def compare(self, name: str, seen: Seen, log: list[str]) -> None:
        """Compare what a viewer read with the log."""
        self.viewers += 1
        self.events += len(log)
        self.lost += len(set(log) - set(seen.ids))
        self.doubled += sum((Counter(seen.ids) - Counter(log)).values())
        self.reordered += seen.ids != sorted(seen.ids, key=lambda one: tuple(map(int, one.split("-"))))
        text = seen.conversation.messages[-1]["content"]
        if text != words(TOKENS):
            self.wrong.append(f"{name} has the text {text[-80:]!r}")


async def cut_clients(gateway_url: str, redis_url: str, *, cuts: int, seed: int, viewers: int = VIEWERS) -> Report:
    """Submit and read jobs, in rounds, until so many cuts were made. `viewers`: of each form in one round."""
    report, number = Report(), 0
    while report.cuts < cuts:
        proxy = CuttingProxy(port_of(gateway_url), cuts=cuts - report.cuts, most_bytes=MOST_BYTES, seed=seed + number)
        async with proxy:
            names = [f"cut-{number}-{viewer}" for viewer in range(2 * viewers)]
            seen = await asyncio.gather(*(_watch(name, proxy.url) for name in names))
        for name, one in zip(names, seen, strict=True):
            report.compare(name, one, await _log(redis_url, name))
            report.wrong += await _doubled_jobs(gateway_url, name)
        report.cuts += proxy.made
        report.connections += proxy.connections
        number += 1
    return report


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


async def _watch(session_id: str, url: str) -> Seen:
    """Submit one job and read it; sessions of an odd number by the synchronous client, in a thread."""
    if int(session_id.rpartition("-")[2]) % 2:
        return await in_thread(session_id, url)
    seen = Seen()
    async with Client(url, patience_s=PATIENCE_S) as client:
        job = await client.send("hi", session_id=session_id, agent="scripted", options=OPTIONS)
        async for event in job.stream(raw=True):
            seen.add(event)
    return seen


def _watch_in_thread(session_id: str, url: str) -> Seen:
    seen = Seen()
    with SyncClient(url, patience_s=PATIENCE_S) as client:
        job = client.send("hi", session_id=session_id, agent="scripted", options=OPTIONS)
        for event in job.stream(raw=True):
            seen.add(event)
    return seen


async def in_thread(session_id: str, url: str) -> Seen:
    """A thread of its own, since the pool of asyncio has too few."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Seen] = loop.create_future()

    def work() -> None:
        try:
            seen = _watch_in_thread(session_id, url)
        except Exception as error:  # noqa: BLE001 - the failure is that of the awaiting task
            loop.call_soon_threadsafe(done.set_exception, error)
        else:
            loop.call_soon_threadsafe(done.set_result, seen)

    threading.Thread(target=work, daemon=True).start()
    return await done


OPTIONS = {"tokens": TOKENS, "interval_ms": INTERVAL_MS}


async def _log(redis_url: str, session_id: str) -> list[str]:
    redis = connect(redis_url, max_connections=1)
    try:
        page = await EventLog(redis).read(session_id, ORIGIN, 100_000)
        return [str(entry.id) for entry in page.entries]
    finally:
        await redis.aclose()


async def _doubled_jobs(gateway_url: str, session_id: str) -> list[str]:
    async with httpx2.AsyncClient(base_url=gateway_url, trust_env=False) as client:
        jobs = (await client.get(f"/v1/sessions/{session_id}")).json()["jobs"]
    return [] if len(jobs) == 1 else [f"{session_id} has {len(jobs)} jobs"]


async def run(cuts: int, seed: int) -> Report:
    """Run with a Redis, a gateway and two workers of its own."""
    with tempfile.TemporaryDirectory() as folder:
        server, processes = RedisServer(Path(folder) / "redis"), Processes(Path(folder))
        server.start()
        try:
            gateway = processes.gateway(server.url, port=free_port())
            for _ in range(2):
                await processes.worker(server.url).until_output("worker started")
            await gateway.until_ready()
            async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client:
                await until(lambda: offers(client))
            return await cut_clients(gateway.url, server.url, cuts=cuts, seed=seed)
        finally:
            processes.kill()
            server.kill()


async def offers(client: httpx2.AsyncClient) -> bool:
    return "scripted" in (await client.get("/v1/agents")).text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuts", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    report = asyncio.run(run(chosen.cuts, chosen.seed))
    print("\n".join(report.lines()))  # noqa: T201
    sys.exit(not report.clean)


if __name__ == "__main__":
    main()
