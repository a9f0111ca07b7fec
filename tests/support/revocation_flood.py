"""`python -m tests.support.revocation_flood`: one tenant revokes tickets without end while another one reads.

The first revocations are announced to the queue server as a gateway does. The last ones are calls of `DELETE …/tickets`
from another process, eight at a time. The other tenant reads a session with a ticket every 10 ms, alone and beside
these calls, and has open streams with tickets, which the gateway checks. The figures count on a quiet machine only.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
from holdfast.gateway.authentication.authenticator import USER_RIGHTS
from holdfast.shared.auth_store import AuthStore
from holdfast.shared.offered_agents import OfferedAgents
from holdfast.shared.redis.client import Redis, connect

from bench.figures import quantile
from tests.support.access import JOB
from tests.support.process import Gateway, Processes
from tests.support.redis_server import RedisServer
from tests.support.sse import SseStream

AT_ONCE = 8  # calls that revoke
BATCH = 500  # announcements
SESSIONS = 50  # of each tenant
READ_EVERY_S = 0.01


class Used(NamedTuple):
    """What was used up to a moment: time, CPU of the gateway and of Redis, in s, and bytes that Redis sent."""

    at_s: float
    gateway_s: float
    redis_s: float
    sent: float


class Measured(NamedTuple):
    """The times of calls in ms: of reads alone, of reads beside revocations, and of revocations; and what the server
    used meanwhile."""

    alone: list[float]
    beside: list[float]
    revoked: list[float]
    used: Used


class Tenant:
    """The sessions of a tenant at a gateway, with an API key."""

    def __init__(self, url: str, token: str) -> None:
        self.client = client_of(url, token)
        self.sessions: list[str] = []

    async def create(self) -> None:
        for number in range(SESSIONS):
            session = f"/v1/sessions/s{number}"
            (await self.client.post(f"{session}/jobs", json=JOB)).raise_for_status()
            self.sessions.append(session)

    async def ticket(self, session: str) -> str:
        made = await self.client.post(f"{session}/tickets", json={"expires_in_s": 3600})
        return str(made.raise_for_status().json()["ticket"])


def client_of(url: str, token: str) -> httpx2.AsyncClient:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx2.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=60)


def revoke(url: str, token: str, sessions: Sequence[str], calls: int) -> list[float]:
    """Revoke tickets by so many calls. Returns the time of each in ms."""

    async def run() -> list[float]:
        left, times_ms = iter(range(calls)), list[float]()
        async with client_of(url, token) as client:

            async def one_by_one() -> None:
                for number in left:
                    times_ms.append(await timed(client, "DELETE", f"{sessions[number % len(sessions)]}/tickets"))

            await asyncio.gather(*(one_by_one() for _ in range(AT_ONCE)))
        return times_ms

    return asyncio.run(run())


async def timed(client: httpx2.AsyncClient, method: str, path: str) -> float:
    """Return the time of a call in ms."""
    began_s = time.perf_counter()
    (await client.request(method, path)).raise_for_status()
    return (time.perf_counter() - began_s) * 1000


async def reads(client: httpx2.AsyncClient, path: str, until: asyncio.Future[Any]) -> list[float]:
    """Read one session again and again."""
    times_ms = list[float]()
    while not until.done():
        times_ms.append(await timed(client, "GET", path))
        await asyncio.sleep(READ_EVERY_S)
    return times_ms


async def announce(redis: Redis, count: int) -> None:
    """Announce revocations as a gateway does."""
    store = AuthStore(redis)
    for first in range(0, count, BATCH):
        sessions = range(first, min(first + BATCH, count))
        await asyncio.gather(*(store.announce_revocation(f"flood//{number}") for number in sessions))


async def used(redis: Redis, gateway: Gateway) -> Used:
    info = await redis.info("everything")
    fields = Path(f"/proc/{gateway.pid}/stat").read_text().rpartition(")")[2].split()
    gateway_s = sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
    redis_s = info["used_cpu_user"] + info["used_cpu_sys"]
    return Used(time.perf_counter(), gateway_s, redis_s, info["total_net_output_bytes"])


async def measure(folder: Path, *, revocations: int, calls: int, read_s: float) -> Measured:
    """Run the flood on a new server and a new gateway. `calls`: how many of the revocations are calls. `read_s`: how
    long the other tenant reads alone, and at least beside these calls: gateways poll every 3 s."""
    server, processes = RedisServer(folder), Processes(folder)
    server.start()
    redis = connect(server.url, max_connections=4)
    spawn = multiprocessing.get_context("spawn")
    try:
        gateway = processes.gateway(server.url, HOLDFAST_AUTH="keys")
        await gateway.until_ready()
        await OfferedAgents(redis).offer({JOB["agent"]: {"type": "string"}})
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            await announce(redis, revocations - calls)
            return await beside(redis, gateway, pool, calls, read_s)
    finally:
        await redis.aclose()
        processes.kill()
        server.kill()


async def beside(redis: Redis, gateway: Gateway, pool: Executor, calls: int, read_s: float) -> Measured:
    """Let one tenant read alone, and then beside the calls of the other one."""
    tokens = [(await AuthStore(redis).create_key(name, USER_RIGHTS))[1] for name in ("calm", "flood")]
    calm, attacker = (Tenant(gateway.url, token) for token in tokens)
    async with AsyncExitStack() as stack:
        for tenant in (calm, attacker):
            await stack.enter_async_context(tenant.client)
            await tenant.create()
        tickets = [await calm.ticket(session) for session in calm.sessions]
        for session, ticket in zip(calm.sessions, tickets, strict=True):
            await stack.enter_async_context(SseStream(f"{gateway.url}{session}/events?ticket={ticket}"))
        reader = await stack.enter_async_context(client_of(gateway.url, tickets[0]))
        alone = await reads(reader, calm.sessions[0], asyncio.ensure_future(asyncio.sleep(read_s)))
        run, attack = asyncio.get_running_loop().run_in_executor, partial(revoke, gateway.url, tokens[1])
        await run(pool, attack, attacker.sessions, 0)  # starts the process
        before = await used(redis, gateway)
        revoking = asyncio.gather(run(pool, attack, attacker.sessions, calls), asyncio.sleep(read_s))
        times_ms = await reads(reader, calm.sessions[0], revoking)
        after = await used(redis, gateway)
        revoked, _ = await revoking
        return Measured(alone, times_ms, revoked, Used(*(b - a for a, b in zip(before, after, strict=True))))


def report(found: Measured) -> str:
    """Return the figures as lines of text."""
    named = {"reads alone": found.alone, "reads beside": found.beside, "revocations": found.revoked}
    lines = [
        f"{name}: {len(times_ms)} calls, p50 {quantile(times_ms, 0.5):.1f} ms, p99 {quantile(times_ms, 0.99):.1f} ms,"
        f" max {max(times_ms):.1f} ms"
        for name, times_ms in named.items()
    ]
    took_s, gateway_s, redis_s, sent = found.used
    lines.append(
        f"in {took_s:.1f} s: CPU of the gateway {gateway_s:.2f} s, of Redis {redis_s:.2f} s;"
        f" Redis sent the gateway {sent:,.0f} bytes"
    )
    return "\n".join(lines)


def main() -> None:
    """Run the flood and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--revocations", type=int, default=300_000, help="all of them (%(default)s)")
    parser.add_argument("--calls", type=int, default=3000, help="the last ones, which are calls (%(default)s)")
    parser.add_argument("--read-s", type=float, default=5, help="how long the other tenant reads alone (%(default)s)")
    given: Any = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sizes = {"revocations": given.revocations, "calls": given.calls, "read_s": given.read_s}
        found = asyncio.run(measure(Path(folder), **sizes))
    sys.stdout.write(f"{given.revocations} revocations, {given.calls} of them calls\n{report(found)}\n")


if __name__ == "__main__":
    main()
