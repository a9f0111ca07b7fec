"""Complete systems, from POST to viewer: Holdfast, and the same with stock arq."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass
from typing import Protocol

import orjson
from holdfast.shared.keys import log_key

from bench.client import EventReader, get, post
from bench.ledger import InvalidRun
from bench.peers.redis import RedisServer
from bench.peers.stage import Stage
from bench.processes import Child, free_port

START_S = 30.0


class Deployment(Protocol):
    """A gateway at `port`, and workers. A job streams `tokens` tokens, the first immediately."""

    name: str
    port: int

    def worker(self, max_jobs: int) -> Child: ...

    async def ready(self) -> None:
        """Wait until a worker accepts jobs."""

    async def submit(self, session_id: str, tokens: int, interval_ms: float, *, probe: bool = False) -> None:
        """Submit a job. A `probe` measures the append of each of its tokens."""

    async def probed_ms(self, session_id: str) -> list[float]:
        """Return the times that a probe measured in ms; empty until it has ended."""

    def log(self, session_id: str) -> str:
        """Return the Redis key of the session's events."""

    async def view(self, session_id: str) -> EventReader: ...


@dataclass(slots=True)
class Holdfast:
    stage: Stage
    redis: RedisServer
    name: str = "Holdfast"
    port: int = 0

    def __post_init__(self) -> None:
        self.port = free_port()
        self.stage.gateway(self.port, HOLDFAST_REDIS_URL=self.redis.url, HOLDFAST_PORT=str(self.port))

    def worker(self, max_jobs: int) -> Child:
        environment = {
            "HOLDFAST_REDIS_URL": self.redis.url,
            "HOLDFAST_SCRIPTED_AGENT": "1",
            "HOLDFAST_AGENTS": "bench.probe",
        }
        return self.stage.background(
            [sys.executable, "-m", "holdfast.worker"],
            **environment,
            HOLDFAST_MAX_JOBS=str(max_jobs),
            HOLDFAST_GRACE_SECONDS="0",
        )

    async def ready(self) -> None:
        deadline = time.monotonic() + START_S
        while b'"scripted"' not in await get(self.port, "/v1/agents"):
            if time.monotonic() > deadline:
                raise InvalidRun("no worker offered the scripted agent")
            await asyncio.sleep(0.05)

    async def submit(self, session_id: str, tokens: int, interval_ms: float, *, probe: bool = False) -> None:
        agent = "probe" if probe else "scripted"
        job = {"agent": agent, "input": "go", "options": {"tokens": tokens, "interval_ms": interval_ms}}
        await post(self.port, f"/v1/sessions/{session_id}/jobs", orjson.dumps(job))

    async def probed_ms(self, session_id: str) -> list[float]:
        jobs = orjson.loads(await get(self.port, f"/v1/sessions/{session_id}/jobs"))
        found: list[float] = (jobs["jobs"][-1]["result"] or {}).get("append_ms", [])
        return found

    def log(self, session_id: str) -> str:
        return log_key(session_id)

    async def view(self, session_id: str) -> EventReader:
        return await EventReader.open(self.port, f"/v1/sessions/{session_id}/events")


@dataclass(slots=True)
class StockArq:
    stage: Stage
    redis: RedisServer
    name: str = "stock arq"
    port: int = 0

    def __post_init__(self) -> None:
        _, self.port = self.stage.uvicorn("bench.peers.stock_arq:app", self.redis.url)

    def worker(self, max_jobs: int) -> Child:
        command = [sys.executable, "-m", "arq", "bench.peers.stock_arq.WorkerSettings"]
        return self.stage.background(command, REDIS_URL=self.redis.url, MAX_JOBS=str(max_jobs))

    async def ready(self) -> None:
        """Run a job, since stock arq does not report when a worker is ready."""
        await self.submit("ready", 1, 0)
        await (await self.view("ready")).until(b"text.delta")

    async def submit(self, session_id: str, tokens: int, interval_ms: float, *, probe: bool = False) -> None:
        function = "probe" if probe else "generate"
        query = f"tokens={tokens}&interval_ms={interval_ms}&function={function}"
        await post(self.port, f"/jobs/{session_id}?{query}", b"{}")

    async def probed_ms(self, session_id: str) -> list[float]:
        found: list[float] = orjson.loads(await get(self.port, f"/probes/{session_id}"))
        return found

    def log(self, session_id: str) -> str:
        return f"stream:{session_id}"

    async def view(self, session_id: str) -> EventReader:
        return await EventReader.open(self.port, f"/events/{session_id}")
