"""The deployment of a soak test: Redis without persistence, a gateway and a worker, each in a process on 127.0.0.1."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

from holdfast.shared.log.event_log import EventLog
from holdfast.shared.redis.log_connections import connect_logs

from bench.client import get
from bench.soak.vitals import Vitals, vitals
from tests.support.ports import free_port
from tests.support.process import Processes, until
from tests.support.redis_server import RedisServer

SEND_DEADLINE_S = 4
SETTINGS = {
    "HOLDFAST_PING_SECONDS": "2",
    "HOLDFAST_SEND_DEADLINE_SECONDS": str(SEND_DEADLINE_S),
    "HOLDFAST_RETENTION_EVENTS": "10000",
    "HOLDFAST_LOG_FORMAT": "json",
}


class Deployment:
    """`async with Deployment(folder) as deployment` starts all processes. `redis` and `log` give direct access."""

    def __init__(self, folder: Path) -> None:
        self._processes = Processes(folder)
        self._server = RedisServer(folder / "redis")
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._stack.callback(self._server.kill)
        self._stack.callback(self._processes.kill)
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def gateway(self) -> Vitals:
        return vitals(self._gateway.pid, self._server.port)

    def worker(self) -> Vitals:
        return vitals(self._worker.pid, self._server.port)

    async def metrics(self) -> dict[str, float]:
        """Return the gateway's metrics without labels, by name."""
        text = (await get(self._port, "/metrics")).decode()
        pairs = (line.split(" ") for line in text.splitlines() if line and line[0] != "#" and "{" not in line)
        return {name: float(value) for name, value in pairs}

    async def redis_mib(self) -> float:
        used: int = (await self.redis.info("memory"))["used_memory"]
        return used / 2**20

    async def keys_of_sessions(self) -> int:
        """Count the keys of sessions."""
        return len([key async for key in self.redis.scan_iter("holdfast:{*", count=1000)])

    def troubles(self) -> list[str]:
        """Return the errors that the processes logged, and the output of those that ended."""
        found = []
        for process in (self._gateway, self._worker):
            bad = [line for line in process.output().splitlines() if '"level": "error"' in line]
            found += bad if process.running else [*bad, process.describe()[-2000:]]
        return found

    @property
    def _port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def _start(self) -> None:
        self._server.start()
        logs = connect_logs(self._server.url, max_connections=4, deadline_s=10)
        self._stack.push_async_callback(logs.aclose)
        self.redis = logs.servers[0].redis
        self.log = EventLog(logs)
        self._gateway = self._processes.gateway(self._server.url, port=free_port(), **SETTINGS)
        self._worker = self._processes.worker(self._server.url, **SETTINGS)
        self.url = self._gateway.url
        await self._gateway.until_ready()
        await until(self._offered, describe=self._worker.describe)

    async def _offered(self) -> bool:
        return b'"scripted"' in await get(self._port, "/v1/agents")
