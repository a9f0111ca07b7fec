"""A gateway, and a worker that offers the examples of all frameworks, before a provider whose frames a test holds."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.support.aimock import Aimock, aimock_in
from tests.support.process import Process, Processes, until
from tests.support.provider_relay import Heard, OnFrame, Relay, pass_on, relayed
from tests.support.record import Record
from tests.support.redis_server import RedisServer
from tests.support.sse import Frame, SseStream

FRAMEWORKS = ("haystack", "langchain", "langgraph", "openai_agents", "pydantic_ai", "semantic_kernel")
KEY = "a-key-that-must-never-be-seen"

# Refuses, and reports, what a worker asks of any other machine.
GUARD = """
import os, sys
LOCAL = ("127.0.0.1", "localhost", "::1", None, os.uname().nodename)
def guard(event, arguments):
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host not in LOCAL:
        sys.stderr.write(f"FOREIGN HOST {host}\\n")
        raise OSError(f"a test may not reach {host}")
sys.addaudithook(guard)
"""


class Switch:
    """What the relay does to frames now. A test sets `now`."""

    def __init__(self) -> None:
        self.now: OnFrame = pass_on

    async def __call__(self, frame: bytes) -> bytes:
        return await self.now(frame)


class Pace:
    """Holds each delta of the provider back until the one before it was heard downstream, whichever API it speaks."""

    _CHAT = re.compile(rb'"(content|arguments)":"[^"]')
    _RESPONSES = re.compile(rb'"type":"response\.[a-z_]+\.delta"')

    def __init__(self, heard: Heard, then: OnFrame = pass_on) -> None:
        self._heard = heard
        self._then = then
        self._sent = 0

    async def __call__(self, frame: bytes) -> bytes:
        delta = self._RESPONSES if b'"type":"response.' in frame else self._CHAT
        if delta.search(frame):
            await self._heard.until(self._sent, "text.delta", "reasoning.delta", "tool.arguments.delta")
            self._sent += 1
        return await self._then(frame)


class Watcher(Record):
    """A viewer of one job. `frames` is all that it accepted, by way of however many connections."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []

    async def watch(self, url: str, *, cut_after: tuple[int, ...] = ()) -> None:
        """Read to the end; drop the connection after so many events of it, for each number, and come back."""
        for events in (*cut_after, None):
            await self._connect(url, events)

    async def _connect(self, url: str, events: int | None) -> None:
        cursor = self.frames[-1].id if self.frames else None
        async with SseStream(f"{url}?raw=true", last_event_id=cursor) as stream:
            assert stream.status == 200, self.events[-3:]
            accepted = 0
            async for frame in stream:
                if frame.json["type"] == "job.queued":  # the gateway's own, without an id
                    continue
                self.frames.append(frame)
                await self.put("", frame.data.encode())
                accepted += 1
                if accepted == events:
                    return


@dataclass
class Deployment:
    """Everything that runs. `job()` queues one; `pace` is what the relay does to frames."""

    client: httpx2.AsyncClient
    aimock: Aimock
    relay: Relay
    pace: Switch
    worker: Process

    async def job(self, agent: str, input: Any = "hi", session_id: str | None = None) -> dict[str, Any]:
        """Queue a job. Returns what the gateway says of it."""
        path = f"/v1/sessions/{session_id}/jobs" if session_id else "/v1/jobs"
        answer = await self.client.post(path, json={"agent": agent, "input": input})
        assert answer.status_code == 202, answer.text
        queued: dict[str, Any] = answer.json()
        return queued

    def url(self, queued: dict[str, Any]) -> str:
        return f"{str(self.client.base_url).rstrip('/')}{queued['events_url']}"

    async def watched(self, agent: str, input: Any = "hi", session_id: str | None = None) -> Watcher:
        """A job that was watched to its end."""
        watcher = Watcher()
        await watcher.watch(self.url(await self.job(agent, input, session_id)))
        return watcher


@contextlib.asynccontextmanager
async def deployment(folder: Path) -> AsyncIterator[Deployment]:
    """Run it until the block ends."""
    redis, processes, pace = RedisServer(folder / "redis"), Processes(folder), Switch()
    (folder / "sitecustomize.py").write_text(GUARD)
    redis.start()
    try:
        with aimock_in(folder) as aimock:
            async with relayed(aimock.url, pace) as relay:
                gateway = processes.gateway(redis.url)
                worker = processes.worker(
                    redis.url,
                    HOLDFAST_AGENTS=",".join(f"examples.{name}_agent" for name in FRAMEWORKS),
                    OPENAI_API_KEY=KEY,
                    OPENAI_BASE_URL=f"{relay.url}/v1",
                    PYTHONPATH=str(folder),
                )
                await gateway.until_ready()
                async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client:
                    running = Deployment(client, aimock, relay, pace, worker)
                    await until(lambda: _offered(running), 120, worker.describe)
                    yield running
                assert KEY not in worker.output() + gateway.output()
    finally:
        processes.kill()
        redis.kill()


async def _offered(running: Deployment) -> bool:
    assert running.worker.running, running.worker.describe()
    names = {agent["name"] for agent in (await running.client.get("/v1/agents")).json()["agents"]}
    return names >= set(FRAMEWORKS)
