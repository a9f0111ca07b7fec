"""Holdfast, at the URLs given, or, when none are, as two gateways, two workers and a Redis started for the run."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
import orjson
from holdfast.shared.keys import log_key
from holdfast.shared.redis.client import connect

from tests.conformance.adapter import Adapter, Job, NotOffered
from tests.support.process import Gateway, Process, Processes, until
from tests.support.redis_server import RedisServer
from tests.support.sse import Frame

GATEWAYS = WORKERS = 2
LEASE_S = 2
TRIM_S = 0.002
SETTINGS: dict[str, Any] = {
    "HOLDFAST_LEASE_SECONDS": str(LEASE_S),
    "HOLDFAST_PING_SECONDS": "2",
    "HOLDFAST_GRACE_SECONDS": "0",
    "HOLDFAST_LOG_FORMAT": "json",
}
ENDS = ("job.completed", "job.failed", "job.cancelled")


class Deployment:
    """Real processes on free ports. A worker that was killed is replaced before the next job."""

    def __init__(self, folder: Path) -> None:
        self._processes = Processes(folder)
        self.redis = RedisServer(folder / "redis", aof=True)
        self.gateways: list[Gateway] = []
        self._workers: list[Process] = []

    async def start(self) -> None:
        self.redis.start()
        self.gateways = [self._processes.gateway(self.redis.url, **SETTINGS) for _ in range(GATEWAYS)]
        for gateway in self.gateways:
            await gateway.until_ready()
        await self.staff()

    async def staff(self) -> None:
        """See that all workers are there."""
        self._workers = [worker for worker in self._workers if worker.running]
        while len(self._workers) < WORKERS:
            self._workers.append(self._processes.worker(self.redis.url, **SETTINGS))
        for worker in self._workers:
            await worker.until_output("worker started")

    def kill(self, name: str) -> None:
        for worker in self._workers:
            if _name(worker) == name:
                worker.kill()

    def close(self) -> None:
        self._processes.kill()
        self.redis.kill()


def _name(worker: Process) -> str:
    lines = [orjson.loads(line) for line in worker.output().splitlines() if line.startswith("{")]
    return next(str(line["worker_id"]) for line in lines if line.get("event") == "worker started")


class Holdfast(Adapter):
    name = "Holdfast"
    refused_with = 400
    bad_cursors = (*Adapter.bad_cursors, "0", "01-1", "1-1", "1763683200123", "1763683200123-0", "9007199254740992-1")

    def __init__(self, urls: Sequence[str] = ()) -> None:
        super().__init__(urls)
        self._deployment: Deployment | None = None

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as exits:
            self._client = await exits.enter_async_context(httpx2.AsyncClient(trust_env=False, timeout=30))
            if not self.urls:
                await self._deploy(exits)
            await until(self._offered)
            self._exits = exits.pop_all()
        return self

    async def _deploy(self, exits: contextlib.AsyncExitStack) -> None:
        folder = exits.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        self._deployment = Deployment(Path(folder))
        exits.callback(self._deployment.close)
        await self._deployment.start()
        self.urls = [gateway.url for gateway in self._deployment.gateways]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._exits.aclose()

    async def start(self, tokens: int, interval_ms: float) -> Job:
        if self._deployment is not None:
            await self._deployment.staff()
        body = {"agent": "scripted", "input": "go", "options": {"tokens": tokens, "interval_ms": interval_ms}}
        accepted = await self._post("/v1/jobs", body)
        path = f"/v1/sessions/{accepted['session_id']}/jobs/{accepted['job_id']}"
        text = "".join(f"w{number} " for number in range(tokens))
        return Job(path, f"{path}/events", f"{path}/events?raw=true", text)

    def text(self, frame: Frame) -> str:
        event = frame.json
        return str(event["text"]) if event["type"] == "text.delta" else ""

    def ends(self, frame: Frame) -> bool:
        return str(frame.json["type"]) in ENDS

    def starts_over(self, frame: Frame) -> bool:
        return "discard_from" in frame.json

    def tells_of_loss(self, frame: Frame) -> bool:
        return str(frame.json["type"]) == "gap"

    def beyond(self, cursor: str) -> str:
        epoch, _, seq = cursor.partition("-")
        return f"{epoch}-{int(seq) + 1_000_000}"

    async def cancel(self, job: Job) -> None:
        await self._post(f"{job.id}/cancel", {})

    async def kill_worker(self, job: Job) -> None:
        if self._deployment is None:
            raise NotOffered("the workers are not the adapter's")
        self._deployment.kill((await self._client.get(self.urls[0] + job.id)).json()["worker"])

    @contextlib.asynccontextmanager
    async def trimming(self, job: Job, events: int) -> AsyncIterator[None]:
        """As retention does it: in steps of the hundred entries of a node."""
        if self._deployment is None:
            raise NotOffered("the Redis is not the adapter's")
        key = log_key(job.id.split("/")[3])
        redis = connect(self._deployment.redis.url, max_connections=1)

        over = asyncio.Event()

        async def trim() -> None:
            while not over.is_set():
                await redis.xtrim(key, maxlen=events, approximate=True)
                await asyncio.sleep(TRIM_S)

        trimming = asyncio.create_task(trim())
        try:
            yield
        finally:
            over.set()
            await trimming
            await redis.aclose()

    @contextlib.asynccontextmanager
    async def refusing(self) -> AsyncIterator[None]:
        """Without Redis. It comes back with what it had."""
        if self._deployment is None:
            raise NotOffered("the Redis is not the adapter's")
        self._deployment.redis.kill()
        try:
            yield
        finally:
            self._deployment.redis.start()

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = await self._client.post(self.urls[0] + path, json=body)
        accepted: dict[str, Any] = answer.raise_for_status().json()
        return accepted

    async def _offered(self) -> bool:
        return "scripted" in (await self._client.get(f"{self.urls[0]}/v1/agents")).text
