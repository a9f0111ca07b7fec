"""The tutorials' server beside this folder, as two web servers, two workers and a Redis started for the run."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

from tests.conformance.adapter import Adapter, Job
from tests.support.ports import free_port
from tests.support.process import Process, Processes, until
from tests.support.redis_server import RedisServer
from tests.support.sse import Frame

SERVERS = WORKERS = 2
# arq gives a dead worker's job away when the longest job timeout and 10 s are over: 310 s by its default. So short a
# timeout is of no use to an agent; it is here so that the takeover is seen at all.
JOB_TIMEOUT_S = 30
MODULE = "tests.conformance.naive_server"


class Naive(Adapter):
    name = "FastAPI, arq and XREAD, as tutorials have it"
    long_tokens = 40_000  # its events are shorter than most

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as exits:
            folder = Path(exits.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
            self._redis = RedisServer(folder / "redis", aof=True)
            exits.callback(self._redis.kill)
            self._redis.start()
            self._processes = Processes(folder)
            exits.callback(self._processes.kill)
            self._client = await exits.enter_async_context(httpx2.AsyncClient(trust_env=False, timeout=30))
            self._workers: list[Process] = []
            self.urls = [self._serve(free_port()) for _ in range(SERVERS)]
            await until(self._answers)
            self._exits = exits.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._exits.aclose()

    async def start(self, tokens: int, interval_ms: float) -> Job:
        await self._staff()
        answer = await self._client.post(f"{self.urls[0]}/jobs", params={"tokens": tokens, "interval_ms": interval_ms})
        job_id = answer.raise_for_status().json()["job_id"]
        text = "".join(f"w{number} " for number in range(tokens))
        return Job(job_id, f"/jobs/{job_id}/events", text=text)

    def text(self, frame: Frame) -> str:
        return str(frame.json.get("text", ""))

    def ends(self, frame: Frame) -> bool:
        return bool(frame.json["type"] == "done")

    def beyond(self, cursor: str) -> str:
        time_ms, _, number = cursor.partition("-")
        return f"{int(time_ms) + 86_400_000}-{number}"

    async def cancel(self, job: Job) -> None:
        (await self._client.post(f"{self.urls[0]}/jobs/{job.id}/cancel")).raise_for_status()

    async def kill_worker(self, job: Job) -> None:
        for worker in self._workers:
            if f"{job.id}:generate" in worker.output():
                worker.kill()

    @contextlib.asynccontextmanager
    async def refusing(self) -> AsyncIterator[None]:
        """Without Redis. It comes back with what it had; workers that died of it are put up again."""
        self._redis.kill()
        try:
            yield
        finally:
            self._redis.start()

    async def _staff(self) -> None:
        """See that all workers are there, as a supervisor would."""
        self._workers = [worker for worker in self._workers if worker.running]
        while len(self._workers) < WORKERS:
            self._workers.append(self._start(["-m", "arq", f"{MODULE}.WorkerSettings"], JOB_TIMEOUT=str(JOB_TIMEOUT_S)))
        for worker in self._workers:
            await worker.until_output("Starting worker")

    def _serve(self, port: int) -> str:
        self._start(["-m", "uvicorn", f"{MODULE}:app", "--port", str(port), "--log-level", "warning"])
        return f"http://127.0.0.1:{port}"

    def _start(self, arguments: list[str], **env: Any) -> Process:
        return self._processes.start([sys.executable, *arguments], REDIS_URL=self._redis.url, **env)

    async def _answers(self) -> bool:
        try:
            return all([(await self._client.get(f"{url}/docs")).status_code == 200 for url in self.urls])
        except httpx2.TransportError:
            return False
