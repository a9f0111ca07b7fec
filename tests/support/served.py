"""A gateway in the test's own process, on a real port, for tests that look inside or need it at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2
from holdfast.gateway.__main__ import build_server
from holdfast.gateway.principal import Authenticate
from holdfast.gateway.settings import GatewaySettings
from holdfast.gateway.transports.uvicorn_server import GatewayServer
from holdfast.shared.offered_agents import OfferedAgents
from holdfast.shared.redis.client import Redis, connect

from tests.support.contract import Contract, contract
from tests.support.process import until
from tests.support.sse import parse_fields


@dataclass(frozen=True)
class Served:
    """A gateway that answers at `url`. `client` has it as its base and checks responses against the OpenAPI document;
    `redis` is a connection of the test's own."""

    url: str
    client: httpx2.AsyncClient
    server: GatewayServer
    redis: Redis
    settings: GatewaySettings
    contract: Contract

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def offer(self, *agents: str) -> None:
        """Announce agents as a worker would."""
        await OfferedAgents(self.redis).offer({agent: {"type": "string"} for agent in agents})


@contextlib.asynccontextmanager
async def served(redis_url: str, *, authenticate: Authenticate | None = None, **settings: Any) -> AsyncIterator[Served]:
    """Serve a gateway until the block ends."""
    chosen = GatewaySettings(redis_url=redis_url, port=0, **settings)
    server = build_server(chosen, authenticate)
    serving = asyncio.create_task(server._serve())
    await until(lambda: server.started or serving.done())
    port = server.servers[0].sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    redis = connect(redis_url, max_connections=8)
    promised = contract()
    hooks = {"response": [promised.check]}
    async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=30, event_hooks=hooks) as client:
        try:
            yield Served(url, client, server, redis, chosen, promised)
        finally:
            server.should_exit = True
            await serving
            await redis.aclose()


@dataclass(frozen=True)
class RawAnswer:
    """An answer as it stood on the wire. Header names are lower-case."""

    status: int
    headers: dict[str, str]
    body: bytes


async def raw_request(port: int, request: bytes) -> RawAnswer:
    """Send these bytes as they are, and read until the server closes (send `Connection: close`)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    try:
        writer.write(request)
        received = await asyncio.wait_for(reader.read(-1), 30)
    finally:
        writer.close()
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    return RawAnswer(int(status.split(" ")[1]), parse_fields(lines), body)
