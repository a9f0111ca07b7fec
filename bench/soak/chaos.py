"""Faults during a soak. They strike everything but the gateway and the worker that are measured."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from bench.soak.deployment import LEASE_S, Deployment
from bench.soak.tally import Tally

BETWEEN_S = 10.0


class Chaos:
    """Does one thing every BETWEEN_S on average, all random choices drawn from the seed."""

    def __init__(self, deployment: Deployment, seed: int, tally: Tally) -> None:
        self._deployment = deployment
        self._random = random.Random(seed)  # noqa: S311 - chance, not secrecy
        self._tally = tally

    async def rage(self) -> None:
        """Go on until cancelled. Nothing stays stopped then."""
        acts: dict[Callable[[], Awaitable[None]], int] = {
            self._kill_worker: 4,
            self._freeze_worker: 2,
            self._kill_gateway: 3,
            self._freeze_redis: 2,
            self._cut_connections_to_redis: 3,
        }
        while True:
            await asyncio.sleep(self._random.uniform(0, 2 * BETWEEN_S))
            act = self._random.choices(list(acts), list(acts.values()))[0]
            await act()
            self._tally.faults[act.__name__.strip("_").replace("_", " ")] += 1

    async def _kill_worker(self) -> None:
        self._deployment.replace_worker()

    async def _freeze_worker(self) -> None:
        worker = self._deployment.other_worker
        await self._freeze(worker.stop, worker.cont, 2 * LEASE_S)

    async def _kill_gateway(self) -> None:
        self._deployment.replace_gateway()

    async def _freeze_redis(self) -> None:
        server = self._deployment.server
        await self._freeze(server.stop, server.cont, LEASE_S)

    async def _cut_connections_to_redis(self) -> None:
        await self._deployment.redis.execute_command("CLIENT", "KILL", "SKIPME", "yes")

    async def _freeze(self, stop: Callable[[], None], resume: Callable[[], None], most_s: float) -> None:
        stop()
        try:
            await asyncio.sleep(self._random.uniform(0.5, most_s))
        finally:
            resume()
