"""A gateway and a worker whose providers are a relay in front of aimock, and what its viewers see."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import redis

from tests.support.aimock import Aimock, aimock_in
from tests.support.ports import free_port
from tests.support.process import Gateway, Process, Processes, until
from tests.support.provider_relay import OnFrame, Pace, Relay, pass_on, relayed
from tests.support.record import Record
from tests.support.redis_server import RedisServer
from tests.support.sse import SseStream

# Recognisable, and unlike what keys look like: only who knows them can take them out of a text.
OPENAI_KEY = "planted openai key"
ANTHROPIC_KEY = "planted anthropic key"
KEYS = {"OPENAI_API_KEY": OPENAI_KEY, "ANTHROPIC_API_KEY": ANTHROPIC_KEY}
TERMINAL = ("job.completed", "job.failed", "job.cancelled")


class Viewer(Record):
    """What a client of the gateway has seen, and under which ids."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.frames: list[str] = []

    async def watch(self, url: str) -> None:
        """Read to the end that the server makes."""
        async with SseStream(url) as stream:
            assert stream.status == 200
            async for frame in stream:
                self.frames.append(frame.data)
                if frame.json["type"] != "job.queued":  # the gateway's own, without an id
                    self.ids.append(frame.id)
                    await self.put("", frame.data.encode())

    @property
    def end(self) -> dict[str, Any]:
        """The one terminal event, which is the last."""
        [end] = self.of(*TERMINAL)
        assert end == self.events[-1]
        return end


@dataclass
class Scene:
    """One test on the stage. `answers` are the bodies of all that the gateway answered."""

    client: httpx2.AsyncClient
    aimock: Aimock
    relay: Relay
    viewer: Viewer
    answers: list[str] = field(default_factory=list)

    async def job(
        self, agent: str, input: Any = "hi", session_id: str = "", budget: Any = None, **options: Any
    ) -> dict[str, Any]:
        """Queue a job, in a new session unless one is named, and watch it to its end. Returns its state then."""
        path = f"/v1/sessions/{session_id}/jobs" if session_id else "/v1/jobs"
        body = {"agent": agent, "input": input, "options": options, "budget": budget}
        answer = await self.client.post(path, json=body)
        assert answer.status_code == 202, answer.text
        queued = answer.json()
        await self.viewer.watch(f"{str(self.client.base_url).rstrip('/')}{queued['events_url']}")
        return await self.get(f"/v1/sessions/{queued['session_id']}/jobs/{queued['job_id']}")

    async def messages(self, session_id: str) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = (await self.get(f"/v1/sessions/{session_id}/messages"))["messages"]
        return messages

    async def get(self, path: str) -> dict[str, Any]:
        answer = await self.client.get(path)
        assert answer.status_code == 200, answer.text
        self.answers.append(answer.text)
        body: dict[str, Any] = answer.json()
        return body


class Stage:
    """What tests of one module share: a Redis, a gateway, a worker, and the port that its providers are at."""

    def __init__(self, aimock: Aimock, server: RedisServer, gateway: Gateway, worker: Process, port: int) -> None:
        self.aimock = aimock
        self.gateway = gateway
        self.worker = worker
        self._server = server
        self._port = port

    @asynccontextmanager
    async def scene(self, then: Any = None, *, offered: set[str] | None = None) -> AsyncIterator[Scene]:
        """Raise the curtain. The provider sends a delta only when the viewer has the one before it; `then(viewer)` is
        an OnFrame that may harm its frames. When the curtain falls no key may have been seen by anybody."""
        viewer = Viewer()
        on_frame: OnFrame = then(viewer) if then else pass_on
        async with (
            relayed(self.aimock.url, Pace(viewer, on_frame), port=self._port) as relay,
            httpx2.AsyncClient(base_url=self.gateway.url, trust_env=False) as client,
        ):
            await self._offered(client, offered or {"openai", "anthropic"})
            scene = Scene(client, self.aimock, relay, viewer)
            yield scene
            self.assert_unseen(scene)

    def assert_unseen(self, scene: Scene, *keys: str) -> None:
        """Check that no key is in Redis, in the output of a process, in an event or in an answer."""
        told = "\n".join([*scene.viewer.frames, *scene.answers, self.worker.output(), self.gateway.output()])
        kept = kept_in(self._server.url)
        for key in keys or KEYS.values():
            assert key not in told
            assert key.encode() not in kept

    async def _offered(self, client: httpx2.AsyncClient, names: set[str]) -> None:
        await self.gateway.until_ready()

        async def look() -> bool:
            assert self.worker.running, self.worker.describe()
            return names <= {agent["name"] for agent in (await client.get("/v1/agents")).json()["agents"]}

        await until(look, describe=self.worker.describe)


@contextmanager
def stage_in(folder: Path, **env: str) -> Iterator[Stage]:
    """A stage until the block ends. `env` adds to what the worker gets; `{url}` and `{port}` in it are those of the
    providers."""
    server, processes, port = RedisServer(folder), Processes(folder), free_port()
    url = f"http://127.0.0.1:{port}"
    urls = {"OPENAI_BASE_URL": f"{url}/v1", "ANTHROPIC_BASE_URL": url}
    with aimock_in(folder) as aimock:
        server.start()
        try:
            gateway = processes.gateway(server.url)
            given = {name: value.replace("{url}", url).replace("{port}", str(port)) for name, value in env.items()}
            yield Stage(aimock, server, gateway, processes.worker(server.url, **(KEYS | urls | given)), port)
        finally:
            processes.kill()
            server.kill()


def kept_in(redis_url: str) -> bytes:
    """All that a Redis holds: names and values of all keys, of whatever type."""
    with redis.Redis.from_url(redis_url) as client:
        return b"\n".join(key + b"\n" + _value(client, key) for key in client.scan_iter(count=1000))


def _value(client: Any, key: bytes) -> bytes:
    reads = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"list": lambda name: client.lrange(name, 0, -1),
        b"set": client.smembers,
        b"zset": lambda name: client.zrange(name, 0, -1),
        b"stream": client.xrange,
    }
    kind = client.type(key)
    return b"" if kind == b"none" else repr(reads[kind](key)).encode()
