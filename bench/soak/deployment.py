"""The deployment of a soak test on 127.0.0.1: Redis without persistence, the gateway and the worker that are measured,
and a second one of each, which faults may strike. It authenticates its callers, and every limit is checked."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

import httpx2
from holdfast.gateway.principal import RIGHTS
from holdfast.shared.auth_store import AuthStore
from holdfast.shared.log.event_log import EventLog
from holdfast.shared.owner import Owner, complete_id
from holdfast.shared.redis.log_connections import connect_logs

from bench.soak.vitals import Vitals, vitals
from tests.support.ports import free_port
from tests.support.process import Gateway, Process, Processes, until
from tests.support.redis_server import RedisServer

SEND_DEADLINE_S = 4
LEASE_S = 3
OWNER = Owner("soak")
_ENOUGH = "100000"  # so that every limit is checked and none is reached
SETTINGS = {
    "HOLDFAST_AUTH": "keys",
    "HOLDFAST_TENANT_REQUESTS_PER_SECOND": _ENOUGH,
    "HOLDFAST_ADDRESS_REQUESTS_PER_SECOND": _ENOUGH,
    "HOLDFAST_SESSION_MAX_VIEWERS": _ENOUGH,
    "HOLDFAST_TENANT_MAX_VIEWERS": _ENOUGH,
    "HOLDFAST_ADDRESS_MAX_VIEWERS": _ENOUGH,
    "HOLDFAST_TENANT_MAX_OPEN": _ENOUGH,
    "HOLDFAST_TENANT_MAX_RUNNING": "1000",
    "HOLDFAST_LEASE_SECONDS": str(LEASE_S),
    "HOLDFAST_MAX_ATTEMPTS": "100",  # whose worker dies here is innocent
    "HOLDFAST_GRACE_SECONDS": "1",
    "HOLDFAST_PING_SECONDS": "2",
    "HOLDFAST_SEND_DEADLINE_SECONDS": str(SEND_DEADLINE_S),
    "HOLDFAST_RETENTION_EVENTS": "10000",
    "HOLDFAST_LOG_FORMAT": "json",
}


class Deployment:
    """`async with Deployment(folder) as deployment` starts all processes. `redis` and `log` give direct access.

    `headers`: those of a caller with an API key. `urls`: of both gateways, the measured one first."""

    def __init__(self, folder: Path) -> None:
        self._processes = Processes(folder)
        self.server = RedisServer(folder / "redis")
        self._stack = AsyncExitStack()
        self._other_port: int
        self.other_gateway: Gateway
        self.other_worker: Process

    async def __aenter__(self) -> Self:
        self._stack.callback(self.server.kill)
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
        return vitals(self._gateway.pid, self.server.port)

    def worker(self) -> Vitals:
        return vitals(self._worker.pid, self.server.port)

    def replace_gateway(self) -> None:
        """Kill the second gateway, and start another one at its address."""
        self.other_gateway.kill()
        self.other_gateway = self._start_gateway(self._other_port)

    def replace_worker(self) -> None:
        """Kill the second worker, and start another one."""
        self.other_worker.kill()
        self.other_worker = self._start_worker()

    def complete(self, session_id: str) -> str:
        """Return the complete id of a caller's session."""
        return complete_id(OWNER, session_id)

    async def metrics(self) -> dict[str, float]:
        """Return the gateway's metrics without labels, by name."""
        text = await self._get("/metrics")
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

    async def _start(self) -> None:
        self.server.start()
        logs = connect_logs(self.server.url, max_connections=4, deadline_s=10)
        self._stack.push_async_callback(logs.aclose)
        self.redis = logs.servers[0].redis
        self.log = EventLog(logs)
        _, token = await AuthStore(self.redis).create_key(OWNER.tenant, RIGHTS)
        self.headers = {"Authorization": f"Bearer {token}"}
        self._gateway = self._start_gateway(free_port())
        self._worker = self._start_worker()
        self.other_worker = self._start_worker()
        self._other_port = free_port()
        self.other_gateway = self._start_gateway(self._other_port)
        self.url = self._gateway.url
        self.urls = (self.url, self.other_gateway.url)
        for gateway in (self._gateway, self.other_gateway):
            await gateway.until_ready()
        await until(self._offered, describe=self._worker.describe)

    async def _offered(self) -> bool:
        return '"scripted"' in await self._get("/v1/agents")

    async def _get(self, path: str) -> str:
        async with httpx2.AsyncClient(trust_env=False, headers=self.headers) as client:
            return (await client.get(f"{self.url}{path}")).text

    def _start_gateway(self, port: int) -> Gateway:
        return self._processes.gateway(self.server.url, port=port, **SETTINGS)

    def _start_worker(self) -> Process:
        return self._processes.worker(self.server.url, **SETTINGS)
