"""`python -m tests.support.webhook_flood`: six jobs stream while receivers of webhooks of other tenants attack.

Each attacking tenant queues 60 jobs with webhooks to six hosts that answer with `100 Continue` without end. A round
has a part with none, one and three of them, one after the other: on a machine with other work, only parts of the same
round compare. Printed is how long the logs of the six jobs were silent between two events.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

import redis.asyncio
from holdfast.shared.keys import session_keys
from holdfast.shared.owner import Owner, complete_id

from tests.support.ports import free_port
from tests.support.process import Processes
from tests.support.redis_server import RedisServer
from tests.support.workers import Client, environment

ATTACKERS = (0, 1, 3)
ATTACKING_JOBS = 60
HOSTS = 6
JOBS = 6
INTERVAL_MS = 20
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n" * 100
SETTINGS = {
    "webhook_secret": "0123456789abcdef0123456789abcdef",
    "webhook_networks": "127.0.0.0/8",
    "lease_seconds": 3,
}


class Silence(NamedTuple):
    """The time between two events of a job, in ms, and how long the jobs took, in s."""

    p50: float
    p99: float
    worst: float
    took_s: float


def attack(queue_url: str, port: int, attackers: int) -> None:
    """Queue the jobs of attacking tenants, and answer every webhook without end, at any loopback address."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while True:
                writer.write(CONTINUE)
                await writer.drain()
                await asyncio.sleep(0)

    async def serve() -> None:
        async with await asyncio.start_server(answer, "0.0.0.0", port) as server:
            await queue_jobs(Client(queue_url), port, attackers)
            await server.serve_forever()

    asyncio.run(serve())


async def queue_jobs(client: Client, port: int, attackers: int) -> None:
    for number in range(attackers * ATTACKING_JOBS):
        session = complete_id(Owner(f"attacker{number % attackers}"), f"s{number}")
        hook = {"url": f"http://127.0.0.{number // attackers % HOSTS + 1}:{port}/"}
        await client.post(session, options={"tokens": 1, "interval_ms": 0}, webhook=hook)


async def measure(folder: Path, attackers: int, seconds: float) -> Silence:
    """Stream the jobs of one tenant on two workers, with so many attacking ones beside it."""
    server, processes, port = RedisServer(folder), Processes(folder), free_port()
    server.start()
    receivers = multiprocessing.get_context("spawn").Process(
        target=attack, args=(server.url, port, attackers), daemon=True
    )
    client = Client(server.url)
    try:
        for _ in range(2):
            processes.worker(server.url, **environment(**SETTINGS))
        await client.offered("scripted")
        receivers.start()
        return await silence(client, seconds)
    finally:
        await client.close()
        processes.kill()
        if receivers.pid:
            receivers.kill()
        server.kill()


async def silence(client: Client, seconds: float) -> Silence:
    """Run the jobs, and watch their logs."""
    sessions = [complete_id(Owner("calm"), f"s{number}") for number in range(JOBS)]
    options = {"tokens": int(seconds * 1000 / INTERVAL_MS), "interval_ms": INTERVAL_MS}
    began_s, gaps = time.perf_counter(), list[float]()
    for session in sessions:
        await client.post(session, options=options)
    ends = [asyncio.create_task(client.end(session)) for session in sessions]
    ids, last = dict[Any, Any].fromkeys((session_keys(session).log for session in sessions), "0-0"), dict[str, float]()
    async with redis.asyncio.Redis.from_url(client.queue_url, decode_responses=True) as logs:
        while not all(end.done() for end in ends):
            for log, entries in await logs.xread(ids, block=100):
                now_s = time.perf_counter()
                gaps += [(now_s - last[log]) * 1000] if log in last else []
                last[log], ids[log] = now_s, entries[-1][0]
    return Silence(median(gaps), quantiles(gaps, n=100)[98], max(gaps), time.perf_counter() - began_s)


def main() -> None:
    """Print the silence in each part of each round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--seconds", type=float, default=10, help="how long each of the six jobs streams (%(default)s)")
    given: Any = parser.parse_args()
    for number in range(given.rounds):
        for attackers in ATTACKERS:
            with tempfile.TemporaryDirectory() as folder:
                found = asyncio.run(measure(Path(folder), attackers, given.seconds))
            sys.stdout.write(
                f"round {number + 1}, {attackers} attacking: silence p50 {found.p50:.0f} ms, p99 {found.p99:.0f} ms,"
                f" worst {found.worst:.0f} ms; the jobs took {found.took_s:.1f} s\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
