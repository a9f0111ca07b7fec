"""The product behind one path: Redis, a worker, gateways that come and go, and a proxy."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import httpx2
import redis.asyncio
from holdfast.shared.keys import log_key

from tests.stream_ends.dialects import AGENT, words
from tests.support.ports import free_port
from tests.support.process import Gateway, Process, Processes, until
from tests.support.proxies import caddyfile, nginx_config, self_signed, start_caddy, start_nginx
from tests.support.redis_server import RedisServer

WORKER = {"HOLDFAST_AGENTS": "tests.stream_ends.agents", "HOLDFAST_MAX_JOBS": "50"}
GATEWAY = {"HOLDFAST_SEND_DEADLINE_SECONDS": "1", "HOLDFAST_PING_SECONDS": "1"}


class Way(NamedTuple):
    """A way to the gateways. `proxy`: `nginx`, `Caddy`, or empty for none. `h2`: HTTP/2 with TLS; otherwise HTTP/1.1
    without."""

    name: str
    proxy: str
    h2: bool


WAYS = (
    Way("direct", "", False),
    Way("nginx, HTTP/1.1", "nginx", False),
    Way("nginx, HTTP/2", "nginx", True),
    Way("Caddy, HTTP/1.1", "Caddy", False),
    Way("Caddy, HTTP/2", "Caddy", True),
)


@dataclass
class Stage:
    """Two ports for gateways, behind one URL. Without a proxy that is the first port."""

    url: str
    h2: bool
    redis_url: str
    ports: tuple[int, int]
    processes: Processes
    folder: Path
    running: dict[int, Gateway] = field(default_factory=dict)

    @property
    def go(self) -> Path:
        """The file that jobs with the input `hold` wait for."""
        return self.folder / "go"

    async def start(self, number: int) -> Gateway:
        """Start a gateway at this port and return once it is ready."""
        gateway = self.processes.gateway(self.redis_url, port=self.ports[number], **GATEWAY)
        await gateway.until_ready()
        self.running[number] = gateway
        return gateway

    async def submit(self, session: str, text: str) -> str:
        """Submit a job at a running gateway, past the proxy. Returns its id."""
        gateway = next(gateway for gateway in self.running.values() if gateway.running)
        async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False, timeout=30) as client:
            answer = await client.post(f"/v1/sessions/{session}/jobs", json={"agent": AGENT, "input": text})
            answer.raise_for_status()
            return str(answer.json()["job_id"])

    async def logged(self, session: str) -> set[int]:
        """Return the numbers of the words in the log of a session."""
        client = redis.asyncio.Redis.from_url(self.redis_url)
        try:
            entries = await client.xrange(log_key(session))
        finally:
            await client.aclose()
        return words(b"".join(value for _, values in entries for value in values.values()))


@contextlib.asynccontextmanager
async def stage(way: Way) -> AsyncIterator[Stage]:
    """A stage whose first gateway runs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server, processes = RedisServer(folder / "redis"), Processes(folder)
        server.start()
        try:
            ports = (free_port(), free_port())
            url = await front(way, processes, folder, ports)
            made = Stage(url, way.h2, server.url, ports, processes, folder)
            worker = processes.worker(server.url, STREAM_ENDS_GO=str(made.go), **WORKER)
            await _until_offered(await made.start(0), worker)
            yield made
        finally:
            processes.kill()
            server.kill()


async def front(way: Way, processes: Processes, folder: Path, ports: Sequence[int]) -> str:
    """Start what is in front of gateways at these ports. Returns its URL."""
    if not way.proxy:
        return f"http://127.0.0.1:{ports[0]}"
    port, tls = free_port(), self_signed(folder) if way.h2 else None
    if way.proxy == "nginx":
        await start_nginx(processes, folder, port, nginx_config(folder, port, ports, tls))
    else:
        await start_caddy(processes, folder, caddyfile(port, ports, tls=tls))
    return f"{'https' if way.h2 else 'http'}://127.0.0.1:{port}"


async def _until_offered(gateway: Gateway, worker: Process) -> None:
    async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client:

        async def offered() -> bool:
            return AGENT in (await client.get("/v1/agents")).text

        await until(offered, describe=worker.describe)
